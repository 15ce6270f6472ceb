"""Figures made of numbers: similarity matrices (Fig. 2), loss and ROC curves, precision with intervals."""

import math
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from m2s_lib.display.style import GREY, OKABE_ITO, WIDTH, new_figure, safe_text, styled
from m2s_lib.errors import M2SError

_LARGEST = 1000  # cells of a heat map's side; larger ones are drawn by the maximum of neighbouring cells
_CURVES = {
    "loss": "loss (nats)",
    "accuracy": "accuracy on the training pairs",
    "alignment": "alignment (lower: pairs closer)",
    "uniformity": "uniformity (lower: more spread)",
}


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
    fig = new_figure(6.4, min(max(6.0 * u / v, 2.6), 7.5))
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
def figure2(A: np.ndarray, B: np.ndarray, V: np.ndarray):
    """Fig. 2: shot matrix A, scene matrix B after average pooling, and V after max pooling, of one film pair.

    Args:
        A: [u, v] dot products of shots. B: [scenes, scenes]. V: [14, 14], or flat [196].
    """
    V = np.asarray(V)
    side = math.isqrt(V.size)
    if V.ndim == 1 and side * side != V.size:
        raise M2SError(f"V has {V.size} values, expected a square number such as 196 (14 x 14)")
    V = V.reshape(side, side) if V.ndim == 1 else V
    fig = new_figure(WIDTH, 3.5)
    names = ("A: every shot with every shot", "B: scenes (average pooling)", "V: best of them (max pooling)")
    for i, (name, matrix) in enumerate(zip(names, (A, B, V), strict=True)):
        axes = fig.add_subplot(1, 3, i + 1)
        cells, _ = largest_of(_matrix(matrix, name[0]))
        u, v = np.shape(matrix)
        image = axes.imshow(cells, extent=(-0.5, v - 0.5, u - 0.5, -0.5), interpolation="nearest")
        axes.set_title(f"{name}\n{u:,} x {v:,}", loc="left", size=8.5)
        axes.set_ylabel("film 1" if i == 0 else "")
        axes.set_xlabel("film 2")
        axes.locator_params(integer=True, nbins=6)
        fig.colorbar(image, ax=axes, location="bottom", pad=0.18, label="dot product" if i == 0 else "pooled")
    fig.set_layout_engine("tight")
    sizes = ", ".join(
        f"{n[0]} {np.shape(m)[0]} x {np.shape(m)[1]}" for n, m in zip(names, (A, B, V), strict=True)
    )
    fig.m2s_alt = f"Heat maps of one film pair, from shot similarities to pooled scene similarities: {sizes}."
    return fig


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
        axes.plot(line["step"], line[name], color=OKABE_ITO[4 if many else 0], linewidth=0.6 if many else 1.4)
        if many:
            smooth = line[name].rolling(max(2, len(line) // 50), center=True, min_periods=1).mean()
            axes.plot(line["step"], smooth, color=OKABE_ITO[0], linewidth=1.6)
        axes.set(xlabel="step", ylabel=name)
        axes.set_title(_CURVES[name], loc="left")
        if name == "accuracy":
            axes.set_ylim(0, 1.02)
    fig.set_layout_engine("tight")
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
    said = []
    for i, (name, (fpr, tpr, *_)) in enumerate(roc.items()):
        area = float(auc.get(name, math.nan))
        said.append(f"{name} {area:.3f}" if math.isfinite(area) else f"{name}: not measured")
        axes.plot(
            fpr,
            tpr,
            color=OKABE_ITO[i % 8],
            linestyle=styles[i % 4],
            linewidth=1.6,
            label=safe_text(said[-1], 40),
        )
    axes.set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.01), aspect="equal")
    axes.set(xlabel="false positive rate", ylabel="true positive rate")
    axes.legend(title="area under the curve", loc="lower right")
    fig.set_layout_engine("tight")
    fig.m2s_alt = f"ROC curves, area under the curve: {', '.join(said)}."
    return fig


