"""The gallery's lists, filters and fields: one callback for all of them, and following a state silently."""

from collections.abc import Callable

import ipywidgets as widgets

from m2s_lib.display.gallery.data import LABELS, GalleryState, list_films, list_labels, list_scenes
from m2s_lib.display.gallery.state import MOST

NONE = "none"
_ANY = "any"
_STYLE = {"description_width": "initial"}


class Controls:
    """Everything above the gallery's panel.

    Args:
        collection: see `gallery_data`.
        tell: called with (name, value) when somebody changes something: film, scene, encoder, second, k,
            title, theme, place, own_film, and for buttons explorer (None) and clip (path, start, end).

    Attributes:
        box: the widget. parts: the controls by name.
    """

    def __init__(self, collection, tell: Callable[[str, object], None]):
        self.collection, self.tell, self._quiet = collection, tell, False
        self.parts: dict[str, widgets.Widget] = {}
        self.search = self._field(widgets.Text, "search", "Find film", placeholder="words of its title")
        self.search.observe(lambda _: self._fill_films(), "value")
        self.box = widgets.VBox([self._query_row(), self._clip_row(), self._search_row()])
        self.box.layout.width = "100%"

    def _field(self, kind: type, name: str, words: str, **options):
        part = kind(description=words, style=_STYLE, **options)
        part.layout = widgets.Layout(width="auto", flex="1 1 200px", min_width="150px", max_width="420px")
        part.add_class(f"m2s-{name}")
        self.parts[name] = part
        return part

    def _watched(self, kind: type, name: str, words: str, **options):
        part = self._field(kind, name, words, **options)
        part.observe(lambda change: self._quiet or self.tell(name, change["new"]), "value")
        return part

    def _query_row(self) -> widgets.Widget:
        film = self._watched(widgets.Dropdown, "film", "Query film", options=list_films(self.collection))
        scene = self._watched(widgets.Dropdown, "scene", "scene at", options=[("", 0)])
        take = self._button("explorer", "take the explorer's scene", 'what "use as query" in 03 handed over')
        take.on_click(lambda _: self.tell("explorer", None))
        return _row([self.search, film, scene, take])

    def _clip_row(self) -> widgets.Widget:
        path = self._field(widgets.Text, "path", "or a file", placeholder="path of a video")
        path.layout.flex, path.layout.max_width = "2 1 300px", "700px"
        times = [
            self._field(widgets.BoundedFloatText, name, words, value=value, min=0, max=1e6, step=1)
            for name, words, value in (("from", "from second", 0.0), ("to", "to second", 30.0))
        ]
        for part in times:
            part.layout.flex, part.layout.max_width = "0 1 180px", "200px"
        find = self._button(
            "clip", "find scenes like it", "the stretch is cut into shots and becomes the query"
        )
        find.on_click(lambda _: self.tell("clip", (path.value, *(t.value for t in times))))
        return _row([path, *times, find])

    def _button(self, name: str, words: str, hint: str) -> widgets.Button:
        button = widgets.Button(description=words, tooltip=hint, layout=widgets.Layout(width="auto"))
        button.add_class(f"m2s-{name}")
        self.parts[name] = button
        return button

    def _search_row(self) -> widgets.Widget:
        names = list(self.collection.encoders)
        parts = [
            self._watched(widgets.Dropdown, "encoder", "Encoder", options=names),
            self._watched(widgets.Dropdown, "second", "beside it", options=[NONE, *names]),
            self._watched(
                widgets.BoundedIntText, "k", "results", value=5, min=1, max=MOST, continuous_update=False
            ),
            self._watched(
                widgets.Text, "title", "in films", placeholder="words of the title", continuous_update=False
            ),
        ]
        for column in LABELS:
            values = list_labels(self.collection, column)
            if values:
                options = [(_ANY, ""), *((v, v) for v in values)]
                parts.append(self._watched(widgets.Dropdown, column, column, options=options))
        own = self._watched(widgets.Checkbox, "own_film", "the query's own film too", indent=False)
        own.layout.flex = "0 0 auto"
        return _row([*parts, own])

    def _fill_films(self) -> None:
        """The list of films as the search asks; the query's film stays in it."""
        film = self.parts["film"]
        self._set(film, list_films(self.collection, self.search.value, film.value or ""), film.value)

    def _set(self, part, options: list, value) -> None:
        """New options and value of a list, silently."""
        quiet, self._quiet = self._quiet, True
        try:
            if list(part.options) != options:
                part.options = options
            if value in (o[1] if isinstance(o, tuple) else o for o in options) and part.value != value:
                part.value = value
        finally:
            self._quiet = quiet

    def follow(self, state: GalleryState) -> None:
        """Set the controls to a state, without telling."""
        film, scene = self.parts["film"], self.parts["scene"]
        query, quiet, self._quiet = state.query, self._quiet, True
        try:
            if not query.file:
                if query.film_id not in (f for _, f in film.options):
                    film.options = list_films(self.collection, self.search.value, query.film_id)
                film.value = query.film_id
                scenes = list_scenes(self.collection, query.film_id)
                if query.shot not in (s for _, s in scenes):
                    scenes = sorted([*scenes, (f"shot {query.shot}", query.shot)], key=lambda s: s[1])
                self._set(scene, scenes, query.shot)
            others = [NONE, *(n for n in self.collection.encoders if n != state.encoder)]
            self._set(self.parts["second"], others, state.second or NONE)
            for name in ("encoder", "k", "title", "own_film", *LABELS):
                if name in self.parts:
                    self.parts[name].value = getattr(state, name)
        finally:
            self._quiet = quiet


def _row(parts: list[widgets.Widget]) -> widgets.Widget:
    return widgets.Box(parts, layout=widgets.Layout(flex_flow="row wrap", width="100%", align_items="center"))
