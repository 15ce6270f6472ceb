"""The live heat map of B: a canvas in the browser. Cells are sent once a film pair, after that only words."""

from collections.abc import Callable
from pathlib import Path

import anywidget
import numpy as np
import traitlets

from m2s_lib.display.explorer.data import PairScores, ScenePairs
from m2s_lib.display.explorer.state import KEYS, ExplorerState, marked_cells
from m2s_lib.display.filmstrips import proportions, start_times
from m2s_lib.display.palette import SEQUENTIAL
from m2s_lib.display.panel import PANEL_CSS
from m2s_lib.display.scene_html import thumbnail
from m2s_lib.display.text import timecode
from m2s_lib.films.store.shot_store import ShotStore
from m2s_lib.words import encoder_words

HERE = Path(__file__).parent  # of the script and its style sheet
_AXIS_PX = 76  # height of a keyframe at the pointer; along the axes they are smaller
_LEVELS = 65_535  # B is shown in so many steps; what is written beside it is exact


def palette_hex() -> str:
    """The figures' colours, 256 of six hexadecimal digits each."""
    import matplotlib as mpl

    colours = np.round(255 * mpl.colormaps[SEQUENTIAL](np.arange(256))[:, :3]).astype(np.uint8)
    return colours.tobytes().hex()


def levels(scores: PairScores) -> bytes:
    """B as little-endian 16-bit levels between its least and largest score, row by row."""
    span = float(scores.high) - float(scores.low) or 1.0
    return np.round((scores.b.astype(np.float64) - scores.low) * (_LEVELS / span)).astype("<u2").tobytes()


def starts(store: ShotStore) -> list[str]:
    """When each shot begins, '' where that is unknown."""
    return [timecode(t).removeprefix("0:") for t in start_times(store)]


def map_label(scenes: ScenePairs, state: ExplorerState, encoder: str) -> str:
    """The heat map for a screen reader."""
    scores = scenes.scores(encoder, state.film_a, state.film_b)
    (u, v), marked = scores.b.shape, min(state.marked, len(scores.picks))
    a, b = scenes.title(state.film_a), scenes.title(state.film_b)
    return (
        f"Heat map of scene similarity by {encoder_words(encoder)}: {u} scenes of {a} down, {v} of {b} "
        f"across, scores {scores.low:.3g} to {scores.high:.3g}, {marked} scene pairs marked. "
        "Arrow keys move one shot, with shift one scene; n and p step through the marked pairs; space plays."
    )


class HeatMap(anywidget.AnyWidget):
    """B under one encoder: square cells, keyframes along both axes, marks, a crosshair.

    Call `show(scenes, state, encoder)` with every new state: cells go to the browser only when film pair or
    encoder differ from the time before.
    """

    _esm = HERE.joinpath("heat_map.js").read_text("utf-8")
    _css = PANEL_CSS + HERE.joinpath("heat_map.css").read_text("utf-8")
    palette = traitlets.Unicode().tag(sync=True)
    shots = traitlets.Int(9).tag(sync=True)
    cell = traitlets.List([0, 0]).tag(sync=True)
    marks = traitlets.List().tag(sync=True)
    titles = traitlets.List(["", ""]).tag(sync=True)
    starts_a = traitlets.List().tag(sync=True)
    starts_b = traitlets.List().tag(sync=True)
    head = traitlets.Unicode("").tag(sync=True)
    label = traitlets.Unicode("").tag(sync=True)
    aspects = traitlets.List([1.0, 1.0]).tag(sync=True)
    key_names = traitlets.List([*KEYS, " "]).tag(sync=True)

    def __init__(self, **kwargs):
        super().__init__(palette=palette_hex(), **kwargs)
        self._scores: PairScores | None = None
        self._stores: dict[str, ShotStore] = {}
        self._handlers: dict[str, Callable] = {}
        self.on_msg(self._receive)

    def on_cell(self, handle: Callable[[int, int], None]) -> None:
        """Call handle(i, j) when a cell is chosen with the mouse or the arrow keys."""
        self._handlers["cell"] = lambda content: handle(*map(int, content["cell"]))

    def on_key(self, handle: Callable[[str, bool], None]) -> None:
        """Call handle(key, with_shift) for the other keys, and for arrow keys at an edge."""
        self._handlers["key"] = lambda content: handle(str(content["key"]), bool(content["shift"]))

    def _receive(self, _, content: dict, buffers: list) -> None:
        if "need" in content:
            self._send_cells(True)
        if "pictures" in content:
            self._send_pictures(content["pictures"])
        for kind, handle in self._handlers.items():
            if kind in content:
                try:
                    handle(content)
                finally:
                    self.send({"done": True})

    def show(self, scenes: ScenePairs, state: ExplorerState) -> None:
        """Draw a state; M2SError where the films cannot be compared."""
        scores = scenes.scores(state.encoder, state.film_a, state.film_b)
        new, self._scores = scores is not self._scores, scores
        stores = {"a": scenes.stores[state.film_a], "b": scenes.stores[state.film_b]}
        films = [s.film_id for s in stores.values()] != [s.film_id for s in self._stores.values()]
        with self.hold_sync():
            if films:
                self._stores, self.shots = stores, scenes.n_shots
                self.starts_a, self.starts_b = map(starts, stores.values())
                self.aspects = [proportions(s) for s in stores.values()]
                self.titles = [scenes.title(state.film_a), scenes.title(state.film_b)]
            self.head, self.label = encoder_words(state.encoder), map_label(scenes, state, state.encoder)
            self.marks, self.cell = marked_cells(scenes, state, state.encoder), [state.shot_a, state.shot_b]
        if new:
            self._send_cells(films)

    def _send_cells(self, films: bool) -> None:
        """B, and whether the films are others than before."""
        if self._scores is not None:
            about = {"shape": list(self._scores.b.shape), "low": self._scores.low, "high": self._scores.high}
            self.send(about | {"films": films}, buffers=[levels(self._scores)])

    def _send_pictures(self, keys: list[str]) -> None:
        """Keyframes by 'a:shot' or 'b:shot'; those that no film has are left out."""
        asked = [key.partition(":")[::2] for key in map(str, keys)]
        known = [(side, int(shot)) for side, shot in asked if side in self._stores and shot.isdigit()]
        known = [(side, shot) for side, shot in known if shot < self._stores[side].n_shots]
        pictures = [thumbnail(self._stores[side], shot, _AXIS_PX) for side, shot in known]
        self.send({"pictures": [f"{side}:{shot}" for side, shot in known]}, buffers=pictures)
