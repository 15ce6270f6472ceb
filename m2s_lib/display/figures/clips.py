"""Clips and what was predicted of them (supp. Fig. 5-10), what two encoders find (4), boundaries (8)."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial

import numpy as np
import pandas as pd

from m2s_lib.display.figures.base import FRAME_PX, LINE, MARGIN, Page, fitted, scene_strip, store_of
from m2s_lib.display.filmstrips import GAP, filmstrip, frame_width
from m2s_lib.display.palette import GREY, RIGHT, WRONG
from m2s_lib.display.style import WIDTH, styled
from m2s_lib.errors import M2SError
from m2s_lib.films.store.shot_store import ShotStore
from m2s_lib.words import encoder_words, plain_words

_NOTES = 2.6  # inches of the words beside a strip
_LOW = 0.55  # inches of one keyframe at most where two encoders share the page
_GREEN = "#009E73"  # the paper's line between scenes
_GOES_ON = ("the scene goes on", "the scene changes")

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
    page, right, predicted = Page(plain_words(what)), 0, False
    width = WIDTH - 2 * MARGIN - _NOTES - 0.15
    left = MARGIN + width + 0.15
    for row in rows.to_dict("records"):
        strip, lines = (
            scene_strip(stores, row["film_id"], row["shot"], row["n_shots"], edit),
            _marked(row, names),
        )
        height = fitted(strip, width)
        page.strip(strip, MARGIN, width, height, f"{row['film_id']} {row['label']}")
        down = LINE * page.lines(left, f"label: {plain_words(row['label'])}", _NOTES)
        for words, same in lines:
            colour = RIGHT if same else WRONG
            down += LINE * page.lines(left, words, _NOTES, down, weight="bold", color=colour)
        page.text(left, row.get("title", row["film_id"]), _NOTES, down, color=GREY)
        right += bool(lines) and lines[0][1]
        predicted |= bool(lines)
        page.top += max(height, down + LINE) + 0.14
    count = f" and the prediction; {right} of {len(rows)} are right." if predicted else "."
    heading = f", {what}" if what else ""
    return page.finish(f"{len(rows)} clips as filmstrips{heading}, each with its label{count}")


def _marked(row: Mapping, names: Sequence[str]) -> list[tuple[str, bool]]:
    """One line for each prediction, and whether it is right."""
    lines = []
    for prefix, name in zip(("", "other_"), names, strict=False):
        prediction = str(row.get(f"{prefix}prediction", ""))
        if not prediction:
            continue
        same, score = str(row["label"]) == prediction, row.get(f"{prefix}score", np.nan)
        sure = f" ({score:.2f})" if np.isfinite(score) else ""
        mark = "✓" if same else "✗"
        lines.append((f"{mark} {encoder_words(name)}: {plain_words(prediction)}{sure}", same))
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
    if not len(queries) or not all(len(t) for _, results in queries for t in results.values()):
        raise M2SError("there is nothing to draw: give at least one query, with results of every encoder")
    names, page = list(queries[0][1]), Page()
    column = (WIDTH - 2 * MARGIN - 0.2 * (len(names) - 1)) / len(names)
    right, count = dict.fromkeys(names, 0), 0
    for query, results in queries:
        strip = scene_strip(stores, query["film_id"], query["shot"], query["n_shots"])
        title, height = (titles or {}).get(query["film_id"], query["film_id"]), fitted(strip, column)
        page.text(MARGIN, f"query: {plain_words(query['label'])} ({title})", WIDTH - 0.2, weight="bold")
        page.top += LINE
        page.strip(strip, MARGIN, column, height, "query")
        page.top += height + 0.06
        begin, ends = page.top, []
        for k, name in enumerate(names):
            page.top = begin
            left = MARGIN + k * (column + 0.2)
            right[name] += _draw_results(page, left, column, name, results[name], query["label"], stores)
            ends.append(page.top)
        page.top = max(ends) + 0.2
        count += len(results[names[0]])
    counted = ", ".join(f"{encoder_words(name)} {n} of {count}" for name, n in right.items())
    return page.finish(
        f"{len(queries)} query clips and the nearest by each encoder; with the query's label: {counted}."
    )


def _draw_results(
    page: Page, left: float, width: float, name: str, table: pd.DataFrame, label, stores
) -> int:
    """One encoder's results below its name; returns how many have the label."""
    page.text(left, encoder_words(name), width, color=GREY)
    page.top += LINE
    right = 0
    for row in table.to_dict("records"):
        strip, same = scene_strip(stores, row["film_id"], row["shot"], row["n_shots"]), row["label"] == label
        height = fitted(strip, width, _LOW)
        page.strip(strip, left, width, height, name)
        words = f"{'✓' if same else '✗'} {plain_words(row['label'])} · {row['distance']:.3g}"
        page.text(left, words, width, height + 0.02, size=8, color=RIGHT if same else WRONG)
        page.top += height + LINE + 0.08
        right += same
    return right


def _line(axes, x: float) -> None:
    axes.axvline(x, color=_GREEN, linestyle=":", linewidth=3)


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
    page, width, right = Page(), WIDTH - 2 * MARGIN, 0
    left = 0.45 * width  # for the film; what is true and what was predicted needs more
    for row in rows.to_dict("records"):
        film, n, same = row["film_id"], int(row["n_shots"]), int(row["label"]) == int(row["prediction"])
        strip = filmstrip(store_of(stores, film), int(row["shot"]), n, FRAME_PX, n)
        title, height = (titles or {}).get(film, film), fitted(strip, width, 1.2)
        page.text(MARGIN, f"after shot {row['shot'] + row['boundary'] - 1} of {title}", left)
        truth, guess = (_GOES_ON[int(row[c])] for c in ("label", "prediction"))
        words = f"{'✓' if same else '✗'} {truth}; predicted: {guess} ({row['score']:.2f})"
        page.text(MARGIN + left, words, width - left, weight="bold", color=RIGHT if same else WRONG)
        page.top += LINE
        at = row["boundary"] * (frame_width(stores[film], FRAME_PX) + GAP) - GAP / 2 - 0.5
        page.strip(strip, MARGIN, width, height, f"{title} {row['shot']}", partial(_line, x=at))
        page.text(MARGIN, row.get("scenes", ""), width, height + 0.02, size=8)
        page.top += height + LINE + 0.15
        right += same
    return page.finish(
        f"Shots around {len(rows)} shot boundaries, a dotted line where the question is asked; {right} of "
        f"{len(rows)} predictions are right."
    )
