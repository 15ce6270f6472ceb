"""The gallery's HTML: functions from a collection and a state to text, the same for the static and the live
view."""

from pathlib import Path

import pandas as pd

from m2s_lib.display.filmstrips import poster_shot
from m2s_lib.display.gallery.data import (
    LABELS,
    PAGE,
    GalleryState,
    Query,
    film_scenes,
    passing,
    query_of,
    query_title,
    results,
    store_of,
    title_of,
)
from m2s_lib.display.panel import PANEL_CSS
from m2s_lib.display.scene_html import (
    button_html,
    chip_html,
    export_buttons,
    filmstrip_html,
    picture_html,
    shot_time,
)
from m2s_lib.display.screen import Players
from m2s_lib.display.text import escape_html
from m2s_lib.films.store.shot_store import ShotStore
from m2s_lib.words import encoder_words, nearness_words, plain_words

CSS = Path(__file__).with_name("gallery.css").read_text("utf-8")
_BAR = 9  # scenes of the query's film in the bar, the query in the middle
_BAR_PX = 64  # height of a picture in it
_HINT = (
    "Keys while the gallery has the focus: ← → the film's other scenes, 1 to 9 that result becomes the "
    "query, b the query before, space plays the query."
)


def static_html(collection, state: GalleryState) -> str:
    """The gallery as a picture of itself: its style and what it shows, without buttons."""
    style = PANEL_CSS + CSS
    return f'<style>{style}</style><div class="m2s-panel">{gallery_html(collection, state)}</div>'


def gallery_html(collection, state: GalleryState, players: Players | None = None) -> str:
    """The query, and what one or two encoders find.

    Args:
        players: of the live view; without them there are no buttons and no other scenes of the film.
    """
    columns = [collection.words_encoder] if state.text else [n for n in (state.encoder, state.second) if n]
    tables = {name: results(collection, state, name) for name in columns}
    parts = [
        _query_html(collection, state, players),
        f'<p class="m2s-note">{escape_html(_what_was_searched(collection, state, tables))}</p>',
        '<div class="m2s-columns">',
        *(_column_html(collection, state, name, tables, players) for name in columns),
        "</div>",
        f'<p class="m2s-note">{_HINT}</p>' if players else "",
    ]
    return f'<div class="m2s-gallery">{"".join(parts)}</div>'


def _query_html(collection, state: GalleryState, players: Players | None) -> str:
    if state.text:
        return f'<section class="m2s-query"><h3>Scenes like “{escape_html(state.text)}”</h3></section>'
    query, store = state.query, store_of(collection, state.query)
    known = collection.labels(store, query.shot, query.n_shots)
    chips = "".join(chip_html(f"{name} {plain_words(known[name])}") for name in LABELS if known.get(name))
    buttons = bar = ""
    if players:
        words = f"◀ back to {query_title(collection, state.past[-1])}" if state.past else "◀ back"
        buttons = button_html("back", "", words, enabled=bool(state.past), hint="the query before; key b")
        buttons += export_buttons("the results")
        bar = "" if query.file else _scene_bar(collection, state)
    head = f'<div class="m2s-bar"><h3>Query</h3>{chips}{buttons}</div>'
    strip = _strip_html(store, query, query_title(collection, query), state, players)
    return f'<section class="m2s-query" aria-label="query scene">{head}{bar}{strip}</section>'


def _strip_html(
    store: ShotStore, query: Query, title: str, state: GalleryState, players: Players | None, *first: tuple
) -> str:
    """A scene with its buttons and its player."""
    if not players:
        return filmstrip_html(store, query.shot, query.n_shots, title, live=False)
    action = ("play", str(query.scene), "■ stop" if query.scene in state.playing else "▶ play")
    actions = [*first, action, *players.star(query.scene)]
    strip = filmstrip_html(store, query.shot, query.n_shots, title, actions=actions)
    return f'<div data-plays="1">{strip}{players.html(query.scene)}</div>'