@styled
def scaling_figure(curves: pd.DataFrame):
    """Seconds over size, both logarithmic, a panel for each thing that grows.

    The line goes through the fastest turn of each size; the points are all turns.

    Args:
        curves: columns stage, variable, size, seconds, exponent, and its interval low, high where known.
    """
    groups = list(curves.groupby(["stage", "variable"], sort=False))
    columns = 3
    fig = new_figure(WIDTH, 2.2 * math.ceil(len(groups) / columns))
    for i, ((stage, variable), rows) in enumerate(groups):
        axes = fig.add_subplot(math.ceil(len(groups) / columns), columns, i + 1)
        best = rows.groupby("size", as_index=False)["seconds"].min()
        axes.loglog(best["size"], best["seconds"], color=OKABE_ITO[0])
        axes.loglog(rows["size"], rows["seconds"], "o", markersize=4, color=OKABE_ITO[0])
        axes.minorticks_off()
        axes.set_xticks(best["size"], [f"{n:,.0f}" for n in best["size"]])
        axes.set_yticks(best["seconds"], [f"{s:.2g}" for s in best["seconds"]])
        low, high = (float(rows[c].iloc[0]) if c in rows else math.nan for c in ("low", "high"))
        interval = "" if math.isnan(low) else f" ({low:.2f} to {high:.2f})"
        axes.set_title(f"{stage}\nexponent {rows['exponent'].iloc[0]:.2f}{interval}", loc="left", fontsize=8)
        axes.set_xlabel(safe_text(variable), fontsize=8)
        axes.set_ylabel("seconds", fontsize=8)
    fig.set_layout_engine("tight")
    told = (f"{s} by {v} to the power {rows['exponent'].iloc[0]:.2f}" for (s, v), rows in groups)
    fig.m2s_alt = "Seconds over size: " + "; ".join(told) + "."
    return fig


@styled
def precision_bars(table: pd.DataFrame, chance: float | None = None, what: str = "precision"):
    """One bar for each encoder with its 95 % interval, chance as a line; groups of bars where there are
    metrics.

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
    fig = new_figure(6.4, 0.9 + len(encoders) * (0.14 + 0.24 * len(metrics)))
    axes = fig.add_subplot()
    thick = 0.82 / len(metrics)
    for j, metric in enumerate(metrics):
        rows = table if metric is None else table[table["metric"] == metric]
        rows = rows.drop_duplicates("encoder").set_index("encoder").reindex(encoders)
        at = np.arange(len(encoders)) + (j - (len(metrics) - 1) / 2) * thick
        value = rows["value"].to_numpy(float)
        label = None if metric is None else safe_text(metric, 30)
        axes.barh(at, np.nan_to_num(value), thick * 0.9, color=OKABE_ITO[(4, 0, 2, 1)[j % 4]], label=label)
        _intervals(axes, at, rows, value)
    if chance is not None:
        axes.axvline(chance, color=OKABE_ITO[5], linestyle="--", linewidth=1.2, label=f"chance {chance:.3f}")
    axes.set_yticks(np.arange(len(encoders)), [safe_text(e, 34) for e in encoders])
    axes.invert_yaxis()
    high = np.nanmax([*table["value"], *table["ci_high"], chance or 0, 0])
    axes.set_xlim(0, (high or 1) * 1.35)
    axes.set_xlabel(safe_text(f"{what} (bar: mean, line: 95 % interval)"))
    if chance is not None or metrics != [None]:
        axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=4)
    fig.set_layout_engine("tight")
    said = ", ".join(
        f"{r.encoder}{'' if metrics == [None] else ' ' + str(r.metric)} {_number(r.value)}"
        for r in table.itertuples()
    )
    fig.m2s_alt = f"Bars of {what}: {said}{'' if chance is None else f'; chance {chance:.3f}'}."
    return fig


def _intervals(axes, at: np.ndarray, rows: pd.DataFrame, value: np.ndarray) -> None:
    """The 95 % interval of each bar, and behind it the value with its count."""
    low, high = rows["ci_low"].to_numpy(float), rows["ci_high"].to_numpy(float)
    axes.hlines(at, low, high, color="black", linewidth=1.4)
    count = rows["n"].tolist() if "n" in rows.columns else [None] * len(rows)
    for y, v, h, n in zip(at, value, high, count, strict=True):
        text = _number(v)
        text += "" if n is None or not math.isfinite(v) or pd.isna(n) else f"  (n = {int(n):,})"
        note = axes.annotate(
            text, (np.nanmax([v, h, 0]), y), (4, 0), textcoords="offset points", va="center", size=8
        )
        note.set_bbox(
            {"facecolor": "white", "edgecolor": "none", "pad": 1}
        )  # keeps the chance line off the text


def _number(value: float) -> str:
    return f"{value:.3f}" if math.isfinite(value) else "not measured"


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
        place = (row.shot_b, row.shot_a)
        label = axes.annotate(str(int(row.rank)), place, (5, 4), textcoords="offset points", size=8)
        label.set(weight="bold", color="white", path_effects=outline)
