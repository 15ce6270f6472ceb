"""The paper's tables as they are looked at: what was published and what was measured as two blocks."""

import html
import re
from collections.abc import Sequence

import numpy as np
import pandas as pd
from pandas.io.formats.style import Styler

DASH = "–"  # nothing published, or nothing measured
BLOCKS = ("published", "measured")
_BELOW = re.compile(r" (?=[\[(])")  # before an interval or a count, which stand below the value
_STYLES = [
    {"selector": "th, td", "props": "text-align: left; vertical-align: top; padding: 3px 9px"},
    {"selector": "td", "props": "white-space: nowrap"},
    {"selector": "caption", "props": "caption-side: bottom; text-align: left; padding-top: 6px"},
    {"selector": "tbody tr", "props": "border-top: 1px solid #8884"},
]


def side_by_side(table: pd.DataFrame, digits: int = 1) -> Styler:
    """The table of `published.beside_measured` to look at: two blocks, published and measured.

    Args:
        table: of `beside_measured`. digits: after the point of per cents; errors have three.

    Returns:
        One row a model (and encoder) with a number in either block; those without any are named below the
        table, and so are the sources of what was published after the paper. A dash is a cell without a
        number.
    """
    text = side_by_side_text(table, digits)
    empty = (text == DASH).all(axis=1)
    names = ", ".join(text.index[empty])
    notes = [f"{DASH}: not published, or not measured in this run."]
    notes += [f"No number at all, so without a row: {names}."] if names else []
    notes += [f"{model}: {source}." for model, source in _later_sources(table).items()]
    return styled_table(text[~empty], notes)


def styled_table(table: pd.DataFrame, notes: Sequence[str] = ()) -> Styler:
    """Any table to look at: text escaped, intervals and counts below their value, notes below the table."""
    styler = table.style.set_table_styles(_STYLES).format(_cell)
    for axis in (0, 1):
        styler = styler.format_index(lambda label: html.escape(str(label)), axis=axis)
    return styler.set_caption("<br>".join(map(html.escape, notes))) if notes else styler


def side_by_side_text(table: pd.DataFrame, digits: int = 1) -> pd.DataFrame:
    """`side_by_side` as plain text: columns ("published", column) and ("measured", column), every row."""
    records = table.to_dict("records")
    text = table.assign(
        published=[_published_text(r, digits) for r in records],
        measured=[_measured_text(r, digits) for r in records],
        name=[_name(r["model"], r["encoder"]) for r in records],
        head=table["column"] + np.where(table["metric"] == "", "", " [" + table["metric"] + "]"),
    )  # fmt: skip
    wide = text.pivot(index="name", columns="head", values=list(BLOCKS))
    order = [(block, head) for block in BLOCKS for head in dict.fromkeys(text["head"])]
    return wide.loc[list(dict.fromkeys(text["name"])), order].rename_axis(index="model", columns=[None, None])


def _later_sources(table: pd.DataFrame) -> dict[str, str]:
    """Sources of models that were published after the paper: model -> reference."""
    later = table[table["model"].str.startswith("after the paper") & (table["reference"] != "")]
    return dict(zip(later["model"], later["reference"], strict=True))


def _cell(value: object) -> str:
    """A cell in HTML: the interval and the count stand below the value."""
    return _BELOW.sub("<br>", html.escape(str(value)))


def _name(model: str, encoder: str) -> str:
    """The paper's model and what stood for it here, whose name may begin with the model's."""
    if encoder.lower().startswith(model.lower()):
        return model + encoder[len(model) :]
    return f"{model} ({encoder})" if encoder else model


def _published_text(row: dict, digits: int) -> str:
    if np.isnan(row["published"]):
        return DASH
    return f"{row['published']:.{max(digits, 3 if not row['unit'] else 0)}f}".rstrip("0").rstrip(".")


def _measured_text(row: dict, digits: int) -> str:
    if np.isnan(row["measured"]):
        return DASH
    d = digits if row["unit"] else 3
    text = f"{row['measured']:.{d}f}"
    if np.isfinite(row["ci_low"]):  # an expected value has none
        text += f" [{row['ci_low']:.{d}f}, {row['ci_high']:.{d}f}]"
    short = "" if row["n_found"] == row["n_listed"] else f", found {row['n_found']:,} of {row['n_listed']:,}"
    seeds = f", {row['seeds']} seeds" if row["seeds"] > 1 else ""
    return f"{text} (n = {row['n']:,}{short}{seeds})"
