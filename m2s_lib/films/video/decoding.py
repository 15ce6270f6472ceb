"""One pass over a film: shots, their times and their keyframes (paper §4.1, supp. 1.1).

Every frame is decoded once, shown to the shot detector, and kept for as long as the shot that it may become a
keyframe of is open. It is scaled to the size that the encoders see only where it is a keyframe or where there
may be a cut. Memory does not grow with the film's length (`_BUFFER`), but for the keyframes themselves.
"""

import dataclasses
import os
from collections.abc import Iterable

import numpy as np
import pandas as pd

from m2s_lib.errors import M2SError
from m2s_lib.films.video.frames import open_frames
from m2s_lib.films.video.keyframe_keeper import KeyframeKeeper, keyframe_positions
from m2s_lib.films.video.shot_boundaries import DETECTORS, ShotDetector
from m2s_lib.films.video.shot_pictures import Encode, ShotPictures, preview_size

MOST_DAMAGED = 0.01  # share of frames that may be concealed or lost before the film is refused
_BUFFER = 64 << 20  # bytes of frames kept of the open shot; a longer shot's keyframes are fetched afterwards
_AT_ONCE = 512  # keyframes fetched together: in all sizes they take some 300 kB each
SHOT_COLUMNS = ["shot", "start_frame", "end_frame", "start_s", "end_s"]


@dataclasses.dataclass(frozen=True)
class ScanConfig:
    """How films become shots. Two runs with the same values give the same shots."""

    # pixels; side of the stored square keyframe, the paper's encoders take 128
    frame_size: int = 128
    # k; 1 is the shot's middle frame (paper), more are spread evenly inside the shot
    frames_per_shot: int = 1
    # one of DETECTORS: PySceneDetect's adaptive, content, histogram, or transnetv2
    detector: str = "adaptive"
    threshold: float = 0.0  # 0 is the detector's own (3.0, 27.0, 0.20, 0.5)
    min_shot_s: float = 0.4  # seconds, not frames: PySceneDetect's 15 frames are 4 s of a film kept at 4 fps
    fades: bool = True  # also cut in the middle of black; the other detectors look for jumps only
    # 'codec': where the shots are given (a table, equal parts), the stream's own key picture nearest to the
    # middle, inside the shot: several times faster; where cuts are looked for, every frame is decoded anyway
    # and 'codec' changes nothing
    keyframe: str = "middle"
    reader: str = "pyav"  # or 'decord'; see frames.py
    # above 0: no cut detection, the file (or each row of a table of boundaries) is cut into so many parts of
    # equal length
    equal_parts: int = 0
    preview_width: int = 0  # pixels of the pictures for people, in the film's own shape; 0 keeps none
    split_s: float = (
        0.0  # seconds; a film of one shot is cut into parts of about this length, 0 keeps it whole
    )

    def __post_init__(self):
        rules = [
            (_whole(self.frame_size) and 8 <= self.frame_size <= 1024, "frame_size", "8..1024 pixels"),
            (_whole(self.frames_per_shot) and 1 <= self.frames_per_shot <= 64, "frames_per_shot", "1..64"),
            (self.detector in DETECTORS, "detector", f"one of {sorted(DETECTORS)}"),
            (self.threshold >= 0, "threshold", "0 (the detector's own) or more"),
            (0 <= self.min_shot_s <= 60, "min_shot_s", "0..60 seconds"),
            (self.keyframe in ("middle", "codec"), "keyframe", "'middle' or 'codec'"),
            (
                self.keyframe == "middle" or (self.reader == "pyav" and self.frames_per_shot == 1),
                "keyframe",
                "'middle', unless reader is 'pyav' and frames_per_shot 1",
            ),
            (self.reader in ("pyav", "decord"), "reader", "'pyav' or 'decord'"),
            (_whole(self.equal_parts) and 0 <= self.equal_parts <= 4096, "equal_parts", "0 (off) or 1..4096"),
            (0 <= self.preview_width <= 4096, "preview_width", "0 (none) or up to 4096 pixels"),
            (0 <= self.split_s <= 3600, "split_s", "0 (off) or up to 3600 seconds"),
        ]
        for good, field, expected in rules:
            if not good:
                raise M2SError(f"ScanConfig.{field} is {getattr(self, field)!r}, expected {expected}")


def _whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


