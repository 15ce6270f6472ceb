"""Figures made of scenes: similar scene pairs (Fig. 1, supp. Fig. 1-3), retrieval (supp. Fig. 4)."""

from collections import Counter
from collections.abc import Mapping, Sequence

import pandas as pd

from m2s_lib.display.figures.base import LINE, MARGIN, Page, fitted, scene_strip
from m2s_lib.display.filmstrips import timecode_range
from m2s_lib.display.palette import ARROW, GREY, OKABE_ITO, RIGHT, WRONG
from m2s_lib.display.style import WIDTH, axes_at, styled
from m2s_lib.errors import M2SError
from m2s_lib.films.store.shot_store import ShotStore
from m2s_lib.words import counted, encoder_words, plain_words

_SIDE = 1.6  # inches beside two strips: arrow, rank, score, themes
_NOTES = 2.4  # inches beside the strip of a neighbour


@styled
def scene_pairs_figure(
    rows: pd.DataFrame | Mapping[str, pd.DataFrame],
    stores: Mapping[str, ShotStore],
    titles: Mapping[str, str],
    n_rows: int = 5,
    themes: Mapping[str, Sequence[str]] | None = None,
):
    """Similar scene pairs as filmstrips joined by an orange arrow, best first (Fig. 1, supp. Fig. 1-3).

    Args:
        rows: scene_pairs table (film_a, film_b, shot_a, shot_b, n_shots, score, rank), drawn in its order; or
            {encoder: table}, drawn one below the other under the encoder's name. Where it has theme_a and
            theme_b ("" unknown), each scene has its theme below, with a tick where the two are the same.
        stores: film_id -> ShotStore.
        titles: film_id -> title; a film without one goes by its id.
        n_rows: pairs drawn for each encoder at most.
        themes: film_id -> the true theme of each of its shots; where both films have theirs, each scene has
            its theme (that of most of its shots) and the pair a tick or a cross.

    Returns:
        Figure, 9 inches wide, as high as it needs to be; a sentence where there is no scene pair.
    """
    blocks = {"": rows} if isinstance(rows, pd.DataFrame) else dict(rows)
    blocks = {name: table.head(n_rows) for name, table in blocks.items()}
    if not sum(map(len, blocks.values())):
        return "There is no scene pair to draw: mining found none between these films."
    every, page, same = pd.concat(blocks.values()), Page(), []
    for name, table in blocks.items():
        if name and len(table):
            page.text(WIDTH / 2, encoder_words(name), WIDTH, ha="center", weight="bold", color=OKABE_ITO[0])
            page.top += 0.3
        for row in table.itertuples():
            known = _themes_of(row, themes or {})
            same += [known[0] == known[1]] if known else []
            _draw_pair(page, row, stores, titles, known)
    note = (
        f"✓ the two scenes have the same theme ({sum(same)} of {len(same)}), ✗ they have not." if same else ""
    )
    return page.finish(_pairs_alt(blocks, every, titles) + (f" {note}" if note else ""), note)


def _themes_of(row, themes: Mapping[str, Sequence[str]]) -> tuple[str, str] | None:
    """The themes of both scenes, None where one is not known."""
    if getattr(row, "theme_a", "") and getattr(row, "theme_b", ""):
        return row.theme_a, row.theme_b
    ends = ((row.film_a, row.shot_a), (row.film_b, row.shot_b))
    if not all(film in themes for film, _ in ends):
        return None
    a, b = (Counter(themes[f][int(s) : int(s) + int(row.n_shots)]).most_common(1)[0][0] for f, s in ends)
    return str(a), str(b)


