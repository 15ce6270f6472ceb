"""Figures made of numbers: similarity matrices (Fig. 2), loss and ROC curves, precision with intervals."""

import math
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from m2s_lib.display.figures.base import caption_below
from m2s_lib.display.palette import GREY, OKABE_ITO
from m2s_lib.display.style import WIDTH, axes_at, new_figure, safe_text, styled, text_at
from m2s_lib.errors import M2SError
from m2s_lib.words import encoder_words, plain_words

_LARGEST = 1000  # cells of a heat map's side; larger ones are drawn by the maximum of neighbouring cells
_FEW = 8  # points of a curve that are drawn as dots, too
_CURVES = {
    "loss": "loss (nats)",
    "accuracy": "accuracy among the queue's keys",
    "alignment": "alignment (lower: pairs closer)",
    "uniformity": "uniformity (lower: more spread)",
}


_FALLING = (
    "Accuracy is the share of queries whose own key is nearer than every key of the queue. It may fall while "
    "training goes well: the queue fills, so there are more keys to be told apart, and they come from an "
    "encoder that becomes better."
)


@styled
def similarity_heatmap(B: np.ndarray, picks: pd.DataFrame | None, titles: Sequence[str], n_numbered: int = 5):
    """The scene similarity matrix B of a film pair, the selected scene pairs marked (§3.2).

    Args:
        B: [u, v] similarity of every scene of film 1 (first shot i) with every scene of film 2 (first shot
            j).
        picks: scene_pairs rows of this film pair (shot_a, shot_b, rank); None for no marks.
        titles: of film 1 and film 2.
        n_numbered: ranks that are written beside their mark.
    """
    cells, step = largest_of(_matrix(B, "B"))
    u, v = B.shape
    fig = new_figure(WIDTH, min(max(6.0 * u / v, 2.6), 7.5))
    axes = fig.add_subplot()
    image = axes.imshow(cells, extent=(-0.5, v - 0.5, u - 0.5, -0.5), aspect="auto", interpolation="nearest")
    marked = 0 if picks is None else len(picks)
    if marked:
        mark_pairs(axes, picks, n_numbered)
    axes.set_ylabel(safe_text(f"first shot of scene, {titles[0]}", 48))
    axes.set_xlabel(safe_text(f"first shot of scene, {titles[1]}", 60))
    note = f"\n(each point drawn is the largest of {step} x {step} cells)" if step > 1 else ""
    axes.set_title(f"{u} x {v} scenes, {marked} scene pairs selected{note}", loc="left")
    fig.colorbar(image, ax=axes, label="scene similarity (average of shot dot products)", shrink=0.9)
    fig.set_layout_engine("tight")
    fig.m2s_alt = (
        f"Heat map of scene similarity between {titles[0]} ({u} scenes) and {titles[1]} ({v} scenes), from "
        f"{np.nanmin(B):.3g} to {np.nanmax(B):.3g}; {marked} selected scene pairs are marked."
    )
    return fig


