"""Scene boundaries, seen: the shots before and after, a line between them, what was said (supp. Fig. 8)."""

from collections.abc import Mapping

import pandas as pd

from m2s_lib.display.figures.scenes import FRAME_PX, LINE, MARGIN, fits, store_of
from m2s_lib.display.filmstrips import GAP, filmstrip, frame_width
from m2s_lib.display.style import RIGHT, WIDTH, WRONG, new_figure, picture_at, styled, text_at
from m2s_lib.errors import M2SError
from m2s_lib.films.store.shot_store import ShotStore

_LINE_COLOUR = "#009E73"  # the paper's green


@styled
def boundaries_figure(
    rows: pd.DataFrame, stores: Mapping[str, ShotStore], titles: Mapping[str, str] | None = None
):
    """Shots around boundaries of shots, each with whether the scene changes there and what was predicted.

    Args:
        rows: film_id, shot (first drawn), n_shots, boundary (shots before the line), label and prediction (1:
            the scene changes), score (0..1), and optionally scenes (what the scenes on both sides are).
        titles: film_id to title.
    """
    if not len(rows):
        raise M2SError("there is no boundary to draw: the table has 0 rows")
    width = WIDTH - 2 * MARGIN
    left = 0.45 * width  # for the film; what is true and what was predicted needs more
    strips = [
        filmstrip(store_of(stores, r.film_id), int(r.shot), int(r.n_shots), FRAME_PX, int(r.n_shots))
        for r in rows.itertuples()
    ]
    heights = [fits(s, width, 1.2) for s in strips]
    fig = new_figure(WIDTH, sum(heights) + len(rows) * (2 * LINE + 0.15) + 2 * MARGIN)
    top, right = MARGIN, 0
    for row, strip, height in zip(rows.to_dict("records"), strips, heights, strict=True):
        same = int(row["label"]) == int(row["prediction"])
        right += same
        title = (titles or {}).get(row["film_id"], row["film_id"])
        text_at(
            fig, MARGIN, top, f"after shot {row['shot'] + row['boundary'] - 1} of {title}", left, va="top"
        )
        what = {1: "the scene changes", 0: "the scene goes on"}
        said = f"{'✓' if same else '✗'} {what[int(row['label'])]}; predicted: {what[int(row['prediction'])]}"
        said += f" ({row['score']:.2f})"
        colour = RIGHT if same else WRONG
        text_at(fig, MARGIN + left, top, said, width - left, va="top", weight="bold", color=colour)
        axes = picture_at(fig, strip, MARGIN, top + LINE, width, height, f"{title} {row['shot']}")
        axes.set_anchor("NW")
        across = frame_width(stores[row["film_id"]], FRAME_PX) + GAP
        axes.axvline(row["boundary"] * across - GAP / 2 - 0.5, color=_LINE_COLOUR, linestyle=":", linewidth=3)
        text_at(fig, MARGIN, top + LINE + height + 0.02, row.get("scenes", ""), width, 8, va="top")
        top += height + 2 * LINE + 0.15
    fig.m2s_alt = (
        f"Shots around {len(rows)} shot boundaries, a dotted line where the question is asked; {right} of "
        f"{len(rows)} predictions are right."
    )
    return fig
