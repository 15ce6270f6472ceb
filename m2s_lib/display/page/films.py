"""The films tab: every film with a strip of its pictures, and one film with all its scenes."""

from dataclasses import dataclass, replace

import ipywidgets as widgets
import pandas as pd

from m2s_lib.display.export import KINDS
from m2s_lib.display.filmstrips import poster_shot
from m2s_lib.display.gallery.data import film_scenes, title_of
from m2s_lib.display.page.open_scene import CollectionScreen, scene_html
from m2s_lib.display.page.tray import export_scenes
from m2s_lib.display.scene_html import button_html, export_buttons, picture_html, shot_time
from m2s_lib.display.screen import Players, fields
from m2s_lib.display.screen_state import SceneKey, ScreenState, handler
from m2s_lib.display.text import escape_html, timecode
from m2s_lib.errors import M2SError
from m2s_lib.io import safe_name
from m2s_lib.words import counted

_LISTED, _CARDS = 20, 60  # films and scenes of a film drawn at once: what nobody sees is not decoded
_POSTERS, _PX, _SMALL_PX = 8, 120, 96  # pictures of a film in the list, their height, that of a scene's card
_TRIED = 5  # shots that are looked at for one that is not black
_WORDS = 90  # letters of subtitles on a card


@dataclass(frozen=True)
class FilmsState(ScreenState):
    """What is on the screen."""

    film: str = ""  # the film that is open, '' the list of all
    shot: int = -1  # first shot of its open scene, -1 for none
    search: str = ""  # only films whose title or id holds these words
    shown: int = _LISTED


@handler
def open_film(collection, state: FilmsState, film: str, shot: int = -1) -> FilmsState:
    """A film at the scene from this shot; '' leads to the list."""
    if film and film not in collection.stores:
        raise M2SError(f"film {film!r} is not among the films here: choose one of the list")
    begun = film_scenes(collection, film)["shot"].loc[lambda first: first <= shot]
    shot = int(begun.iloc[-1]) if len(begun) else -1  # of the scene that the shot lies in
    shown = state.shown if film == state.film else _CARDS if film else _LISTED
    return replace(state, film=film, shot=shot, shown=shown, playing=(), viewed=())


def step(collection, state: FilmsState, by: int) -> FilmsState:
    """The scene after (by=1) or before (by=-1) the open one."""
    shots = film_scenes(collection, state.film)["shot"].tolist() if state.film else []
    at = (shots.index(state.shot) if state.shot in shots else -1) + by
    return open_film(collection, state, state.film, shots[at]) if 0 <= at < len(shots) else state


class FilmList(CollectionScreen):
    """The live screen; `data` has the table `films` too."""

    state: FilmsState

    def build(self) -> list[widgets.Widget]:
        self.search = widgets.Text(description="Find a film", placeholder="words of its title")
        self.watch(self.search, lambda value: self.show(replace(self.state, search=value, shown=_LISTED)))
        self.fields = fields({"find": self.search})
        self.body = self.panel("films and scenes", ["ArrowLeft", "ArrowRight"], focusable=True)
        self.body.on_key(self.guard(lambda key, _: self.change(step, 1 if key == "ArrowRight" else -1)))
        return [self.fields, self.body]

    def acts(self, act: str, value: str) -> None:
        if act == "film":
            self.change(open_film, value)
        elif act == "scene":
            scene = SceneKey.parse(value)
            self.change(open_film, scene.film_id, scene.shot)
        elif act == "more":
            self.show(replace(self.state, shown=self.state.shown + (_CARDS if self.state.film else _LISTED)))
        elif act in KINDS:
            film = self.state.film
            name, title = safe_name(f"{film[:60]}-scenes"), f"scenes of {title_of(self.data, film)}"
            path = export_scenes(self.data, dict(_scenes(self.data, film)), name, title, act)
            self.show(replace(self.state, error="", notice=f"the film's scenes are in {path}"))
        else:
            super().acts(act, value)

    def draw(self, players: Players) -> None:
        (self.fields.add_class if self.state.film else self.fields.remove_class)("m2s-hidden")
        draw = film_html if self.state.film else list_html
        self.body.html = draw(self.data, self.state, players)


