"""A stage seen from its notebook: parameters in, inputs and outputs recorded, run.json at the end."""

import datetime
import io
import os
import re
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import pandas as pd

from m2s_lib import io as files
from m2s_lib.errors import M2SError
from m2s_lib.runs.parameters.parameters import RUN_DIR
from m2s_lib.runs.project import run_folder
from m2s_lib.runs.records import provenance, record
from m2s_lib.runs.records.in_notebook import notebook_by_hand, show_once, skip_the_rest
from m2s_lib.runs.records.kept import read_value, write_value
from m2s_lib.runs.records.locks import FolderLock

PIPELINE = "M2S_PIPELINE"  # set in kernels that the pipeline starts: it holds the lock, keeps the notebook
BEGUN = "M2S_BEGUN"  # when the pipeline began this stage: the kernel's start and the imports count too
ORPHAN_WAIT_S = 30.0  # how long the kernel of a killed pipeline may take to notice and end
_FIGURE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")


def by_hand() -> bool:
    """Whether this notebook was not started by the pipeline."""
    return not os.environ.get(PIPELINE)


@dataclass(frozen=True)
class Earlier:
    """What an earlier stage recorded."""

    stage: str
    folder: Path
    parameters: SimpleNamespace
    metrics: dict


class Stage:
    """One stage in one run directory; notebooks get it from `open_stage`.

    Nothing is written before the first call that has something to write: then the run directory is locked,
    the record says "running", and what a killed run left or what is damaged goes. Where the stage is `done`
    it is never begun: what it computed is read. As soon as something is asked for that the record does not
    have, it is done no longer.

    Attributes:
        name, root, run_dir: as given. folder: the stage's own. parameters: values as attributes.
        done: whether the record in the run still holds for these parameters, inputs and outputs.
    """

    def __init__(self, name: str, values: dict[str, object], root: Path, *, done=False, fresh=False):
        self.name, self.root, self.done = name, root, done
        self.parameters = SimpleNamespace(**values)
        self.run_dir = run_folder(values[RUN_DIR], root)
        self.folder = self.run_dir / name
        self._values = {k: v for k, v in values.items() if k != RUN_DIR}  # a moved run stays the same run
        self._fresh, self._locks = fresh, []
        self._inputs: dict[str, str] = {}
        self._figures: dict[str, dict] = {}
        self._drawn: dict[str, bytes] = {}  # figures' files, which are written when the stage finishes
        self._before = record.read_record(self.run_dir, name)
        self._begun = time.time() if by_hand() else float(os.environ.get(BEGUN) or time.time())
        self._cpu_before = provenance.cpu_seconds() if by_hand() else 0.0
        self._fingerprints = record.Fingerprints(self.run_dir, root)

    def __repr__(self) -> str:
        return f"Stage {self.name} in {self.run_dir}{', done' if self.done else ''}"

    # -- the beginning --

    def _begin(self) -> None:
        """Lock the run directory and record that the stage runs, once."""
        if self._locks:
            return
        self._lock()
        self.done = False
        self.folder.mkdir(parents=True, exist_ok=True)
        files.remove_temporaries(self.folder)
        stale = self._fingerprints.damaged(self.name)  # what is there would count as done
        if self._fresh:
            stale = [e["path"] for e in record.outputs(self.folder)]
        for path in stale:
            (self.folder / path).unlink(missing_ok=True)
        owner = {"pid": os.getpid(), "host": socket.gethostname()}
        self._write_record("running", {"parameters": self._values} | owner)

    def _lock(self) -> None:
        about = f"stage {self.name}, {'run by hand' if by_hand() else 'run by the pipeline'}"
        if by_hand():
            self._locks = [FolderLock(self.run_dir / ".lock", about).acquire()]
        try:
            self._locks.append(FolderLock(self.run_dir / ".stage.lock", about).acquire(ORPHAN_WAIT_S))
        except M2SError:
            self._unlock()
            raise

    def _unlock(self) -> None:
        for lock in self._locks:
            lock.release()
        self._locks = []

    def _write_record(self, status: str, about: dict) -> None:
        started = datetime.datetime.fromtimestamp(self._begun).astimezone().isoformat(timespec="seconds")
        start = {"stage": self.name, "status": status, "started": started}
        files.write_json(self.folder / record.RECORD, start | about)

    # -- inputs --

    def input(self, path: str | os.PathLike) -> Path:
        """Returns the path of an input, file or folder, and records its fingerprint.

        Args:
            path: in the run directory (`02_movie_similarity/film_pairs.parquet`), absolute, or seen from the
                project's root.

        Raises M2SError when it is missing or damaged, its stage has not finished, or it is of no earlier one.
        """
        path = record.locate(str(Path(path).expanduser()), self.run_dir, self.root)
        name = record.portable(path, self.run_dir, self.root)
        if record.is_stage(name.partition("/")[0], self.root):
            self._check_of_stage(name, path)
        if not path.exists():
            raise M2SError(
                f"{self.name} needs {path}, which does not exist; relative paths are seen from {self.root}"
            )
        self._inputs[name] = self._fingerprints.of(name)
        return path

    def _check_of_stage(self, name: str, path: Path) -> None:
        first = name.partition("/")[0]
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
        if not path.exists():
            raise M2SError(
                f"{self.name} needs {name}, which stage {first} writes, but {path} is missing: {how}"
            )
        for damaged, state in self._fingerprints.damaged(first, name.removeprefix(f"{first}/")).items():
            raise M2SError(f"{self.name} needs {name}, but {first}/{damaged} is {state} since: {how}")

    def given(self, value: str) -> str | Path:
        """Returns an optional input named by a parameter: recorded as `input` does, except '' and 'embedded',
        which stay as they are."""
        return value if value in ("", "embedded") else self.input(value)

    def read_parquet(self, path: str | os.PathLike, columns: list[str] | None = None) -> pd.DataFrame:
        """Reads a table, recorded as an input; M2SError when columns are lacking."""
        return files.read_parquet(self.input(path), columns)

    def read_json(self, path: str | os.PathLike) -> dict:
        """Reads a JSON file, recorded as an input."""
        return files.read_json(self.input(path))

    def read_films(self) -> pd.DataFrame:
        """Reads films.parquet of stage 01, `path` being where each film lies now."""
        first = record.earlier_stage("01", self.name, self.root)
        films = self.read_parquet(f"{first}/{record.FILMS}", ["film_id", "path"])
        return films.assign(path=record.located(films["path"], self.run_dir, self.root))

    def earlier(self, stage: str) -> Earlier:
        """Returns parameters and metrics that an earlier stage ('03' or the full name) recorded; it counts as
        an input.

        Metrics under `headline` and `timing` differ between equal runs and do not count.
        """
        name = record.earlier_stage(stage, self.name, self.root)
        about = self.read_json(f"{name}/{record.RECORD}")
        return Earlier(name, self.run_dir / name, SimpleNamespace(**about["parameters"]), about["metrics"])

    # -- outputs --

    def path(self, name: str | os.PathLike) -> Path:
        """Returns the path of an output in the stage's own folder, for functions that write and that skip
        what they have written.

        Raises M2SError for a name that leaves the folder or belongs to the record.
        """
        path = Path(os.path.normpath(self.folder / name))
        if path == self.folder or not path.is_relative_to(self.folder):
            raise M2SError(f"{self.name} writes only into its own folder {self.folder}, not to {str(name)!r}")
        if path.relative_to(self.folder).as_posix() in record.NOT_OUTPUTS:
            raise M2SError(f"{path.name} is kept for the record of {self.name}; choose another name")
        if not self.done:
            self._begin()
            path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def kept(self, name: str | Sequence[str], function: Callable, /, *args, **kwargs):
        """Returns `function(*args, **kwargs)`, kept in the stage's folder; a done stage reads it instead.

        Args:
            name: of the file: .parquet (a table), .npy (an array), .npz (a dict of arrays) or .json. Several
                names for a function that returns as many values.
        """
        names = [name] if isinstance(name, str) else list(name)
        paths = [self.path(n) for n in names]
        if not self.done or not all(map(Path.exists, paths)):
            self._begin()
            result = function(*args, **kwargs)
            for path, value in zip(paths, [result] if isinstance(name, str) else result, strict=True):
                write_value(path, value)
        values = tuple(read_value(path) for path in paths)
        return values[0] if isinstance(name, str) else values

    def write(self, name: str, value, write: Callable = write_value):
        """Writes a value with `write(path, value)`, by default as `kept` does, unless the stage is done; returns
        it."""
        path = self.path(name)
        if not self.done or not path.exists():
            self._begin()
            write(path, value)
        return value

    def write_films(self, films: pd.DataFrame) -> None:
        """Writes films.parquet; `path` is recorded relative to what moves with the films: run or project."""
        paths = [record.portable(Path(p).absolute(), self.run_dir, self.root) for p in films["path"]]
        self.write(record.FILMS, films.assign(path=paths))

    def save_figure(self, figure, id: str, table: pd.DataFrame | None = None, alt: str = ""):
        """Saves a matplotlib Figure as figures/<id>.png and .pdf, the table behind it as .csv, and its alt
        text. They replace those of an earlier run when the stage finishes.

        Returns the figure, so that the cell shows it. A sentence, which functions that draw give where there
        is nothing to draw, is returned as it is.
        """
        if isinstance(figure, str):
            return figure
        alt = alt or getattr(figure, "m2s_alt", "")
        if not _FIGURE.fullmatch(id):
            raise M2SError(f"{id!r} cannot be a figure's id: letters, digits and _ . - only")
        if not hasattr(figure, "savefig"):
            raise M2SError(f"figure {id} is a {type(figure).__name__}; save_figure takes matplotlib Figures")
        known = {f["id"]: f for f in self._before.get("figures", [])}
        if self.done and id in known:
            self._figures[id] = known[id]
        else:
            self._begin()
            self._draw(figure, id, table, alt)
        show_once(figure)
        return figure

    def _draw(self, figure, id: str, table: pd.DataFrame | None, alt: str) -> None:
        entry = {"id": id, "alt": alt, "png": f"figures/{id}.png", "pdf": f"figures/{id}.pdf"}
        metadata = {"png": None, "pdf": {"CreationDate": None}}  # the same figure gives the same bytes
        for kind in ("png", "pdf"):
            drawn = io.BytesIO()
            figure.savefig(drawn, format=kind, dpi=120, metadata=metadata[kind])
            self._drawn[entry[kind]] = drawn.getvalue()
        if table is not None:
            entry["csv"], table = f"figures/{id}.csv", pd.DataFrame(table)
            text = table.to_csv(index=not isinstance(table.index, pd.RangeIndex), lineterminator="\n")
            self._drawn[entry["csv"]] = text.encode()
        self._figures[id] = entry

    # -- the end --

    def finish(self, metrics: Mapping[str, object] | None = None) -> None:
        """Records the end: run.json with status done, the outputs and the metrics; nothing of a done stage.

        `metrics` may hold `headline` (what the report shows first: name -> value), `summary` (merged into
        the run's summary.json) and `timing` (what differs between equal runs).
        """
        metrics = provenance.checked_metrics(metrics or {})
        if self.done:
            return
        # before git runs: a child counts its parent's pages until it starts
        peak = provenance.peak_memory_mb()
        self._begin()
        self._replace_figures()
        done = {
            "made_by": "hand" if by_hand() else "pipeline",
            "seconds": round(max(time.time() - self._begun, 0.0), 3),
            "cpu_seconds": round(provenance.cpu_seconds() - self._cpu_before, 3),
            "parameters": self._values,
            "inputs": [{"path": p, "fingerprint": f} for p, f in sorted(self._inputs.items())],
            "outputs": record.outputs(self.folder),
            **provenance.circumstances(self.root, self.name),
            "peak_memory_mb": peak,
            "metrics": metrics,
            "figures": list(self._figures.values()),
        }
        if by_hand():
            self._keep_notebook()
        self._write_record("done", done)
        self._before, self.done, self._fresh = done, True, False
        self._unlock()

    def end_without(self, message: str, outputs: Mapping[str, object], metrics: Mapping[str, object]) -> None:
        """Ends a stage that has no data: writes its outputs (empty tables), prints the message, records the
        end, and skips the cells that follow."""
        for name, value in outputs.items():
            self.write(name, value)
        print(message)
        self.finish({"headline": {"not measured": message}} | dict(metrics))
        skip_the_rest()

    def _replace_figures(self) -> None:
        for name, data in self._drawn.items():
            with files.atomic_path(self.folder / name) as temporary:
                temporary.write_bytes(data)
        named = {f.get(kind) for f in self._figures.values() for kind in ("png", "pdf", "csv")}
        for path in (self.folder / "figures").glob("*.*"):
            if f"figures/{path.name}" not in named:
                path.unlink()

    def _keep_notebook(self) -> None:
        import nbformat

        values = {RUN_DIR: getattr(self.parameters, RUN_DIR), **self._values}
        node = notebook_by_hand(self.root / "notebooks" / f"{self.name}.ipynb", values)
        for name in record.NOTEBOOKS:
            (self.folder / name).unlink(missing_ok=True)
        with files.atomic_path(self.folder / record.NOTEBOOKS[0]) as temporary:
            nbformat.write(node, temporary)
