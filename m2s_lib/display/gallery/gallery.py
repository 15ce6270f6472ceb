"""The retrieval gallery: a query scene, what one or two encoders find, any of it as the next query.

`gallery_view` draws a state for readers, `open_gallery` opens the same state live in JupyterLab and Voilà.
What clicks and keys do is in `state`, what is drawn in `draw`; here they are wired.
"""

import os
from dataclasses import replace
from pathlib import Path

import ipywidgets as widgets

from m2s_lib.display.export import KINDS
from m2s_lib.display.gallery import state as states
from m2s_lib.display.gallery.controls import Controls
from m2s_lib.display.gallery.data import GalleryState, films_of, query_title
from m2s_lib.display.gallery.draw import CSS, gallery_html, static_html
from m2s_lib.display.gallery.export import export_results
from m2s_lib.display.gallery.state import open_state
from m2s_lib.display.panel import Panel, headless, voila
from m2s_lib.display.screen import Players, Screen
from m2s_lib.display.screen_state import Films
from m2s_lib.words import encoder_words

__all__ = ["Gallery", "gallery_view", "open_gallery"]

ABSENT = (
    "The live gallery opens here in JupyterLab, and as a page with `make gallery`; above is its first view."
)


class GalleryPanel(Panel):
    """A panel with the gallery's style."""

    _css = Panel._css + CSS


class View:
    """HTML that a notebook shows, with its words for front ends without HTML."""

    def __init__(self, html: str, words: str):
        self._html, self.words = html, words

    def _repr_html_(self) -> str:
        return self._html

    def __repr__(self) -> str:
        return self.words


def gallery_view(collection, film_id: str = "", shot: int = 0, **view) -> View:
    """What `open_gallery` shows first, without buttons: for papermill, nbval and readers.

    Args:
        collection: see `data`. film_id, shot, view: what is asked, as `open_state` takes it.
    """
    state = open_state(collection, film_id, shot, **view)
    names = " and ".join(encoder_words(name) for name in (state.encoder, state.second) if name)
    query = f"The scene of {query_title(collection, state.query)} from shot {state.query.shot}"
    words = f"{query}, and the {state.k} scenes nearest to it by {names}."
    return View(static_html(collection, state), words)


def open_gallery(collection, film_id: str = "", shot: int = 0, *, root: str | os.PathLike = "", **view):
    """Open the gallery live; where nobody looks (papermill, nbval, the pipeline) print a sentence instead.

    Args:
        collection: see `data`. film_id, shot, view: what is asked first, as `open_state` takes it.
        root: where relative paths of files given as queries are seen from.

    Returns:
        The widget, or None.
    """
    if headless():
        print(ABSENT)
        return None
    return Gallery(collection, open_state(collection, film_id, shot, **view), root).screen


class Gallery(Screen):
    """The live screen.

    Attributes:
        state: what is shown. screen: the widget. results: query and results. controls: everything above it.
    """

    state: GalleryState

    def __init__(self, collection, state: GalleryState, root: str | os.PathLike = "", tray=None):
        self.root = root
        self.folders = tuple(sorted({str(Path(p).parent) for p in collection.media.values() if p}))
        super().__init__(collection, state, "retrieval", tray)

    def build(self) -> list[widgets.Widget]:
        self.results = self.panel("query and results", states.KEYS, focusable=True, kind=GalleryPanel)
        self.results.on_key(self.guard(lambda key, shift: self.change(states.press, key)))
        self.controls = Controls(self.data, self.watch, self.guard(self.control), self.tray is not None)
        return [self.controls.box, self.results]

    def library(self) -> Films:
        return films_of(self.data, self.state.query)

    def acts(self, act: str, value: str) -> None:
        film, _, shot = value.rpartition(":")
        if act in KINDS:
            path = export_results(self.data, self.state, act)
            self.show(replace(self.state, error="", notice=f"the results are in {path}"))
        elif act == "scene":
            self.change(states.ask_scene, self.state.query.film_id, int(value))
        elif act == "scene-of":
            self.change(states.ask_scene, film, int(shot))
        elif act == "step":
            self.change(states.step_scene, int(value))
        elif act in ("back", "more"):
            self.change({"back": states.back, "more": states.more}[act])

    def control(self, name: str, value) -> None:
        """A control above the results: its name and its new value."""
        if name == "clip":
            self.show(replace(self.state, error="", notice=f"looking for shots in {Path(value[0]).name} …"))
            folders = self.folders if voila() else ()
            self.change(states.ask_clip, *value, root=self.root, folders=folders)
        elif name == "scene":
            self.change(states.ask_scene, self.state.query.film_id, value)
        elif name == "explorer":
            self.change(states.take_explorers_scene)
        elif name in ("film", "text", "encoder", "second"):
            functions = {
                "film": states.ask_film,
                "text": states.ask_text,
                "encoder": states.choose_encoder,
                "second": states.choose_second,
            }
            self.change(functions[name], value)
        else:
            self.change(states.choose, **{name: value})

    def draw(self, players: Players) -> None:
        self.results.html = gallery_html(self.data, self.state, players)
        self.controls.follow(self.state)
