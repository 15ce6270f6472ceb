"""What a mined pair is worth: precision against what is kept, and themes found by each kind of metadata."""

import numpy as np
import pandas as pd

from m2s_lib.display.palette import GREY, OKABE_ITO
from m2s_lib.display.style import WIDTH, new_figure, safe_text, styled
from m2s_lib.errors import M2SError
from m2s_lib.words import counted, plain_words, row_words

_MARKS = ("o", "s", "^", "D", "v", "P")
PAPERS_SHARE = 0.5  # that it keeps of what the greedy pass selects (section 4.1.2)


@styled
def worth_figure(by_share: pd.DataFrame, chance: float = np.nan):
    """Share of pairs with the same theme against the share kept, and against the lowest score kept.

    Args:
        by_share: of `worth_of_pairs`: ratio, lowest_score, precision, ci_low, ci_high (each within 0..1).
        chance: value of random scenes of the same film pairs; NaN draws no line.
    """
    table = by_share.dropna(subset=["precision"])
    if not len(table):
        raise M2SError("there is no precision to draw: the themes of these films are not known")
    ends = table[["ci_low", "ci_high"]].clip(0, 1).to_numpy().T
    fig = new_figure(WIDTH, 3.1)
    axes = [fig.add_subplot(1, 2, 1), fig.add_subplot(1, 2, 2)]
    for ax, column, label in zip(
        axes, ("ratio", "lowest_score"), ("share kept of each film pair", "lowest score kept"), strict=True
    ):
        ax.plot(table[column], table["precision"], marker="o", color=OKABE_ITO[0], label="mined pairs")
        ax.vlines(table[column], *ends, color=OKABE_ITO[0], linewidth=1.2, label="95 % interval")
        if np.isfinite(chance):
            ax.axhline(chance, color=GREY, linestyle=":", label=f"chance {chance:.2f}")
        ax.set(ylim=(0, 1.02), xlabel=label, ylabel="share of the same theme")
    axes[0].axvline(PAPERS_SHARE, color=OKABE_ITO[1], linestyle="--", zorder=0, label="the paper keeps")
    axes[1].invert_xaxis()  # in both panels more is kept further right
    fig.legend(*axes[0].get_legend_handles_labels(), loc="lower center", ncols=4)
    fig.set_layout_engine("tight", rect=(0, 0.08, 1, 1))
    first, last = table.iloc[0], table.iloc[-1]
    fig.m2s_alt = (
        f"Share of mined pairs with the same theme: {first['precision']:.2f} when {first['ratio']:.0%} of "
        f"each film pair's are kept, {last['precision']:.2f} when {last['ratio']:.0%} are."
    )
    return fig


@styled
def themes_figure(table: pd.DataFrame):
    """Share of pairs with the same theme for each theme and kind of metadata, themes found best on top.

    Args:
        table: of `themes_by_metadata`.
    """
    single = table[table["theme"] != "all"]
    if not len(single):
        raise M2SError("there is no theme to draw: the themes of these films are not known")
    names = single.drop_duplicates(["setting", "metadata"])[["setting", "metadata"]].values.tolist()
    order = single.groupby("theme")["precision"].mean().sort_values().index.tolist()
    one_row = len({row for row, _ in names}) == len({metadata for _, metadata in names})
    labels = [plain_words(m) + ("" if one_row else f" ({row_words(row)})") for row, m in names]
    fig = new_figure(WIDTH, 0.28 * len(order) + 1.3)
    axes = fig.add_subplot()
    for i, (setting, metadata) in enumerate(names):
        mine = single[(single["setting"] == setting) & (single["metadata"] == metadata)].set_index("theme")
        mine = mine.reindex(order)["precision"]
        at = np.arange(len(order)) + 0.12 * (i - (len(names) - 1) / 2)  # equal values stay apart
        style = {"color": OKABE_ITO[i % len(OKABE_ITO)], "linestyle": "none"}
        axes.plot(mine.to_numpy(), at, _MARKS[i % len(_MARKS)], label=safe_text(labels[i]), **style)
    axes.set_yticks(range(len(order)), [safe_text(plain_words(t)) for t in order])
    axes.set_xlim(0, 1.02)
    axes.grid(axis="y", color="#dddddd", linewidth=0.6)
    axes.set_xlabel("share of pairs with the same theme, by the theme of the first scene")
    handles, texts = axes.get_legend_handles_labels()
    fig.legend(handles, texts, loc="lower center", ncols=4)
    rows = -(-len(names) // 4)
    fig.set_layout_engine("tight", rect=(0, 0.22 * rows / fig.get_figheight(), 1, 1))
    best = single.loc[single["precision"].idxmax()]
    fig.m2s_alt = (
        f"{counted(len(order), 'theme')} by {counted(len(names), 'kind')} of metadata; highest "
        f"{best['precision']:.2f} for {plain_words(best['theme'])} by {plain_words(best['metadata'])}, lowest "
        f"{single['precision'].min():.2f}."
    )
    return fig