def list_html(collection, state: FilmsState, players: Players) -> str:
    """All films by title, and those that could not be read, with the reason."""
    words = state.search.casefold().split()
    films = collection.films.to_dict("records")
    found = [f for f in films if all(w in f"{f['title']} {f['film_id']}".casefold() for w in words)]
    read = sorted((f for f in found if f["film_id"] in collection.stores), key=lambda f: str(f["title"]))
    unread = [f for f in found if f.get("status", "ok") != "ok"]
    rows = "".join(_film_row(collection, film) for film in read[: state.shown])
    more = button_html("more", "", f"show more of {len(read):,} films") if len(read) > state.shown else ""
    empty = "" if found else '<p class="m2s-note">No film has these words in its title.</p>'
    return f"{rows}{more}{empty}{_unread_html(unread)}"


def _film_row(collection, film: dict) -> str:
    name, store = film["film_id"], collection.stores[film["film_id"]]
    title, count = title_of(collection, name), min(_POSTERS, store.n_shots)
    starts = [k * store.n_shots // count for k in range(count)]
    posters = [poster_shot(store, s, min(_TRIED, store.n_shots // count)) for s in starts]
    pictures = "".join(_card_html(store, SceneKey(name, shot), shot, title, px=_PX) for shot in posters)
    return (
        f'<article class="m2s-film"><div class="m2s-bar"><button type="button" class="m2s-link" '
        f'data-act="film" data-value="{escape_html(name)}">{escape_html(title)}</button>'
        f'<span class="m2s-note">{escape_html(_facts(collection, film))}</span></div>'
        f'<div class="m2s-posters">{pictures}</div></article>'
    )


def _facts(collection, film: dict) -> str:
    """Length, shots, scenes, and what the metadata says, in words."""
    store = collection.stores[film["film_id"]]
    scenes, end = len(film_scenes(collection, film["film_id"])), store.shots["end_s"].iloc[-1]
    facts = [timecode(float(end)).removeprefix("0:")]
    facts += [counted(store.n_shots, "shot"), counted(scenes, "scene")]
    year, genres = film.get("year"), str(film.get("genres") or "")
    facts += ["" if pd.isna(year) else str(year), genres.replace("|", ", ")]
    return " · ".join(filter(None, facts))


def _unread_html(films: list[dict]) -> str:
    if not films:
        return ""
    rows = "".join(f"<li><b>{escape_html(f['title'])}</b>: {escape_html(f['reason'])}</li>" for f in films)
    return f'<section class="m2s-unread"><h3>{counted(len(films), "film")} not read</h3><ul>{rows}</ul></section>'


def _scenes(collection, film: str) -> list[tuple[SceneKey, str]]:
    """A film's scenes, and the words of their subtitles."""
    table = film_scenes(collection, film)
    words = table["words"] if "words" in table else [""] * len(table)
    rows = zip(table["shot"], table["n_shots"], words, strict=True)
    return [(SceneKey(film, int(shot), int(n)), str(said)) for shot, n, said in rows]


def _card_html(
    store, scene: SceneKey, poster: int, title: str, words: str = "", here: bool = False, px: int = _SMALL_PX
) -> str:
    """A scene as a button: the picture of one shot, when it begins, what is said."""
    when = shot_time(store, scene.shot)
    picture = picture_html(store, poster, f"{title}, {when}", px)
    short = f"{words[:_WORDS].rstrip()}…" if len(words) > _WORDS else words
    said = f"<q>{escape_html(short)}</q>" if words else ""
    current = ' aria-current="true"' if here else ""
    return (
        f'<button type="button" class="m2s-button m2s-pick" data-act="scene" '
        f'data-value="{escape_html(scene)}"{current}>{picture}<small>{when}</small>{said}</button>'
    )


def film_html(collection, state: FilmsState, players: Players) -> str:
    """One film: its scenes as cards, above them the open one with all its shots."""
    film, store, title = state.film, collection.stores[state.film], title_of(collection, state.film)
    about = collection.films.loc[collection.films["film_id"] == film].to_dict("records")[0]
    scenes = _scenes(collection, film)
    head = (
        f'<div class="m2s-bar">{button_html("film", "", "◀ all films")}<h3>{escape_html(title)}</h3>'
        f'<span class="m2s-note">{escape_html(_facts(collection, about))}</span>'
        f"{export_buttons('the film')}</div>"
    )
    opened = "".join(
        scene_html(players.films, scene, players, said) for scene, said in scenes if scene.shot == state.shot
    )
    cards = ""
    for scene, said in scenes[: state.shown]:
        poster = poster_shot(store, scene.shot, scene.n)
        cards += _card_html(store, scene, poster, title, said, scene.shot == state.shot)
    more = button_html("more", "", f"show more of {len(scenes)} scenes") if len(scenes) > state.shown else ""
    return f'{head}{opened}<div class="m2s-grid">{cards}</div>{more}'
