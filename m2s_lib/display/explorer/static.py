"""The explorer's view as one picture, for papermill, nbval and everyone who reads the notebook."""

import numpy as np

from m2s_lib.display.explorer.data import ScenePairs
from m2s_lib.display.explorer.draw import facts_words
from m2s_lib.display.explorer.state import ExplorerState, chosen, colour_limits, open_state
from m2s_lib.display.figures.plots import largest_of, mark_pairs
from m2s_lib.display.figures.scenes import LINE, MARGIN, fits, scene_strip
from m2s_lib.display.filmstrips import timecode_range
from m2s_lib.display.style import GREY, WIDTH, axes_at, new_figure, picture_at, safe_text, styled, text_at

_MAP, _ZOOM, _BAR = 3.4, 2.0, 0.12  # inches: width of B, side of the neighbourhood, width of the colour bar
_LEFT, _BELOW, _HEAD = 0.62, 0.42, 0.3  # inches: room for numbers and names on the left, below and above
_TALLEST = 3.6  # inches of B
_NUMBERED = 5


@styled
def explorer_figure(scenes: ScenePairs, film_a: str = "", film_b: str = "", **view):
    """What `explore` shows first, as a picture: B with the marked scene pairs, the neighbourhood of the
    chosen one, its score and rank, the same under a second encoder, and both filmstrips.

    Args:
        scenes: films, stores, encoders.
        film_a, film_b, view: what is drawn: encoder, second, shot_a, shot_b, marked, colours, as in
            `explorer_state.open_state`.

    Returns:
        Figure; a sentence where these films cannot be compared.

    Raises:
        M2SError: as `open_state`.
    """
    if film_a and film_b and not scenes.can_compare(film_a, film_b):
        titles = " and ".join(scenes.title(film) for film in (film_a, film_b))
        return f"There is no B to draw: {titles} are not both as long as a scene ({scenes.n_shots} shots)."
    state = open_state(scenes, film_a, film_b, **view)
    u, v = scenes.scores(state.encoder, state.film_a, state.film_b).b.shape
    tall = min(max(_MAP * u / v, 1.6), _TALLEST)
    strips = [_chosen_strip(scenes, state, side) for side in "ab"]
    column = (WIDTH - 3 * MARGIN) / 2
    strip_height = max(fits(strip, column) for strip in strips)
    encoders = [e for e in (state.encoder, state.second) if e]
    row = _HEAD + max(tall, _ZOOM) + _BELOW
    fig = new_figure(WIDTH, 2 * MARGIN + len(encoders) * row + 2 * LINE + strip_height + 0.1)
    for number, encoder in enumerate(encoders):
        _draw_row(fig, scenes, state, encoder, MARGIN + number * row, tall)
    top = MARGIN + len(encoders) * row + 0.05
    for side, strip in zip("ab", strips, strict=True):
        film, shot = chosen(state, side)
        left = MARGIN if side == "a" else 2 * MARGIN + column
        text_at(fig, left, top, f"{side.upper()}: {scenes.title(film)}", column, va="top", weight="bold")
        where = f"{timecode_range(scenes.stores[film], shot, scenes.n_shots)}, from shot {shot}"
        text_at(fig, left, top + LINE, where, column, 8, va="top", color=GREY)
        axes = picture_at(fig, strip, left, top + 2 * LINE, column, strip_height, f"{film} {shot}")
        axes.set_anchor("NW")
    fig.m2s_alt = _alt(scenes, state, encoders)
    return fig


def _chosen_strip(scenes: ScenePairs, state: ExplorerState, side: str) -> np.ndarray:
    film, shot = chosen(state, side)
    return scene_strip(scenes.stores[film], shot, scenes.n_shots)


