"""H.264 for the embedded films: encoding pictures, and cutting stretches out without encoding them again."""

import os
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from m2s_lib.errors import M2SError
from m2s_lib.films.world.records import WorldSize
from m2s_lib.io import atomic_path

_GOP_S = 5  # seconds between key frames inside a scene, so that players can jump
# 2 MB a film; the themes' gratings keep 97 % of their contrast by night, 99 % by day. ultrafast takes half
# as much again for the same
_PRESET, _CRF = "superfast", "24"
_CONTAINER = {"fflags": "+bitexact", "movflags": "+faststart"}  # no encoder name; plays while it loads


def encode_film(
    frames: Iterable[tuple[np.ndarray, bool]], path: str | os.PathLike, config: WorldSize
) -> None:
    """Write an MP4 file that says nothing of when or on what machine it was written.

    Args:
        frames: pictures uint8 [h, w, c], and whether each must be a key frame.
    """
    import av
    from av.video.frame import PictureType

    with av.open(str(path), "w", format="mp4", container_options=_CONTAINER) as container:
        stream = container.add_stream("libx264", rate=config.fps)
        stream.width, stream.height, stream.pix_fmt = config.width, config.height, "yuv420p"
        stream.codec_context.thread_count = 1  # other films have the other cores; more threads, other bytes
        stream.codec_context.gop_size = _GOP_S * config.fps
        # without B-frames a stream can end after any frame, and packets lie in the order of the pictures;
        # sc_threshold 0: key frames only where they are asked for, and every _GOP_S
        stream.options = {"preset": _PRESET, "crf": _CRF, "bf": "0", "sc_threshold": "0", "forced-idr": "1"}
        for picture, is_key in frames:
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
            frame.pict_type = PictureType.I if is_key else PictureType.NONE
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


def cut_clips(source: str | os.PathLike, clips: Sequence[tuple[str | os.PathLike, int, int]]) -> None:
    """Copy stretches of a film of `encode_film` into files of their own, packets as they are.

    Args:
        clips: (target path, first frame, last frame inclusive); the first must be the start of a scene.

    Raises:
        M2SError: a stretch that does not start on a key frame or ends after the film.
    """
    import av

    with av.open(str(source)) as film:
        template = film.streams.video[0]
        packets = [p for p in film.demux(template) if p.size]
        for target, first, last in clips:
            if not (0 <= first <= last < len(packets) and packets[first].is_keyframe):
                raise M2SError(
                    f"{Path(source).name}: frames {first} to {last} cannot be cut out of {len(packets)} "
                    "frames: a clip starts on a scene's first frame and ends inside the film"
                )
            with (
                atomic_path(target) as temporary,
                av.open(str(temporary), "w", format="mp4", container_options=_CONTAINER) as clip,
            ):
                stream = clip.add_stream_from_template(template)
                for packet in packets[first : last + 1]:
                    clip.mux(_copy_packet(packet, packets[first].pts, stream))


def _copy_packet(packet, start: int, stream):
    """A copy for another stream, `start` ticks earlier: a packet may go into several clips."""
    import av

    copy = av.Packet(bytes(packet))
    copy.pts, copy.dts, copy.duration = packet.pts - start, packet.dts - start, packet.duration
    copy.time_base, copy.is_keyframe, copy.stream = packet.time_base, packet.is_keyframe, stream
    return copy
