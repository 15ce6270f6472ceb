"""A project of three small notebooks, written into a temporary folder, for the tests of m2s_lib.runs."""

import ast
import json
from pathlib import Path

NUMBERS = """
run_dir = "runs/toy"  # folder | the run this stage belongs to
count = 3  # numbers, 1..10 | how many to write
scale = 1.0  # factor, (0, 100] | what they are multiplied with
sleep_s = 0.0  # seconds, >= 0 | how long to dawdle
source = ""  # file | a file to read, none when empty
order = "up"  # choice, one of: up, down | sorting
fail = False  # switch | stop with an error
seeds = [1, 2]  # seeds, >= 0 | one list
"""
NUMBERS_CODE = """
import time, pandas as pd
from m2s_lib import io as files
from m2s_lib.runs import open_stage
stage = open_stage("01_numbers", globals())
"""
NUMBERS_WORK = """
if source: stage.input(source)
print("dawdling", flush=True)
for i in range(count):
    part = stage.path(f"parts/{i}.json")
    if not part.exists():
        time.sleep(sleep_s)
        files.write_json(part, {"number": i * scale})
if fail: raise ValueError("a <b>bad</b> day")
numbers = [files.read_json(stage.path(f"parts/{i}.json"))["number"] for i in range(count)]
stage.write("numbers.parquet", pd.DataFrame({"number": numbers}))
stage.finish({"headline": {"numbers": count}, "timing": {"at": time.time()}, "count": count})
"""
SUMS = """
run_dir = "runs/toy"  # folder | the run this stage belongs to
power = 2  # exponent, 1..4 | of each number
"""
SUMS_CODE = """
from matplotlib.figure import Figure
from m2s_lib.runs import open_stage
stage = open_stage("02_sums", globals())
numbers = stage.read_parquet("01_numbers/numbers.parquet", ["number"])
before = stage.earlier("01")
total = float((numbers.number ** power).sum())
stage.write("sums.json", {"total": total})
"""
SUMS_FIGURE = """
figure = Figure(figsize=(2, 1))
figure.subplots().plot(numbers.number)
stage.save_figure(figure, "numbers", table=numbers, alt='Numbers & "more"')
"""
SUMS_END = """
stage.finish({"total": total, "of": before.metrics["count"], "summary": {"sums": {"total": total}}})
"""
TABLE = """
run_dir = "runs/toy"  # folder | the run this stage belongs to
title = "<script>alert(1)</script>"  # text | a title
"""
TABLE_CODE = """
from m2s_lib.runs import open_stage
stage = open_stage("03_table", globals())
total = stage.read_json("02_sums/sums.json")["total"]
stage.path("table.txt").write_text(f"{title} {total}")
stage.finish({"headline": {title: total}})
"""

ALL = ["01_numbers", "02_sums", "03_table"]

# a process that holds a lock until it is sent a line
HOLD = """
import sys
from m2s_lib.runs.records.locks import FolderLock
FolderLock(sys.argv[1], "m2s run toy").acquire()
print(1, flush=True)
input()
"""


def notebook(*sources: str, title: str = "A toy") -> str:
    """Notebook text: a title, the parameters cell, code cells."""
    cells = [{"cell_type": "markdown", "id": "title", "metadata": {}, "source": f"# {title}"}]
    for i, source in enumerate(sources):
        tags = {"tags": ["parameters"]} if i == 0 else {}
        base = {"cell_type": "code", "id": f"c{i}", "execution_count": None, "outputs": []}
        cells.append({**base, "metadata": tags, "source": source.strip().splitlines(keepends=True)})
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    return json.dumps({"cells": cells, "metadata": kernel, "nbformat": 4, "nbformat_minor": 5})


def write_project(root: Path) -> Path:
    """Write the toy project under `root`."""
    (root / "notebooks").mkdir(parents=True)
    (root / "data_manifests" / "profiles").mkdir(parents=True)
    sources = {
        "01_numbers": (NUMBERS, NUMBERS_CODE, NUMBERS_WORK),
        "02_sums": (SUMS, SUMS_CODE, SUMS_FIGURE, SUMS_END),
        "03_table": (TABLE, TABLE_CODE),
    }
    for name, cells in sources.items():
        (root / "notebooks" / f"{name}.ipynb").write_text(notebook(*cells))
    write_profile(root, "toy", 'description: the toy\nparameters:\n  "01": {count: 4}\n')
    return root


def write_profile(root: Path, name: str, text: str) -> Path:
    """Write a profile of the toy project."""
    path = root / "data_manifests" / "profiles" / f"{name}.yaml"
    path.write_text(text)
    return path


def injected(node) -> dict[str, object]:
    """Values that the injected cell of a notebook sets."""
    cell = next(c for c in node.cells if "injected-parameters" in c.metadata.get("tags", []))
    return {s.targets[0].id: ast.literal_eval(s.value) for s in ast.parse(cell.source).body}
