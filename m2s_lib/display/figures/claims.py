"""Claims as a picture: each effect with its interval, beside the line at which there is none."""

import numpy as np
import pandas as pd

from m2s_lib.display.style import GREY, RIGHT, WIDTH, WRONG, new_figure, safe_text, styled
from m2s_lib.errors import M2SError

_COLOURS = {"shown": RIGHT, "opposite": WRONG}
_LINE = 0.24  # inches a line


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
    lines = []  # from the top: (text, None) for a heading, (text, row) for a difference
    for claim, of_claim in rows.groupby("claim", sort=False):
        lines.append((claim, None))
        for row in of_claim.to_dict("records"):
            lines.append((f"{row['compared']}: {row['measure']}", row))
    fig = new_figure(WIDTH, _LINE * len(lines) + 1.0)
    axes = fig.add_axes((0.55, 0.6 / fig.get_figheight(), 0.42, 1 - 0.8 / fig.get_figheight()))
    for y, (_, row) in enumerate(lines):
        if row is not None:
            _draw(axes, y, row)
    axes.axvline(0, color=GREY, linewidth=1)
    axes.set_yticks(range(len(lines)), [safe_text(text) for text, _ in lines])
    axes.tick_params(axis="y", labelsize=7, length=0)
    for label, (_, row) in zip(axes.get_yticklabels(), lines, strict=True):
        label.set_fontweight("normal" if row else "bold")
    axes.set_ylim(len(lines) - 0.3, -0.7)
    axes.set_xlabel("difference, 95 % interval over repeats", fontsize=9)
    shown = int((rows["verdict"] == "shown").sum())
    fig.m2s_alt = (
        f"{len(rows)} differences that the paper's claims are about, {shown} shown, "
        f"{int((rows['verdict'] == 'opposite').sum())} the opposite."
    )
    return fig


def _draw(axes, y: int, row: dict) -> None:
    colour = _COLOURS.get(row["verdict"], GREY)
    if np.isfinite(row["ci_low"]):
        axes.plot([row["ci_low"], row["ci_high"]], [y, y], color=colour, linewidth=2)
    filled = colour if row["verdict"] in _COLOURS else "none"
    axes.plot(row["effect"], y, "o", markersize=5, markerfacecolor=filled, markeredgecolor=colour)
