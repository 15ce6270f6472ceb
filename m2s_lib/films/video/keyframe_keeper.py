"""The keyframes of shots whose ends are not known yet: the open shot's frames, within a budget of bytes."""

from collections import deque

import numpy as np

from m2s_lib.films.video.cut_screening import LazyPicture
from m2s_lib.films.video.shot_pictures import ShotPictures


def keyframe_positions(start: int, end: int, k: int) -> list[int]:
    """The k frames of shot start..end (inclusive) at (i + 0.5) / k of its length; k = 1 is the middle.

    >>> keyframe_positions(10, 19, 1), keyframe_positions(10, 19, 2), keyframe_positions(7, 7, 3)
    ([15], [12, 17], [7, 7, 7])
    """
    length = end - start + 1
    return [start + (2 * i + 1) * length // (2 * k) for i in range(k)]


class KeyframeKeeper:
    """The open shot's frames that may become keyframes, and the keyframes so far.

    Frames are held as they were decoded, and scaled when they are chosen. Beyond `limit` bytes the oldest are
    scaled before, and when that is not enough they go; then their shot's keyframes are `missing`.

    Args:
        k: keyframes a shot. limit: bytes. late: frames, how late cuts are told; where one is told later, its
            keyframe is fetched afterwards. also: takes every keyframe in the other sizes.
    """

    def __init__(self, k: int, limit: int, late: int = 16, also: ShotPictures | None = None):
        self.k, self.limit, self._late, self._also = k, limit, late, also or ShotPictures(None, None)
        self.shots: list[tuple[int, int]] = []
        self.missing: list[int] = []  # keyframes that had left the buffer when their shot closed
        self._open: deque[LazyPicture] = deque()  # frames first .. first + len - 1
        self._sizes: deque[int] = deque()  # bytes that each is counted with
        self._held = self._scaled = 0  # bytes in all; how many of the open frames are scaled, from the oldest
        self._first = self._start = 0
        self._kept: list[tuple[int, np.ndarray | None]] = []  # frame index and picture, k per shot

    def add(self, index: int, picture: LazyPicture) -> None:
        self._open.append(picture)
        self._sizes.append(picture.nbytes)
        self._held += picture.nbytes
        self._drop_before(keyframe_positions(self._start, max(index - self._late, self._start), self.k)[0])
        while self._held > self.limit and self._scaled < len(self._open):
            oldest = self._open[self._scaled]
            oldest.settle()
            self._held += oldest.nbytes - self._sizes[self._scaled]
            self._sizes[self._scaled] = oldest.nbytes
            self._scaled += 1
        while self._held > self.limit and len(self._open) > 1:
            self._drop_before(self._first + 1)

    def close_shot(self, cut: int) -> None:
        """End the open shot before frame `cut`, which starts the next one."""
        for position in keyframe_positions(self._start, cut - 1, self.k):
            inside = 0 <= position - self._first < len(self._open)
            if inside:
                self._keep(len(self._kept), position, self._open[position - self._first])
            else:
                self.missing.append(position)
                self._kept.append((position, None))
        self.shots.append((self._start, cut - 1))
        self._drop_before(cut)
        self._start = cut

    def _keep(self, slot: int, position: int, picture: LazyPicture) -> None:
        if slot == len(self._kept):
            self._kept.append((position, None))
        self._also.add(slot, picture.settle())
        self._kept[slot] = (position, picture.small())

    def _drop_before(self, frame: int) -> None:
        while self._first < frame and self._open:
            self._open.popleft()
            self._held -= self._sizes.popleft()
            self._scaled = max(self._scaled - 1, 0)
            self._first += 1

    def pictures(self, fetched: dict[int, LazyPicture]) -> np.ndarray:
        """All keyframes, uint8 [n_shots, k, h, w, c]; empties itself, so memory holds them about once."""
        out: np.ndarray | None = None
        for at, (position, picture) in enumerate(self._kept):
            if picture is None:
                self._keep(at, position, fetched[position])
                picture = self._kept[at][1]
            if out is None:
                out = np.empty((len(self._kept), *picture.shape), dtype=np.uint8)
            out[at] = picture
            self._kept[at] = (position, None)
        return out.reshape(-1, self.k, *out.shape[1:])  # [n_shots * k, h, w, c] -> [n_shots, k, h, w, c]