@dataclasses.dataclass
class ScannedFilm:
    """What a scan found.

    Attributes:
        shots: one row per shot: shot, start_frame, end_frame (inclusive), start_s, end_s (seconds).
        keyframes: uint8 [n_shots, k, h, w, c], RGB.
        fps: average frame rate, NaN where unknown. duration_s: from the first frame to the end of the last.
        width, height: the source's pixels. aspect: displayed width / height.
        damaged, decoded: frames that were not whole, of those that were decoded.
    """

    shots: pd.DataFrame
    keyframes: np.ndarray
    fps: float
    duration_s: float
    width: int
    height: int
    aspect: float
    damaged: int = 0
    decoded: int = 0
    timecode: str = ""  # at which the film starts, such as '01:00:00:00'
    previews: list[bytes] | None = None  # a JPEG a shot, of its middle keyframe in the film's shape
    features: np.ndarray | None = None  # float32 [n_shots, d]


def scan_film(
    path: str | os.PathLike,
    config: ScanConfig | None = None,
    boundaries: pd.DataFrame | None = None,
    encode: Encode | None = None,
) -> ScannedFilm:
    """Shots and keyframes of one video file.

    Args:
        path: a video file. config: default `ScanConfig()`.
        boundaries: the user's own shots, in order: columns start_frame, end_frame (inclusive) or start_s,
            end_s (seconds). Gaps between shots are transitions and belong to no shot. Only the keyframes are
            then decoded.
        encode: gives features of the keyframes while they are at hand, at the encoder's own size.

    Raises:
        M2SError: names the film and what was seen: not a video, cut short, damaged beyond `MOST_DAMAGED`, or
            a table of boundaries that does not fit the film.
    """
    config = config or ScanConfig()
    frames = open_frames(path, config.frame_size, config.reader)
    try:
        preview = preview_size(frames.width, frames.height, frames.aspect, config.preview_width)
        also = ShotPictures(preview if config.preview_width else None, encode)
        frames.also(also.sizes)
        if boundaries is None and config.equal_parts:
            boundaries = pd.DataFrame({"start_frame": [0], "end_frame": [len(frames.index()) - 2]})
        if boundaries is None:
            shots, keyframes = _scan_whole(frames, config, also)
            if len(shots) == 1 and config.split_s:
                boundaries = _by_time(frames.times, config.split_s)
        if boundaries is not None:
            shots, keyframes = _scan_given(frames, config, boundaries, also)
        if frames.damaged > MOST_DAMAGED * max(frames.decoded, 1):
            raise M2SError(
                f"{frames.path.name} is damaged: {frames.damaged:,} of {frames.decoded:,} decoded frames are "
                f"not whole (allowed: {MOST_DAMAGED:.2%}); copy it again"
            )
        return scanned(
            frames, shots, keyframes, frames.times[-1] - frames.times[0],
            timecode=getattr(frames, "timecode", ""),
            previews=also.previews(config.frames_per_shot), features=also.features(config.frames_per_shot),
        )  # fmt: skip
    finally:
        frames.close()


def scanned(frames, shots: np.ndarray, keyframes: np.ndarray, duration_s: float, **more) -> ScannedFilm:
    """What was read of an open film: its shots int64 [n_shots, 2], keyframes, and `more` of `ScannedFilm`."""
    names = ("fps", "width", "height", "aspect", "damaged", "decoded")
    more |= {name: getattr(frames, name) for name in names}
    return ScannedFilm(_shot_table(shots, frames.times), keyframes, duration_s=float(duration_s), **more)


def equal_parts(n_frames: int, parts: int) -> pd.DataFrame:
    """A boundary table of `parts` parts of equal length, to a frame; of n_frames parts where there are fewer.

    >>> equal_parts(7, 3).values.tolist(), equal_parts(2, 3).values.tolist()
    ([[0, 1], [2, 3], [4, 6]], [[0, 0], [1, 1]])
    """
    parts = min(parts, n_frames)
    edges = np.arange(parts + 1, dtype=np.int64) * n_frames // max(parts, 1)
    return pd.DataFrame({"start_frame": edges[:-1], "end_frame": edges[1:] - 1})


def _by_time(times: np.ndarray, part_s: float) -> pd.DataFrame | None:
    """A boundary table of equal parts of about `part_s` seconds; None for a film of no more than one."""
    parts = round(float(times[-1] - times[0]) / part_s)
    return equal_parts(len(times) - 1, parts) if parts > 1 else None


def _scan_whole(frames, config: ScanConfig, also: ShotPictures) -> tuple[np.ndarray, np.ndarray]:
    """Shots and keyframes in one pass: bounds int64 [n_shots, 2], keyframes uint8 [n_shots, k, h, w, c]."""
    detector = ShotDetector(config, frames.fps)
    keeper = KeyframeKeeper(config.frames_per_shot, _BUFFER, detector.late, also)
    index = -1
    for index, picture in enumerate(frames.pictures()):
        keeper.add(index, picture)
        for cut in detector.feed(index, picture):
            keeper.close_shot(cut)
    for cut in detector.finish():
        keeper.close_shot(cut)
    keeper.close_shot(index + 1)
    missing = sorted(set(keeper.missing))
    return np.asarray(keeper.shots), keeper.pictures(frames.fetch_pictures(missing) if missing else {})


