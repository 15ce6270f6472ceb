"""What detectors look at: how much a picture differs from the last, and whether it is black."""

import numpy as np

LIT = 24  # value (of 255) that black bars stay under, compression noise included
AREA_EVERY = 8  # frames; how often the lit area is looked at once it is large, because bars do not move
SMALL_AREA = 0.75  # share of the frame; below, it is looked at always
GREY = 8.0  # mean saturation (of 255) under which hue and saturation say nothing
BLACK = 12.0  # mean RGB under which a picture is faded out; PySceneDetect's own value


class PictureScore:
    """PySceneDetect's content score (mean change of hue, saturation and value), of the picture that is there.

    Its score divides by three even where there is no colour, and by the whole frame even where bars fill a
    third of it, so that black-and-white or pillar-boxed films never reach its thresholds. Here grey frames
    count by value alone and frames by their lit area; for a colour film that fills the frame it is the same
    number.
    """

    def __init__(self):
        self._last: np.ndarray | None = None  # HSV uint8 [h, w, c]
        self._lit, self._grey, self._count = LitArea(), False, 0

    def __call__(self, frame: np.ndarray) -> float:
        """Score of `frame` (uint8 [h, w, c] RGB) against the one before it, 0 for the first."""
        hsv, last = to_hsv(frame), self._last
        if self._count % AREA_EVERY == 0 or self._lit.area < SMALL_AREA:
            self._lit.grow(hsv)
        was_grey, self._grey = self._grey, is_grey(hsv, self._lit.area)
        self._last, self._count = hsv, self._count + 1
        return 0.0 if last is None else change(hsv, last, self._lit.area, self._grey or was_grey)


class LitArea:
    """The share of the frame that was ever brighter than black bars are: `area`, at least 0.5."""

    def __init__(self):
        self.area = 0.5
        self._lit: np.ndarray | None = None  # bool-like uint8 [h, w]

    def grow(self, hsv: np.ndarray) -> None:
        import cv2

        lit = cv2.compare(hsv[..., 2], LIT, cv2.CMP_GT)
        self._lit = lit if self._lit is None else self._lit | lit
        self.area = max(cv2.countNonZero(self._lit) / self._lit.size, 0.5)


def to_hsv(frame: np.ndarray) -> np.ndarray:
    """HSV, uint8 [h, w, c], of RGB."""
    import cv2

    return cv2.cvtColor(frame, cv2.COLOR_RGB2HSV)


def is_grey(hsv: np.ndarray, area: float) -> bool:
    """Whether there is so little colour that hue and saturation say nothing."""
    return saturation(hsv) < GREY * area


def saturation(hsv: np.ndarray) -> float:
    """Mean saturation, 0..255."""
    import cv2

    return cv2.mean(hsv)[1]


def change(hsv: np.ndarray, last: np.ndarray, area: float, grey: bool) -> float:
    """The score of a picture against the last one, both HSV uint8 [h, w, c], at a lit area."""
    import cv2

    pixels = hsv.shape[0] * hsv.shape[1] * area
    if grey:
        return cv2.norm(hsv[..., 2], last[..., 2], cv2.NORM_L1) / pixels
    return cv2.norm(hsv, last, cv2.NORM_L1) / (3 * pixels)


class FadeFinder:
    """Fades through black: a cut in the middle of each dark stretch that the picture comes back from.

    PySceneDetect's ThresholdDetector with its default level, on the frame's mean: the same cuts in a fraction
    of the time. A film that begins black has no cut there: nothing was shown before.
    """

    def __init__(self):
        self._dark_since: int | None = None
        self._shown = False

    def feed(self, index: int, dark: bool) -> list[int]:
        """Tell whether frame `index` (0, 1, 2, ...) is black; return the cut that it ends, if any."""
        if dark:
            if self._dark_since is None:
                self._dark_since = index
            return []
        since, shown = self._dark_since, self._shown
        self._dark_since, self._shown = None, True
        return [since + round((index - since) / 2)] if since is not None and shown else []


def is_black(frame: np.ndarray) -> bool:
    """Whether a picture (uint8 [h, w, c] RGB) is faded out."""
    return brightness(frame) < BLACK


def brightness(frame: np.ndarray) -> float:
    """Mean of all pixels and colours, 0..255."""
    import cv2

    return sum(cv2.mean(frame)[:3]) / 3
