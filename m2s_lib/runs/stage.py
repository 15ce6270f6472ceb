"""A stage seen from its notebook: parameters in, inputs and outputs recorded, run.json at the end."""

import datetime
import json
import os
import re
import socket
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import pandas as pd

from m2s_lib import io as files
from m2s_lib.errors import M2SError
from m2s_lib.processes import cores
from m2s_lib.runs import record
from m2s_lib.runs.locks import FolderLock
from m2s_lib.runs.outputs import NOT_OUTPUTS, NOTEBOOKS, outputs
from m2s_lib.runs.parameters import RUN_DIR, Parameter, listed, read_notebook_parameters
from m2s_lib.runs.project import root_or_default, run_folder, stage_names, unknown_stage

PIPELINE = "M2S_PIPELINE"  # set in kernels that the pipeline starts: it holds the lock, keeps the notebook
BEGUN = "M2S_BEGUN"  # when the pipeline began this stage: the kernel's start and the imports count too
ORPHAN_WAIT_S = 30.0  # how long the kernel of a killed pipeline may take to notice and end


@dataclass(frozen=True)
class Earlier:
    """What an earlier stage recorded."""

    stage: str
    folder: Path
    parameters: SimpleNamespace
    metrics: dict


def open_stage(
    name: str, namespace: Mapping[str, object], *, root: str | os.PathLike | None = None
) -> "Stage":
    """Begin a stage, in the cell after the parameters cell: `stage = open_stage("03_scene_mining",
    globals())`.

    Takes the values of the notebook's own parameters from `namespace`, validates them (by hand as in the
    pipeline), locks the run directory, makes the stage's folder, clears what a killed run left and what is
    damaged, and records the start.

    Args:
        name: the notebook's name without .ipynb.
        namespace: the notebook's globals.
        root: the project's root; None finds it.

    Raises M2SError for an unknown notebook, a missing or impossible value, a run directory in use.
    """
    root = root_or_default(root)
    notebook = root / "notebooks" / f"{name}.ipynb"
    if not notebook.is_file():
        raise M2SError(unknown_stage(name, stage_names(notebook.parent)))
    known, problems = read_notebook_parameters(notebook)
    values = _take(known, namespace, problems)
    if problems:
        raise M2SError(listed(f"{len(problems)} problem(s) with the parameters of {name}", problems))
    return Stage(name, values, root)


def _take(
    known: dict[str, Parameter], namespace: Mapping[str, object], problems: list[str]
) -> dict[str, object]:
    values = {}
    for parameter in known.values():
        if parameter.name not in namespace:
            problems.append(f"{parameter.name} is not set: run the parameters cell first")
            continue
        try:
            values[parameter.name] = parameter.check(namespace[parameter.name])
        except M2SError as error:
            problems.append(str(error))
    return values


