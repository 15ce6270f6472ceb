"""The explorer's view as one picture, for papermill, nbval and everyone who reads the notebook."""

import numpy as np

from m2s_lib.display.explorer.data import ScenePairs
from m2s_lib.display.explorer.draw import facts_words
from m2s_lib.display.explorer.state import ExplorerState, chosen, open_state
from m2s_lib.display.figures.base import LINE, MARGIN, Page, fitted, scene_strip
from m2s_lib.display.figures.plots import largest_of, mark_pairs
from m2s_lib.display.filmstrips import timecode_range
from m2s_lib.display.palette import GREY
from m2s_lib.display.scene_html import shot_time
from m2s_lib.display.style import WIDTH, axes_at, safe_text, styled
from m2s_lib.words import encoder_words

_MAP, _TALLEST = 5.2, 4.0  # inches: width of B, and its height at most
_LEFT, _BELOW, _BAR = 0.75, 0.45, 0.12  # inches: room for times and names, width of the colour bar
_NUMBERED = 5


@styled
def explorer_figure(scenes: ScenePairs, film_a: str = "", film_b: str = "", **view):
    """What `explore` shows first, as a picture: B with the marked scene pairs under one encoder or two, how
    near the chosen pair is, and its filmstrips.

    Args:
        scenes: films, stores, encoders.
        film_a, film_b, view: what is drawn: encoder, second, shot_a, shot_b, marked, as in
            `state.open_state`.

    Returns:
        Figure; a sentence where these films cannot be compared.

    Raises:
        M2SError: as `open_state`.
    """
    if film_a and film_b and not scenes.can_compare(film_a, film_b):
        titles = " and ".join(scenes.title(film) for film in (film_a, film_b))
        return f"There is no B to draw: {titles} are not both as long as a scene ({scenes.n_shots} shots)."
    state, page = open_state(scenes, film_a, film_b, **view), Page()
    encoders = [e for e in (state.encoder, state.second) if e]
    u, v = scenes.scores(state.encoder, state.film_a, state.film_b).b.shape
    tall = min(max(_MAP * u / v, 1.6), _TALLEST)
    for encoder in encoders:
        _draw_map(page, scenes, state, encoder, tall)
    for side, scene in zip("AB", chosen(scenes, state), strict=True):
        strip, width = scene_strip(scenes.stores, scene.film_id, scene.shot, scene.n), WIDTH - 2 * MARGIN
        where = f"{timecode_range(scenes.stores[scene.film_id], scene.shot, scene.n)}, from shot {scene.shot}"
        page.text(MARGIN, f"{side}: {scenes.title(scene.film_id)}", 0.7 * width, weight="bold")
        page.text(WIDTH - MARGIN, where, 0.28 * width, size=8, color=GREY, ha="right")
        page.top += LINE + 0.02
        page.strip(strip, MARGIN, width, fitted(strip, width), f"{scene.film_id} {scene.shot}")
        page.top += fitted(strip, width) + 0.1
    return page.finish(_alt(scenes, state, encoders))


def _draw_map(page: Page, scenes: ScenePairs, state: ExplorerState, encoder: str, tall: float) -> None:
    """One encoder: B, the colour bar, the words."""
    facts = scenes.facts(encoder, state.film_a, state.film_b, state.shot_a, state.shot_b)
    page.text(MARGIN, encoder_words(encoder), WIDTH - 2 * MARGIN, weight="bold")
    page.top += LINE + 0.1
    left = 2 * MARGIN + _LEFT + _MAP + 0.6
    width, line = WIDTH - left - MARGIN, 0.0
    notes = [*facts_words(facts), "squares: the chosen pair; rings: scene pairs, the best numbered"]
    for k, words in enumerate(notes):
        line += page.lines(left, words, width, line * LINE, weight="normal" if k else "bold") + 0.5
    page.draw(lambda fig, top: _map_axes(fig, top, scenes, state, encoder, tall))
    page.top += max(tall + _BELOW, line * LINE) + 0.1


def _map_axes(fig, top: float, scenes: ScenePairs, state: ExplorerState, encoder: str, tall: float) -> None:
    scores = scenes.scores(encoder, state.film_a, state.film_b)
    values = shares(scores.b)  # the same scale for every encoder
    axes, (u, v) = axes_at(fig, MARGIN + _LEFT, top, _MAP, tall), values.shape
    extent = (-0.5, v - 0.5, u - 0.5, -0.5)
    cells = largest_of(values)[0]
    image = axes.imshow(cells, extent=extent, aspect="auto", vmin=0, vmax=1, interpolation="nearest")
    if len(picks := scores.picks.head(state.marked)):
        mark_pairs(axes, picks, _NUMBERED)
    for colour, wide in (("black", 3.4), ("white", 1.6)):
        square = {"fillstyle": "none", "color": colour, "markersize": 9, "markeredgewidth": wide}
        axes.plot(state.shot_b, state.shot_a, "s", **square)
    axes.set(xlim=extent[:2], ylim=extent[2:])
    for film, axis, name in ((state.film_a, axes.yaxis, "A"), (state.film_b, axes.xaxis, "B")):
        store, at = scenes.stores[film], np.linspace(0, (u, v)[name == "B"] - 1, 6).astype(int)
        axis.set_ticks(at, [shot_time(store, i) for i in at])
        axis.set_label_text(safe_text(f"{name}: {scenes.title(film)}", 44), size=8)
    bar = fig.colorbar(image, cax=axes_at(fig, MARGIN + _LEFT + _MAP + 0.1, top, _BAR, tall))
    bar.set_ticks([0, 1], labels=["far", "near"])


def shares(b: np.ndarray) -> np.ndarray:
    """For each cell the share of B's windows that score lower: float64, 0..1."""
    return np.searchsorted(np.sort(b, axis=None), b, side="left") / b.size


def _alt(scenes: ScenePairs, state: ExplorerState, encoders: list[str]) -> str:
    a, b = scenes.title(state.film_a), scenes.title(state.film_b)
    parts = []
    for encoder in encoders:
        facts = scenes.facts(encoder, state.film_a, state.film_b, state.shot_a, state.shot_b)
        u, v = scenes.scores(encoder, state.film_a, state.film_b).b.shape
        words = ", ".join(facts_words(facts))
        parts.append(f"{encoder_words(encoder)}: {u} by {v} scenes, {words}, score {facts.score:.4g}")
    return (
        f"Heat map of scene similarity between {a} and {b} with {state.marked} scene pairs marked, and the "
        f"filmstrips of the pair from shots {state.shot_a} and {state.shot_b}. {'; '.join(parts)}."
    )
