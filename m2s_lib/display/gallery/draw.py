"""The gallery's HTML: functions from a collection and a state to text, the same for the static and the live
view."""

import math
from pathlib import Path

import pandas as pd

from m2s_lib.display.filmstrips import frame_width
from m2s_lib.display.gallery.data import (
    LABELS,
    PAGE,
    GalleryState,
    Query,
    film_scenes,
    media_of,
    passing,
    query_of,
    query_title,
    results,
    store_of,
    title_of,
)
from m2s_lib.display.live_parts import (
    PANEL_CSS,
    button_html,
    clip_html,
    error_strip,
    filmstrip_html,
    notice_strip,
    thumbnail_uri,
)
from m2s_lib.display.playback import LONGEST_S, Clip, scene_clip
from m2s_lib.display.style import escape_html, timecode
from m2s_lib.films.store.shot_store import ShotStore

CSS = Path(__file__).with_name("gallery.css").read_text("utf-8")
_BAR = 9  # scenes of the query's film in the bar, the query in the middle
_BAR_PX = 40  # height of a picture in it
_WIDE_PX, _NARROW_PX = 60, 44  # height of a keyframe with one column of results, and with two
_HINT = (
    "Keys while the gallery has the focus: ← → the film's other scenes, 1 to 9 that result becomes the "
    "query, b the query before, space plays the query."
)


def static_html(collection, state: GalleryState) -> str:
    """The gallery as a picture of itself: its style and what it shows, without buttons."""
    style = PANEL_CSS + CSS
    return f'<style>{style}</style><div class="m2s-panel">{gallery_html(collection, state, live=False)}</div>'


def gallery_html(collection, state: GalleryState, live: bool = True, clip: Clip | str = "") -> str:
    """Messages, the query, and what one or two encoders find.

    Args:
        live: with buttons and the film's other scenes.
        clip: the clip of what is playing, or the words that stand in its place.
    """
    columns = [name for name in (state.encoder, state.second) if name]
    found = {name: results(collection, state, name) for name in columns}
    parts = [error_strip(state.error), notice_strip(state.notice)] if live else []
    parts += [
        _query_html(collection, state, live, clip),
        f'<p class="m2s-note">{escape_html(_what_was_searched(collection, state, found))}</p>',
        '<div class="m2s-columns">',
        *(_column_html(collection, state, name, found, live, clip) for name in columns),
        "</div>",
        f'<p class="m2s-note">{_HINT}</p>' if live else "",
    ]
    return f'<div class="m2s-gallery">{"".join(parts)}</div>'


def _query_html(collection, state: GalleryState, live: bool, clip: Clip | str) -> str:
    query, store = state.query, store_of(collection, state.query)
    actions = [_play_action(state, "query")] if live else []
    known = collection.labels(store, query.shot, query.n_shots)
    chips = "".join(_chip(f"{name} {known[name]}") for name in LABELS if known.get(name))
    strip = filmstrip_html(
        store,
        query.shot,
        query.n_shots,
        query_title(collection, query),
        actions=actions,
    )
    bar = _scene_bar(collection, state) if live and not query.file else ""
    before = ""
    if live:
        words = f"◀ back to {query_title(collection, state.past[-1])}" if state.past else "◀ back"
        before = button_html("back", "", words, enabled=bool(state.past), hint="the query before; key b")
    head = f'<div class="m2s-bar"><h3>Query</h3>{chips}{before}</div>'
    place = _clip_place(state, "query", clip, query_title(collection, query))
    return f'<section class="m2s-query" aria-label="query scene">{head}{bar}{strip}{place}</section>'


