"""The contact sheet of one film, above the timeline of its cuts."""

import math
from collections.abc import Sequence

import numpy as np

from m2s_lib.display.filmstrips import frame_width, placeholder, proportions, resize, shown_frames
from m2s_lib.display.palette import GREY, OKABE_ITO
from m2s_lib.display.style import WIDTH, axes_at, new_figure, picture_at, styled, text_at
from m2s_lib.display.text import NO_PICTURES, timecode
from m2s_lib.errors import M2SError
from m2s_lib.films.store.shot_store import ShotStore

_MARGIN, _LINE, _GAP = 0.1, 0.17, 0.06  # inches
_BAR, _SIDE = 0.28, 0.32  # inches: height of the timeline's bar, and the room its outer labels need
_SHADES = ("#9fb8cc", "#e3e9ee")  # neighbouring shots differ in brightness, so cuts show without colour


@styled
def keyframe_sheet(store: ShotStore, n: int = 40, columns: int = 8, title: str = ""):
    """Contact sheet: `n` shots spread evenly over the film, numbered and timed, above the film's cuts.

    Args:
        store: the film.
        n: pictures at most, 1 or more; a film with fewer shots shows them all.
        columns: pictures in a row.
        title: of the film; its id when empty.
    """
    if n < 1 or columns < 1:
        raise M2SError(f"a sheet of n={n} pictures in {columns} columns cannot be drawn: both need 1 or more")
    picked = np.unique(np.linspace(0, store.n_shots - 1, min(n, store.n_shots)).round().astype(int))
    width = (WIDTH - 2 * _MARGIN + _GAP) / columns - _GAP
    height = width / proportions(store)
    down = math.ceil(len(picked) / columns)
    grid = 0.3 + down * (height + _LINE + _GAP)
    fig = new_figure(WIDTH, grid + _BAR + 0.42 + 2 * _MARGIN)
    which = "all shots" if len(picked) == store.n_shots else f"{len(picked)} of {store.n_shots:,} shots"
    text_at(
        fig, _MARGIN, _MARGIN, f"{which} of {title or store.film_id}", WIDTH - 0.2, va="top", weight="bold"
    )
    px = max(1, round(200 * height))
    starts = store.shots["start_s"].to_numpy(float)
    for i, shot in enumerate(picked):
        left = _MARGIN + i % columns * (width + _GAP)
        top = _MARGIN + 0.3 + i // columns * (height + _LINE + _GAP)
        picture_at(fig, _keyframe(store, int(shot), px), left, top, width, height, f"shot {shot}")
        words = f"{shot} · {timecode(starts[shot])}".rstrip(" ·")
        text_at(
            fig, left + width / 2, top + height + 0.02, words, size=7.5, ha="center", va="top", color=GREY
        )
    axes = axes_at(fig, _SIDE, _MARGIN + grid + 0.05, WIDTH - 2 * _SIDE, _BAR)
    _draw_timeline(axes, store, picked)
    fig.m2s_alt = f"Contact sheet, {which} of {title or store.film_id}, above a bar of where its shots begin."
    return fig


def _keyframe(store: ShotStore, shot: int, height_px: int) -> np.ndarray:
    width_px = frame_width(store, height_px)
    if not store.has_pixels:
        return placeholder(height_px, width_px, NO_PICTURES)
    return resize(shown_frames(store.scene(shot, 1))[0], height_px, width_px)


def _draw_timeline(axes, store: ShotStore, picked: Sequence[int]) -> None:
    """Shots as bars, `picked` ones with a tick above."""
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    starts, ends = (store.shots[c].to_numpy(float) for c in ("start_s", "end_s"))
    timed = bool(np.isfinite(starts).all() and np.isfinite(ends).all())
    edges = np.append(starts, ends[-1]) if timed else np.arange(store.n_shots + 1.0)
    shades = [_SHADES[i % 2] for i in range(store.n_shots)]
    axes.bar(edges[:-1], 1, np.diff(edges), align="edge", color=shades, linewidth=0)
    axes.vlines(edges[np.asarray(picked)], 1.05, 1.3, color=OKABE_ITO[0], linewidth=0.8, clip_on=False)
    axes.set(xlim=(edges[0], edges[-1]), ylim=(0, 1), yticks=[])
    axes.spines[:].set_visible(False)
    axes.xaxis.set_major_locator(MaxNLocator(10, integer=True, steps=[1, 2, 3, 6, 10] if timed else None))
    if timed:
        axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: timecode(x)))
    axes.set_xlabel("time (h:mm:ss)" if timed else "shot (times unknown)", labelpad=1)