class Stage:
    """One stage in one run directory; notebooks get it from `open_stage`.

    Attributes: name, root, run_dir, folder (its own), parameters (values as attributes).
    """

    def __init__(self, name: str, values: dict[str, object], root: Path):
        self.name, self.root = name, root
        self.parameters = SimpleNamespace(**values)
        self.run_dir = run_folder(values[RUN_DIR], root)
        self.folder = self.run_dir / name
        self.by_hand = not os.environ.get(PIPELINE)
        self._values = {k: v for k, v in values.items() if k != RUN_DIR}  # a moved run stays the same run
        self._inputs: dict[str, str] = {}
        self._figures: dict[str, dict] = {}
        self._begun = time.time() if self.by_hand else float(os.environ.get(BEGUN) or time.time())
        self._cpu_before = record.cpu_seconds() if self.by_hand else 0.0
        began = datetime.datetime.fromtimestamp(self._begun).astimezone()
        self._started = began.isoformat(timespec="seconds")
        self._locks = self._lock()
        self._fingerprints = record.Fingerprints(self.run_dir, root)
        self._begin()

    def __repr__(self) -> str:
        return f"Stage {self.name} in {self.run_dir}"

    def _lock(self) -> list[FolderLock]:
        what = f"stage {self.name}, {'run by hand' if self.by_hand else 'run by the pipeline'}"
        locks = [FolderLock(self.run_dir / ".lock", what).acquire()] if self.by_hand else []
        try:
            return [*locks, FolderLock(self.run_dir / ".stage.lock", what).acquire(wait_s=ORPHAN_WAIT_S)]
        except M2SError:
            for lock in locks:
                lock.release()
            raise

    def _begin(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        files.remove_temporaries(self.folder)
        spoilt = self._fingerprints.spoilt(self.name)  # what is there would count as done
        old = (*(self.folder / n for n in (*spoilt, *NOTEBOOKS)), *(self.folder / "figures").glob("*.*"))
        for stale in old:
            stale.unlink(missing_ok=True)
        start = {
            "stage": self.name,
            "status": "running",
            "started": self._started,
            "parameters": self._values,
        }
        files.write_json(
            self.folder / record.RECORD, {**start, "pid": os.getpid(), "host": socket.gethostname()}
        )

    # -- inputs --

    def input(self, path: str | os.PathLike) -> Path:
        """Path of an input, recorded with its fingerprint: `02_movie_similarity/film_pairs.parquet` in the
        run directory, an absolute path, or one seen from the project's root. Files and folders.

        Raises M2SError when it is missing or damaged, its stage has not finished, or it is of no earlier one.
        """
        place = record.locate(str(Path(path).expanduser()), self.run_dir, self.root)
        name = record.portable(place, self.run_dir, self.root)
        first = name.partition("/")[0]
        if record.is_stage(first, self.root):
            record.earlier_stage(first, self.name, self.root)
            how = f"run it first (m2s run PROFILE --from {first[:2]}, or notebooks/{first}.ipynb)"
            if record.unfinished(self.run_dir, name, self.root):
                raise M2SError(
                    f"{self.name} needs {name}, but stage {first} has not finished in {self.run_dir}: {how}"
                )
            if name == first:
                raise M2SError(
                    f"{first} is a whole stage, its record and notebook included: name a file or folder in it"
                )
            if not place.exists():
                raise M2SError(
                    f"{self.name} needs {name}, which stage {first} writes, but {place} is missing: {how}"
                )
            if spoilt := self._fingerprints.spoilt(first, name.removeprefix(f"{first}/")):
                path, state = next(iter(spoilt.items()))
                raise M2SError(f"{self.name} needs {name}, but {first}/{path} is {state} since: {how}")
        if not place.exists():
            raise M2SError(
                f"{self.name} needs {place}, which does not exist; relative paths are seen from {self.root}"
            )
        self._inputs[name] = self._fingerprints.of(name)
        return place

    def given(self, value: str) -> str | Path:
        """An optional input named by a parameter: recorded as `input` does, except '' and 'embedded', which
        stay as they are."""
        return value if value in ("", "embedded") else self.input(value)

    def read_parquet(self, path: str | os.PathLike, columns: list[str] | None = None) -> pd.DataFrame:
        """A table, recorded as an input; M2SError when columns are lacking."""
        return files.read_parquet(self.input(path), columns)

    def read_json(self, path: str | os.PathLike) -> dict:
        """A JSON file, recorded as an input."""
        return files.read_json(self.input(path))

    def earlier(self, stage: str) -> Earlier:
        """Parameters and metrics that an earlier stage ('03' or the full name) recorded; it counts as an
        input.

        Metrics under `headline` and `timing` differ between equal runs and do not count.
        """
        name = record.earlier_stage(stage, self.name, self.root)
        found = self.read_json(f"{name}/{record.RECORD}")
        return Earlier(name, self.run_dir / name, SimpleNamespace(**found["parameters"]), found["metrics"])

    # -- outputs --

    def path(self, name: str | os.PathLike) -> Path:
        """Path of an output in the stage's own folder, its parent made.

        Raises M2SError for a name that leaves the folder or belongs to the record.
        """
        place = Path(os.path.normpath(self.folder / name))
        if place == self.folder or not place.is_relative_to(self.folder):
            raise M2SError(f"{self.name} writes only into its own folder {self.folder}, not to {str(name)!r}")
        if place.relative_to(self.folder).as_posix() in NOT_OUTPUTS:
            raise M2SError(f"{place.name} is kept for the record of {self.name}; choose another name")
        place.parent.mkdir(parents=True, exist_ok=True)
        return place

    def write(self, name: str, value: pd.DataFrame) -> pd.DataFrame:
        """Write a table into the stage's own folder, and return it."""
        files.write_parquet(value, self.path(name))
        return value

    def read_films(self) -> pd.DataFrame:
        """films.parquet of 01, recorded as an input."""
        return self.read_parquet("01_shot_encoding/films.parquet")

    def kept(self, name: str, function, *args, **kwargs) -> pd.DataFrame:
        """What `function` gives, written as `name`."""
        return self.write(name, function(*args, **kwargs))

    def save_figure(self, figure, id: str, table: pd.DataFrame | None = None, alt: str = ""):
        """Save a matplotlib Figure as figures/<id>.png and .pdf, the table behind it as .csv, and its alt
        text.

        Returns the figure, so that the cell shows it. A sentence, which functions that draw give where there
        is nothing to draw, is returned as it is.
        """
        if isinstance(figure, str):
            return figure
        alt = alt or getattr(figure, "m2s_alt", "")
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]*", id):
            raise M2SError(f"{id!r} cannot be a figure's id: letters, digits and _ . - only")
        if not hasattr(figure, "savefig"):
            raise M2SError(f"figure {id} is a {type(figure).__name__}; save_figure takes matplotlib Figures")
        entry = {"id": id, "alt": alt, "png": f"figures/{id}.png", "pdf": f"figures/{id}.pdf"}
        metadata = {"png": None, "pdf": {"CreationDate": None}}  # the same figure gives the same bytes
        for kind in ("png", "pdf"):
            with files.atomic_path(self.path(entry[kind])) as temporary:
                figure.savefig(temporary, format=kind, dpi=120, metadata=metadata[kind])
        if table is not None:
            table = pd.DataFrame(table)
            entry["csv"] = f"figures/{id}.csv"
            with files.atomic_path(self.path(entry["csv"])) as temporary:
                table.to_csv(temporary, index=not isinstance(table.index, pd.RangeIndex), lineterminator="\n")
        self._figures[id] = entry
        _show_once(figure)
        return figure

    # -- the end --

    def finish(self, metrics: Mapping[str, object] | None = None) -> None:
        """Record the end: run.json with status done, the outputs and the metrics.

        `metrics` may hold `headline` (what the report shows first: name -> value), `summary` (merged into
        the run's summary.json) and `timing` (what differs between equal runs).
        """
        metrics = record.checked_metrics(metrics or {})
        peak = record.peak_memory_mb()  # before git runs: a child counts its parent's pages until it starts
        done = {
            "stage": self.name,
            "status": "done",
            "made_by": "hand" if self.by_hand else "pipeline",
            "started": self._started,
            "seconds": round(max(time.time() - self._begun, 0.0), 3),
            "cpu_seconds": round(record.cpu_seconds() - self._cpu_before, 3),
            "parameters": self._values,
            "inputs": [{"path": p, "fingerprint": f} for p, f in sorted(self._inputs.items())],
            "outputs": outputs(self.folder),
            "versions": record.versions(),
            "git": record.git_state(self.root),
            "source": record.source_state(self.root / "notebooks" / f"{self.name}.ipynb"),
            "device": record.device(),
            "cpus": cores(),
            "peak_memory_mb": peak,
            "metrics": metrics,
            "figures": list(self._figures.values()),
        }
        if self.by_hand:
            self._keep_notebook()
        files.write_json(self.folder / record.RECORD, done)
        for lock in self._locks:
            lock.release()

    def _keep_notebook(self) -> None:
        """notebook.ipynb of a run by hand: cells and values; a kernel cannot see its cells' outputs."""
        notebook = json.loads((self.root / "notebooks" / f"{self.name}.ipynb").read_text(encoding="utf-8"))
        values = {RUN_DIR: getattr(self.parameters, RUN_DIR), **self._values}
        lines = ["# Parameters", *(f"{name} = {value!r}" for name, value in values.items())]
        cell = {
            "cell_type": "code",
            "id": "injected-parameters",
            "metadata": {"tags": ["injected-parameters"]},
            "execution_count": None,
            "outputs": [],
            "source": "\n".join(lines) + "\n",
        }
        at = next(i for i, c in enumerate(notebook["cells"]) if "parameters" in c["metadata"].get("tags", []))
        notebook["cells"].insert(at + 1, cell)
        files.write_json(self.folder / "notebook.ipynb", notebook)


def _show_once(figure) -> None:
    """The cell shows the returned figure: keep pyplot from showing it again, and teach IPython PNG."""
    pyplot = sys.modules.get("matplotlib.pyplot")
    if pyplot is not None:
        pyplot.close(figure)
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython else None
    if shell is None:
        return
    try:
        shell.display_formatter.formatters["image/png"].lookup(figure)
    except KeyError:  # without pyplot nobody has told IPython how to draw a Figure
        from IPython.core.pylabtools import select_figure_formats

        select_figure_formats(shell, {"png"})
