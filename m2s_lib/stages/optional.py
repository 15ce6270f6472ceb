"""Figures of optional data: drawn and saved where there are rows, a sentence where there are none."""

from collections.abc import Callable

import pandas as pd


def optional_figure(stage, id: str, draw: Callable, table: pd.DataFrame, words: str, **options):
    """Draws, saves and returns a figure, or returns words where its table has no row.

    Args:
        stage: an open stage. id: of the figure. draw: the table and `options` to a Figure with `m2s_alt`.
        words: what is missing.

    Returns:
        The figure, or `words`.
    """
    if not len(table):
        return Words(words)
    figure = draw(table, **options)
    return stage.save_figure(figure, id, table=table, alt=figure.m2s_alt)


class Words(str):
    """Text that a notebook shows without quotation marks."""

    def __repr__(self) -> str:
        return str(self)
