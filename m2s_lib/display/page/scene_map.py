"""The map tab: all scenes in two dimensions, as stage 08 stored them; a click shows the scene."""

import threading
from dataclasses import dataclass, replace

import ipywidgets as widgets
import numpy as np
import pandas as pd

from m2s_lib.display.gallery.data import LABELS, scene_near, title_of
from m2s_lib.display.page.open_scene import CollectionScreen, scene_html
from m2s_lib.display.palette import OKABE_ITO
from m2s_lib.display.scene_html import picture_html
from m2s_lib.display.screen import Players, fields
from m2s_lib.display.screen_state import Films, SceneKey, ScreenState, handler
from m2s_lib.display.text import escape_html, timecode
from m2s_lib.quick_imports import quick_jsonschema
from m2s_lib.words import plain_words

_TALL_PX, _RING_PX, _EDGE = 560, 8, 0.05  # height, the ring's radius, the share that is left free
_LATER_S = 0.1  # until the ring is drawn, so that the scene's pictures are painted first
_FEW, _SMALL_PX, _LARGE_PX = 2000, 4, 9  # scenes up to which the dots are large
_POINTED_PX = 120  # height of the picture that one points at
_COLOURS = [*OKABE_ITO[:7], "#999999"]  # for both themes: no black


@dataclass(frozen=True)
class MapState(ScreenState):
    """What is on the screen."""

    scene: SceneKey | None = None
    colour: str = "film"  # what the colours of the dots say


@handler
def choose(collection, state: MapState, film: str, shot: int) -> MapState:
    """The scene of a film that begins nearest to a shot; '' chooses none."""
    scene = scene_near(collection, film, shot).scene if film else None
    return replace(state, scene=scene, playing=(), viewed=())


class SceneMap(CollectionScreen):
    """The live screen; `data` has `plane` too."""

    state: MapState

    def build(self) -> list[widgets.Widget]:
        names = [("film", "film"), *((plain_words(c), c) for c in LABELS if c in self.data.scenes)]
        colour = widgets.Dropdown(description="Colours by", options=names)
        self.watch(colour, lambda value: self.show(replace(self.state, colour=value)))
        self.figure, self._coloured, self._ring = map_figure(self.data), "", []
        self.figure.data[0].on_click(self.guard(self._clicked))
        self.figure.data[0].on_hover(self.guard(self._pointed))
        self.legend, self.pointed = self.panel("what the colours mean"), self.panel("the scene pointed at")
        self.strip = self.panel("the chosen scene")
        return [fields({"colours": colour}), self.legend, self.figure, self.pointed, self.strip]

    def _clicked(self, _, points, __) -> None:
        if points.point_inds:
            row = self.data.scenes.iloc[points.point_inds[0]]
            self.change(choose, row["film_id"], int(row["shot"]))

    def _pointed(self, _, points, __) -> None:
        if points.point_inds:
            number = points.point_inds[0]
            scene, words = self.data.scenes.iloc[number], self.figure.data[0].hovertext[number]
            film, shot = scene["film_id"], int(scene["shot"]) + int(scene["n_shots"]) // 2
            self.pointed.html = pointed_html(self._films, film, shot, words)

    def _row(self, scene: SceneKey) -> int:
        scenes = self.data.scenes
        return int(np.flatnonzero((scenes["film_id"] == scene.film_id) & (scenes["shot"] == scene.shot))[0])

    def draw(self, players: Players) -> None:
        """First the scene, which a click waits for, then the ring, for which plotly draws all dots again."""
        scene = self.state.scene
        self.strip.html = scene_html(self._films, scene, players) if scene else _HINT
        ring = ring_of(*self.data.plane[self._row(scene)].tolist()) if scene else []
        if ring != self._ring:
            self._ring = ring
            later = threading.Timer(_LATER_S, self._draw_ring)
            later.daemon = True
            later.start()
        if self.state.colour != self._coloured:
            self._coloured = self.state.colour
            self.figure.data[0].marker.color = colours(self.data.scenes, self.state.colour)
            self.legend.html = legend_html(self.data, self.state.colour)

    def _draw_ring(self) -> None:
        self.figure.layout.shapes = self._ring


_HINT = (
    '<p class="m2s-note">Every dot is a scene; scenes that are alike lie near each other. '
    "Point at a dot to see its film, time and picture, click it to see the scene; drag and scroll to move, "
    "double-click to see all.</p>"
)


