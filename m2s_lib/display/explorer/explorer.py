"""The scene-pair explorer: two films, B under one encoder or two, and the scenes behind every cell.

`explorer_figure` draws a state for readers, `explore` opens the same state live in JupyterLab and Voilà. What
clicks and keys do is in `explorer_state`, what is drawn in `explorer_draw`; here they are wired.
"""

import threading
from collections.abc import Callable
from dataclasses import replace

import ipywidgets as widgets

from m2s_lib.display.explorer import state as states
from m2s_lib.display.explorer.data import ScenePairs
from m2s_lib.display.explorer.draw import messages_html, player_html, second_html, strips_html
from m2s_lib.display.explorer.export import export_csv, export_edl
from m2s_lib.display.explorer.heat_map import HeatMap
from m2s_lib.display.explorer.state import ExplorerState, open_state
from m2s_lib.display.explorer.static import explorer_figure
from m2s_lib.display.live_parts import Panel, error_words, guarded, headless
from m2s_lib.display.playback import Clip, scene_clip
from m2s_lib.errors import M2SError

__all__ = ["Explorer", "ScenePairs", "explore", "explorer_figure"]

ABSENT = "The live explorer opens here when this notebook is run in JupyterLab; above is its first view."
_NONE = "none"
_KEYS = [*states.KEYS, " "]


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


