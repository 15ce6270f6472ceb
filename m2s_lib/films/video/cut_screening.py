"""Finding cuts without scaling every frame: few pixels tell where there can be no cut.

Scaling a frame to the size that the encoders see costs nearly as much as decoding it, and for all but a few
frames it is done for nothing: PySceneDetect's adaptive rule asks for a score of 15 that stands out of its
four neighbours by the threshold. Here a few thousand single pixels give each frame a rough score; where that
is clearly below, nothing is done, elsewhere the exact scores decide.
"""

from collections.abc import Callable

import numpy as np

from m2s_lib.films.video.picture_scores import (
    AREA_EVERY,
    BLACK,
    GREY,
    LIT,
    SMALL_AREA,
    LitArea,
    brightness,
    change,
    is_black,
    is_grey,
    saturation,
    to_hsv,
)  # fmt: skip

WINDOW = 2  # frames on either side that a cut has to stand out of; AdaptiveDetector's own
LEAST_SCORE = 15.0  # that a cut has at least; AdaptiveDetector's own
THUMB = 48  # pixels; side of the picture of single pixels, 2,304 of them
_SURE = 0.7  # a rough score under this share of what a cut needs rules it out
_SURE_RATIO = 0.5  # the same for how much it stands out
_SURELY_COLOUR = 1.5  # how far off is their mean saturation at most, as a factor
_SURELY = 4.0  # how far single pixels' brightness is from the picture's at most


class LazyPicture:
    """A decoded frame that is scaled when somebody asks for it, once.

    Args:
        scale: gives the exact small picture, uint8 [h, w, c] RGB.
        thumb: some single pixels of it, uint8 [h, w, c] RGB; None where scaling is as quick.
        nbytes: of the decoded frame; the attribute is what is held now.
        others: gives the picture in the other sizes that are wanted of keyframes; None where there are none.
    """

    def __init__(
        self,
        scale: Callable[[], np.ndarray],
        thumb: np.ndarray | None = None,
        nbytes: int = 0,
        others: Callable[[], list[np.ndarray]] | None = None,
    ):
        self.nbytes, self._scale, self._scale_others = nbytes, scale, others
        self.thumb = thumb
        self._small: np.ndarray | None = None
        self._others: list[np.ndarray] = []

    def small(self) -> np.ndarray:
        """The exact picture, uint8 [h, w, c] RGB; the decoded frame is let go unless other sizes want it."""
        if self._small is None:
            self._small, self._scale = self._scale(), None
            self.nbytes = self._small.nbytes + (self.nbytes if self._scale_others else 0)
        return self._small

    def settle(self) -> list[np.ndarray]:
        """Scale to all sizes and let the decoded frame go; returns the other sizes."""
        small = self.small()
        if self._scale_others is not None:
            self._others, self._scale_others = self._scale_others(), None
            self.nbytes = small.nbytes + sum(o.nbytes for o in self._others)
        return self._others

    def is_black(self) -> bool:
        """Whether the picture is faded out."""
        if self.thumb is not None and abs((bright := brightness(self.thumb)) - BLACK) > _SURELY:
            return bright < BLACK
        return is_black(self.small())


class ScreenedCuts:
    """The cuts of PySceneDetect's AdaptiveDetector on `PictureScore`, of lazy pictures.

    Only the lit area of a picture that stays small (under `SMALL_AREA`) may be told a little later, which
    moves scores by as little.

    Args:
        threshold: how much a score has to stand out. min_frames: the shortest shot.
    """

    def __init__(self, threshold: float, min_frames: int):
        self._threshold, self._min_frames = threshold, min_frames
        self._last_cut = 0
        self._lit, self._rough = LitArea(), _RoughScore()
        self._last: dict[int, _Seen] = {}  # the last frames, as many as scores may be asked of

    def feed(self, index: int, picture: LazyPicture) -> list[int]:
        """Look at frame `index` (0, 1, 2, ...); cuts now certain, as late as AdaptiveDetector's."""
        least, most, newly_lit = self._rough(picture.thumb, self._lit.area)
        seen = self._last[index] = _Seen(picture, least, most)
        if index % AREA_EVERY == 0 or newly_lit:
            self._lit.grow(seen.hsv())
        seen.area = self._lit.area
        self._last.pop(index - 2 * WINDOW - 2, None)
        target = index - WINDOW
        if target < WINDOW or not self._may_be_cut(target) or not self._is_cut(target):
            return []
        self._last_cut = target
        return [target]

    def _may_be_cut(self, target: int) -> bool:
        """Whether the rough scores leave it open."""
        most, average = self._last[target].most, sum(self._last[i].least for i in _around(target)) / 4
        stands_out = most >= _SURE_RATIO * self._threshold * average
        return stands_out and most >= _SURE * LEAST_SCORE and target - self._last_cut >= self._min_frames

    def _is_cut(self, target: int) -> bool:
        """AdaptiveDetector's rule, on exact scores."""
        score = self._score(target)
        if score < LEAST_SCORE:
            return False
        average = sum(self._score(i) for i in _around(target)) / (2.0 * WINDOW)
        ratio = min(score / average, 255.0) if average >= 0.00001 else 255.0
        return ratio >= self._threshold

    def _score(self, index: int) -> float:
        """The exact score of a frame."""
        frame = self._last[index]
        if frame.score is None:
            before = self._last.get(index - 1)
            frame.score = 0.0 if before is None else frame.change_from(before)
        return frame.score


def _around(target: int) -> list[int]:
    return [i for i in range(target - WINDOW, target + WINDOW + 1) if i != target]


class _Seen:
    """A frame, and what was found out about it."""

    def __init__(self, picture: LazyPicture, least: float, most: float):
        self.picture, self.least, self.most = picture, least, most
        self.area, self.score = 0.5, None
        self._hsv: np.ndarray | None = None

    def hsv(self) -> np.ndarray:
        if self._hsv is None:
            self._hsv = to_hsv(self.picture.small())
        return self._hsv

    def change_from(self, before: "_Seen") -> float:
        grey = is_grey(self.hsv(), self.area) or is_grey(before.hsv(), before.area)
        return change(self.hsv(), before.hsv(), self.area, grey)


class _RoughScore:
    """About what `PictureScore` says, of pictures of single pixels."""

    def __init__(self):
        self._last: np.ndarray | None = None  # HSV uint8 [h, w, c]
        self._colour = 0.0  # mean saturation of the last, as `is_grey` measures it
        self._lit: np.ndarray | None = None  # bool [h, w], as in LitArea

    def __call__(self, thumb: np.ndarray, area: float) -> tuple[float, float, bool]:
        """The least and the most that the score may be, as the pictures may count as grey or not, at a lit
        area of `area`; and whether pixels are lit that never were, while the area is small."""
        hsv = to_hsv(thumb)
        last, self._last = self._last, hsv
        was, self._colour = self._colour, saturation(hsv) / area
        newly_lit = area < SMALL_AREA and self._grow(hsv[..., 2])
        if last is None:
            return 0.0, 0.0, newly_lit
        scores = []
        if min(was, self._colour) < _SURELY_COLOUR * GREY:
            scores.append(change(hsv, last, area, True))
        if min(was, self._colour) > GREY / _SURELY_COLOUR:
            scores.append(change(hsv, last, area, False))
        return min(scores), max(scores), newly_lit

    def _grow(self, value: np.ndarray) -> bool:
        lit = value > LIT
        if self._lit is None:
            self._lit = np.zeros_like(lit)
        newly_lit = bool((lit & ~self._lit).any())
        self._lit |= lit
        return newly_lit
