"""Runs whose stages 01, 02 and 04 trained nothing, and notebooks executed on them in this process."""

import contextlib
import io
import json
from pathlib import Path

import pandas as pd

from m2s_lib.runs.parameters.parameters import read_notebook_parameters
from m2s_lib.runs.records.in_notebook import StageEnded
from m2s_lib.runs.records.stage import Stage
from tests.conftest import ROOT

FILMS = pd.DataFrame(
    {
        "film_id": ["f0", "f1"], "title": ["One", "Two"], "imdb_id": ["tt0000001", ""], "split": "train",
        "status": "ok",
    }
)  # fmt: skip
COMPARED = ["colour", "Merlot Reserve"]


def bare_run(run_dir: Path, films: pd.DataFrame = FILMS, films_dir: str = "mine") -> Path:
    """Records 01, 02 and 04 of a run that has films in a table and no trained encoder."""
    small = {"frame_size": 32, "workers": 1, "films_dir": films_dir, "source": "video"}
    first = _stage("01_shot_encoding", run_dir, **small)
    first.write("films.parquet", films)
    for folder in ("embedded", "shots"):
        first.path(folder).mkdir()
    first.finish({"films": len(films)})
    _stage("02_movie_similarity", run_dir).finish({"source": "cowatch"})
    # "test" is E_scene's smallest shape, which "random init" takes where nothing was trained
    last = _stage("04_moco_training", run_dir, compared=COMPARED, scene_encoder="test")
    last.finish({"trained": False, "comparators": []})
    return run_dir


def _stage(name: str, run_dir: Path, **changes) -> Stage:
    known, _ = read_notebook_parameters(ROOT / "notebooks" / f"{name}.ipynb")
    values = {p.name: p.default for p in known.values()} | {"run_dir": str(run_dir)} | changes
    return Stage(name, values, ROOT)


def run_notebook(name: str, run_dir: Path, **changes) -> tuple[dict, str]:
    """Executes a notebook's cells; returns its globals and what was printed."""
    cells = json.loads((ROOT / "notebooks" / f"{name}.ipynb").read_text(encoding="utf-8"))["cells"]
    sources = ["".join(c["source"]) for c in cells if c["cell_type"] == "code"]
    names = {"__name__": "__main__", "display": lambda *_: None}
    printed = io.StringIO()
    with contextlib.chdir(ROOT), contextlib.redirect_stdout(printed), contextlib.suppress(StageEnded):
        for number, source in enumerate(sources):
            exec(compile(source, f"{name}, cell {number}", "exec"), names)
            if number == 0:
                names |= {"run_dir": str(run_dir)} | changes
    return names, printed.getvalue()
