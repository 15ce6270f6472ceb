"""Every figure of the suite. Each function returns a matplotlib Figure, shows and saves nothing, and leaves a
short description in `fig.m2s_alt`."""

from m2s_lib.display.figures.clips import boundaries_figure, found_by_figure, predictions_figure
from m2s_lib.display.figures.plots import (
    figure2,
    loss_curves,
    precision_bars,
    roc_figure,
    similarity_heatmap,
)
from m2s_lib.display.figures.scenes import retrieval_figure, scene_pairs_figure
from m2s_lib.display.figures.shots import keyframe_sheet

__all__ = [
    "boundaries_figure",
    "figure2",
    "found_by_figure",
    "keyframe_sheet",
    "loss_curves",
    "precision_bars",
    "predictions_figure",
    "retrieval_figure",
    "roc_figure",
    "scene_pairs_figure",
    "similarity_heatmap",
]