def _scene_bar(collection, state: GalleryState) -> str:
    """The film's scenes around the query, a picture each."""
    query, store = state.query, store_of(collection, state.query)
    rows = film_scenes(collection, query.film_id)
    here = int((rows["shot"] - query.shot).abs().to_numpy().argmin())
    first = max(0, min(here - _BAR // 2, len(rows) - _BAR))
    shown = rows.iloc[first : first + _BAR]
    left, right = first, len(rows) - first - len(shown)
    items = "".join(_scene_button(collection, store, row, query) for row in shown.itertuples())
    parts = [
        button_html("step", "-1", f"◀ {left}" if left else "◀", enabled=here > 0, hint="the scene before"),
        items,
        button_html(
            "step", "1", f"{right} ▶" if right else "▶", enabled=here < len(rows) - 1, hint="the next scene"
        ),
    ]
    return f'<nav class="m2s-scenes" aria-label="scenes of the film">{"".join(parts)}</nav>'


def _scene_button(collection, store: ShotStore, row, query: Query) -> str:
    when = timecode(row.start_s).removeprefix("0:") or f"shot {row.shot}"
    current = ' aria-current="true"' if row.shot == query.shot and row.n_shots == query.n_shots else ""
    uri = thumbnail_uri(store, row.shot + row.n_shots // 2, _BAR_PX)
    alt = escape_html(f"{title_of(collection, query.film_id)}, scene at {when}")
    if uri:
        picture = f'<img src="{uri}" alt="{alt}" height="{_BAR_PX}">'
    else:
        picture = f'<span role="img" aria-label="{alt}">–</span>'
    what = f'class="m2s-button m2s-pick" data-act="scene" data-value="{row.shot}"{current}'
    return f'<button type="button" {what}>{picture}<small>{when}</small></button>'


def _what_was_searched(collection, state: GalleryState, found: dict[str, pd.DataFrame]) -> str:
    keep = passing(collection, state)
    count = len(collection.scenes) if keep is None else int(keep.sum())
    words = [f"{count:,} scenes" if keep is None else f"{count:,} of {len(keep):,} scenes pass the filters"]
    words.append("its own film included" if state.own_film else "its own film left out")
    if not any(map(len, found.values())):
        words.append("nothing is left to be found: change the filters")
    words.append("exact L2 distance; those of two encoders have different scales")
    return " · ".join(words)


def _column_html(
    collection, state: GalleryState, name: str, found: dict, live: bool, clip: Clip | str
) -> str:
    mine = found[name]
    others = {
        other: {row: i for i, row in enumerate(t["row"], 1)} for other, t in found.items() if other != name
    }
    known = collection.labels(store_of(collection, state.query), state.query.shot, state.query.n_shots)
    both = sum(row in places for places in others.values() for row in mine["row"])
    rows = enumerate((row for _, row in mine.head(state.shown).iterrows()), 1)
    items = [_result_html(collection, state, i, row, others, known, live, clip) for i, row in rows]
    left = len(mine) - len(items)
    more = button_html("more", "", f"show {min(left, PAGE)} more of {len(mine)}") if live and left > 0 else ""
    words = f'<span class="m2s-note">{both} of {len(mine)} found by both</span>' if others else ""
    return (
        f'<section class="m2s-column" aria-label="nearest by {escape_html(name)}"><div class="m2s-bar">'
        f"<h3>{escape_html(name)}</h3>{words}</div><ol>{''.join(items)}</ol>{more}</section>"
    )


def _result_html(collection, state, number: int, row, others: dict, known: dict, live: bool, clip) -> str:
    query = query_of(row)
    store, title = collection.stores[query.film_id], title_of(collection, query.film_id)
    what = f"{query.film_id}:{query.shot}"
    chips = [f"distance {row['distance']:.3g}"]
    chips += [_label_words(name, str(row[name]), known) for name in LABELS if name in row and row[name]]
    also = [f"⇄ also #{at[row['row']]} by {name}" for name, at in others.items() if row["row"] in at]
    actions = [("scene-of", what, "use as query"), _play_action(state, what)] if live else []
    height = _NARROW_PX if others else _WIDE_PX
    strip = filmstrip_html(store, query.shot, query.n_shots, title, actions=actions, height_px=height)
    marks = "".join([*map(_chip, chips), *(_chip(words, " m2s-also") for words in also)])
    place = _clip_place(state, what, clip, title) if live else ""
    across = math.ceil(query.n_shots / 2) * (frame_width(store, height) + 4)  # two rows about equally long
    kind = "m2s-result m2s-both" if also else "m2s-result"
    size = f' style="--m2s-across:{across}px"' if others else ""
    return f'<li class="{kind}"{size}><div class="m2s-bar"><b>#{number}</b>{marks}</div>{strip}{place}</li>'


def _label_words(name: str, value: str, known: dict[str, str]) -> str:
    """A label, with a tick or a cross where the query's is known."""
    mark = "" if not known.get(name) else "✓ " if known[name] == value else "✗ "
    return f"{mark}{name} {value}"


def _chip(words: str, kind: str = "") -> str:
    return f'<span class="m2s-chip{kind}">{escape_html(words)}</span>'


def _play_action(state: GalleryState, what: str) -> tuple[str, str, str]:
    return ("play", what, "■ stop" if state.playing == what else "▶ play")


def _clip_place(state: GalleryState, what: str, clip: Clip | str, title: str) -> str:
    if state.playing != what:
        return ""
    if isinstance(clip, Clip):
        note = f"first {LONGEST_S:.0f} s" if clip.shortened else f"{clip.seconds:.0f} s"
        return clip_html(clip.path.name, f"{title}, {note}")
    return f'<p class="m2s-note" role="status">{escape_html(clip or "cutting the clip …")}</p>'


def playing_clip(collection, state: GalleryState) -> Clip | None:
    """The clip of what is playing, cut now where it is not yet; M2SError where it cannot be."""
    if not state.playing:
        return None
    query = state.query
    if state.playing != "query":
        film, _, shot = state.playing.rpartition(":")
        rows = film_scenes(collection, film)
        row = rows[rows["shot"] == int(shot)].iloc[0]
        query = Query(film, int(shot), int(row["n_shots"]))
    store = store_of(collection, query)
    return scene_clip(store, media_of(collection, query), query.shot, query.n_shots, collection.run_dir)