class Explorer:
    """The live screen.

    Attributes:
        state: what is shown. screen: the widget. map, second: the rows of heat maps.
    """

    def __init__(self, scenes: ScenePairs, state: ExplorerState):
        self.scenes, self.state = scenes, state
        self._playing = 0  # number of the last call of play(); older ones stop
        self._quiet = False  # while controls follow the state
        self._listed = ("", "")  # the films that the lists of films were made for
        self._build()
        self.show(state)

    # -- building --

    def _build(self) -> None:
        say = "the scene-pair explorer"
        self.messages = Panel(label=f"messages of {say}")
        self.map, self.second = HeatMap(), HeatMap()
        self.strips = Panel(key_names=_KEYS, label="the chosen scenes", focusable=True)
        self.players = {s: Panel(label=f"the scene of film {s.upper()}, playing") for s in "ab"}
        self.second_choice = Panel(label="what the second encoder chooses")
        self._lists()
        for panel in (self.messages, self.strips, *self.players.values()):
            panel.on_act(self._guard(self.act))
            panel.on_key(self._guard(self.press))
        for heat in (self.map, self.second):
            heat.on_cell(self._guard(lambda i, j: self.change(states.choose_cell, i, j)))
            heat.on_key(self._guard(self.press))
        players = widgets.Box(list(self.players.values()), layout=widgets.Layout(flex_flow="row wrap"))
        for player in self.players.values():
            player.layout = widgets.Layout(flex="1 1 320px", min_width="0")
        rows = [self.messages, self.map, self.strips, players, self.second, self.second_choice]
        self.screen = widgets.VBox(
            [*self._controls(), *rows], layout=widgets.Layout(width="100%", overflow="hidden")
        )
        self.screen.add_class("m2s-explorer")

    def _lists(self) -> None:
        wide = widgets.Layout(width="auto", min_width="0")
        self.search, self.films = {}, {}
        for side in "ab":
            name = f"Film {side.upper()}"
            words = f"words of the title of film {side.upper()}"
            self.search[side] = widgets.Text(placeholder=words, description="Search", layout=wide)
            self.films[side] = widgets.Select(rows=4, description=name, layout=wide)
            self.search[side].add_class(f"m2s-search-{side}")
            self.films[side].add_class(f"m2s-films-{side}")
            self.search[side].observe(self._guard(lambda _: self._fill_lists()), "value")
            self.films[side].observe(self._guard(lambda _: self._films_chosen()), "value")

    def _controls(self) -> list[widgets.Widget]:
        names, wide = list(self.scenes.views), {"description_width": "initial"}
        self.encoder = widgets.Dropdown(options=names, description="Encoder", style=wide)
        self.other = widgets.Dropdown(options=[_NONE], description="Compare with", style=wide)
        self.colours = widgets.Dropdown(
            options=[("score", "score"), ("share that scores lower", "share")],
            description="Colours",
            style=wide,
        )
        self.count = widgets.IntSlider(min=0, max=1, description="Pairs marked", style=wide)
        parts = {"encoder": self.encoder, "second": self.other, "colours": self.colours, "count": self.count}
        for name, part in parts.items():
            part.add_class(f"m2s-{name}")
        self._watch(self.encoder, lambda v: self.change(states.choose_encoder, v))
        self._watch(self.other, lambda v: self.change(states.choose_second, "" if v == _NONE else v))
        self._watch(self.colours, lambda v: self.change(states.choose_colours, v))
        self._watch(self.count, lambda v: self.change(states.mark, v))
        grow = widgets.Layout(flex="1 1 320px", min_width="0")
        columns = [widgets.VBox([self.search[s], self.films[s]], layout=grow) for s in "ab"]
        wrap = widgets.Layout(flex_flow="row wrap", width="100%")
        return [widgets.Box(columns, layout=wrap), widgets.Box(list(parts.values()), layout=wrap)]

    def _watch(self, control, handle: Callable) -> None:
        control.observe(self._guard(lambda change: None if self._quiet else handle(change["new"])), "value")

    def _guard(self, handle: Callable) -> Callable:
        return guarded(handle, lambda words: self.show(replace(self.state, error=words, notice="")))

    # -- events --

    def change(self, function: Callable, *arguments) -> None:
        """Replace the state by function(scenes, state, *arguments) and draw it."""
        self.show(function(self.scenes, self.state, *arguments))

    def press(self, key: str, shift: bool = False) -> None:
        """A key of `explorer_state.KEYS`, or the space bar, which plays."""
        if key == " ":
            self.play()
        else:
            self.change(states.press, key, shift)

    def act(self, act: str, value: str = "") -> None:
        """A button of `explorer_draw`."""
        if act == "play":
            self.play()
        elif act in ("next", "previous"):
            self.change(states.step_pair, 1 if act == "next" else -1)
        elif act in ("csv", "edl"):
            path = {"csv": export_csv, "edl": export_edl}[act](self.scenes, self.state)
            self.show(replace(self.state, error="", notice=f"{self.state.marked} scene pairs are in {path}"))
        else:
            changes = {"call": states.toggle_call, "dismiss": states.dismiss}
            if act == "query":
                self.change(states.use_as_query, value)
            elif act in changes:
                self.change(changes[act])

    def _fill_lists(self) -> None:
        """Both lists of films, as the searches ask; a film that is chosen stays in its list."""
        quiet, self._quiet = self._quiet, True
        try:
            for side, film in (("a", self.state.film_a), ("b", self.state.film_b)):
                beside = self.state.film_a if side == "b" else ""
                found = self.scenes.list_films(self.search[side].value, beside, always=film)
                box = self.films[side]
                if tuple(box.options) != tuple(found):
                    box.options = found
                if film in (f for _, f in found) and box.value != film:
                    box.value = film
            self._listed = (self.state.film_a, self.state.film_b)
        finally:
            self._quiet = quiet

    def _films_chosen(self) -> None:
        """A film A goes with its most similar film where the film B there is none of its own."""
        film_a, film_b = self.films["a"].value, self.films["b"].value
        if self._quiet or not film_a or not film_b:
            return
        if film_a != self.state.film_a:
            if self.search["b"].value:
                self._set_quietly(self.search["b"], "")
            near = (f for _, f in self.scenes.list_films("", film_a) if self.scenes.can_compare(f))
            similar = self.scenes.similarity(film_a, film_b) is not None
            film_b = film_b if similar and film_b != film_a else next(near, film_b)
        self.change(states.choose_films, film_a, film_b)

    def _set_quietly(self, control, value) -> None:
        quiet, self._quiet = self._quiet, True
        control.value = value
        self._quiet = quiet

    # -- drawing --

    def show(self, state: ExplorerState) -> None:
        """Draw a state; only what differs goes to the browser."""
        before, self.state = self.state, state
        scene = ("film_a", "film_b", "shot_a", "shot_b")
        if any(getattr(before, name) != getattr(state, name) for name in scene):
            self._playing += 1
            for player in self.players.values():
                player.html = ""
        self.messages.html = messages_html(state)
        self.strips.html = strips_html(self.scenes, state)  # first: what a click waits for
        self._follow(state)
        self.map.show(self.scenes, state, state.encoder)
        self.second.layout.display = None if state.second else "none"
        if state.second:
            self.second.show(self.scenes, state, state.second)
        self.second_choice.html = second_html(self.scenes, state)

    def _follow(self, state: ExplorerState) -> None:
        """Set the controls to the state, without hearing from them."""
        if (state.film_a, state.film_b) != self._listed:
            self._fill_lists()
        quiet, self._quiet = self._quiet, True
        try:
            others = [_NONE, *(name for name in self.scenes.views if name != state.encoder)]
            if tuple(self.other.options) != tuple(others):
                self.other.options = others
            picks = self.scenes.scores(state.encoder, state.film_a, state.film_b).picks
            self.count.max = max(len(picks), 1)
            self.encoder.value, self.other.value = state.encoder, state.second or _NONE
            self.colours.value, self.count.value = state.colours, state.marked
        finally:
            self._quiet = quiet

    # -- playing --

    def play(self) -> threading.Thread:
        """Cut the clips of both scenes, in a thread, and show each as soon as it is there."""
        self._playing += 1
        self.show(replace(self.state, error="", notice=""))
        for side, player in self.players.items():
            player.html = player_html(self.scenes, self.state, side)
        thread = threading.Thread(target=self._play, args=(self._playing, self.state), daemon=True)
        thread.start()
        return thread

    def _play(self, number: int, state: ExplorerState) -> None:
        """Both clips, one after the other; given up when another scene is chosen meanwhile."""
        problems = []
        for side, player in self.players.items():
            clip: Clip | str
            film, shot = states.chosen(state, side)
            try:
                path = str(self.scenes.films["path"].get(film, ""))
                n, run_dir = self.scenes.n_shots, self.scenes.run_dir
                clip = scene_clip(self.scenes.stores[film], path, shot, n, run_dir)
                data = clip.data()
            except Exception as error:  # in a thread nobody else would see it
                problems.append(error_words(error))
                clip = "There is no clip; the message above says why."
            if number != self._playing:
                return
            player.html = player_html(self.scenes, state, side, clip)
            if isinstance(clip, Clip):
                player.send_clip(clip.path.name, data)
        if problems:
            self.show(replace(self.state, error=" · ".join(dict.fromkeys(problems))))
