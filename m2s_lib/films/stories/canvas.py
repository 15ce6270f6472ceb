"""A small antialiased canvas over aggdraw: polygons, round lines and ellipses in one film's line style."""

from collections.abc import Callable, Sequence
from functools import lru_cache

import aggdraw
import numpy as np

Colour = tuple[int, int, int]
Points = Sequence[tuple[float, float]]


_brush = lru_cache(maxsize=4096)(aggdraw.Brush)
_pen = lru_cache(maxsize=4096)(aggdraw.Pen)


class Canvas:
    """A picture that is being drawn; coordinates are pixels, y downwards.

    Args:
        width, height: px.
        grade: what the film's grade makes of a colour; every colour goes through it.
        ink: colour of outlines. outline: their width in px, 0 for none.
    """

    def __init__(
        self, width: int, height: int, grade: Callable[[Colour], Colour], ink: Colour, outline: float = 0.0
    ):
        self.width, self.height, self.ink, self.outline = width, height, ink, outline
        self._graded = lru_cache(maxsize=None)(grade)
        self._draw = aggdraw.Draw("RGB", (width, height), "black")

    def picture(self) -> np.ndarray:
        """What is drawn: uint8 [h, w, c], a copy."""
        flat = np.frombuffer(self._draw.tobytes(), np.uint8)
        return flat.reshape(self.height, self.width, 3).copy()  # [h, w, c]

    def lay(self, picture: np.ndarray) -> None:
        """Start again from a picture: uint8 [h, w, c]."""
        self._draw.frombytes(np.ascontiguousarray(picture).tobytes())

    def polygon(self, points: Points, colour: Colour, opacity: int = 255, line: bool = False) -> None:
        self._draw.polygon([v for point in points for v in point], *self._tools(colour, opacity, line))

    def rectangle(
        self, x: float, y: float, w: float, h: float, colour: Colour, opacity: int = 255, line: bool = False
    ) -> None:
        self.polygon(((x, y), (x + w, y), (x + w, y + h), (x, y + h)), colour, opacity, line)

    def ellipse(
        self, x: float, y: float, rx: float, ry: float, colour: Colour, opacity: int = 255, line: bool = False
    ) -> None:
        """An ellipse with its centre and its radii."""
        self._draw.ellipse((x - rx, y - ry, x + rx, y + ry), *self._tools(colour, opacity, line))

    def line(self, points: Points, width: float, colour: Colour, opacity: int = 255) -> None:
        """A line with square ends."""
        self._draw.line(
            [v for point in points for v in point], _pen(self._graded(colour), round(width, 1), opacity)
        )

    def limb(self, points: Points, width: float, colour: Colour) -> None:
        """A thick line with round joints and ends, outlined as the film's style has it."""
        if self.outline:
            self._tube(points, width + 2 * self.outline, self.ink)
        self._tube(points, width, colour)

    def _tools(self, colour: Colour, opacity: int, line: bool) -> tuple:
        """What a filled shape is drawn with: a pen where it has an outline, and a brush."""
        brush = _brush(self._graded(colour), opacity)
        if line and self.outline:
            return _pen(self._graded(self.ink), self.outline, opacity), brush
        return (brush,)

    def _tube(self, points: Points, width: float, colour: Colour) -> None:
        self.line(points, width, colour)
        for x, y in points:
            self.ellipse(x, y, width / 2, width / 2, colour)
