"""Safe text, timecodes, the placeholder, and a style that leaves matplotlib as it was."""

import base64
import io
import math

import matplotlib as mpl
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from m2s_lib.display.filmstrips import placeholder
from m2s_lib.display.style import new_figure, safe_text, styled, text_at, use_style
from m2s_lib.display.text import NO_PICTURES, escape_html, shorten, timecode, timecode_pair
from m2s_lib.errors import M2SError


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        (0, "0:00:00"),
        (59.99, "0:00:59"),
        (3600, "1:00:00"),
        (36125, "10:02:05"),
        (-1, "0:00:00"),
        (math.nan, ""),
    ],
)
def test_timecodes(seconds, expected):
    assert timecode(seconds) == expected


def test_pairs_of_timecodes():
    assert timecode_pair(61, 75.5) == "01:01-01:15"
    assert timecode_pair(3590, 3610) == "0:59:50-1:00:10"
    assert timecode_pair(math.nan, 5) == ""


def test_text_is_drawn_as_it_is_written(recwarn):
    """Dollars, markup, line breaks, other scripts, emoji: drawn without an error and without a warning."""
    titles = [
        "$x^2$ and $\\frac{a}$",
        "cost: $5",
        r"a \$b",
        "a\nb\tc",
        "<script>",
        "千と千尋",
        "🎬 \u0000\u202e",
        "_^{}",
    ]
    with use_style():
        fig = new_figure(4, 4)
        for i, title in enumerate(titles):
            text_at(fig, 0.1, 0.3 * i, title)
        fig.canvas.draw()
    assert not [w for w in recwarn if "lyph" in str(w.message)]
    assert fig.texts[0].get_text().replace(r"\$", "$") == titles[0]
    assert fig.texts[3].get_text() == "a b c"


@given(st.text(max_size=30), st.integers(1, 12))
def test_shortened_text_fits(text, width):
    short = shorten(text, width)
    assert len(short) <= width
    assert short == text or short.endswith("…")
    assert safe_text(text).count("\n") == 0


def test_wide_characters_count_two():
    assert shorten("千と千尋の神隠し", 9) == "千と千尋…"
    assert shorten("abcdef", 6) == "abcdef"
    assert shorten("abcdefg", 6) == "abcde…"


def test_html_is_escaped_in_text_and_attributes():
    assert escape_html("<b>\"a\" & 'b'</b>") == "&lt;b&gt;&quot;a&quot; &amp; &#x27;b&#x27;&lt;/b&gt;"


def test_the_style_ends_with_its_block():
    before = dict(mpl.rcParams)

    @styled
    def draw():
        return mpl.rcParams["font.size"], mpl.rcParams["axes.spines.top"]

    assert draw() == (9, False)
    assert dict(mpl.rcParams) == before


@pytest.mark.parametrize("weight", ["normal", "bold"])
@pytest.mark.parametrize("text", ["WWWW" * 30, "iiii" * 60, "$10 and <b>$20</b> " * 9, "short"])
def test_text_is_cut_where_it_is_too_wide(text, weight):
    with use_style():
        fig = new_figure(4, 1)
        drawn = text_at(fig, 0.5, 0.5, text, inches=3, weight=weight)
        box = drawn.get_window_extent(fig.canvas.get_renderer())
    assert box.width <= 301
    if text == "short":
        assert drawn.get_text() == "short"
    else:
        assert drawn.get_text().endswith("…")
        assert box.width > 270  # no more is cut than has to be


def test_a_notebook_shows_a_figure_with_its_description():
    fig = new_figure(4, 2)
    fig.m2s_alt = "two <bars>"
    data, about = fig._repr_mimebundle_()
    picture = Image.open(io.BytesIO(base64.b64decode(data["image/png"])))
    assert picture.size == (800, 400)  # twice what is shown, for sharp screens
    assert about == {"image/png": {"width": 400, "height": 200, "alt": "two <bars>"}}
    assert data["text/plain"] == "two <bars>"


def test_the_placeholder_says_something():
    picture = placeholder(72, 300)
    assert picture.shape == (72, 300, 3)
    assert picture.dtype == np.uint8
    inner = picture[2:-2, 2:-2]
    assert (inner < 150).any()  # dark letters on light grey
    blank = placeholder(72, 300, "")[2:-2, 2:-2]
    assert (blank == blank[0, 0]).all()
    assert placeholder(3, 5).shape == (3, 5, 3)  # too small for text: quiet
    assert NO_PICTURES == "no pictures: features only"
    with pytest.raises(M2SError, match="0 x 10 px cannot be drawn"):
        placeholder(0, 10)
