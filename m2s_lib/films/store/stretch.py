"""A stretch of a video file as shots: for a query scene that is not one of the run's films.

Only the stretch is decoded. Its shots are those that `scan_film` finds in a film that begins and ends there.
"""

import dataclasses
import hashlib
import json
import math
import os
from pathlib import Path

import numpy as np

from m2s_lib.errors import M2SError
from m2s_lib.films.store.shot_store import SUFFIX, ShotStore, write_shots
from m2s_lib.films.video.decoding import MOST_DAMAGED, ScanConfig, ScannedFilm, equal_parts, scanned
from m2s_lib.films.video.frames import open_frames
from m2s_lib.films.video.keyframe_keeper import keyframe_positions
from m2s_lib.films.video.shot_boundaries import ShotDetector
from m2s_lib.io import safe_name

LONGEST_S = 600.0  # seconds that may be asked for at once
_CHUNK_BYTES = 64 << 20  # of frames held at once
_SLACK_S = 0.5  # how far an end may lie beyond the last frame: players round
_KEEP = 50  # stretches kept in a folder; the oldest go


def range_store(
    path: str | os.PathLike,
    start_s: float,
    end_s: float,
    folder: str | os.PathLike,
    config: ScanConfig | None = None,
) -> ShotStore:
    """The shots of a stretch as a shot store in `folder` (a cache), scanned once; see `scan_range`."""
    config = config or ScanConfig()
    _check_times(path, start_s, end_s)
    target = Path(folder) / _store_name(Path(path), start_s, end_s, config)
    if not target.is_file():
        film = scan_range(path, start_s, end_s, config)
        write_shots(
            target, film.shots, film.keyframes, aspect=film.aspect, fps=film.fps, source="video",
            extra={"path": str(Path(path).absolute())},
        )  # fmt: skip
        stores = sorted(Path(folder).glob(f"*{SUFFIX}"), key=lambda p: p.stat().st_mtime_ns)
        for old in stores[: max(len(stores) - _KEEP, 0)]:
            old.unlink(missing_ok=True)
    return ShotStore(target)


def _store_name(path: Path, start_s: float, end_s: float, config: ScanConfig) -> str:
    """Tells the file (its size and time too), the stretch and the settings apart."""
    state = path.stat() if path.is_file() else None
    what = [str(path.absolute()), state and (state.st_size, state.st_mtime_ns), start_s, end_s]
    text = json.dumps([*what, dataclasses.asdict(config)], sort_keys=True)
    digest = hashlib.blake2b(text.encode("utf-8", "surrogateescape"), digest_size=8).hexdigest()
    return f"{safe_name(path.stem[:60])}-{start_s:g}-{end_s:g}-{digest}{SUFFIX}"


def scan_range(
    path: str | os.PathLike, start_s: float, end_s: float, config: ScanConfig | None = None
) -> ScannedFilm:
    """Shots and keyframes between two times of a video file.

    Args:
        path: a video file.
        start_s, end_s: seconds as a player shows them; frames with start_s <= time < end_s are read.
        config: as the run's films were scanned; default `ScanConfig()`.

    Returns:
        As `scan_film` does; frames and times count from the file's start, `duration_s` is the stretch's.

    Raises:
        M2SError: no such file, not a video, times outside the film or in the wrong order, a stretch longer
            than LONGEST_S, or damaged beyond `MOST_DAMAGED`.
    """
    config = config or ScanConfig()
    _check_times(path, start_s, end_s)
    frames = open_frames(path, config.frame_size, config.reader)
    try:
        times = frames.index()  # [frames + 1]
        first, last = _frame_range(frames.path.name, times, start_s, end_s)
        cuts = _cuts(frames, first, last, config)
        shots = np.stack([cuts, np.append(cuts[1:] - 1, last)], axis=1)  # [n_shots, 2], inclusive
        wanted = [keyframe_positions(a, b, config.frames_per_shot) for a, b in shots.tolist()]
        found = frames.fetch(sorted({p for shot in wanted for p in shot}))
        if frames.damaged > MOST_DAMAGED * max(frames.decoded, 1):
            raise M2SError(
                f"{frames.path.name} is damaged between {start_s:g} and {end_s:g} s: {frames.damaged:,} of "
                f"{frames.decoded:,} decoded frames are not whole; copy it again or choose another stretch"
            )
        keyframes = np.stack([np.stack([found[p] for p in shot]) for shot in wanted])
        return scanned(frames, shots, keyframes, times[last + 1] - times[first])
    finally:
        frames.close()


def _check_times(path: str | os.PathLike, start_s: float, end_s: float) -> None:
    name = Path(path).name
    if not (math.isfinite(start_s) and math.isfinite(end_s) and 0 <= start_s < end_s):
        raise M2SError(f"{name}: a clip from {start_s:g} s to {end_s:g} s: expected 0 <= start < end")
    if end_s - start_s > LONGEST_S:
        raise M2SError(
            f"{name}: {end_s - start_s:g} s were asked for, at most {LONGEST_S:g} s are read at once: choose "
            "a shorter stretch"
        )


def _frame_range(name: str, times: np.ndarray, start_s: float, end_s: float) -> tuple[int, int]:
    """First and last frame (inclusive) with start_s <= time < end_s."""
    length = float(times[-1])
    if start_s >= length or end_s > length + _SLACK_S:
        raise M2SError(
            f"{name} is {length:.1f} s long, {start_s:g} to {end_s:g} s lies outside: give times within it"
        )
    half = 0.5 * float(np.median(np.diff(times)))  # players' clocks: to half a frame
    first = int(np.searchsorted(times[:-1], start_s - half, side="left"))
    last = int(np.searchsorted(times[:-1], end_s - half, side="left")) - 1
    if last < first:
        raise M2SError(f"{name} has no frame between {start_s:g} and {end_s:g} s: choose a longer stretch")
    return first, last


def _cuts(frames, first: int, last: int, config: ScanConfig) -> np.ndarray:
    """First frames of the shots in first .. last: int64 [n_shots]."""
    if config.equal_parts:
        return first + equal_parts(last - first + 1, config.equal_parts)["start_frame"].to_numpy()
    detector, cuts = ShotDetector(config, frames.fps), []
    step = max(1, _CHUNK_BYTES // (3 * config.frame_size**2))
    for begin in range(first, last + 1, step):
        numbers = range(begin, min(begin + step, last + 1))
        chunk = frames.fetch(numbers)
        cuts += [cut for i in numbers for cut in detector.feed(i - first, chunk[i])]
    cuts += detector.finish()
    return first + np.array([0, *cuts], dtype=np.int64)
