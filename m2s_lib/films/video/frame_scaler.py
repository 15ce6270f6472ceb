"""From PyAV's frames to small RGB pictures, in one thread."""

import functools
from collections.abc import Sequence

import numpy as np

from m2s_lib.films.video.cut_screening import THUMB, LazyPicture
from m2s_lib.films.video.hdr import HLG, PQ, to_sdr

_LARGE = 4  # pixels decoded for each one asked for, from which on single pixels are looked at before scaling


class FrameScaler:
    """Pictures of `size` x `size` pixels (bilinear, anti-aliased, aspect not kept) of PyAV's frames.

    Args:
        size: pixels. others: more sizes (width, height) that keyframes are wanted in.
    """

    def __init__(self, size: int, others: Sequence[tuple[int, int]] = ()):
        from av.video.reformatter import VideoReformatter

        self._sizes, self._bytes = [(size, size), *others], 0
        # each keeps its own tables
        self._scalers, self._sampler = [VideoReformatter() for _ in self._sizes], VideoReformatter()

    def small(self, frame) -> np.ndarray:
        """RGB uint8 [h, w, c], contiguous, upright; HDR as `to_sdr` maps it."""
        return self._scaled(frame, 0)

    def others(self, frame) -> list[np.ndarray]:
        """The frame in the other sizes, as `small` gives it."""
        return [self._scaled(frame, i) for i in range(1, len(self._sizes))]

    def _scaled(self, frame, which: int) -> np.ndarray:
        size = self._sizes[which][:: -1 if round(frame.rotation / 90) % 2 else 1]
        kind = "rgb48le" if frame.color_trc in (PQ, HLG) else "rgb24"
        picture = self._scalers[which].reformat(frame, *size, kind, **_one_thread()).to_ndarray()
        if kind == "rgb48le":
            picture = to_sdr(picture, frame.color_trc, frame.color_primaries)
        return np.ascontiguousarray(upright(picture, frame))

    def lazily(self, frame) -> LazyPicture:
        """The frame as it was decoded, and some of its pixels where scaling takes long."""
        self._bytes = self._bytes or sum(plane.buffer_size for plane in frame.planes)
        thumb = None
        simple = frame.color_trc not in (PQ, HLG)  # single pixels of HDR change less than the pictures do
        if simple and frame.width * frame.height >= _LARGE * self._sizes[0][0] ** 2:
            some = self._sampler.reformat(
                frame, THUMB, THUMB, "rgb24", interpolation="POINT", **_one_thread()
            )
            thumb = np.ascontiguousarray(some.to_ndarray())
        others = functools.partial(self.others, frame) if self._sizes[1:] else None
        return LazyPicture(functools.partial(self.small, frame), thumb, self._bytes, others)


def scaled(frame, width: int, height: int):
    """A PyAV frame as a player shows it, upright and in SDR, of `width` x `height` pixels, for encoding."""
    import av

    turned = round(frame.rotation / 90) % 2
    size = (height, width) if turned else (width, height)
    if frame.color_trc not in (PQ, HLG) and not round(frame.rotation / 90) % 4:
        return frame.reformat(*size, "yuv420p", interpolation="BILINEAR")
    kind = "rgb48le" if frame.color_trc in (PQ, HLG) else "rgb24"
    picture = frame.reformat(*size, kind, interpolation="BILINEAR").to_ndarray()
    if kind == "rgb48le":
        picture = to_sdr(picture, frame.color_trc, frame.color_primaries)
    return av.VideoFrame.from_ndarray(np.ascontiguousarray(upright(picture, frame)), "rgb24")


def upright(picture: np.ndarray, frame) -> np.ndarray:
    """A picture [h, w, c] of `frame` turned as players turn it."""
    quarters = round(frame.rotation / 90) % 4
    return np.rot90(picture, quarters) if quarters else picture


@functools.cache
def _one_thread() -> dict[str, int]:
    """Newer PyAV scales with a thread for each core unless it is told otherwise."""
    from av.video.reformatter import VideoReformatter

    return {"threads": 1} if "threads" in (VideoReformatter.reformat.__doc__ or "") else {}
