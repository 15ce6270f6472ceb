"""Figures made of scenes: similar scene pairs (Fig. 1, supp. Fig. 1-3), retrieval (supp. Fig. 4)."""

import math
from collections.abc import Mapping

import numpy as np
import pandas as pd

from m2s_lib.display.filmstrips import filmstrip, timecode_range
from m2s_lib.display.style import (
    ARROW,
    GREY,
    OKABE_ITO,
    RIGHT,
    WIDTH,
    WRONG,
    axes_at,
    new_figure,
    picture_at,
    styled,
    text_at,
)
from m2s_lib.errors import M2SError
from m2s_lib.films.store.shot_store import ShotStore

MARGIN, LINE = 0.1, 0.19  # inches: edge of the page, one line of 9 pt text
_MIDDLE = 0.75  # inches for arrow, rank and score
TALLEST = 0.8  # inches of one keyframe at most
FRAME_PX = 120  # pixels of a keyframe's height: sharp at 200 dpi


@styled
def scene_pairs_figure(
    rows: pd.DataFrame | Mapping[str, pd.DataFrame],
    stores: Mapping[str, ShotStore],
    titles: Mapping[str, str],
    n_rows: int = 5,
):
    """Similar scene pairs as filmstrips joined by an orange arrow, best first (Fig. 1, supp. Fig. 1-3).

    Args:
        rows: scene_pairs table (film_a, film_b, shot_a, shot_b, n_shots, score, rank), drawn in its order; or
            {encoder: table}, drawn one below the other under the encoder's name. Where it has theme_a and
            theme_b ("" unknown), each scene has its theme below, with a tick where the two are the same.
        stores: film_id -> ShotStore.
        titles: film_id -> title; a film without one goes by its id.
        n_rows: pairs drawn for each encoder at most.

    Returns:
        Figure, 9 inches wide, as high as it needs to be; a sentence where there is no scene pair.
    """
    blocks = {"": rows} if isinstance(rows, pd.DataFrame) else dict(rows)
    blocks = {name: table.head(n_rows) for name, table in blocks.items()}
    if not sum(map(len, blocks.values())):
        return "There is no scene pair to draw: mining found none between these films."
    every = pd.concat(blocks.values())
    one_pair = len(every[["film_a", "film_b"]].drop_duplicates()) == 1
    column = (WIDTH - 2 * MARGIN - _MIDDLE) / 2
    drawn = {name: [_pair_strips(row, stores) for row in t.itertuples()] for name, t in blocks.items()}
    caption = LINE * ((1 if one_pair else 2) + any(_has_themes(table) for table in blocks.values()))
    heights = {name: [max(fits(s, column) for s in pair) for pair in pairs] for name, pairs in drawn.items()}
    total = sum(sum(h) + len(h) * (caption + 0.12) + (0.32 if name else 0) for name, h in heights.items())
    fig = new_figure(WIDTH, total + 2 * MARGIN + (0.3 if one_pair else 0))
    lefts, top = (MARGIN, WIDTH - MARGIN - column), MARGIN
    if one_pair:
        for left, film in zip(lefts, every.iloc[0][["film_a", "film_b"]], strict=True):
            words = f"scenes from {titles.get(film, film)}"
            text_at(fig, left + column / 2, top, words, column, ha="center", va="top", weight="bold")
        top += 0.3
    for name, table in blocks.items():
        if name:
            text_at(
                fig,
                WIDTH / 2,
                top + 0.08,
                name,
                WIDTH,
                ha="center",
                va="top",
                weight="bold",
                color=OKABE_ITO[0],
            )
            top += 0.32
        for row, pair, height in zip(table.itertuples(), drawn[name], heights[name], strict=True):
            _draw_pair(fig, row, pair, (lefts, column), (top, height), stores, {} if one_pair else titles)
            top += height + caption + 0.12
    fig.m2s_alt = _pairs_alt(blocks, every, titles)
    return fig