@styled
def figure2(A: np.ndarray, B: np.ndarray, V: np.ndarray, titles: Sequence[str] = ("film 1", "film 2")):
    """Fig. 2: shot matrix A, scene matrix B after average pooling, and V after max pooling, of one film pair.

    Args:
        A: [u, v] dot products of shots. B: [scenes, scenes]. V: [14, 14], or flat [196].
        titles: of the film down and of the film across.

    Returns:
        Figure with one colour scale for all three; what lies beyond the end of a film (rows and columns of
        zeros at the end of A) is grey.
    """
    V = np.asarray(V)
    side = math.isqrt(V.size)
    if V.ndim == 1 and side * side != V.size:
        raise M2SError(f"V has {V.size} values, expected a square number such as 196 (14 x 14)")
    V = V.reshape(side, side) if V.ndim == 1 else V
    fig = new_figure(WIDTH, 4.1)
    names = ("A: shots with shots", "B: scenes (average)", "V: the best scenes (maximum)")
    matrices = [_without_padding(_matrix(m, name[0])) for name, m in zip(names, (A, B, V), strict=True)]
    scale = {"vmin": min(map(np.nanmin, matrices)), "vmax": max(map(np.nanmax, matrices))}
    for i, (name, matrix) in enumerate(zip(names, matrices, strict=True)):
        axes, (u, v) = axes_at(fig, 0.6 + 2.85 * i, 0.5, 2.5, 2.3), matrix.shape
        extent = (-0.5, v - 0.5, u - 0.5, -0.5)
        image = axes.imshow(largest_of(matrix)[0], extent=extent, interpolation="nearest", **scale)
        axes.set_facecolor("#c8c8c8")
        axes.set_title(f"{name}\n{u:,} x {v:,}", loc="left", size=8.5)
        axes.set_ylabel(safe_text(titles[0], 30) if i == 0 else "")
        axes.set_xlabel(safe_text(titles[1], 30))
        axes.locator_params(integer=True, nbins=6)
    bar = axes_at(fig, 2.5, 3.4, 4.0, 0.12)
    fig.colorbar(image, cax=bar, orientation="horizontal").set_label("similarity (dot product)", size=8)
    words = "One colour scale for all three. Grey: beyond the end of a film (padding)."
    text_at(fig, 0.1, 3.92, words, size=8, va="top", color=GREY)
    sizes = ", ".join(f"{n[0]} {m.shape[0]} x {m.shape[1]}" for n, m in zip(names, matrices, strict=True))
    fig.m2s_alt = f"Heat maps of one film pair, from shot similarities to pooled scene similarities: {sizes}."
    return fig


def _without_padding(matrix: np.ndarray) -> np.ndarray:
    """The matrix with NaN in the rows and columns at its end that are all zero."""
    matrix = matrix.astype(np.float64)
    rows, columns = (np.flatnonzero(matrix.any(axis=axis)) for axis in (1, 0))
    if len(rows):
        matrix[rows[-1] + 1 :], matrix[:, columns[-1] + 1 :] = np.nan, np.nan
    return matrix


