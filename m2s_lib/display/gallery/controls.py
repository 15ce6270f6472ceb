"""The gallery's lists, filters and fields: one callback for all of them, and following a state."""

from collections.abc import Callable

import ipywidgets as widgets

from m2s_lib.display.gallery.data import LABELS, GalleryState, list_films, list_labels, list_scenes
from m2s_lib.display.gallery.state import MOST
from m2s_lib.display.screen import fields, set_options
from m2s_lib.display.words import encoder_words, plain_words

NONE = ("none", "")
_ANY = ("any", "")


class Controls:
    """Everything above the gallery's panel.

    Args:
        collection: see `data`.
        watch: watch(control, handle) calls handle(value) when somebody changes the control.
        tell: called with (name, value) when somebody changes something: film, scene, encoder, second, k,
            title, theme, place, own_film, and for buttons explorer (None) and clip (path, start, end).

    Attributes:
        box: the widget. parts: the controls by name.
    """

    def __init__(self, collection, watch: Callable, tell: Callable[[str, object], None]):
        self.collection = collection
        self.parts = self._query() | self._filters()
        for name in ("film", "scene", "encoder", "second", "k", "title", *LABELS, "own_film"):
            if name in self.parts:
                watch(self.parts[name], lambda value, name=name: tell(name, value))
        watch(self.parts["search"], lambda _: self._fill_films())
        path, ends = self.parts["path"], (self.parts["from"], self.parts["to"])
        self.parts["clip"].on_click(lambda _: tell("clip", (path.value, *(t.value for t in ends))))
        self.parts["explorer"].on_click(lambda _: tell("explorer", None))
        self.box = fields(self.parts)

    def _query(self) -> dict[str, widgets.Widget]:
        """What is asked: a scene of a film, or a stretch of a file."""
        films = list_films(self.collection)
        seconds = {"min": 0, "max": 1e6, "step": 1}
        return {
            "search": widgets.Text(description="Find a film", placeholder="words of its title"),
            "film": widgets.Dropdown(description="Query film", options=films),
            "scene": widgets.Dropdown(description="Scene at", options=[("", 0)]),
            "explorer": _button("explorer's scene", 'what "use as query" in 03 handed over'),
            "path": widgets.Text(description="Or a file", placeholder="path of a video"),
            "from": widgets.BoundedFloatText(description="From second", value=0.0, **seconds),
            "to": widgets.BoundedFloatText(description="To second", value=30.0, **seconds),
            "clip": _button("find scenes like it", "the stretch is cut into shots and becomes the query"),
        }

    def _filters(self) -> dict[str, widgets.Widget]:
        """How it is searched, and what passes."""
        names = [(encoder_words(n), n) for n in self.collection.encoders]
        late = {"continuous_update": False}
        parts = {
            "encoder": widgets.Dropdown(description="Encoder", options=names),
            "second": widgets.Dropdown(description="Compare with", options=[NONE, *names]),
            "k": widgets.BoundedIntText(description="Results", value=5, min=1, max=MOST, **late),
            "title": widgets.Text(description="In films", placeholder="words of the title", **late),
        }
        for column in LABELS:
            values = [(plain_words(v), v) for v in list_labels(self.collection, column)]
            if values:
                parts[column] = widgets.Dropdown(description=column.title(), options=[_ANY, *values])
        return parts | {"own_film": widgets.Checkbox(description="own film too", indent=False)}

    def _fill_films(self) -> None:
        """The list of films as the search asks; the query's film stays in it."""
        film = self.parts["film"]
        set_options(
            film, list_films(self.collection, self.parts["search"].value, film.value or ""), film.value
        )

    def follow(self, state: GalleryState) -> None:
        """Set the controls to a state."""
        query = state.query
        if not query.file:
            films = list_films(self.collection, self.parts["search"].value, query.film_id)
            if query.film_id not in (f for _, f in self.parts["film"].options):
                self.parts["film"].options = films
            self.parts["film"].value = query.film_id
            scenes = list_scenes(self.collection, query.film_id)
            if query.shot not in (s for _, s in scenes):
                scenes = sorted([*scenes, (f"shot {query.shot}", query.shot)], key=lambda s: s[1])
            set_options(self.parts["scene"], scenes, query.shot)
        others = [NONE, *((encoder_words(n), n) for n in self.collection.encoders if n != state.encoder)]
        set_options(self.parts["second"], others, state.second)
        for name in ("encoder", "k", "title", "own_film", *LABELS):
            if name in self.parts:
                self.parts[name].value = getattr(state, name)


def _button(words: str, hint: str) -> widgets.Button:
    return widgets.Button(description=words, tooltip=hint)
