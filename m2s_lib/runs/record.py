"""run.json: what a stage did, from what, with what; and whether that still holds."""

import contextlib
import hashlib
import importlib.metadata
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

from m2s_lib.errors import M2SError
from m2s_lib.io import fingerprint, json_ready, read_json, write_json
from m2s_lib.runs.outputs import RECORD, spoilt
from m2s_lib.runs.project import find_stage, stage_names

OF_ROWS = ("rows", "rows.parquet")  # of a run with rows, beside its stages
UNCOUNTED = {"headline", "timing"}  # metrics that differ between equal runs; nobody may compute from them
_PACKAGES = {
    "torch": ("torch",),
    "timm": ("timm",),
    "numpy": ("numpy",),
    "pandas": ("pandas",),
    "decord": ("decord", "decord2"),
    "faiss": ("faiss-gpu", "faiss-cpu"),
    "papermill": ("papermill",),
}


def read_record(run_dir: Path, stage: str) -> dict:
    """The record of a stage, {} when there is none or it is cut short (it then counts as not run)."""
    with contextlib.suppress(M2SError):
        record = read_json(run_dir / stage / RECORD)
        return record if _sound(record) else {}
    return {}


def _sound(record: object) -> bool:
    """Whether a record has the form that it is written in, as far as it goes."""
    if not isinstance(record, dict):
        return False
    lists = (("inputs", {"path": str, "fingerprint": str}), ("outputs", {"path": str, "size": int}))
    return all(isinstance(record.get(name, {}), dict) for name in ("parameters", "metrics")) and all(
        isinstance(record.get(name, []), list)
        and all(
            isinstance(e, dict) and all(isinstance(e.get(k), t) for k, t in form.items())
            for e in record.get(name, [])
        )
        for name, form in lists
    )


def plain(value: object) -> object:
    """`value` as JSON gives it back, so that values and records compare."""
    return json.loads(json.dumps(value))


# -- inputs --


def locate(recorded: str, run_dir: Path, root: Path) -> Path:
    """Place of an input: in the run directory when it starts with a stage's name or is of the run's rows,
    else under the root."""
    first = recorded.partition("/")[0]
    if first in OF_ROWS or is_stage(first, root):
        return Path(os.path.normpath(run_dir / recorded))
    return Path(os.path.normpath(root / recorded))


def portable(path: Path, run_dir: Path, root: Path) -> str:
    """How an input is recorded: relative inside the run directory (which can be moved) or the project."""
    if path.is_relative_to(run_dir) and path != run_dir:
        relative = path.relative_to(run_dir)
        if relative.parts[0] in OF_ROWS or is_stage(relative.parts[0], root):
            return relative.as_posix()
    if path.is_relative_to(root) and not is_stage(path.relative_to(root).as_posix().split("/")[0], root):
        return path.relative_to(root).as_posix()
    return str(path)


def is_stage(name: str, root: Path) -> bool:
    """Whether `name` is the full name of one of the project's notebooks."""
    return (root / "notebooks" / f"{name}.ipynb").is_file()


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
        """Fingerprint of an input by its recorded path; '' when it is absent."""
        path = locate(recorded, self.run_dir, self.root)
        if path.name == RECORD and is_stage(path.parent.name, self.root):
            return _record_fingerprint(path)
        files = sorted(p for p in (path.rglob("*") if path.is_dir() else [path]) if p.is_file())
        state, newest = _state(path, files)
        entry = self._known.get(recorded)
        if isinstance(entry, list) and entry[:1] == [state]:
            return entry[-1]
        value = fingerprint(path)
        if value:
            self._remember(recorded, [state, value], newest)
        return value

    def spoilt(self, stage: str, below: str = "") -> dict[str, str]:
        """Outputs of a finished stage, or those at and below one path, that are not what it recorded.

        Returns path -> 'missing', 'of another size' or 'damaged', {} when all are whole.
        """
        folder, entries = self.run_dir / stage, read_record(self.run_dir, stage).get("outputs", [])
        entries = [e for e in entries if not below or e["path"] == below or e["path"].startswith(f"{below}/")]
        state, newest = _state(folder, [p for e in entries if (p := folder / e["path"]).is_file()])
        key, state = f"whole: {stage}/{below}", [state, _digest(entries)]
        if self._known.get(key) == state:
            return {}
        wrong = spoilt(folder, entries)
        if not wrong:
            self._remember(key, state, newest)
        return wrong

    def _remember(self, key: str, value: list, newest: float) -> None:
        if newest < time.time() - 2:
            self._known[key] = value
            with contextlib.suppress(OSError, M2SError):  # a read-only run directory can still be checked
                write_json(self._file, self._known)


def _digest(value: object) -> str:
    return hashlib.blake2b(json.dumps(value).encode(), digest_size=16).hexdigest()


def _state(path: Path, files: list[Path]) -> tuple[str, float]:
    """Digest of names, sizes, times and inodes of files below `path`, and the newest of the times."""
    digest, newest = hashlib.blake2b(str(path.is_dir()).encode(), digest_size=16), 0.0
    for p in files:
        s = p.stat()
        what = (p.relative_to(path), s.st_size, s.st_mtime_ns, s.st_ctime_ns, s.st_ino)
        digest.update("\0".join(map(str, what)).encode() + b"\0")
        newest = max(newest, s.st_mtime, s.st_ctime)
    return digest.hexdigest(), newest


def _record_fingerprint(path: Path) -> str:
    """Of what a later stage may compute from: another's parameters and metrics, not when it ran."""
    record = read_record(path.parent.parent, path.parent.name)
    if not record:
        return ""
    metrics = {k: v for k, v in record.get("metrics", {}).items() if k not in UNCOUNTED}
    text = json.dumps([record.get("parameters"), metrics], sort_keys=True)
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