@styled
def loss_curves(log: pd.DataFrame):
    """Training over steps: loss, accuracy, alignment and uniformity, those that the log has.

    Args:
        log: column step, and loss, accuracy, alignment, uniformity as far as known. With more than 200 rows
            the running mean is drawn over the raw values.
    """
    present = [c for c in _CURVES if c in log.columns and log[c].notna().any()]
    if "step" not in log.columns or not present:
        raise M2SError(
            f"the log has the columns {list(log.columns)}, expected step and at least one of {list(_CURVES)}"
        )
    across = min(2, len(present))
    down = math.ceil(len(present) / across)
    fig = new_figure(WIDTH if across == 2 else 5.5, 2.3 * down + 0.2)
    for i, name in enumerate(present):
        axes = fig.add_subplot(down, across, i + 1)
        line = log[["step", name]].dropna()
        many = len(line) > 200
        dots = "o" if len(line) <= _FEW else ""  # a line of one point would not be seen
        thin = {"color": OKABE_ITO[4 if many else 0], "linewidth": 0.6 if many else 1.4}
        axes.plot(line["step"], line[name], marker=dots, markersize=4, **thin)
        if many:
            smooth = line[name].rolling(max(2, len(line) // 50), center=True, min_periods=1).mean()
            axes.plot(line["step"], smooth, color=OKABE_ITO[0], linewidth=1.6)
        axes.set(xlabel="step", ylabel=name)
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.set_title(_CURVES[name], loc="left")
        if name == "accuracy":
            axes.set_ylim(0, 1.02)
    caption_below(fig, _FALLING if "accuracy" in present else "", fig.get_figwidth())
    ends = ", ".join(f"{c} {log[c].dropna().iloc[0]:.3g} to {log[c].dropna().iloc[-1]:.3g}" for c in present)
    fig.m2s_alt = f"Training curves over {len(log)} logged steps: {ends}."
    return fig


@styled
def roc_figure(roc: Mapping[str, tuple] | pd.DataFrame, auc: Mapping[str, float]):
    """ROC curves with the area under each in the legend (supp. Fig. 9-10).

    Args:
        roc: {curve: (false positive rates, true positive rates)}, or a table with the columns curve, fpr,
            tpr.
        auc: {curve: area}; NaN or absent is written as 'not measured'.

    Returns:
        Figure; a sentence where there is no curve.
    """
    if not len(roc):
        return (
            "There is no ROC curve to draw: no film pairs were held out (02.movie_held_out, or more films)."
        )
    if isinstance(roc, pd.DataFrame):
        roc = {name: (t["fpr"], t["tpr"]) for name, t in roc.groupby("curve", sort=False)}
    fig = new_figure(4.8, 4.4)
    axes = fig.add_subplot()
    axes.plot([0, 1], [0, 1], color=GREY, linewidth=1, linestyle=":", label="chance 0.500")
    styles = ("-", "--", "-.", (0, (1, 1)))
    areas = []
    for i, (name, (fpr, tpr, *_)) in enumerate(roc.items()):
        area = float(auc.get(name, math.nan))
        areas.append(
            f"{plain_words(name)} {area:.3f}" if math.isfinite(area) else f"{plain_words(name)}: not measured"
        )
        axes.plot(
            fpr,
            tpr,
            color=OKABE_ITO[i % 8],
            linestyle=styles[i % 4],
            linewidth=1.6,
            label=safe_text(areas[-1], 40),
        )
    axes.set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.01), aspect="equal")
    axes.set(xlabel="false positive rate", ylabel="true positive rate")
    axes.legend(title="area under the curve", loc="lower right")
    fig.set_layout_engine("tight")
    fig.m2s_alt = f"ROC curves, area under the curve: {', '.join(areas)}."
    return fig


@styled
def precision_bars(table: pd.DataFrame, chance: float | None = None, what: str = "precision"):
    """One bar for each encoder with its 95 % interval in per cent, chance as a line; groups of bars where
    there are metrics.

    Args:
        table: encoder, value, ci_low, ci_high (NaN: no interval), and optionally n and metric. A NaN value is
            written as 'not measured'. Values are fractions.
        chance: value of guessing; None draws no line.
        what: name of the value axis.

    Returns:
        Figure; a sentence where the table has no row.
    """
    missing = [c for c in ("encoder", "value", "ci_low", "ci_high") if c not in table.columns]
    if missing:
        raise M2SError(f"the table lacks the columns {missing}; found {list(table.columns)}")
    if not len(table):
        return f"There is no {what} to draw: it was not measured."
    metrics = table["metric"].drop_duplicates().tolist() if "metric" in table.columns else [None]
    encoders = table["encoder"].drop_duplicates().tolist()
    fig = new_figure(WIDTH, 0.9 + len(encoders) * (0.14 + 0.24 * len(metrics)))
    axes, thick = fig.add_subplot(), 0.82 / len(metrics)
    for j, metric in enumerate(metrics):
        rows = table if metric is None else table[table["metric"] == metric]
        rows = rows.drop_duplicates("encoder").set_index("encoder").reindex(encoders)
        at = np.arange(len(encoders)) + (j - (len(metrics) - 1) / 2) * thick
        value = rows["value"].to_numpy(float)
        label = None if metric is None else safe_text(metric, 30)
        colour = OKABE_ITO[(4, 0, 2, 1)[j % 4]]
        axes.barh(at, 100 * np.nan_to_num(value), thick * 0.9, color=colour, label=label)
        _intervals(axes, at, rows, value)
    if chance is not None:
        line = {"color": OKABE_ITO[5], "linestyle": "--", "linewidth": 1.2}
        axes.axvline(100 * chance, label=f"chance {_percent(chance)}", **line)
    axes.set_yticks(np.arange(len(encoders)), [safe_text(encoder_words(e)) for e in encoders])
    axes.invert_yaxis()
    high = np.nanmax([*table["value"], *table["ci_high"], chance or 0, 0])
    axes.set_xlim(0, min(100 * (high or 1) * 1.25, 115))
    axes.set_xlabel(safe_text(f"{what}, per cent"))
    if chance is not None or metrics != [None]:
        axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=4)
    caption_below(fig, f"Bar: mean, line: 95 % interval.{_counts(table)}")
    values = ", ".join(
        f"{encoder_words(r.encoder)}{'' if metrics == [None] else ' ' + str(r.metric)} {_percent(r.value)}"
        for r in table.itertuples()
    )
    fig.m2s_alt = f"Bars of {what}: {values}{'' if chance is None else f'; chance {_percent(chance)}'}."
    return fig


