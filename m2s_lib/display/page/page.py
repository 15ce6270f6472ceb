"""The visitors' page: films, pairs, search and map as four tabs over one finished run, and the tray.

It reads finished files and starts no stage; what a visitor keeps goes into the tray's file. Each tab is a
screen that is made when it is first opened; which one is open, its film and its scene stand in the address.
"""

import contextlib
import os
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from urllib.parse import parse_qsl, urlencode

import anywidget
import ipywidgets as widgets
import traitlets

from m2s_lib.display.explorer import state as pair_states
from m2s_lib.display.export import KINDS
from m2s_lib.display.gallery import state as search_states
from m2s_lib.display.gallery.gallery import Gallery
from m2s_lib.display.page import films as film_states
from m2s_lib.display.page import scene_map as map_states
from m2s_lib.display.page.films import FilmList
from m2s_lib.display.page.open_scene import films_of
from m2s_lib.display.page.scene_map import SceneMap
from m2s_lib.display.page.tray import Tray, export_scenes, tray_html
from m2s_lib.display.panel import PANEL_CSS, Panel, error_words, headless
from m2s_lib.display.scene_html import button_html, messages_html
from m2s_lib.display.screen import Screen
from m2s_lib.display.screen_state import SceneKey
from m2s_lib.errors import M2SError

HERE = Path(__file__).parent  # of the script and the style sheet
TABS = {"films": "Films", "pairs": "Pairs", "search": "Search", "map": "Map"}
ABSENT = "The page opens here in a browser, with `make gallery`."
_HIDDEN = "m2s-hidden"
_LATER_S = 8  # until what comes with Pairs is imported: the films come first


def open_page(collection, pairs: Callable[[], dict], root: str | os.PathLike = ""):
    """Open the page live; where nobody looks print a sentence instead.

    Args:
        collection: see `gallery.data`, with `films` and `plane`.
        pairs: gives the arguments of `ScenePairs` when Pairs is first opened.
        root: where relative paths of files given as queries are seen from.

    Returns:
        The widget, or None.
    """
    if headless():
        print(ABSENT)
        return None
    return Page(collection, pairs, root).widget


class Address(anywidget.AnyWidget):
    """The page's address after '#': follows `value`; when the visitor changes it, `on_visit` is told."""

    _esm = HERE.joinpath("page.js").read_text("utf-8")
    value = traitlets.Unicode("").tag(sync=True)

    def on_visit(self, handle: Callable[[str], None]) -> None:
        """Call handle(address) when the page is opened or the visitor goes back or forward."""
        self.on_msg(lambda _, content, buffers: "visit" in content and handle(str(content["visit"])))


class PagePanel(Panel):
    """A panel with the page's style."""

    _css = PANEL_CSS + HERE.joinpath("page.css").read_text("utf-8")


