"""The retrieval gallery: a query scene, what one or two encoders find, any of it as the next query.

`gallery_view` draws a state for readers, `open_gallery` opens the same state live in JupyterLab and Voilà.
What clicks and keys do is in `gallery_state`, what is drawn in `gallery_draw`; here they are wired.
"""

import os
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import ipywidgets as widgets

from m2s_lib.display.gallery import state as states
from m2s_lib.display.gallery.controls import NONE, Controls
from m2s_lib.display.gallery.data import GalleryState, query_title
from m2s_lib.display.gallery.draw import CSS, gallery_html, playing_clip, static_html
from m2s_lib.display.gallery.state import open_state
from m2s_lib.display.live_parts import Panel, error_words, guarded, headless
from m2s_lib.errors import M2SError

__all__ = ["Gallery", "gallery_view", "message_page", "open_gallery"]

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
        collection: see `gallery_data`. film_id, shot, view: what is asked, as `open_state` takes it.
    """
    state = open_state(collection, film_id, shot, **view)
    names = " and ".join(filter(None, (state.encoder, state.second)))
    query = f"The scene of {query_title(collection, state.query)} from shot {state.query.shot}"
    words = f"{query}, and the {state.k} scenes nearest to it by {names}."
    return View(static_html(collection, state), words)


def open_gallery(collection, film_id: str = "", shot: int = 0, *, root: str | os.PathLike = "", **view):
    """Open the gallery live; where nobody looks (papermill, nbval, the pipeline) print a sentence instead.

    Args:
        collection: see `gallery_data`. film_id, shot, view: what is asked first, as `open_state` takes it.
        root: where relative paths of files given as queries are seen from.

    Returns:
        The widget, or None.
    """
    if headless():
        print(ABSENT)
        return None
    return Gallery(collection, open_state(collection, film_id, shot, **view), root).screen


def served_as_page() -> bool:
    """Whether Voilà runs this kernel: then visitors may not name any file of the machine."""
    return "voila" in os.environ.get("SERVER_SOFTWARE", "").lower()


class Gallery:
    """The live screen.

    Attributes:
        state: what is shown. screen: the widget. panel: query and results. controls: everything above it.
    """

    def __init__(self, collection, state: GalleryState, root: str | os.PathLike = ""):
        self.collection, self.state, self.root = collection, state, root
        self.folders = tuple(sorted({str(Path(p).parent) for p in collection.media.values() if p}))
        self._playing = 0  # number of the clip asked for last; older ones are not shown
        self.panel = GalleryPanel(key_names=list(states.KEYS), label="query and results", focusable=True)
        self.panel.on_act(self._guard(self.act))
        self.panel.on_key(self._guard(lambda key, shift: self.change(states.press, key)))
        self.controls = Controls(collection, self._guard(self.control))
        self.screen = widgets.VBox(
            [self.controls.box, self.panel], layout=widgets.Layout(width="100%", overflow="hidden")
        )
        self.screen.add_class("m2s-retrieval")
        self.show(state)

    def _guard(self, handle: Callable) -> Callable:
        return guarded(handle, lambda words: self.show(replace(self.state, error=words, notice="")))

    # -- events --

    def change(self, function: Callable, *arguments, **options) -> None:
        """Replace the state by function(collection, state, ...) and draw it."""
        self.show(function(self.collection, self.state, *arguments, **options))

    def act(self, act: str, value: str = "") -> None:
        """A button of `gallery_draw`."""
        film, _, shot = value.rpartition(":")
        handlers = {
            "scene": lambda: self.change(states.ask_scene, self.state.query.film_id, int(value)),
            "scene-of": lambda: self.change(states.ask_scene, film, int(shot)),
            "step": lambda: self.change(states.step_scene, int(value)),
            "play": lambda: self.change(states.play, value),
            "back": lambda: self.change(states.back),
            "more": lambda: self.change(states.more),
            "dismiss": lambda: self.change(states.dismiss),
        }
        if act in handlers:
            handlers[act]()

    def control(self, name: str, value) -> None:
        """A control above the panel: its name and its new value."""
        if name == "film":
            self.change(states.ask_film, value)
        elif name == "scene":
            self.change(states.ask_scene, self.state.query.film_id, value)
        elif name == "encoder":
            self.change(states.choose_encoder, value)
        elif name == "second":
            self.change(states.choose_second, "" if value == NONE else value)
        elif name == "explorer":
            self.change(states.take_explorers_scene)
        elif name == "clip":
            self.show(replace(self.state, error="", notice=f"looking for shots in {Path(value[0]).name} …"))
            folders = self.folders if served_as_page() else ()
            self.change(states.ask_clip, *value, root=self.root, folders=folders)
        else:
            self.change(states.choose, **{name: value})

    # -- drawing --

    def show(self, state: GalleryState) -> None:
        """Draw a state."""
        started = state.playing and state.playing != self.state.playing
        if state.playing != self.state.playing:
            self._playing += 1
        self.state = state
        self.controls.follow(state)
        self._draw(state)
        if started:
            threading.Thread(target=self._play, args=(self._playing, state.playing), daemon=True).start()

    def _draw(self, state: GalleryState, clip="") -> None:
        self.panel.html = gallery_html(self.collection, state, clip=clip)

    def _play(self, number: int, what: str) -> None:
        """Cut the clip, in a thread, and show it unless something else was asked for since."""
        try:
            clip = playing_clip(self.collection, self.state)
        except Exception as error:  # in a thread nobody else would see it
            if number == self._playing:
                self.show(replace(self.state, playing="", error=error_words(error)))
            return
        if number == self._playing and clip is not None:
            self._draw(self.state, clip)
            self.panel.send_clip(clip.path.name, clip.data())


def message_page(error: M2SError):
    """What a page shows instead of a gallery: the error in its strip."""
    from m2s_lib.display.live_parts import error_strip

    return View(
        f'<style>{Panel._css}</style><div class="m2s-panel">{error_strip(str(error))}</div>', str(error)
    )
