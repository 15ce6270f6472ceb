"""One look for every figure: sizes, fonts, safe text."""

import base64
import contextlib
import functools
import io
import sys
from collections.abc import Callable, Iterator

import matplotlib as mpl
import numpy as np
from matplotlib import font_manager
from matplotlib.backends.backend_agg import FigureCanvasAgg, get_hinting_flag
from matplotlib.figure import Figure

from m2s_lib.display.palette import OKABE_ITO, SEQUENTIAL
from m2s_lib.display.text import shorten

WIDTH = 9.0  # inches of a full-width figure: 900 px at 100 dpi, where 9 pt is 12.5 px
_FAMILIES = ("DejaVu Sans", "Noto Sans", "Noto Sans CJK JP", "Noto Sans CJK SC", "WenQuanYi Zen Hei",
"Hiragino Sans",
             "Yu Gothic", "Microsoft YaHei", "Arial Unicode MS", "Droid Sans Fallback")  # fmt: skip


@functools.cache
def _families() -> list[str]:
    """Those of the wished fonts that this machine has; matplotlib takes the first that knows a character."""
    installed = set(font_manager.fontManager.get_font_names())
    return [f for f in _FAMILIES if f in installed] or ["DejaVu Sans"]


@functools.cache
def _characters() -> frozenset[int]:
    """All characters that the fonts of `_families` can draw."""
    paths = [font_manager.findfont(family) for family in _families()]
    return frozenset().union(*(font_manager.get_font(path).get_charmap() for path in paths))


@contextlib.contextmanager
def use_style() -> Iterator[None]:
    """Draw inside this block in the suite's style; matplotlib's own settings are as before when it ends."""
    style = {
        "font.family": _families(),
        "font.size": 9,
        "axes.titlesize": 9,
        "axes.titleweight": "bold",
        "axes.labelsize": 9,
        "xtick.labelsize": 8,
        "ytick.labelsize": 8,
        "legend.fontsize": 8,
        "legend.frameon": False,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.prop_cycle": mpl.cycler(color=OKABE_ITO),
        "image.cmap": SEQUENTIAL,
        "figure.dpi": 100,
        "figure.facecolor": "white",
        "savefig.dpi": 200,
        "pdf.fonttype": 42,
        "svg.hashsalt": "m2s",
        "text.usetex": False,
    }
    with mpl.rc_context(style):
        yield


def styled(draw: Callable) -> Callable:
    """Decorator: run a figure function inside `use_style`."""

    @functools.wraps(draw)
    def inside(*args, **kwargs):
        with use_style():
            return draw(*args, **kwargs)

    return inside


_LARGE = 250_000  # bytes of a PNG above which a notebook holds a JPEG instead


class NotebookFigure(Figure):
    """A Figure that a notebook shows as a sharp picture with its description as alt text, pyplot or not.

    Attributes:
        m2s_alt: the figure in words, short and factual; set by the function that draws it.
    """

    m2s_alt = ""

    def _repr_mimebundle_(self, include=None, exclude=None) -> tuple[dict, dict]:
        _no_second_picture()
        kind, data = "image/png", self._drawn("png")
        if len(data) > _LARGE:  # filmstrips: photographs, which PNG holds at ten times JPEG's size
            kind, data = "image/jpeg", self._drawn("jpeg", dpi=150, pil_kwargs={"quality": 80})
        width, height = (round(100 * inches) for inches in self.get_size_inches())
        about = {"width": width, "height": height, "alt": self.m2s_alt}
        shown = {kind: base64.b64encode(data).decode(), "text/plain": self.m2s_alt or repr(self)}
        return shown, {kind: about}

    def _drawn(self, kind: str, **options) -> bytes:
        with use_style(), io.BytesIO() as file:
            self.savefig(file, format=kind, **options)
            return file.getvalue()


def _no_second_picture() -> None:
    """With pyplot about, IPython adds a PNG of its own to every Figure, ten times as large: not to these."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython else None
    if shell is not None:
        shell.display_formatter.formatters["image/png"].for_type(NotebookFigure, _nothing)


def _nothing(figure: Figure) -> None:
    return None


def new_figure(width: float, height: float) -> NotebookFigure:
    """An empty figure of so many inches, outside pyplot's global state."""
    fig = NotebookFigure(figsize=(width, height), facecolor="white")
    FigureCanvasAgg(fig)
    return fig


def axes_at(fig, left: float, top: float, width: float, height: float):
    """Axes at a place in inches, counted from the figure's left and top edge."""
    across, down = fig.get_size_inches()
    return fig.add_axes((left / across, 1 - (top + height) / down, width / across, height / down))


def text_at(fig, left: float, top: float, text: object, inches: float = 0, size: float = 9, **options):
    """Any text at a place in inches from the left and top edge, cut with '…' when wider than `inches`."""
    across, down = fig.get_size_inches()
    bold = options.get("weight") == "bold"
    words = _fitted(_drawable(text), inches, size, bold) if inches else _drawable(text)
    return fig.text(left / across, 1 - top / down, _escaped(words), size=size, **options)


def _fitted(text: str, inches: float, size: float, bold: bool) -> str:
    """As much of `text` as fits at 100 dpi and above, '…' at its end where something is missing."""
    font = font_manager.get_font([font_manager.findfont(_font(f, bold)) for f in _families()])
    font.set_size(size, 100)

    def fits(length: int) -> bool:
        font.set_text(_cut(text, length), 0, flags=get_hinting_flag())
        return font.get_width_height()[0] / 64 <= 98 * inches  # 2 % for the rounding at other resolutions

    least, most = 0, len(text)  # the longest cut that fits lies between them
    while least < most:
        middle = (least + most + 1) // 2
        least, most = (middle, most) if fits(middle) else (least, middle - 1)
    return _cut(text, least)


def _cut(text: str, length: int) -> str:
    return text if length >= len(text) else text[:length].rstrip() + "…"


def _font(family: str, bold: bool) -> font_manager.FontProperties:
    return font_manager.FontProperties(family=family, weight="bold" if bold else "normal")


def picture_at(fig, picture: np.ndarray, left: float, top: float, width: float, height: float, alt: str = ""):
    """A picture uint8 [h, w, 3] in a box in inches, its proportions kept; `alt` becomes the axes' label."""
    axes = axes_at(fig, left, top, width, height)
    axes.imshow(picture, interpolation="lanczos", interpolation_stage="rgba")
    axes.set_axis_off()
    axes.set_label(alt)
    return axes


def safe_text(value: object, width: int = 0) -> str:
    """Text as matplotlib can draw it: one line, '$' not read as mathematics, '□' for what no font here has.

    Args:
        value: any text, for example a title from somebody's metadata.
        width: columns it may take, wide characters counting two; longer text ends in '…'. 0 is no limit.

    >>> safe_text("$9.99", 4)
    '\\\\$9.…'
    """
    return _escaped(shorten(_drawable(value), width))


def _drawable(value: object) -> str:
    known = _characters()
    return "".join(ch if ord(ch) in known else "□" for ch in " ".join(str(value).split()))


def _escaped(text: str) -> str:
    return text.replace("$", r"\$")
