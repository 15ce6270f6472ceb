"""The gallery's lists, filters and fields: one callback for all of them, and following a state."""

from collections.abc import Callable

import ipywidgets as widgets

from m2s_lib.display.gallery.data import (
    LABELS,
    GalleryState,
    has_subtitles,
    list_films,
    list_labels,
    list_scenes,
)
from m2s_lib.display.gallery.state import MOST
from m2s_lib.display.screen import fields, set_options
from m2s_lib.words import encoder_words, plain_words

NONE = ("none", "")
_ANY = ("any", "")
_CHOICES = ("encoder", "second", "k", "title", "said", *LABELS, "own_film", "one_per_film")


class Controls:
    """Everything above the gallery's panel.

    Args:
        collection: see `data`.
        watch: watch(control, handle) calls handle(value) when somebody changes the control.
        tell: called with (name, value) when somebody changes something: film, scene, text, one of
            `_CHOICES`, and for buttons explorer (None) and clip (path, start, end).
        visitors: whether it is the page for visitors, where there is no notebook 03.

    Attributes:
        box: the widget. parts: the controls by name.
    """

    def __init__(
        self, collection, watch: Callable, tell: Callable[[str, object], None], visitors: bool = False
    ):
        self.collection = collection
        self.parts = self._query() | self._filters() | self._file()
        if visitors:
            self.parts.pop("explorer")
        for name in ("film", "scene", "text", *_CHOICES):
            if name in self.parts:
                watch(self.parts[name], lambda value, name=name: tell(name, value))
        watch(self.parts["search"], lambda _: self._fill_films())
        path, ends = self.parts["path"], (self.parts["from"], self.parts["to"])
        self.parts["clip"].on_click(lambda _: tell("clip", (path.value, *(t.value for t in ends))))
        if not visitors:
            self.parts["explorer"].on_click(lambda _: tell("explorer", None))
        self.box = fields(self.parts)
        self.parts["file"].observe(lambda change: self._fold(not change["new"]), "value")
        self._fold(True)

    def _query(self) -> dict[str, widgets.Widget]:
        """What is asked: words where an encoder knows them, or a scene of a film."""
        films = list_films(self.collection)
        hint = {"placeholder": "what is to be seen", "continuous_update": False}
        words = {"text": widgets.Text(description="Words", **hint)} if self.collection.words_encoder else {}
        return words | {
            "search": widgets.Text(description="Find a film", placeholder="title words"),
            "film": widgets.Dropdown(description="Query film", options=films),
            "scene": widgets.Dropdown(description="Scene at", options=[("", 0)]),
            "explorer": _button("explorer's scene", 'what "use as query" in 03 handed over'),
        }

    def _file(self) -> dict[str, widgets.Widget]:
        """What is asked otherwise: a stretch of a file; folded away until somebody wants it."""
        seconds = {"min": 0, "max": 1e6, "step": 1}
        return {
            "file": widgets.ToggleButton(description="a file …", tooltip="ask with a stretch of a file"),
            "path": widgets.Text(description="File", placeholder="path of a video"),
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
            "title": widgets.Text(description="In films", placeholder="title words", **late),
        }
        for column in LABELS:
            values = [(plain_words(v), v) for v in list_labels(self.collection, column)]
            if values:
                parts[column] = widgets.Dropdown(description=column.title(), options=[_ANY, *values])
        if has_subtitles(self.collection):
            parts["said"] = widgets.Text(description="Said in it", placeholder="subtitle words", **late)
        parts["own_film"] = widgets.Checkbox(description="own film too", indent=False)
        return parts | {"one_per_film": widgets.Checkbox(description="one result per film", indent=False)}

    def _fill_films(self) -> None:
        """The list of films as the search asks; the query's film stays in it."""
        film = self.parts["film"]
        set_options(
            film, list_films(self.collection, self.parts["search"].value, film.value or ""), film.value
        )

    def _fold(self, folded: bool) -> None:
        (self.box.add_class if folded else self.box.remove_class)("m2s-folded")

    def follow(self, state: GalleryState) -> None:
        """Set the controls to a state."""
        query = state.query
        if query.file:
            self.parts["file"].value = True
        else:
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
        for name in ("text", *_CHOICES):
            if name in self.parts and name != "second":
                self.parts[name].value = getattr(state, name)


def _button(words: str, hint: str) -> widgets.Button:
    return widgets.Button(description=words, tooltip=hint)