def _scan_given(
    frames, config: ScanConfig, boundaries: pd.DataFrame, also: ShotPictures
) -> tuple[np.ndarray, np.ndarray]:
    """The user's shots, with exact seeks to their keyframes."""
    times = frames.index()
    shots = _given_shots(boundaries, times, frames.path.name)
    if config.equal_parts:
        parts = [start + equal_parts(end - start + 1, config.equal_parts).to_numpy() for start, end in shots]
        shots = np.concatenate(parts)
    positions = [keyframe_positions(start, end, config.frames_per_shot) for start, end in shots]
    pictures = {}
    if config.keyframe == "codec":
        own = nearest_inside(frames.keys(), shots, [shot[0] for shot in positions])
        pictures = frames.fetch_keys([p for p in own if p is not None])
        positions = [shot if p not in pictures else [p] for p, shot in zip(own, positions, strict=True)]
    slots = [p for shot in positions for p in shot]
    keyframes = np.empty((len(slots), config.frame_size, config.frame_size, 3), dtype=np.uint8)
    for first in range(0, len(slots), _AT_ONCE):
        part = slots[first : first + _AT_ONCE]
        fetched = frames.fetch_pictures(sorted(set(part) - set(pictures)))
        for slot, position in enumerate(part, start=first):
            picture = pictures.get(position) or fetched[position]
            also.add(slot, picture.settle())
            keyframes[slot] = picture.small()
    return shots, keyframes.reshape(len(shots), config.frames_per_shot, *keyframes.shape[1:])


def nearest_inside(keys: np.ndarray, shots: np.ndarray, wanted: list[int]) -> list[int | None]:
    """For each shot (first and last frame, [n_shots, 2]) the key frame in it that is nearest to `wanted`.

    >>> nearest_inside(np.array([0, 8, 14, 40]), np.array([[0, 19], [20, 30]]), [10, 25])
    [8, None]
    """
    found: list[int | None] = []
    for (start, end), middle in zip(shots, wanted, strict=True):
        inside = keys[np.searchsorted(keys, start) : np.searchsorted(keys, end, side="right")]
        found.append(int(inside[np.abs(inside - middle).argmin()]) if len(inside) else None)
    return found


def _given_shots(table: pd.DataFrame, times: np.ndarray, name: str) -> np.ndarray:
    """Check a boundary table against a film; bounds int64 [n_shots, 2], inclusive."""
    n_frames = len(times) - 1
    columns = _boundary_columns(table.columns, name)
    try:
        bounds = table[columns].to_numpy(dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise M2SError(f"{name}: boundaries {columns} must be numbers ({error})") from error
    if not len(bounds) or not np.isfinite(bounds).all():
        raise M2SError(f"{name}: boundaries {columns} are empty or not finite ({len(bounds)} rows)")
    if (
        columns[0] == "start_s"
    ):  # the frames shown from start_s on and before end_s; players' clocks, so to half a frame
        half = 0.5 * float(np.median(np.diff(times)))
        first = np.searchsorted(times[:-1], bounds[:, 0] - half, side="left")
        last = np.searchsorted(times[:-1], bounds[:, 1] - half, side="left") - 1
        bounds = np.stack([first, np.maximum(last, first)], axis=1)
    shots = bounds.astype(np.int64)
    wrong = (shots[:, 1] < shots[:, 0]) | (shots[:, 0] < 0) | (shots[:, 1] >= n_frames)
    wrong[1:] |= shots[1:, 0] <= shots[:-1, 1]
    if wrong.any():
        row = int(np.argmax(wrong))
        raise M2SError(
            f"{name}: shot {row} of the boundary table is frames {shots[row, 0]}..{shots[row, 1]}; the film "
            f"has frames 0..{n_frames - 1}, shots must follow each other without overlap"
        )
    return shots


def _boundary_columns(columns: Iterable[str], name: str) -> list[str]:
    for pair in (["start_frame", "end_frame"], ["start_s", "end_s"]):
        if set(pair) <= set(columns):
            return pair
    raise M2SError(
        f"{name}: a boundary table needs the columns start_frame, end_frame or start_s, end_s; it has "
        f"{list(columns)}"
    )


def _shot_table(shots: np.ndarray, times: np.ndarray) -> pd.DataFrame:
    """The contract's shot columns; a shot ends when the frame after its last one starts."""
    return pd.DataFrame(
        {
            "shot": np.arange(len(shots), dtype=np.int64),
            "start_frame": shots[:, 0],
            "end_frame": shots[:, 1],
            "start_s": times[shots[:, 0]],
            "end_s": times[shots[:, 1] + 1],
        },
        columns=SHOT_COLUMNS,
    )