def _scene_bar(collection, state: GalleryState) -> str:
    """The film's scenes around the query, a picture each."""
    query, store = state.query, store_of(collection, state.query)
    rows = film_scenes(collection, query.film_id)
    here = int((rows["shot"] - query.shot).abs().to_numpy().argmin())
    first = max(0, min(here - _BAR // 2, len(rows) - _BAR))
    shown = rows.iloc[first : first + _BAR]
    left, right = first, len(rows) - first - len(shown)
    before, after = (f"◀ {left}" if left else "◀"), (f"{right} ▶" if right else "▶")
    parts = [
        button_html("step", "-1", before, enabled=here > 0, hint="the scene before"),
        *(_scene_button(collection, store, row, query) for row in shown.itertuples()),
        button_html("step", "1", after, enabled=here < len(rows) - 1, hint="the next scene"),
    ]
    return f'<nav class="m2s-scenes" aria-label="scenes of the film">{"".join(parts)}</nav>'


def _scene_button(collection, store: ShotStore, row, query: Query) -> str:
    when = shot_time(store, row.shot)
    current = ' aria-current="true"' if (row.shot, row.n_shots) == (query.shot, query.n_shots) else ""
    alt = f"{title_of(collection, query.film_id)}, scene at {when}"
    picture = picture_html(store, poster_shot(store, row.shot, row.n_shots), alt, _BAR_PX)
    about = f'class="m2s-button m2s-pick" data-act="scene" data-value="{row.shot}"{current}'
    return f'<button type="button" {about}>{picture}<small>{when}</small></button>'


def _what_was_searched(collection, state: GalleryState, tables: dict[str, pd.DataFrame]) -> str:
    keep = passing(collection, state)
    count = len(collection.scenes) if keep is None else int(keep.sum())
    words = [f"{count:,} scenes" if keep is None else f"{count:,} of {len(keep):,} scenes pass the filters"]
    if not state.text:
        words.append("its own film included" if state.with_own_film else "its own film left out")
    if not any(map(len, tables.values())):
        words.append("nothing is left to be found: change the filters")
    return " · ".join(words)


def _column_html(collection, state: GalleryState, name: str, tables: dict, players: Players | None) -> str:
    mine = tables[name]
    others = {
        other: {row: i for i, row in enumerate(t["row"], 1)} for other, t in tables.items() if other != name
    }
    both = sum(row in ranks for ranks in others.values() for row in mine["row"])
    rows = enumerate((row for _, row in mine.head(state.shown).iterrows()), 1)
    items = [_result_html(collection, state, i, row, others, players) for i, row in rows]
    left = len(mine) - len(items)
    more = (
        button_html("more", "", f"show {min(left, PAGE)} more of {len(mine)}") if players and left > 0 else ""
    )
    words = f'<span class="m2s-note">{both} of {len(mine)} found by both</span>' if others else ""
    head = escape_html(encoder_words(name))
    return (
        f'<section class="m2s-column" aria-label="nearest by {head}"><div class="m2s-bar">'
        f"<h3>{head}</h3>{words}</div><ol>{''.join(items)}</ol>{more}</section>"
    )


def _result_html(collection, state, number: int, row, others: dict, players: Players | None) -> str:
    query = query_of(row)
    title, asked = title_of(collection, query.film_id), state.query
    known = (
        collection.labels(store_of(collection, asked), asked.shot, asked.n_shots) if not state.text else {}
    )
    keep = passing(collection, state)
    count = len(collection.scenes) if keep is None else int(keep.sum())
    near = nearness_words(max(count - number, 0) / max(count, 1), count, "scenes")
    labels = [_label_words(name, str(row[name]), known) for name in LABELS if name in row and row[name]]
    also = [f"⇄ also #{at[row['row']]} by {encoder_words(n)}" for n, at in others.items() if row["row"] in at]
    chips = chip_html(near, f"distance {row['distance']:.3g}", "m2s-near") + "".join(map(chip_html, labels))
    chips += "".join(chip_html(words, "", "m2s-also") for words in also)
    again = [("scene-of", f"{query.film_id}:{query.shot}", players.like)] if players else []
    strip = _strip_html(collection.stores[query.film_id], query, title, state, players, *again)
    strip += f'<p class="m2s-note">{escape_html(row["words"])}</p>' if state.said else ""
    kind = "m2s-result m2s-both" if also else "m2s-result"
    return f'<li class="{kind}"><div class="m2s-bar"><b>#{number}</b>{chips}</div>{strip}</li>'


def _label_words(name: str, value: str, known: dict[str, str]) -> str:
    """A label, with a tick or a cross where the query's is known."""
    mark = "" if not known.get(name) else "✓ " if known[name] == value else "✗ "
    return f"{mark}{name} {plain_words(value).replace('|', ', ')}"