def _draw_row(fig, scenes: ScenePairs, state: ExplorerState, encoder: str, top: float, tall: float) -> None:
    """One encoder: B, the neighbourhood, the colour bar, the words."""
    scores = scenes.scores(encoder, state.film_a, state.film_b)
    share = state.colours == "share"
    values = shares(scores.b) if share else scores.b
    low, high = (0.0, 1.0) if share else colour_limits(scenes, state)
    scale = {"vmin": low, "vmax": high, "interpolation": "nearest"}
    text_at(fig, MARGIN, top, encoder, WIDTH - 2 * MARGIN, va="top", weight="bold")
    top += _HEAD
    u, v = values.shape
    axes = axes_at(fig, MARGIN + _LEFT, top, _MAP, tall)
    cells, _ = largest_of(values)
    image = axes.imshow(cells, extent=(-0.5, v - 0.5, u - 0.5, -0.5), aspect="auto", **scale)
    picks = scores.picks.head(state.marked)
    for side, place in zip("ab", (axes.set_ylabel, axes.set_xlabel), strict=True):
        place(safe_text(f"first shot in {side.upper()}: {scenes.title(chosen(state, side)[0])}", 40), size=8)
    left = MARGIN + _LEFT + _MAP + 0.5
    near = axes_at(fig, left, top, _ZOOM, _ZOOM)
    near.imshow(values, extent=(-0.5, v - 0.5, u - 0.5, -0.5), aspect="auto", **scale)
    half = min(max(scenes.n_shots, 4), 20) + 0.5
    near.set(xlim=(state.shot_b - half, state.shot_b + half), ylim=(state.shot_a + half, state.shot_a - half))
    near.set_xlabel("neighbourhood of the chosen pair", size=8)
    for place, some in ((axes, picks), (near, _near(picks, state, half))):
        if len(some):
            mark_pairs(place, some, _NUMBERED)
        _frame(place, state)
        place.locator_params(integer=True, nbins=6)
    left += _ZOOM + 0.2
    bar = fig.colorbar(image, cax=axes_at(fig, left, top, _BAR, _ZOOM))
    bar.ax.tick_params(labelsize=7)
    left += _BAR + 0.5
    words = ["colour: share of", "windows that score", "lower"] if share else ["colour: score"]
    facts = scenes.facts(encoder, state.film_a, state.film_b, state.shot_a, state.shot_b)
    lines = [line for words in facts_words(facts) for line in _wrapped(words)]
    for line, text in enumerate([*lines, "", *words]):
        text_at(
            fig, left, top + line * LINE, text, WIDTH - left, va="top", weight="normal" if line else "bold"
        )


def shares(b: np.ndarray) -> np.ndarray:
    """For each cell the share of B's windows that score lower: float64, 0..1."""
    ordered = np.sort(b, axis=None)
    return np.searchsorted(ordered, b, side="left") / b.size


def _near(picks, state: ExplorerState, half: float):
    return picks[((picks.shot_a - state.shot_a).abs() < half) & ((picks.shot_b - state.shot_b).abs() < half)]


def _frame(axes, state: ExplorerState) -> None:
    """A white square with a black edge around the chosen cell."""
    for colour, width, size in (("black", 3.4, 9), ("white", 1.6, 9)):
        axes.plot(state.shot_b, state.shot_a, "s", fillstyle="none", color=colour, markersize=size, mew=width)


def _wrapped(words: str, columns: int = 24) -> list[str]:
    import textwrap

    return textwrap.wrap(words, columns)


def _alt(scenes: ScenePairs, state: ExplorerState, encoders: list[str]) -> str:
    a, b = scenes.title(state.film_a), scenes.title(state.film_b)
    parts = []
    for encoder in encoders:
        facts = scenes.facts(encoder, state.film_a, state.film_b, state.shot_a, state.shot_b)
        u, v = scenes.scores(encoder, state.film_a, state.film_b).b.shape
        parts.append(f"{encoder}: {u} by {v} scenes, {', '.join(facts_words(facts))}")
    return (
        f"Heat map of scene similarity between {a} and {b} with {state.marked} scene pairs marked, and the "
        f"filmstrips of the pair from shots {state.shot_a} and {state.shot_b}. {'; '.join(parts)}."
    )
