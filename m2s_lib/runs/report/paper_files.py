"""Tables and figures of a run as files named by the paper's numbers, in `<run>/paper/`."""

import os
import shutil
from collections.abc import Mapping
from pathlib import Path

import pandas as pd
from pandas.io.formats.style import Styler

from m2s_lib.io import atomic_path, inside
from m2s_lib.runs.project import find_stage, stage_names
from m2s_lib.runs.records.record import read_record

FOLDER = "paper"
# What the paper shows, the file's name, and which figure of which stage it is.
FIGURES = (
    ("Fig. 1: similar scene pairs by encoder", "fig1", "03", "fig1_scene_pairs"),
    ("Fig. 2: A, B and V of a film pair", "fig2", "02", "fig2"),
    ("Fig. 3: pairs that E_scene learns from", "fig3_pairs", "04", "fig3_pairs"),
    ("Fig. 3: loss while it learns", "fig3_training", "04", "fig3_training"),
    ("Supp. Fig. 1: scene pairs by our encoder", "supp_fig1", "03", "supp_fig1"),
    ("Supp. Fig. 2: scene pairs by looks (there: CLIP, here: raw E_shot)", "supp_fig2", "03", "supp_fig2"),
    (
        "Supp. Fig. 3: scene pairs by looks (there: Merlot Reserve, here: colour)",
        "supp_fig3",
        "03",
        "supp_fig3",
    ),
    ("Supp. Fig. 4: places, searched", "supp_fig4", "05", "supp_fig4"),
    ("Supp. Fig. 5: genre", "supp_fig5", "05", "supp_fig5_genre"),
    ("Supp. Fig. 6: way of speaking", "supp_fig6", "05", "supp_fig6_way_speaking"),
    ("Supp. Fig. 7: relationship", "supp_fig7", "05", "supp_fig7_relationship"),
    ("Supp. Fig. 8: scene boundaries and places", "supp_fig8", "06", "supp_fig8"),
    ("Supp. Fig. 9: examples of moderation's classes", "supp_fig9", "07", "supp_fig9"),
    ("Supp. Fig. 10: moderation, predictions", "supp_fig10", "07", "supp_fig10"),
)
_PAGE = """<!doctype html>
<meta charset="utf-8">
<title>{name}</title>
<style>
body {{ font: 14px sans-serif; color-scheme: light dark; }}
table {{ border-collapse: collapse; }}
th {{ min-width: 6em; }}
</style>
{table}
"""
TABLES = {  # a table's file, and what it shows
    "table1": "Table 1: settings of the method, one changed at a time",
    "table2": "Table 2: LVU's nine tasks",
    "table3": "Table 3: places on MovieNet",
    "table4": "Table 4: scene boundaries on MovieNet",
    "table5": "Table 5: moderation",
    "supp_table1": "Supplementary Table 1: how LVU's probes were trained",
    "supp_table2": "Supplementary Table 2: places, searched among LVU's clips",
    "supp_table3": "Supplementary Table 3: moderation, further models",
}
COLUMNS = ("figure", "file", "stage", "drawn", "alt")


def write_csv(path: Path, table: pd.DataFrame) -> None:
    """Writes a table without its index; the same numbers give the same bytes."""
    with atomic_path(path) as temporary:
        table.to_csv(temporary, index=False, lineterminator="\n")


def write_table(folder: Path, name: str, numbers: pd.DataFrame, shown: Styler) -> None:
    """Writes name.csv with the numbers, name.html and name.tex with the table as it is looked at."""
    write_csv(folder / f"{name}.csv", numbers)
    with atomic_path(folder / f"{name}.html") as temporary:
        table = shown.set_uuid(name).to_html()  # the same table gives the same bytes
        temporary.write_text(_PAGE.format(name=name, table=table), encoding="utf-8")
    with atomic_path(folder / f"{name}.tex") as temporary:
        temporary.write_text(shown.data.to_latex(escape=True), encoding="utf-8")


def shown_tables(folder: Path) -> dict[str, str]:
    """The tables that `write_table` left, as HTML by what they show; their text is escaped."""
    found = {title: folder / f"{name}.html" for name, title in TABLES.items()}
    texts = {title: path.read_text(encoding="utf-8") for title, path in found.items() if path.is_file()}
    return {title: text[text.index("<style type") :] for title, text in texts.items()}


def write_figures(folder: Path, run_dir: Path, root: Path) -> pd.DataFrame:
    """Copy the paper's figures (PNG, PDF, CSV) out of the stages of a run.

    Args:
        folder: where to. run_dir: whose stages drew them. root: the project's.

    Returns:
        A row a figure: figure, file, stage, drawn ('yes', or why not), alt. figures.csv holds it too.
    """
    known, rows = stage_names(root / "notebooks"), []
    for figure, name, number, drawn_as in FIGURES:
        stage = find_stage(number, known) or number
        drawn_by_id = {f["id"]: f for f in read_record(run_dir, stage).get("figures") or []}
        entry = drawn_by_id.get(drawn_as, {})
        for kind in ("png", "pdf", "csv"):
            if kind in entry:
                with atomic_path(folder / f"{name}.{kind}") as temporary:
                    shutil.copyfile(inside(run_dir / stage, entry[kind]), temporary)
        drawn = "yes" if entry else f"no: {stage} of this run has not drawn {drawn_as}"
        rows.append(dict(zip(COLUMNS, (figure, name, stage, drawn, entry.get("alt", "")), strict=True)))
    table = pd.DataFrame(rows, columns=list(COLUMNS))
    write_csv(folder / "figures.csv", table)
    return table


def write_tables(folder: Path, tables: Mapping[str, pd.DataFrame], shown: Mapping[str, Styler]) -> None:
    """`write_table` for each."""
    for name, numbers in tables.items():
        write_table(folder, name, numbers, shown[name])


def publish(run_dir: Path, folder: Path) -> Path:
    """Makes `<run>/paper` a link to the stage's folder, so that a moved run keeps it."""
    link = run_dir / FOLDER
    if link.is_symlink():
        link.unlink()
    if not link.exists():
        link.symlink_to(os.path.relpath(folder, run_dir), target_is_directory=True)
    return link
