"""What figures share: a page that is written from top to bottom, filmstrips on it, captions below charts."""

import textwrap
from collections.abc import Mapping

import numpy as np

from m2s_lib.display.filmstrips import filmstrip
from m2s_lib.display.palette import GREY
from m2s_lib.display.style import WIDTH, new_figure, picture_at, text_at
from m2s_lib.errors import M2SError
from m2s_lib.films.store.shot_store import ShotStore

MARGIN, LINE = 0.1, 0.19  # inches: edge of the page, one line of 9 pt text
FRAME_PX = 120  # pixels of a keyframe's height: sharp at 200 dpi
_IN_A_ROW = 9  # shots
_COLUMNS = 14  # characters of 9 pt text in an inch


class Page:
    """A figure that is written from top to bottom and gets its height at the end.

    Attributes:
        top: inches from the upper edge to where the next thing goes; the caller moves it on.
    """

    def __init__(self, title: str = ""):
        self.top, self._steps = MARGIN, []
        if title:
            self.text(MARGIN, title, WIDTH - 2 * MARGIN, weight="bold")
            self.top += 0.3

    def text(self, left: float, words: object, width: float, down: float = 0.0, **style) -> None:
        """Words at `top + down`, cut with '…' where they are wider than `width` inches."""
        at, style = self.top + down, {"va": "top"} | style
        self._steps.append(lambda fig: text_at(fig, left, at, words, width, **style))

    def lines(self, left: float, words: str, width: float, down: float = 0.0, **style) -> int:
        """Words in as many lines as they need; returns how many."""
        columns = _COLUMNS * 9 / style.get("size", 9) * (0.85 if style.get("weight") == "bold" else 1)
        lines = textwrap.wrap(str(words), max(8, int(width * columns))) or [""]
        for k, line in enumerate(lines):
            self.text(left, line, 0, down + k * LINE, **style)
        return len(lines)

    def strip(self, strip: np.ndarray, left: float, width: float, height: float, alt: str, draw=None) -> None:
        """A filmstrip at `top`; `draw` is called with its axes."""
        at = self.top

        def step(fig):
            axes = picture_at(fig, strip, left, at, width, height, alt)
            axes.set_anchor("NW")
            if draw is not None:
                draw(axes)

        self._steps.append(step)

    def draw(self, step) -> None:
        """Anything else: step(fig, top)."""
        at = self.top
        self._steps.append(lambda fig: step(fig, at))

    def finish(self, alt: str, caption: str = ""):
        """The figure, with its description and a caption below."""
        if caption:
            self.top += (
                LINE * self.lines(MARGIN, caption, WIDTH - 2 * MARGIN, 0.05, color=GREY, size=8) + 0.05
            )
        fig = new_figure(WIDTH, self.top + MARGIN)
        for step in self._steps:
            step(fig)
        fig.m2s_alt = alt
        return fig


def store_of(stores: Mapping[str, ShotStore], film: str) -> ShotStore:
    """The shots of a film; M2SError where it has none."""
    try:
        return stores[film]
    except KeyError as error:
        raise M2SError(
            f"film {film} has no shot store among the {len(stores)} given: run stage 01 for it"
        ) from error


def scene_strip(stores: Mapping[str, ShotStore], film: str, shot: int, n: int, edit=None) -> np.ndarray:
    """A filmstrip of at most nine shots in a row, rows about equally long."""
    store = store_of(stores, film)
    rows = -(-n // _IN_A_ROW) if store.has_pixels else 1
    return filmstrip(store, int(shot), int(n), FRAME_PX, -(-int(n) // rows), edit=edit)


def fitted(strip: np.ndarray, width: float, tallest: float = 0.8) -> float:
    """Height in inches of a strip that may be `width` inches wide and its keyframes `tallest` high."""
    down = max(1, round(strip.shape[0] / FRAME_PX))
    return min(width * strip.shape[0] / strip.shape[1], down * tallest)


def caption_below(fig, words: str, width: float = WIDTH):
    """Lay out the axes of a chart above its caption, which makes the figure higher; returns the figure."""
    lines = textwrap.wrap(words, int(1.1 * width * _COLUMNS)) if words else []
    chart, below = fig.get_figheight(), len(lines) * 0.16 + (0.1 if lines else 0)
    fig.set_size_inches(fig.get_figwidth(), chart + below)
    fig.set_layout_engine("tight", rect=(0, below / (chart + below), 1, 1))
    for k, line in enumerate(lines):
        text_at(fig, MARGIN, chart + 0.02 + 0.16 * k, line, size=8, va="top", color=GREY)
    return fig