class Page:
    """The live page.

    Attributes:
        tab: which is open. screens: those that were opened, by tab. tray: what is kept. widget: all of it.
    """

    def __init__(self, collection, pairs: Callable[[], dict], root: str | os.PathLike = ""):
        self.collection, self._pairs, self._root = collection, pairs, root
        self.films = films_of(collection)
        self.tab, self.screens, self._shelf_open, self._said = "films", {}, False, ("", "")
        self.tray = Tray(collection.run_dir)
        self.nav, self.shelf = PagePanel(label="tabs"), PagePanel(label="tray")
        self.address = Address()
        for panel in (self.nav, self.shelf):
            panel.on_act(self._guarded(self.act))
        self.address.on_visit(self._guarded(self.visit))
        self.widget = widgets.VBox([self.address, self.nav, self.shelf], layout=widgets.Layout(width="100%"))
        self.widget.add_class("m2s-page")
        self.open("films")
        later = threading.Timer(_LATER_S, self._prepare)
        later.daemon = True
        later.start()

    def _prepare(self) -> None:
        """What Pairs will need is imported while the visitor looks at the films."""
        with contextlib.suppress(Exception):  # who opens Pairs is told
            self._pairs()

    def _guarded(self, handle: Callable) -> Callable:
        def inside(*arguments) -> None:
            self._said = ("", "")
            try:
                handle(*arguments)
            except Exception as error:  # whatever it is, the person who clicked has to see it
                self._said = (error_words(error), "")
                self._uncover(self.tab)
            self.follow()

        return inside

    # -- what is opened --

    def open(self, tab: str, place: Mapping[str, str] | None = None) -> None:
        """Show a tab, at a place of the address where one is given."""
        screen = self.screens.get(tab)
        if screen is None:
            self._draw_tabs(tab, ("", f"opening {TABS[tab]} …"))
            self._uncover("")
            screen = self.screens[tab] = self._made(tab)
            self.widget.children = [*self.widget.children, screen.screen]
        self.tab = tab
        self._uncover(tab)
        screen.on_change = self.follow
        if place is not None and (place.get("film") or tab in ("films", "map")):
            _GO[tab](screen, place)
        else:
            screen.show(screen.state)

    def _uncover(self, tab: str) -> None:
        for name, screen in self.screens.items():
            (screen.screen.remove_class if name == tab else screen.screen.add_class)(_HIDDEN)

    def _made(self, tab: str) -> Screen:
        if tab == "films":
            return FilmList(self.collection, film_states.FilmsState(), "films", self.tray, self.ask)
        if tab == "map":
            return SceneMap(self.collection, map_states.MapState(), "scene-map", self.tray, self.ask)
        if tab == "search":
            return Gallery(self.collection, search_states.open_state(self.collection), self._root, self.tray)
        from m2s_lib.display.explorer.data import ScenePairs
        from m2s_lib.display.explorer.explorer import Explorer  # with matplotlib

        scenes = ScenePairs(**self._pairs())
        second = (*list(scenes.views)[1:], "")[0]
        return Explorer(scenes, pair_states.open_state(scenes, second=second), self.tray, self.ask)

    def ask(self, scene: SceneKey) -> None:
        """Search for scenes like this one."""
        self.open("search", {"film": scene.film_id, "scene": str(scene.shot)})
        self.follow()

    # -- events --

    def act(self, act: str, value: str) -> None:
        """A button of the tabs or of the tray."""
        if act == "tab":
            self.open(value)
        elif act == "shelf":
            self._shelf_open = not self._shelf_open
        elif act == "open":
            scene = SceneKey.parse(value)
            self.open("films", {"film": scene.film_id, "scene": str(scene.shot)})
        elif act == "star":
            self.tray.toggle(SceneKey.parse(value))
            self.screens[self.tab].show(self.screens[self.tab].state)
        elif act == "note":
            scene, _, words = value.partition("\t")
            self.tray.note(SceneKey.parse(scene), words)
        elif act in KINDS:
            path = export_scenes(self.collection, self.tray.known(self.films), "tray", "tray", act)
            self._said = ("", f"the tray is in {path}")

    def visit(self, address: str) -> None:
        """The page as an address says; '' is where it begins."""
        place = dict(parse_qsl(address.lstrip("#")))
        tab = place.get("tab", "films")
        if tab not in TABS:
            raise M2SError(f"there is no tab {tab!r}: choose one of {', '.join(TABS.values())}")
        self.open(tab, place)

    # -- drawing --

    def follow(self) -> None:
        """Tabs, tray and address as they are now."""
        self._draw_tabs(self.tab, self._said)
        self.shelf.html = tray_html(self.tray, self.films) if self._shelf_open else ""
        state = self.screens[self.tab].state
        self.address.value = urlencode(
            {"tab": self.tab} | {k: v for k, v in _PLACE[self.tab](state).items() if v}
        )

    def _draw_tabs(self, tab: str, said: tuple[str, str]) -> None:
        """The tabs, the tray's button, and what is said: an error, a notice."""
        tabs = "".join(_tab_html(name, words, name == tab) for name, words in TABS.items())
        mark = "★" if len(self.tray) else "☆"
        shelf = button_html("shelf", "", f"{mark} Tray ({len(self.tray)})", hint="the scenes that you keep")
        self.nav.html = f'<nav class="m2s-tabs">{tabs}<span></span>{shelf}</nav>{messages_html(*said)}'


def _tab_html(name: str, words: str, here: bool) -> str:
    current = ' aria-current="page"' if here else ""
    return (
        f'<button type="button" class="m2s-tab" data-act="tab" data-value="{name}"{current}>{words}</button>'
    )


# -- a screen's place in the address --

_PLACE = {
    "films": lambda s: {"film": s.film, "scene": str(s.shot) if s.shot >= 0 else ""},
    "pairs": lambda s: {
        "film": s.film_a,
        "scene": str(s.shot_a),
        "film_b": s.film_b,
        "scene_b": str(s.shot_b),
    },
    "search": lambda s: {"film": s.query.film_id, "scene": str(s.query.shot)} if not s.query.file else {},
    "map": lambda s: {"film": s.scene.film_id, "scene": str(s.scene.shot)} if s.scene else {},
}


def _shot(place: Mapping[str, str], name: str = "scene", default: int = 0) -> int:
    text = place.get(name, "")
    return int(text) if text.isdigit() else default


def _go_pairs(screen: Screen, place: Mapping[str, str]) -> None:
    films = (place["film"], place.get("film_b", ""))
    if films != (screen.state.film_a, screen.state.film_b):
        screen.change(pair_states.choose_films, *films)
    if not screen.state.error:
        screen.change(pair_states.choose_cell, _shot(place), _shot(place, "scene_b"))


_GO = {
    "films": lambda screen, p: screen.change(film_states.open_film, p.get("film", ""), _shot(p, default=-1)),
    "pairs": _go_pairs,
    "search": lambda screen, p: screen.change(search_states.ask_scene, p["film"], _shot(p)),
    "map": lambda screen, p: screen.change(map_states.choose, p.get("film", ""), _shot(p)),
}
