"""Short clips for playing scenes: cut from the source when asked for, H.264, kept in a cache folder.

Clips are cut again into pictures of at most `MAX_SIDE` pixels, without sound, so that every browser plays
them whatever the source is. They go into `run_dir/.cache/clips`, outside the stages' folders: a stage whose
scenes were played stays up to date.
"""

import contextlib
import hashlib
import math
import os
import threading
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np

from m2s_lib.display.filmstrips import check_scene
from m2s_lib.errors import M2SError
from m2s_lib.films.store.shot_store import ShotStore
from m2s_lib.films.video.av_frames import AvFrames, first_line
from m2s_lib.films.video.frame_scaler import scaled
from m2s_lib.io import atomic_path, safe_name

MAX_SIDE = 640  # pixels of the longer side of a clip
LONGEST_S = 60.0  # seconds of a clip; a longer scene plays its beginning
_KEEP = 200  # clips in the cache; the oldest go
_CODE = {"preset": "superfast", "crf": "23"}
_cutting = threading.Lock()  # one at a time: cutting takes all cores


@dataclass(frozen=True)
class Clip:
    """A scene that can be played."""

    path: Path  # the MP4 file in the cache
    seconds: float  # how long it is
    shortened: bool  # whether the scene is longer than LONGEST_S

    @property
    def length(self) -> str:
        """How long it is, in words."""
        return f"first {LONGEST_S:.0f} s" if self.shortened else f"{self.seconds:.0f} s"

    def data(self) -> bytes:
        """The file's bytes, for `Panel.send_clip(clip.path.name, clip.data())`."""
        return self.path.read_bytes()


def clip_folder(run_dir: str | os.PathLike) -> Path:
    """Where the clips of a run lie: in no stage's folder, so that no stage becomes stale."""
    return Path(run_dir) / ".cache" / "clips"


def scene_clip(
    store: ShotStore, film: str | os.PathLike, start: int, n: int, run_dir: str | os.PathLike
) -> Clip:
    """The clip of shots start .. start + n - 1, from the cache or cut now (about a second for most scenes).

    Args:
        store: the film's shots. film: `path` of the film table.
        run_dir: the run; a film that moved with its run directory is found there.

    Raises:
        M2SError: shots outside the film, shots without times, no video file (missing, or the film came as
            keyframes or features), a file that cannot be read there.
    """
    check_scene(store, start, n)
    file = film_file(store, film, run_dir)
    first, last = (float(store.shots[c].iloc[i]) for c, i in (("start_s", start), ("end_s", start + n - 1)))
    if not (math.isfinite(first) and math.isfinite(last) and last > first):
        raise M2SError(
            f"film {store.film_id}: its shots {start}..{start + n - 1} have no times, nothing can be cut"
        )
    end = min(last, first + LONGEST_S)
    path = cut_clip(file, first, end, clip_folder(run_dir), film_id=store.film_id)
    return Clip(path, end - first, end < last)


def film_file(store: ShotStore, film: str | os.PathLike, run_dir: str | os.PathLike) -> Path:
    """The video file of a film, where it was or where its run directory has moved to.

    Raises M2SError when there is none, and says why.
    """
    if store.source != "video":
        kind = {"movienet": "keyframes", "features": "shot features"}.get(store.source, store.source)
        raise M2SError(f"film {store.film_id} came as {kind}, not as a video: there is nothing to play")
    if not str(film):
        raise M2SError(f"film {store.film_id}: the film table names no file for it, there is nothing to play")
    path = Path(film)
    moved = [Path(run_dir, *path.parts[i:]) for i, p in enumerate(path.parts) if p == "01_shot_encoding"]
    for candidate in (path, *moved):
        if candidate.is_file():
            return candidate
    raise M2SError(
        f"film {store.film_id}: its file {str(film)!r} is not there any more; put it back, or run stage 01 "
        "again on the folder where the films are now"
    )


