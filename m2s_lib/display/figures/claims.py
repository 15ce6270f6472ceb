"""Claims as a picture: each effect with its interval, beside the line at which there is none."""

import numpy as np
import pandas as pd

from m2s_lib.display.figures.base import LINE, MARGIN, Page
from m2s_lib.display.palette import GREY, RIGHT, WRONG
from m2s_lib.display.style import WIDTH, axes_at, styled
from m2s_lib.errors import M2SError
from m2s_lib.words import encoder_words, row_words

_COLOURS = {"shown": RIGHT, "opposite": WRONG}
_WORDS = 5.0  # inches of the words at the left of the differences
_CAPTION = (
    "Points: the difference in percentage points, lines: its 95 % interval over repeats (none with one). "
    "Blue: the interval lies above 0, the claim is shown; red: below, the opposite is; open: not decided."
)


@styled
def claims_figure(claims: pd.DataFrame):
    """Effects of claims that were measured, with 95 % intervals where there are repeats: a line each, under
    the claim and what it compares.

    Args:
        claims: of `measure_claims`; rows without an effect are left out.
    """
    rows = claims[np.isfinite(claims["effect"])]
    if not len(rows):
        raise M2SError("no claim has an effect to draw: nothing that the claims compare was measured")
    page, centres = Page("What the paper claims, and what these films show"), []
    begin = page.top
    for claim, of_claim in rows.groupby("claim", sort=False):
        page.top += LINE * page.lines(MARGIN, claim, WIDTH - 2 * MARGIN, weight="bold") + 0.04
        for row in of_claim.to_dict("records"):
            words = f"{encoder_words(row_words(row['compared']))}: {encoder_words(row['measure'])}"
            height = LINE * page.lines(MARGIN + 0.15, words, _WORDS - 0.3, size=8)
            centres.append((page.top + height / 2 - 0.02, row))
            page.top += height + 0.06
        page.top += 0.08
    height = page.top - begin
    page.draw(lambda fig, top: _draw(fig, begin, height, [(c - begin, r) for c, r in centres]))
    page.top += 0.45
    counts = [int((rows["verdict"] == verdict).sum()) for verdict in _COLOURS]
    return page.finish(
        f"{len(rows)} differences that the paper's claims are about, {counts[0]} shown, "
        f"{counts[1]} the opposite.",
        _CAPTION,
    )


def _draw(fig, top: float, height: float, centres: list[tuple[float, dict]]) -> None:
    """The differences beside their words; y counts inches from the first line."""
    axes = axes_at(fig, MARGIN + _WORDS, top, WIDTH - _WORDS - 3 * MARGIN, height)
    for y, row in centres:
        colour, effect = _COLOURS.get(row["verdict"], GREY), 100 * row["effect"]
        if np.isfinite(row["ci_low"]):
            ends = 100 * row["ci_low"], 100 * row["ci_high"]
            axes.plot(ends, [y, y], color=colour, linewidth=2, marker="|", markersize=7)
        filled = colour if row["verdict"] in _COLOURS else "none"
        axes.plot(effect, y, "o", markersize=5, markerfacecolor=filled, markeredgecolor=colour)
    axes.axvline(0, color=GREY, linewidth=1)
    axes.set(ylim=(height, 0), yticks=[])
    axes.spines["left"].set_visible(False)
    axes.grid(axis="x", color="#e4e4e4", linewidth=0.6)
    axes.set_xlabel("difference, percentage points", size=8)