def _has_themes(rows: pd.DataFrame) -> bool:
    return "theme_a" in rows.columns and bool(rows["theme_a"].ne("").any())


def _pair_strips(row, stores: Mapping[str, ShotStore]) -> list[np.ndarray]:
    n = int(row.n_shots)
    ends = ((row.film_a, row.shot_a), (row.film_b, row.shot_b))
    return [scene_strip(store_of(stores, film), int(shot), n) for film, shot in ends]


def scene_strip(store: ShotStore, shot: int, n: int) -> np.ndarray:
    """A filmstrip of at most six shots in a row, rows about equally long: 9 shots are 5 and 4."""
    rows = math.ceil(n / 6) if store.has_pixels else 1  # a film without pictures does not need the room
    return filmstrip(store, shot, n, FRAME_PX, math.ceil(n / rows))


def store_of(stores: Mapping[str, ShotStore], film: str) -> ShotStore:
    try:
        return stores[film]
    except KeyError as error:
        raise M2SError(
            f"film {film} has no shot store among the {len(stores)} given: run stage 01 for it"
        ) from error


def fits(strip: np.ndarray, width: float, tallest: float = TALLEST) -> float:
    """Height in inches of a strip that may be `width` inches wide and its keyframes `tallest` high."""
    down = max(1, round(strip.shape[0] / FRAME_PX))
    return min(width * strip.shape[0] / strip.shape[1], down * tallest)


def _draw_pair(fig, row, strips, across, down, stores, titles) -> None:
    """One pair: both strips, what they are under them, and arrow, rank and score between them."""
    (lefts, column), (top, height) = across, down
    ends = ((row.film_a, int(row.shot_a)), (row.film_b, int(row.shot_b)))
    for side, left, strip, (film, shot) in zip("ab", lefts, strips, ends, strict=True):
        times = timecode_range(stores[film], shot, int(row.n_shots))
        picture_at(fig, strip, left, top, column, height, f"{film} {times}")
        where = times if times.startswith("shot") else f"{times}, from shot {shot}"
        text_at(
            fig, left + column / 2, top + height + 0.03, where, column, 8, ha="center", va="top", color=GREY
        )
        below = top + height + 0.03 + LINE
        if titles:
            text_at(fig, left + column / 2, below, titles.get(film, film), column, 8, ha="center", va="top")
            below += LINE
        if theme := getattr(row, f"theme_{side}", ""):
            same = row.theme_a == row.theme_b
            words, colour = ("✓ " if same else "✗ ") + theme, RIGHT if same else WRONG
            text_at(
                fig,
                left + column / 2,
                below,
                words,
                column,
                8,
                ha="center",
                va="top",
                weight="bold",
                color=colour,
            )
    axes = axes_at(fig, lefts[0] + column, top, _MIDDLE, height)
    axes.set(xlim=(0, 1), ylim=(0, 1))
    axes.set_axis_off()
    arrow = {"arrowstyle": "<|-|>", "color": ARROW, "linewidth": 2.5, "mutation_scale": 14}
    axes.annotate("", xy=(0.88, 0.5), xytext=(0.12, 0.5), arrowprops=arrow)
    offset = 0.12 / height
    axes.text(0.5, 0.5 + offset, f"#{int(row.rank)}", ha="center", va="bottom", weight="bold")
    axes.text(0.5, 0.5 - offset, f"{row.score:.3g}", ha="center", va="top", size=8)


def _same(rows: pd.DataFrame) -> str:
    """How many pairs share their theme, in words; "" where themes are not known."""
    return f", {(rows['theme_a'] == rows['theme_b']).sum()} of the same theme" if _has_themes(rows) else ""