def map_figure(collection):
    """All scenes as dots: a plotly FigureWidget."""
    with quick_jsonschema():
        import plotly.graph_objects as go
        from plotly.basewidget import BaseFigureWidget  # noqa: F401, it is this that imports jsonschema

    plane = collection.plane
    steps = len(_COLOURS)
    scale = [[(k + side) / steps, colour] for k, colour in enumerate(_COLOURS) for side in (0, 1)]
    size = _LARGE_PX if len(plane) <= _FEW else _SMALL_PX
    marker = {"size": size, "opacity": 0.8, "colorscale": scale, "cmin": 0, "cmax": steps}
    draw = go.Scatter if len(plane) <= _FEW else go.Scattergl  # few dots are there sooner without WebGL
    dots = draw(
        x=plane[:, 0], y=plane[:, 1], mode="markers", marker=marker, hovertext=hover_texts(collection),
        hovertemplate="%{hovertext}<extra></extra>",
    )  # fmt: skip
    figure = go.FigureWidget([dots], _layout(plane))
    figure._config = figure._config | {"scrollZoom": True, "displayModeBar": False, "responsive": True}
    return figure


def _layout(plane: np.ndarray) -> dict:
    """No axes, lines or margins; ranges of its own, which the ring does not change."""
    low, high = plane.min(0), plane.max(0)
    edge = _EDGE * (high - low).max() or 1.0
    x, y = ({"visible": False, "range": ends} for ends in np.stack([low - edge, high + edge], 1).tolist())
    return {
        "xaxis": x, "yaxis": y | {"scaleanchor": "x"}, "height": _TALL_PX, "autosize": True,
        "showlegend": False,
        "margin": dict.fromkeys("lrtb", 0), "paper_bgcolor": "rgba(0,0,0,0)", "plot_bgcolor": "rgba(0,0,0,0)",
        "dragmode": "pan", "hovermode": "closest",
    }  # fmt: skip


def ring_of(x: float, y: float) -> list[dict]:
    """The chosen scene's ring, of the same size however near one looks."""
    pixels = {"xsizemode": "pixel", "ysizemode": "pixel", "xanchor": x, "yanchor": y}
    box = {"x0": -_RING_PX, "x1": _RING_PX, "y0": -_RING_PX, "y1": _RING_PX}
    return [{"type": "circle", "line": {"width": 3, "color": "#D55E00"}} | pixels | box]


def hover_texts(collection) -> np.ndarray:
    """Film and time of every scene, text [N]."""
    scenes = collection.scenes
    titles = scenes["film_id"].map(
        {f: escape_html(title_of(collection, f)) for f in scenes["film_id"].unique()}
    )
    seconds = scenes["start_s"] // 1  # many scenes begin in the same second of their films
    at = seconds.map({second: timecode(second).removeprefix("0:") for second in seconds.unique()})
    unknown = ~np.isfinite(seconds)
    at[unknown] = "shot " + scenes["shot"][unknown].astype(str)
    return (titles + " · " + at).to_numpy(object)


def pointed_html(films: Films, film: str, shot: int, words: str) -> str:
    """The picture of a shot over its scene's words, which are one of `hover_texts`."""
    picture = picture_html(films.store(film), shot, films.title(film), _POINTED_PX)
    return f"{picture}<br><small>{words}</small>"


def legend_html(collection, name: str) -> str:
    """What each colour means, or that there are more values than colours."""
    _, values = _grouped(collection.scenes, name)
    if len(values) > len(_COLOURS):
        return f'<p class="m2s-note">{len(values):,} values share {len(_COLOURS)} colours.</p>'
    words = [title_of(collection, value) if name == "film" else plain_words(value) for value in values]
    dots = (
        f'<span><span style="color:{colour}">●</span> {escape_html(word)}</span>'
        for colour, word in zip(_COLOURS, words, strict=False)
    )
    return f'<p class="m2s-note">{" &nbsp; ".join(dots)}</p>'


def colours(scenes: pd.DataFrame, name: str) -> np.ndarray:
    """A colour's number for every scene, by film or by the value of a label; float32 [N]."""
    codes, _ = _grouped(scenes, name)
    return (codes % len(_COLOURS) + 0.5).astype(np.float32)


def _grouped(scenes: pd.DataFrame, name: str) -> tuple[np.ndarray, pd.Index]:
    """The number of every scene's value, and the values: films, or a label's."""
    return pd.factorize(scenes["film_id" if name == "film" else name])
