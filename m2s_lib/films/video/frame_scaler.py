"""From PyAV's frames to small RGB pictures, in one thread."""

import functools

import numpy as np

from m2s_lib.films.video.cut_screening import THUMB, LazyPicture

_LARGE = 4  # pixels decoded for each one asked for, from which on single pixels are looked at before scaling


class FrameScaler:
    """Pictures of `size` x `size` pixels (bilinear, anti-aliased, aspect not kept) of PyAV's frames."""

    def __init__(self, size: int):
        from av.video.reformatter import VideoReformatter

        self._size, self._bytes = size, 0
        self._scaler, self._sampler = VideoReformatter(), VideoReformatter()  # each keeps its own tables

    def small(self, frame) -> np.ndarray:
        """RGB uint8 [h, w, c], contiguous."""
        small = self._scaler.reformat(frame, self._size, self._size, "rgb24", **_one_thread())
        return np.ascontiguousarray(small.to_ndarray())

    def lazily(self, frame) -> LazyPicture:
        """The frame as it was decoded, and some of its pixels where scaling takes long."""
        self._bytes = self._bytes or sum(plane.buffer_size for plane in frame.planes)
        thumb = None
        if frame.width * frame.height >= _LARGE * self._size**2:
            some = self._sampler.reformat(
                frame, THUMB, THUMB, "rgb24", interpolation="POINT", **_one_thread()
            )
            thumb = np.ascontiguousarray(some.to_ndarray())
        return LazyPicture(functools.partial(self.small, frame), thumb, self._bytes)


@functools.cache
def _one_thread() -> dict[str, int]:
    """Newer PyAV scales with a thread for each core unless it is told otherwise."""
    from av.video.reformatter import VideoReformatter

    return {"threads": 1} if "threads" in (VideoReformatter.reformat.__doc__ or "") else {}
