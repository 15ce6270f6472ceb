"""Heat maps, curves and bars: the numbers that end up in the picture."""

import io

import numpy as np
import pandas as pd
import pytest

from m2s_lib.display.figures import (
    figure2,
    loss_curves,
    precision_bars,
    roc_figure,
)
from m2s_lib.display.figures.plots import largest_of
from m2s_lib.errors import M2SError


def draw(fig):
    fig.savefig(io.BytesIO(), dpi=60)
    assert fig.m2s_alt
    return fig


def test_large_matrices_keep_their_peaks():
    B = np.zeros((2500, 1200), np.float32)
    B[1777, 1111] = 1
    cells, step = largest_of(B)
    assert (cells.shape, step) == ((834, 400), 3)
    assert np.argwhere(cells == 1).tolist() == [[1777 // 3, 1111 // 3]]


def test_figure_2():
    rng = np.random.default_rng(0)
    V = rng.random(196)
    fig = draw(figure2(rng.random((1024, 1024)), rng.random((127, 127)), V))
    panels = [axes for axes in fig.axes if axes.get_title(loc="left")]
    assert [axes.get_title(loc="left").split("\n")[1] for axes in panels] == [
        "1,024 x 1,024",
        "127 x 127",
        "14 x 14",
    ]
    np.testing.assert_array_equal(panels[2].images[0].get_array(), V.reshape(14, 14))
    assert fig.m2s_alt.endswith("A 1024 x 1024, B 127 x 127, V 14 x 14.")
    assert len({axes.images[0].get_clim() for axes in panels}) == 1  # one scale
    padded = np.pad(rng.random((5, 7)), ((0, 3), (0, 1)))
    shown = figure2(padded, padded, V, ["One", "Two"]).axes[0].images[0].get_array()
    np.testing.assert_array_equal(np.ma.getmaskarray(shown)[:, 0], [False] * 5 + [True] * 3)
    np.testing.assert_array_equal(np.ma.getmaskarray(shown)[0], [False] * 7 + [True])
    with pytest.raises(M2SError, match="V has 195 values, expected a square number"):
        figure2(np.ones((2, 2)), np.ones((2, 2)), V[:195])
    with pytest.raises(M2SError, match=r"B has shape \(2,\), expected two axes"):
        figure2(np.ones((2, 2)), np.ones(2), V)


def test_loss_curves_draw_what_is_there():
    log = pd.DataFrame(
        {"step": [0, 10, 20], "loss": [3.0, 2.0, 1.0], "accuracy": [0.1, np.nan, 0.5], "lr": 0.1}
    )
    fig = draw(loss_curves(log))
    assert [axes.get_ylabel() for axes in fig.axes] == ["loss", "accuracy"]
    assert fig.axes[0].lines[0].get_xydata().tolist() == [[0, 3], [10, 2], [20, 1]]
    assert fig.axes[1].lines[0].get_xydata().tolist() == [[0, 0.1], [20, 0.5]]
    assert "Accuracy is the share of queries" in " ".join(t.get_text() for t in fig.texts)
    assert fig.m2s_alt == "Training curves over 3 logged steps: loss 3 to 1, accuracy 0.1 to 0.5."
    with pytest.raises(
        M2SError, match=r"columns \['step', 'lr'\], expected step and at least one of \['loss'"
    ):
        loss_curves(log[["step", "lr"]])


def test_a_single_point_is_seen():
    log = pd.DataFrame({"step": [4, 5], "loss": [3.0, 2.0], "alignment": [np.nan, 0.8]})
    assert [axes.lines[0].get_marker() for axes in draw(loss_curves(log)).axes] == ["o", "o"]


def test_long_logs_are_smoothed():
    n = 1000
    log = pd.DataFrame({"step": range(n), "loss": np.arange(n) % 2, "alignment": 1.0, "uniformity": -2.0})
    fig = draw(loss_curves(log))
    raw, smooth = fig.axes[0].lines
    assert set(raw.get_ydata()) == {0, 1}
    assert np.ptp(smooth.get_ydata()[20:-20]) < 0.1
    assert len(fig.axes) == 3


def test_roc_curves_from_a_dict_or_a_table():
    x = np.linspace(0, 1, 5)
    fig = draw(roc_figure({"sex $1$": (x, x**0.5), "violence": (x, x)}, {"sex $1$": 0.6667}))
    labels = [t.get_text().replace(r"\$", "$") for t in fig.axes[0].get_legend().get_texts()]
    assert labels == ["chance 0.500", "sex $1$ 0.667", "violence: not measured"]
    np.testing.assert_allclose(fig.axes[0].lines[1].get_xydata(), np.c_[x, x**0.5])
    table = pd.DataFrame({"curve": ["b"] * 5 + ["a"] * 5, "fpr": np.tile(x, 2), "tpr": np.tile(x, 2)})
    again = draw(roc_figure(table, {"a": 0.5, "b": 0.5}))
    assert [t.get_text() for t in again.axes[0].get_legend().get_texts()][1:] == ["b 0.500", "a 0.500"]


def bars_table():
    return pd.DataFrame(
        {
            "encoder": ["ours", "CLIP $1$", "none"],
            "value": [0.6, 0.4, np.nan],
            "ci_low": [0.5, 0.3, np.nan],
            "ci_high": [0.7, np.nan, np.nan],
            "n": [120, 120, np.nan],
        }
    )


def test_bars_with_intervals_and_chance():
    fig = draw(precision_bars(bars_table(), chance=0.25, what="precision at 1"))
    axes = fig.axes[0]
    assert [p.get_width() for p in axes.patches] == [60, 40, 0]
    assert axes.collections[0].get_segments()[0].tolist() == [[50, 0], [70, 0]]
    assert [t.get_text() for t in axes.texts] == ["60.0 %", "40.0 %", "not measured"]
    assert "n = 120." in fig.texts[0].get_text()  # once for all
    assert [t.get_text() for t in axes.get_yticklabels()] == ["ours", r"CLIP \$1\$", "none"]
    assert [t.get_text() for t in axes.get_legend().get_texts()] == ["chance 25.0 %"]
    assert axes.get_xlabel().startswith("precision at 1")
    assert "ours 60.0 %" in fig.m2s_alt
    assert "none not measured" in fig.m2s_alt
    assert axes.texts[0].xy[0] == 70  # behind the interval


def test_bars_in_groups():
    table = pd.concat([bars_table().assign(metric=f"P@{k}") for k in (1, 5, 10)])
    axes = draw(precision_bars(table)).axes[0]
    assert len(axes.patches) == 9
    assert [t.get_text() for t in axes.get_legend().get_texts()] == ["P@1", "P@5", "P@10"]
    centres = sorted(p.get_y() + p.get_height() / 2 for p in axes.patches)
    assert np.diff(centres).min() > 0.2  # no bar covers another


def test_bars_that_cannot_be():
    with pytest.raises(M2SError, match=r"lacks the columns \['ci_low'\]"):
        precision_bars(bars_table().drop(columns="ci_low"))
    assert precision_bars(bars_table().head(0)) == "There is no precision to draw: it was not measured."
    nothing = pd.DataFrame({"curve": [], "fpr": [], "tpr": []})
    assert roc_figure(nothing, {}).startswith("There is no ROC curve to draw")
    empty = precision_bars(bars_table().assign(value=np.nan, ci_low=np.nan, ci_high=np.nan))
    assert [t.get_text() for t in draw(empty).axes[0].texts] == ["not measured"] * 3