def _draw_pair(page: Page, row, stores, titles, themes: tuple[str, str] | None) -> None:
    """One pair: strip below strip, what they are under each, arrow, rank and score beside them."""
    left, n = MARGIN + _SIDE, int(row.n_shots)
    width, begin = WIDTH - left - MARGIN, page.top
    for k, (film, shot) in enumerate(((row.film_a, row.shot_a), (row.film_b, row.shot_b))):
        strip = scene_strip(stores, film, shot, n)
        height = fitted(strip, width)
        times = timecode_range(stores[film], int(shot), n)
        page.strip(strip, left, width, height, f"{film} {times}")
        where = times if times.startswith("shot") else f"{times}, from shot {shot}"
        right = left + height * strip.shape[1] / strip.shape[0]  # of the pictures
        below = {"size": 8, "color": GREY, "down": height + 0.03}
        page.text(left, titles.get(film, film), 0.68 * width, height + 0.03, size=8)
        if right > left + 0.9 * width:
            page.text(left + width, where, 0.3 * width, ha="right", **below)
        else:
            page.text(right + 0.15, where, 0.3 * width, **(below | {"down": height / 2 - 0.08}))
        if themes:
            page.text(MARGIN, plain_words(themes[k]), 1.15, height / 2 - 0.08, size=8)
        page.top += height + LINE + 0.05
    height = page.top - begin
    end, page.top = page.top, begin
    page.draw(lambda fig, top: _arrow(fig, top, height))
    page.text(MARGIN, f"#{int(row.rank)}", 0.95, height / 2 - 0.2, weight="bold")
    mark, colour = ("", GREY) if not themes else ("✓ ", RIGHT) if themes[0] == themes[1] else ("✗ ", WRONG)
    page.text(
        MARGIN,
        f"{mark}score {row.score:.3g}",
        0.95,
        height / 2,
        size=8,
        color=colour,
        weight="bold" if mark else "normal",
    )
    page.top = end + 0.12


def _arrow(fig, top: float, height: float) -> None:
    axes = axes_at(fig, MARGIN + _SIDE - 0.4, top, 0.3, height)
    axes.set(xlim=(0, 1), ylim=(0, 1))
    axes.set_axis_off()
    arrow = {"arrowstyle": "<|-|>", "color": ARROW, "linewidth": 2.5, "mutation_scale": 14}
    axes.annotate("", xy=(0.5, 0.2), xytext=(0.5, 0.8), arrowprops=arrow)


def _pairs_alt(blocks: Mapping[str, pd.DataFrame], every: pd.DataFrame, titles: Mapping[str, str]) -> str:
    films = every[["film_a", "film_b"]].drop_duplicates()
    a, b = (titles.get(f, f) for f in films.iloc[0])
    between = f"{a} and {b}" if len(films) == 1 else f"{len(films)} film pairs"
    parts = [
        f"{encoder_words(name) + ': ' if name else ''}{counted(len(t), 'scene pair')}, scores "
        f"{t['score'].max():.3g} to {t['score'].min():.3g}"
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
    label, page = str(query.get("label", "") or query_label), Page()
    _draw_scene(page, dict(query), "query", label, None, stores, titles)
    page.draw(lambda fig, top: _rule(fig, top))
    page.top += 0.11
    right = 0
    for i, row in enumerate(results.to_dict("records"), start=1):
        given = str(row.get("label", "") or "")
        same = given == label if label and given else None
        right += bool(same)
        _draw_scene(page, row, f"{i} · distance {row['distance']:.3g}", given, same, stores, titles)
    alike = label and "label" in results
    counted = f"; {right} of {len(results)} have the query's label {plain_words(label)}" if alike else ""
    title = titles.get(query["film_id"], query["film_id"])
    return page.finish(f"Query scene from {title} and its {len(results)} nearest scenes{counted}.")


def _draw_scene(page: Page, row: Mapping, head: str, label: str, same: bool | None, stores, titles) -> None:
    """A strip with up to four lines beside it: rank and distance, film, time, label with its mark."""
    width, film, n = WIDTH - 3 * MARGIN - _NOTES, row["film_id"], int(row["n_shots"])
    strip, left = scene_strip(stores, film, row["shot"], n), 2 * MARGIN + width
    height = fitted(strip, width)
    page.strip(strip, MARGIN, width, height, f"{film} {row['shot']}")
    page.text(left, head, _NOTES, weight="bold")
    page.text(left, titles.get(film, film), _NOTES, LINE)
    page.text(left, timecode_range(stores[film], int(row["shot"]), n), _NOTES, 2 * LINE, color=GREY)
    if label:
        mark, colour = ("", "black") if same is None else ("✓ ", RIGHT) if same else ("✗ ", WRONG)
        page.text(left, mark + plain_words(label), _NOTES, 3 * LINE, weight="bold", color=colour)
    page.top += max(height, 4 * LINE) + 0.14


def _rule(fig, top: float) -> None:
    line = axes_at(fig, MARGIN, top, WIDTH - 2 * MARGIN, 0.01)
    line.set_axis_off()
    line.axhline(0, color=GREY, linewidth=0.8)