def cut_clip(
    film: str | os.PathLike,
    start_s: float,
    end_s: float,
    folder: str | os.PathLike,
    *,
    film_id: str = "",
    max_side: int = MAX_SIDE,
) -> Path:
    """Frames of `film` with start_s <= time < end_s as an MP4 file in `folder`, atomically; cut once.

    Args:
        film: any video that `films` reads. Times are seconds as a player shows them.
        folder: the cache. The name tells film, size and time of the file, stretch and picture size, so that
            another file under the same name is cut anew.
        film_id: for the name and for messages; '' takes the file's name.
        max_side: pixels of the longer side at most, even numbers; smaller pictures stay as they are.

    Raises:
        M2SError: the file is missing or unreadable, or has no picture in that stretch.
    """
    film, folder = Path(film), Path(folder)
    _check(film, start_s, end_s)
    target = folder / _clip_name(film, start_s, end_s, max_side, film_id or film.stem)
    with _cutting:
        if target.is_file():
            with contextlib.suppress(OSError):
                os.utime(target)  # used now: the oldest go first
            return target
        with atomic_path(target) as temporary:
            _cut(film, start_s, end_s, temporary, max_side)
        _forget_oldest(folder)
    return target


def write_clip(film: Path, start_s: float, end_s: float, target: Path, max_side: int) -> None:
    """Frames of `film` with start_s <= time < end_s as the MP4 file `target`, atomically; without sound.

    Arguments and errors: `cut_clip`.
    """
    _check(film, start_s, end_s)
    with _cutting, atomic_path(target) as temporary:
        _cut(film, start_s, end_s, temporary, max_side)


def _check(film: Path, start_s: float, end_s: float) -> None:
    if not film.is_file():
        raise M2SError(f"{film.name}: there is no such file ({film})")
    if not end_s > start_s >= 0:
        raise M2SError(f"{film.name}: a clip from {start_s} s to {end_s} s is empty")


def _clip_name(film: Path, start_s: float, end_s: float, max_side: int, film_id: str) -> str:
    stat = film.stat()
    key = f"{film.resolve()}\0{stat.st_size}\0{stat.st_mtime_ns}\0{start_s:.4f}\0{end_s:.4f}\0{max_side}"
    digest = hashlib.blake2b(key.encode("utf-8", "surrogateescape"), digest_size=8).hexdigest()
    return f"{safe_name(film_id[:60])}-{round(start_s * 1000)}-{round(end_s * 1000)}-{digest}.mp4"


def _forget_oldest(folder: Path) -> None:
    clips = sorted(folder.glob("*.mp4"), key=lambda p: p.stat().st_mtime_ns)
    for path in clips[: max(len(clips) - _KEEP, 0)]:
        path.unlink(missing_ok=True)


def _cut(film: Path, start_s: float, end_s: float, target: Path, max_side: int) -> None:
    import av

    frames = AvFrames(film, max_side)
    try:
        times = frames.index()
        half = 0.25 * float(np.median(np.diff(times)))  # stamps are rounded to the stream's ticks
        first, end = np.searchsorted(times[:-1], [start_s - half, end_s - half])
        if first >= end:
            raise M2SError(f"no picture could be read between {start_s:.1f} s and {end_s:.1f} s")
        options = {"movflags": "+faststart"}
        with av.open(str(target), "w", format="mp4", container_options=options) as clip:
            _encode(frames, int(first), int(end) - 1, clip, max_side)
    except (av.FFmpegError, OSError, ValueError, IndexError) as error:
        if isinstance(error, M2SError):
            raise M2SError(f"{film.name}: {error}") from error
        raise M2SError(f"{film.name} cannot be cut at {start_s:.1f} s: {first_line(error)}") from error
    finally:
        frames.close()


def _encode(frames: AvFrames, first: int, last: int, clip, max_side: int) -> None:
    """Frames first .. last as a video stream of `clip`, each shown for as long as in the film."""
    width, height = _size(frames.height * frames.aspect, frames.height, max_side)
    out = clip.add_stream("libx264", rate=Fraction(frames.fps or 25).limit_denominator(90_000))
    out.width, out.height, out.pix_fmt, out.options = width, height, "yuv420p", dict(_CODE)
    out.codec_context.time_base = tick = Fraction(1, 90_000)
    stamp = -1
    for index, frame in frames.between(first, last):
        small = scaled(frame, width, height)
        small.pts = stamp = max(round((frames.times[index] - frames.times[first]) / tick), stamp + 1)
        small.time_base, small.pict_type = tick, 0  # the encoder chooses its key frames
        clip.mux(out.encode(small))
    clip.mux(out.encode())


def _size(width: float, height: float, max_side: int) -> tuple[int, int]:
    """Displayed pixels within `max_side`, even as H.264 wants them."""
    scale = min(1.0, max_side / max(width, height, 1))
    return max(2, 2 * round(width * scale / 2)), max(2, 2 * round(height * scale / 2))
