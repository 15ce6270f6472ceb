"""The scene-pair explorer: two films, B under one encoder or two, and the scenes behind every cell.

`explorer_figure` draws a state for readers, `explore` opens the same state live in JupyterLab and Voilà. What
clicks and keys do is in `state`, what is drawn in `draw`; here they are wired.
"""

from collections.abc import Callable
from dataclasses import replace

import ipywidgets as widgets

from m2s_lib.display.explorer import state as states
from m2s_lib.display.explorer.data import ScenePairs
from m2s_lib.display.explorer.draw import cards_html, pair_html
from m2s_lib.display.explorer.export import export_pairs
from m2s_lib.display.explorer.heat_map import HeatMap
from m2s_lib.display.explorer.state import ExplorerState, open_state
from m2s_lib.display.explorer.static import explorer_figure
from m2s_lib.display.export import KINDS
from m2s_lib.display.panel import headless
from m2s_lib.display.screen import Players, Screen, fields, set_options
from m2s_lib.display.screen_state import Films, SceneKey, play
from m2s_lib.errors import M2SError
from m2s_lib.words import encoder_words

__all__ = ["Explorer", "ScenePairs", "explore", "explorer_figure"]

ABSENT = "The live explorer opens here when this notebook is run in JupyterLab; above is its first view."
_NONE = ("none", "")


def explore(scenes: ScenePairs, film_a: str = "", film_b: str = "", **view):
    """Open the explorer live; where nobody looks (papermill, nbval, the pipeline) print a sentence instead.

    Args:
        scenes: films, stores, encoders. film_a, film_b, view: what is shown first, as `open_state` takes it.

    Returns:
        The widget, or None where it was not opened (a printed sentence says why).
    """
    if headless():
        print(ABSENT)
        return None
    try:
        state = open_state(scenes, film_a, film_b, **view)
    except M2SError as error:
        print(f"The explorer cannot open: {error}")
        return None
    return Explorer(scenes, state).screen


