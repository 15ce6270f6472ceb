"""run.json: what a stage did, from what, with what; and whether that still holds."""

import contextlib
import json
import os
import time
from collections.abc import Iterable
from pathlib import Path

import xxhash

from m2s_lib import io as files
from m2s_lib.errors import M2SError
from m2s_lib.io import read_json, write_json
from m2s_lib.runs.project import find_stage, root_or_default, stage_names

RECORD = "run.json"
NOTEBOOKS = ("notebook.ipynb", "notebook.failed.ipynb", "notebook.html")
NOT_OUTPUTS = {RECORD, *NOTEBOOKS, "kernel.log"}
# of a run with settings, beside its stages; the second two are of runs made before settings had this name
OF_SETTINGS = ("settings", "settings.parquet", "rows", "rows.parquet")
FILMS = "films.parquet"  # of stage 01
UNCOUNTED = {"headline", "timing"}  # metrics that differ between equal runs; nobody may compute from them
MOVED = ".moved.json"  # where the films of a run lie now: films_dir as recorded -> folder
_LISTS = {"inputs": {"path": str, "fingerprint": str}, "outputs": {"path": str, "size": int}}


def read_record(run_dir: Path, stage: str) -> dict:
    """Returns the record of a stage, {} when there is none or it is cut short (it then counts as not run)."""
    with contextlib.suppress(M2SError):
        record = read_json(run_dir / stage / RECORD)
        return record if _sound(record) else {}
    return {}


def _sound(record: object) -> bool:
    """Whether a record has the form that it is written in, as far as it goes."""
    if not isinstance(record, dict):
        return False
    dicts = [record.get(name, {}) for name in ("parameters", "metrics")]
    lists = {name: record.get(name, []) for name in _LISTS}
    return all(isinstance(d, dict) for d in dicts) and all(
        isinstance(entries, list)
        and all(
            isinstance(e, dict) and all(isinstance(e.get(k), t) for k, t in form.items()) for e in entries
        )
        for form, entries in zip(_LISTS.values(), lists.values(), strict=True)
    )


def outputs(folder: Path) -> list[dict]:
    """Returns the manifest of the files in a stage's folder that are its results."""
    paths = sorted(p for p in folder.rglob("*") if p.is_file() and not p.name.endswith(".tmp"))
    names = [p.relative_to(folder).as_posix() for p in paths]
    return files.manifest(folder, [name for name in names if name not in NOT_OUTPUTS])


# -- inputs --


def locate(recorded: str, run_dir: Path, root: Path) -> Path:
    """Returns where an input lies: in the run directory when it starts with a stage's name or is of the run's
    settings, else under the root, or where `moved_films` says."""
    return _locate(recorded, run_dir, root, _moves(run_dir, root))


def _locate(recorded: str, run_dir: Path, root: Path, moves: list[tuple[Path, Path]]) -> Path:
    if _in_run(recorded, root):
        return Path(os.path.normpath(run_dir / recorded))
    return _moved(Path(os.path.normpath(root / recorded)), moves)


def portable(path: Path, run_dir: Path, root: Path) -> str:
    """Returns how an input is recorded: relative inside the run directory (which can be moved) or the
    project, and under its first name where `moved_films` has given another."""
    if path.is_relative_to(run_dir) and path != run_dir:
        relative = path.relative_to(run_dir).as_posix()
        if _in_run(relative, root):
            return relative
    path = _moved(path, [(now, before) for before, now in _moves(run_dir, root)])
    if path.is_relative_to(root) and not _in_run(path.relative_to(root).as_posix(), root):
        return path.relative_to(root).as_posix()
    return str(path)


def located(paths: Iterable[str], run_dir: Path, root: Path | None = None) -> list[str]:
    """Returns where films lie, from the `path` column of films.parquet; '' stays ''. root: None finds it."""
    run_dir, root = Path(os.path.abspath(run_dir)), root_or_default(root)
    moves = _moves(run_dir, root)
    return [str(_locate(path, run_dir, root, moves)) if path else "" for path in map(str, paths)]


def _in_run(recorded: str, root: Path) -> bool:
    first = recorded.partition("/")[0]
    return first in OF_SETTINGS or is_stage(first, root)


def is_stage(name: str, root: Path) -> bool:
    """Whether `name` is the full name of one of the project's notebooks."""
    return (root / "notebooks" / f"{name}.ipynb").is_file()


def moved_films(run_dir: Path, before: str, films_dir: str | os.PathLike) -> None:
    """Notes that the films of a run lie in `films_dir` now; what was computed from them stays valid.

    Args:
        before: the films_dir that the run has recorded.

    Raises M2SError when `films_dir` is no folder.
    """
    now = Path(films_dir).expanduser().absolute()
    if not now.is_dir():
        raise M2SError(f"--films-dir {films_dir} is no folder: name the one that films_dir {before!r} is now")
    write_json(run_dir / MOVED, {before: str(now)})


def _moved(path: Path, moves: list[tuple[Path, Path]]) -> Path:
    return next((now / path.relative_to(old) for old, now in moves if path.is_relative_to(old)), path)


def _moves(run_dir: Path, root: Path) -> list[tuple[Path, Path]]:
    """Returns where the films of a run were and are now, [] where they have not moved."""
    with contextlib.suppress(M2SError, AttributeError, TypeError):
        known = read_json(run_dir / MOVED).items()
        return [(Path(os.path.normpath(root / Path(old).expanduser())), Path(now)) for old, now in known]
    return []