# -- the stage's circumstances --


def source_state(notebook: Path) -> dict:
    """Digests of the notebook's code and of the library's, to say when a result is older than its code."""
    try:
        cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
        code = "\0".join("".join(c["source"]) for c in cells if c["cell_type"] == "code")
    except (OSError, ValueError, KeyError):
        code = ""
    library = Path(__file__).resolve().parents[1]
    digest = hashlib.blake2b(digest_size=16)
    for p in sorted(library.rglob("*.py")):
        digest.update(f"{p.relative_to(library)}\0".encode() + p.read_bytes())
    return {
        "notebook": hashlib.blake2b(code.encode(), digest_size=16).hexdigest(),
        "library": digest.hexdigest(),
    }


def git_state(root: Path) -> dict:
    """Commit of the checkout and whether files differ from it; '' where there is no git."""
    try:
        commit = _git(root, "rev-parse", "HEAD")
        return {"commit": commit, "dirty": bool(_git(root, "status", "--porcelain"))}
    except (OSError, subprocess.SubprocessError):
        return {"commit": "", "dirty": False}


def _git(root: Path, *arguments: str) -> str:
    done = subprocess.run(
        ["git", "-C", str(root), *arguments], capture_output=True, text=True, timeout=20, check=True
    )
    return done.stdout.strip()


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that results depend on; '' for one that is not installed."""
    found = {"python": sys.version.split()[0]}
    for name, candidates in _PACKAGES.items():
        found[name] = ""
        for package in candidates:
            with contextlib.suppress(importlib.metadata.PackageNotFoundError):
                found[name] = importlib.metadata.version(package)
                break
    return found


def device() -> str:
    """The GPU's name when this process has used one, else cpu; torch is not imported for it."""
    torch = sys.modules.get("torch")
    used = torch is not None and torch.cuda.is_initialized()
    return torch.cuda.get_device_name() if used else "cpu"


def peak_memory_mb() -> float:
    """Peak resident memory of this process plus that of its largest finished child, MB."""
    unit = 1 if sys.platform == "darwin" else 1024
    kinds = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    return round(sum(resource.getrusage(k).ru_maxrss for k in kinds) * unit / 1e6, 1)


def cpu_seconds() -> float:
    """Seconds that CPUs have worked for this process and its finished children."""
    used = [resource.getrusage(k) for k in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(u.ru_utime + u.ru_stime for u in used)


def checked_metrics(metrics: Mapping[str, object]) -> dict:
    """Metrics as JSON holds them; M2SError names the first that it cannot hold."""
    kept = {}
    for name, value in metrics.items():
        try:
            kept[str(name)] = json.loads(json.dumps(json_ready(value)))
        except (TypeError, ValueError):
            kinds = "numbers, text, lists and dicts"
            raise M2SError(f"metric {name!r} is a {type(value).__name__}; metrics are {kinds}") from None
    for name in ("headline", "summary", "timing"):
        if not isinstance(kept.get(name, {}), dict):
            raise M2SError(f"metrics[{name!r}] has to be a dict, got {kept[name]!r}")
    if "stages" in kept.get("summary", {}):
        raise M2SError(
            "metrics['summary'] may not hold 'stages': summary.json keeps that name for the stages' times"
        )
    return kept


# -- is it up to date? --


def why_stale(run_dir: Path, stage: str, values: dict, root: Path) -> str:
    """Why a stage has to run, '' when its record still holds for these parameter values."""
    record = read_record(run_dir, stage)
    if not record:
        return "not run yet"
    if record.get("status") != "done" or not (run_dir / stage / "notebook.ipynb").is_file():
        return "did not finish"
    if changed := changed_parameters(record, values):
        before, now = record.get("parameters", {}), plain(values)
        return "; ".join(
            f"{n} changed from {before.get(n, 'none')!r} to {now.get(n, 'none')!r}" for n in changed
        )
    known = Fingerprints(run_dir, root)
    for path, how in known.spoilt(stage).items():
        return f"output {path} is {how}"
    for entry in record.get("inputs", []):
        if known.of(entry["path"]) != entry["fingerprint"]:
            return f"input {entry['path']} changed"
    return ""


def changed_parameters(record: dict, values: dict) -> list[str]:
    """Names of the parameters that a record has otherwise, or that only one of the two has."""
    before, now = record.get("parameters", {}), plain(values)
    return [
        name
        for name in {**before, **now}
        if (name in before, before.get(name)) != (name in now, now.get(name))
    ]


def code_changed(record: dict, now: dict) -> str:
    """What code is newer than a record: 'the notebook', 'm2s_lib', both, or ''."""
    names = {"notebook": "the notebook", "library": "m2s_lib"}
    then = record.get("source", {})
    return " and ".join(words for key, words in names.items() if then.get(key) != now[key])


def unfinished(run_dir: Path, recorded: str, root: Path) -> str:
    """The stage that owns an input and was started but has not finished, '' when there is none."""
    first = recorded.partition("/")[0]
    if not is_stage(first, root):
        return ""
    status = read_record(run_dir, first).get("status", "done")
    return first if status != "done" else ""


def earlier_stage(text: str, own: str, root: Path) -> str:
    """Full name of a stage before `own`.

    Raises M2SError when there is none of that name or it is not earlier.
    """
    names = stage_names(root / "notebooks")
    stage = find_stage(text, names)
    if stage is None or stage >= own:
        before = ", ".join(n for n in names if n < own) or "none"
        raise M2SError(f"{own} reads only from the stages before it ({before}), not from {text!r}")
    return stage
