"""Clips and what was said of them: predictions with labels (supp. Fig. 5-10), what two encoders find (4)."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import pandas as pd

from m2s_lib.display.figures.scenes import FRAME_PX, LINE, MARGIN, fits, store_of
from m2s_lib.display.filmstrips import filmstrip
from m2s_lib.display.style import GREY, RIGHT, WIDTH, WRONG, new_figure, picture_at, styled, text_at
from m2s_lib.errors import M2SError
from m2s_lib.films.store.shot_store import ShotStore

_NOTES = 2.6  # inches of the words beside a strip
_LOW = 0.55  # inches of one keyframe at most where two encoders share the page
_GAP = 0.14

Edit = Callable[[np.ndarray], np.ndarray]


@styled
def predictions_figure(
    rows: pd.DataFrame,
    stores: Mapping[str, ShotStore],
    what: str = "",
    edit: Edit | None = None,
    names: Sequence[str] = ("predicted", "also"),
):
    """One clip below another with its label and what was predicted, right or wrong marked by a sign.

    Args:
        rows: film_id (key of `stores`), shot, n_shots, label, and optionally prediction ('' or no column:
            the clip is an example of its label), score (0..1), title (in the place of film_id), and
            other_prediction and other_score of a second encoder ('' where it said nothing); drawn in order.
        what: heading, such as "place".
        edit: done to the keyframes before they are drawn, see `filmstrip`.
        names: what stands before the first and the second prediction, such as encoders' names.

    Returns:
        Figure, 9 inches wide.
    """
    if not len(rows):
        raise M2SError("there is no prediction to draw: the table has 0 rows")
    column = WIDTH - 2 * MARGIN - _NOTES - 0.15
    strips = [_strip(stores, r, edit) for r in rows.to_dict("records")]
    said = [_said(r, names) for r in rows.to_dict("records")]
    heights = [max(fits(s, column), (2 + len(n)) * LINE) for s, n in zip(strips, said, strict=True)]
    head = 0.3 if what else 0
    fig = new_figure(WIDTH, sum(heights) + _GAP * (len(strips) - 1) + head + 2 * MARGIN)
    if what:
        text_at(fig, MARGIN, MARGIN, what, WIDTH - 2 * MARGIN, va="top", weight="bold")
    top, left, right = MARGIN + head, MARGIN + column + 0.15, 0
    for row, strip, notes, height in zip(rows.to_dict("records"), strips, said, heights, strict=True):
        axes = picture_at(fig, strip, MARGIN, top, column, height, f"{row['film_id']} {row['label']}")
        axes.set_anchor("NW")
        right += bool(notes) and notes[0][1]
        text_at(fig, left, top, f"label: {row['label']}", _NOTES, va="top")
        for line, (words, same) in enumerate(notes, start=1):
            colour = RIGHT if same else WRONG
            text_at(fig, left, top + line * LINE, words, _NOTES, va="top", weight="bold", color=colour)
        title, below = str(row.get("title", row["film_id"])), top + (1 + len(notes)) * LINE
        text_at(fig, left, below, title, _NOTES, va="top", color=GREY)
        top += height + _GAP
    told = f" and the prediction; {right} of {len(rows)} are right." if any(said) else "."
    fig.m2s_alt = f"{len(rows)} clips as filmstrips{', ' + what if what else ''}, each with its label{told}"
    return fig


def _said(row: Mapping, names: Sequence[str]) -> list[tuple[str, bool]]:
    """One line for each prediction, and whether it is right."""
    lines = []
    for prefix, name in zip(("", "other_"), names, strict=False):
        prediction = str(row.get(f"{prefix}prediction", ""))
        if not prediction:
            continue
        same, score = str(row["label"]) == prediction, row.get(f"{prefix}score", np.nan)
        told = f" ({score:.2f})" if np.isfinite(score) else ""
        lines.append((f"{'✓' if same else '✗'} {name}: {prediction}{told}", same))
    return lines


@styled
def found_by_figure(
    queries: Sequence[tuple[Mapping, Mapping[str, pd.DataFrame]]],
    stores: Mapping[str, ShotStore],
    titles: Mapping[str, str] | None = None,
):
    """Queries and what two encoders find for them, side by side (supp. Fig. 4).

    Args:
        queries: (query, {encoder: results}) for each; the query has film_id, shot, n_shots and label, results
            have film_id, shot, n_shots, label and distance, nearest first. All queries have the same
            encoders.
        titles: film_id to title.

    Returns:
        Figure; a result with the query's label has a tick, another one a cross.
    """
    if not len(queries) or not all(len(r) for _, found in queries for r in found.values()):
        raise M2SError("there is nothing to draw: give at least one query, with results of every encoder")
    titles = titles or {}
    names = list(queries[0][1])
    column = (WIDTH - 2 * MARGIN - 0.2 * (len(names) - 1)) / len(names)
    plan, total = [], 2 * MARGIN
    for query, found in queries:
        asked = _strip(stores, query)
        height = fits(asked, column)
        rows = max(len(r) for r in found.values())
        found = {name: [(r, _strip(stores, r)) for r in table.to_dict("records")]
                 for name, table in found.items()}  # fmt: skip
        heights = [
            max(fits(s[i][1], column, _LOW) for s in found.values() if i < len(s)) + LINE for i in range(rows)
        ]
        plan.append((query, asked, height, found, heights))
        total += height + 3 * LINE + sum(heights) + 0.08 * rows + 0.2
    fig = new_figure(WIDTH, total)
    top, right = MARGIN, dict.fromkeys(names, 0)
    for query, asked, height, found, heights in plan:
        title = titles.get(query["film_id"], query["film_id"])
        text_at(fig, MARGIN, top, f"query: {query['label']} ({title})", WIDTH, va="top", weight="bold")
        picture_at(fig, asked, MARGIN, top + LINE, column, height, "query").set_anchor("NW")
        top += height + 1.3 * LINE
        for place, name in enumerate(names):
            left, below = MARGIN + place * (column + 0.2), top
            text_at(fig, left, below, name, column, va="top", color=GREY)
            below += LINE
            for (row, strip), room in zip(found[name], heights, strict=False):
                same = row["label"] == query["label"]
                right[name] += same
                picture_at(fig, strip, left, below, column, room - LINE, name).set_anchor("NW")
                words = f"{'✓' if same else '✗'} {row['label']} · {row['distance']:.3g}"
                colour = RIGHT if same else WRONG
                text_at(fig, left, below + room - LINE + 0.02, words, column, 8, va="top", color=colour)
                below += room + 0.08
        top += LINE + sum(heights) + 0.08 * len(heights) + 0.2 + 0.7 * LINE
    n = sum(len(r) for _, _, _, found, _ in plan for r in list(found.values())[:1])
    told = ", ".join(f"{name} {count} of {n}" for name, count in right.items())
    fig.m2s_alt = (
        f"{len(queries)} query clips and the nearest by each encoder; with the query's label: {told}."
    )
    return fig


def _strip(stores: Mapping[str, ShotStore], row: Mapping, edit: Edit | None = None) -> np.ndarray:
    """The shots of one clip in one row."""
    n = int(row["n_shots"])
    return filmstrip(store_of(stores, row["film_id"]), int(row["shot"]), n, FRAME_PX, n, edit=edit)