class Fingerprints:
    """Fingerprints of inputs and checks of outputs, remembered in the run directory while sizes, times and
    inodes of all their files stay as they are.

    Nine stages that read the same films would otherwise hash them nine times a run, and again at every
    check. A copy has new times and is hashed once. A file's own time can be set by anybody, the time of its
    last change only by the clock. What changed within the last two seconds, or by its times will change, is
    not remembered: a second change could leave the same time.
    """

    def __init__(self, run_dir: Path, root: Path):
        self.run_dir, self.root, self._file = run_dir, root, run_dir / ".fingerprints.json"
        self._known: dict = {}
        with contextlib.suppress(M2SError):
            known = read_json(self._file)
            self._known = known if isinstance(known, dict) else {}

    def of(self, recorded: str) -> str:
        """Returns the fingerprint of an input by its recorded path; '' when it is absent."""
        path = locate(recorded, self.run_dir, self.root)
        if path.name == RECORD and is_stage(path.parent.name, self.root):
            return _record_fingerprint(path)
        inside = sorted(p for p in (path.rglob("*") if path.is_dir() else [path]) if p.is_file())
        state, newest = _state(path, inside)
        entry = self._known.get(recorded)
        if isinstance(entry, list) and entry[:1] == [state]:
            return entry[-1]
        value = files.fingerprint(path)
        if value:
            self._remember(recorded, [state, value], newest)
        return value

    def damaged(self, stage: str, below: str = "") -> dict[str, str]:
        """Returns the outputs of a finished stage, or those at and below one path, that are not what it
        recorded: path -> 'missing', 'of another size' or 'damaged', {} when all are whole."""
        folder, entries = self.run_dir / stage, read_record(self.run_dir, stage).get("outputs", [])
        entries = [e for e in entries if not below or e["path"] == below or e["path"].startswith(f"{below}/")]
        state, newest = _state(folder, [p for e in entries if (p := folder / e["path"]).is_file()])
        key, state = f"whole: {stage}/{below}", [state, files.text_digest(json.dumps(entries))]
        if self._known.get(key) == state:
            return {}
        wrong = files.damaged(folder, entries)
        if not wrong:
            self._remember(key, state, newest)
        return wrong

    def _remember(self, key: str, value: list, newest: float) -> None:
        if newest < time.time() - 2:
            self._known[key] = value
            with contextlib.suppress(OSError, M2SError):  # a read-only run directory can still be checked
                write_json(self._file, self._known)


def _state(path: Path, inside: list[Path]) -> tuple[str, float]:
    """Returns a digest of names, sizes, times and inodes of files below `path`, and the newest time."""
    digest, newest = xxhash.xxh3_128(str(path.is_dir()).encode()), 0.0
    for p in inside:
        s = p.stat()
        about = (p.relative_to(path), s.st_size, s.st_mtime_ns, s.st_ctime_ns, s.st_ino)
        digest.update("\0".join(map(str, about)).encode() + b"\0")
        newest = max(newest, s.st_mtime, s.st_ctime)
    return digest.hexdigest(), newest


def _record_fingerprint(path: Path) -> str:
    """Of what a later stage may compute from: another's parameters and metrics, not when it ran."""
    record = read_record(path.parent.parent, path.parent.name)
    if not record:
        return ""
    metrics = {k: v for k, v in record.get("metrics", {}).items() if k not in UNCOUNTED}
    return files.text_digest(json.dumps([record.get("parameters"), metrics], sort_keys=True))


# -- is it up to date? --


def why_stale(run_dir: Path, stage: str, values: dict, root: Path) -> str:
    """Returns why a stage has to run, '' when its record still holds for these parameter values."""
    record = read_record(run_dir, stage)
    if not record:
        return "not run yet"
    if record.get("status") != "done" or not (run_dir / stage / NOTEBOOKS[0]).is_file():
        return "did not finish"
    if changed := changed_parameters(record, values):
        before, now = record.get("parameters", {}), plain(values)
        return "; ".join(
            f"{n} changed from {before.get(n, 'none')!r} to {now.get(n, 'none')!r}" for n in changed
        )
    known = Fingerprints(run_dir, root)
    for path, how in known.damaged(stage).items():
        return f"output {path} is {how}"
    for entry in record.get("inputs", []):
        if known.of(entry["path"]) != entry["fingerprint"]:
            return f"input {entry['path']} changed"
    return ""


def plain(value: object) -> object:
    """Returns `value` as JSON gives it back, so that values and records compare."""
    return json.loads(json.dumps(value))


def changed_parameters(record: dict, values: dict) -> list[str]:
    """Returns the names of the parameters that a record has otherwise, or that only one of the two has."""
    before, now = record.get("parameters", {}), plain(values)
    return [n for n in {**before, **now} if (n in before, before.get(n)) != (n in now, now.get(n))]


def code_changed(record: dict, now: dict) -> str:
    """Returns what code is newer than a record: 'the notebook', 'm2s_lib', both, or ''."""
    names = {"notebook": "the notebook", "library": "m2s_lib"}
    then = record.get("source", {})
    return " and ".join(words for key, words in names.items() if then.get(key) != now[key])


def unfinished(run_dir: Path, recorded: str, root: Path) -> str:
    """Returns the stage that owns an input and was started but has not finished, '' when there is none."""
    first = recorded.partition("/")[0]
    if not is_stage(first, root):
        return ""
    return first if read_record(run_dir, first).get("status", "done") != "done" else ""


def earlier_stage(text: str, own: str, root: Path) -> str:
    """Returns the full name of a stage before `own`.

    Raises M2SError when there is none of that name or it is not earlier.
    """
    names = stage_names(root / "notebooks")
    stage = find_stage(text, names)
    if stage is None or stage >= own:
        before = ", ".join(n for n in names if n < own) or "none"
        raise M2SError(f"{own} reads only from the stages before it ({before}), not from {text!r}")
    return stage