def _pairs_alt(blocks: Mapping[str, pd.DataFrame], every: pd.DataFrame, titles: Mapping[str, str]) -> str:
    films = every[["film_a", "film_b"]].drop_duplicates()
    a, b = (titles.get(f, f) for f in films.iloc[0])
    between = f"{a} and {b}" if len(films) == 1 else f"{len(films)} film pairs"
    parts = [
        f"{name + ': ' if name else ''}{len(t)} scene pairs{_same(t)}, scores {t['score'].max():.3g} to "
        f"{t['score'].min():.3g}"
        for name, t in blocks.items()
        if len(t)
    ]
    return f"Filmstrips of similar scenes from {between}, joined by arrows. {'; '.join(parts)}."


@styled
def retrieval_figure(
    query: Mapping,
    results: pd.DataFrame,
    stores: Mapping[str, ShotStore],
    titles: Mapping[str, str],
    query_label: str = "",
):
    """A query scene on top, its nearest scenes below, each with film, timecode, distance and label (supp.
    Fig. 4).

    Args:
        query: film_id, shot, n_shots of the query scene, and optionally label.
        results: film_id, shot, n_shots, distance, and optionally label; nearest first, all are drawn. A label
            equal to the query's has a tick, another one a cross.
        stores: film_id -> ShotStore. titles: film_id -> title.
        query_label: the query's label where `query` has none.
    """
    if not len(results):
        raise M2SError("there is no neighbour to draw: the results have 0 rows; search with k of 1 or more")
    query = dict(query)
    label = str(query.get("label", "") or query_label)
    scenes = [(query["film_id"], int(query["shot"]), int(query["n_shots"]))]
    scenes += [(r.film_id, int(r.shot), int(r.n_shots)) for r in results.itertuples()]
    notes, width = 2.6, WIDTH - 2 * MARGIN
    column = width - notes - 0.15
    strips = [scene_strip(store_of(stores, film), shot, n) for film, shot, n in scenes]
    heights = [max(fits(s, column), 4 * LINE) for s in strips]
    fig = new_figure(WIDTH, sum(heights) + 0.14 * len(strips) + 0.25 + 2 * MARGIN)
    top, right = MARGIN, 0
    for i, ((film, shot, n), strip, height) in enumerate(zip(scenes, strips, heights, strict=True)):
        axes = picture_at(fig, strip, MARGIN, top, column, height, f"{film} {shot}")
        axes.set_anchor("NW")
        row = None if i == 0 else results.iloc[i - 1]
        given = label if row is None else str(row.get("label", "") or "")
        same = None if row is None or not label or not given else given == label
        right += bool(same)
        words = [
            "query" if row is None else f"{i} · distance {row['distance']:.3g}",
            titles.get(film, film),
            timecode_range(stores[film], shot, n),
        ]
        _notes(fig, MARGIN + column + 0.15, top, notes, words, given, same)
        top += height + 0.14
        if i == 0:
            line = axes_at(fig, MARGIN, top, width, 0.01)
            line.set_axis_off()
            line.axhline(0, color=GREY, linewidth=0.8)
            top += 0.25 - 0.14
    found = (
        f"; {right} of {len(results)} have the query's label {label}" if label and "label" in results else ""
    )
    fig.m2s_alt = (
        f"Query scene from {titles.get(query['film_id'], query['film_id'])} and its {len(results)} nearest "
        f"scenes{found}."
    )
    return fig


def _notes(
    fig, left: float, top: float, width: float, words: list[str], label: str, same: bool | None
) -> None:
    """Up to four lines beside a strip: rank and distance, film, time, label with a tick or a cross."""
    for line, word in enumerate(words):
        weight, colour = ("bold" if line == 0 else "normal"), (GREY if line == 2 else "black")
        text_at(fig, left, top + line * LINE, word, width, va="top", weight=weight, color=colour)
    if label:
        mark, colour = ("", "black") if same is None else ("✓ ", RIGHT) if same else ("✗ ", WRONG)
        text_at(fig, left, top + 3 * LINE, mark + label, width, va="top", weight="bold", color=colour)