def _counts(table: pd.DataFrame) -> str:
    """How many were counted, once for all bars; '' where it is not known."""
    column = next((c for c in ("n", "n_pairs", "n_queries") if c in table.columns), None)
    n = table[column].dropna() if column else pd.Series(dtype=float)
    if n.empty:
        return ""
    return f" n = {n.min():,.0f}" + (f" to {n.max():,.0f}." if n.min() < n.max() else ".")


def _intervals(axes, at: np.ndarray, rows: pd.DataFrame, value: np.ndarray) -> None:
    """The 95 % interval of each bar, and behind it the value."""
    low, high = 100 * rows["ci_low"].to_numpy(float), 100 * rows["ci_high"].to_numpy(float)
    axes.hlines(at, low, high, color="black", linewidth=1.4)
    for y, v, h in zip(at, value, high, strict=True):
        behind = (np.nanmax([100 * v, h, 0]), y)
        note = axes.annotate(_percent(v), behind, (4, 0), textcoords="offset points", va="center", size=8)
        # keeps the chance line off the text
        note.set_bbox({"facecolor": "white", "edgecolor": "none", "pad": 1})


def _percent(value: float) -> str:
    return f"{100 * value:.1f} %" if math.isfinite(value) else "not measured"


def _matrix(values: np.ndarray, name: str) -> np.ndarray:
    values = np.asarray(values)
    if values.ndim != 2 or not values.size:
        raise M2SError(f"{name} has shape {values.shape}, expected two axes with at least one cell")
    return values


def largest_of(matrix: np.ndarray) -> tuple[np.ndarray, int]:
    """Maximum over step x step blocks, so that peaks stay visible; step is 1 up to 1000 x 1000 cells."""
    step = math.ceil(max(matrix.shape) / _LARGEST)
    if step == 1:
        return matrix, 1
    rows = np.maximum.reduceat(matrix, np.arange(0, matrix.shape[0], step), axis=0)  # [u / step, v]
    return np.maximum.reduceat(rows, np.arange(0, matrix.shape[1], step), axis=1), step  # [u', v']


def mark_pairs(axes, picks: pd.DataFrame, n_numbered: int) -> None:
    """Rings around the selected scene pairs, the best ones numbered, readable on dark and bright cells."""
    from matplotlib.patheffects import withStroke

    for colour, width in (("white", 2.2), (OKABE_ITO[5], 1.1)):
        ring = {"facecolors": "none", "edgecolors": colour, "linewidths": width}
        axes.scatter(picks["shot_b"], picks["shot_a"], s=26, **ring)
    outline = [withStroke(linewidth=2, foreground="black")]
    for row in picks.nsmallest(n_numbered, "rank").itertuples():
        at = (row.shot_b, row.shot_a)
        label = axes.annotate(str(int(row.rank)), at, (5, 4), textcoords="offset points", size=8)
        label.set(weight="bold", color="white", path_effects=outline)
