"""Frames of one video file, in display order, at one small size: which of two readers reads them.

``pyav`` is the default: it costs the same CPU time per frame as decord (both are one FFmpeg thread and
swscale), is exact in every container that `film_table` lists, decodes AV1, and tells which frames FFmpeg had
to conceal. ``decord`` is there to compare with: on MPEG-TS, MPEG-PS, H.264 in AVI and HEVC it gives wrong
frames for some indices, and it does not notice flipped bits.
"""

import os
from pathlib import Path

from m2s_lib.errors import M2SError
from m2s_lib.films.video.av_frames import AvFrames
from m2s_lib.films.video.decord_frames import DecordFrames
from m2s_lib.films.video.video_files import missing_bytes


def open_frames(path: str | os.PathLike, size: int, reader: str = "pyav"):
    """Open a video whose frames come as `size` x `size` pixels (bilinear, anti-aliased, aspect not kept).

    Raises M2SError, naming the file and what was seen: missing, empty, cut short, no video, not readable.
    """
    path = Path(path).absolute()
    if not path.is_file():
        raise M2SError(f"{path.name}: there is no such file ({path})")
    try:
        if path.stat().st_size == 0:
            raise M2SError(f"{path.name} is empty (0 bytes): copy it again")
        missing = missing_bytes(path)
    except OSError as error:
        raise M2SError(f"{path.name} cannot be opened: {error}") from error
    if missing:
        raise M2SError(
            f"{path.name} is cut short: its header announces {missing:,} bytes more than the "
            f"{path.stat().st_size:,} that are there; copy or download it again"
        )
    return DecordFrames(path, size) if reader == "decord" else AvFrames(path, size)