class Explorer(Screen):
    """The live screen.

    Attributes:
        state: what is shown. screen: the widget. map: B. pair: the chosen scenes. cards: the best pairs.
    """

    data: ScenePairs
    state: ExplorerState

    def __init__(self, scenes: ScenePairs, state: ExplorerState, tray=None, ask: Callable | None = None):
        """Args: tray: see `Screen`. ask: takes the scene that is to be the query; None leaves it for 08."""
        self._listed = ("", "")  # the films that the lists of films were made for
        self._ask = ask
        super().__init__(scenes, state, "explorer", tray)

    # -- building --

    def build(self) -> list[widgets.Widget]:
        keys = [*states.KEYS, " "]
        self.map = HeatMap()
        self.map.on_cell(self.guard(lambda i, j: self.change(states.choose_cell, i, j)))
        self.map.on_key(self.guard(self.press))
        self.pair = self.panel("the chosen scenes", keys, focusable=True)
        self.cards = self.panel("the best scene pairs", keys)
        for panel in (self.pair, self.cards):
            panel.on_key(self.guard(self.press))
        main = widgets.Box([self.map, self.pair])
        main.add_class("m2s-main")
        return [fields(self._film_fields() | self._view_fields()), main, self.cards]

    def _film_fields(self) -> dict[str, widgets.Widget]:
        self.search, self.films, controls = {}, {}, {}
        for side in "ab":
            words = f"words of the title of film {side.upper()}"
            self.search[side] = widgets.Text(placeholder=words, description=f"Search film {side.upper()}")
            self.films[side] = widgets.Dropdown(description=f"Film {side.upper()}")
            self.watch(self.search[side], lambda _: self._fill_lists())
            self.watch(self.films[side], lambda _: self._films_chosen())
            controls |= {f"search-{side}": self.search[side], f"films-{side}": self.films[side]}
        return controls

    def _view_fields(self) -> dict[str, widgets.Widget]:
        names = [(encoder_words(name), name) for name in self.data.views]
        self.encoder = widgets.Dropdown(options=names, description="Encoder")
        self.other = widgets.Dropdown(options=[_NONE], description="Compare with")
        self.count = widgets.IntSlider(min=0, max=1, description="Pairs marked")
        self.watch(self.encoder, lambda v: self.change(states.choose_encoder, v))
        self.watch(self.other, lambda v: self.change(states.choose_second, v))
        self.watch(self.count, lambda v: self.change(states.mark, v))
        return {"encoder": self.encoder, "second": self.other, "count": self.count}

    # -- events --

    def library(self) -> Films:
        return self.data.library

    def press(self, key: str, shift: bool = False) -> None:
        """A key of `states.KEYS`, or the space bar, which plays."""
        if key == " ":
            self.play()
        else:
            self.change(states.press, key, shift)

    def play(self) -> None:
        """Play both scenes, or stop them."""
        self.change(play, *states.chosen(self.data, self.state))

    def beside(self, shot: SceneKey) -> list[SceneKey]:
        """A shot of one of the chosen scenes beside the same shot of the other; any other shot alone."""
        for here, other in (states.chosen(self.data, self.state), states.chosen(self.data, self.state)[::-1]):
            k = shot.shot - here.shot
            if shot.film_id == here.film_id and 0 <= k < here.n:
                pair = [shot, other._replace(shot=other.shot + k, n=1)]
                return pair if here.film_id == self.state.film_a else pair[::-1]
        return [shot]

    def acts(self, act: str, value: str) -> None:
        changes = {
            "next": (states.step_pair, 1),
            "previous": (states.step_pair, -1),
            "pair": (states.choose_pair, int(value) if value.isdigit() else 0),
            "query": (states.use_as_query, value),
        }
        if act == "play":
            self.play()
        elif act == "query" and self._ask:
            self._ask(states.chosen(self.data, self.state)[value == "b"])
        elif act in KINDS:
            path = export_pairs(self.data, self.state, act)
            self.show(replace(self.state, error="", notice=f"{self.state.marked} scene pairs are in {path}"))
        elif act == "call":
            self.change(states.toggle_call)
        elif act in changes:
            self.change(*changes[act])

    def _fill_lists(self) -> None:
        """Both lists of films, as the searches ask; a film that is chosen stays in its list."""
        quiet, self._quiet = self._quiet, True
        try:
            for side, film in (("a", self.state.film_a), ("b", self.state.film_b)):
                beside = self.state.film_a if side == "b" else ""
                options = self.data.list_films(self.search[side].value, beside, always=film)
                set_options(self.films[side], options, film)
            self._listed = (self.state.film_a, self.state.film_b)
        finally:
            self._quiet = quiet

    def _films_chosen(self) -> None:
        """A film A goes with its most similar film where the film B there is none of its own."""
        film_a, film_b = self.films["a"].value, self.films["b"].value
        if not film_a or not film_b:
            return
        if film_a != self.state.film_a:
            self.search["b"].value = ""
            near = (f for _, f in self.data.list_films("", film_a) if self.data.can_compare(f))
            similar = self.data.similarity(film_a, film_b) is not None
            film_b = film_b if similar and film_b != film_a else next(near, film_b)
        self.change(states.choose_films, film_a, film_b)

    # -- drawing --

    def draw(self, players: Players) -> None:
        """First the pair, which a click waits for; then controls, map and cards."""
        state = self.state
        self.pair.html = pair_html(self.data, state, players)
        if (state.film_a, state.film_b) != self._listed:
            self._fill_lists()
        others = [_NONE, *((encoder_words(n), n) for n in self.data.views if n != state.encoder)]
        set_options(self.other, others, state.second)
        self.count.max = max(len(self.data.scores(state.encoder, state.film_a, state.film_b).picks), 1)
        self.encoder.value, self.count.value = state.encoder, state.marked
        self.map.show(self.data, state)
        self.cards.html = cards_html(self.data, state)
