"""What a stage ran on, for its record: code, versions, device, times and memory."""

import contextlib
import importlib.metadata
import json
import resource
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import xxhash

from m2s_lib.errors import M2SError
from m2s_lib.io import json_ready, text_digest
from m2s_lib.parallel import cores

_PACKAGES = {name: (name,) for name in ("torch", "timm", "numpy", "pandas", "papermill")}
_PACKAGES |= {"decord": ("decord", "decord2"), "faiss": ("faiss-gpu", "faiss-cpu")}


def circumstances(root: Path, stage: str) -> dict:
    """Returns what a stage's record says of code, versions and machine."""
    return {
        "versions": versions(),
        "git": git_state(root),
        "source": source_state(root / "notebooks" / f"{stage}.ipynb"),
        "device": device(),
        "cpus": cores(),
    }


def source_state(notebook: Path) -> dict[str, str]:
    """Returns digests of the notebook's code and of the library's, to say that a result is older than its
    code."""
    try:
        cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
        code = "\0".join("".join(c["source"]) for c in cells if c["cell_type"] == "code")
    except (OSError, ValueError, KeyError):
        code = ""
    library = Path(__file__).resolve().parents[2]
    digest = xxhash.xxh3_128()
    for p in sorted(library.rglob("*.py")):
        digest.update(f"{p.relative_to(library)}\0".encode() + p.read_bytes())
    return {"notebook": text_digest(code), "library": digest.hexdigest()}


def git_state(root: Path) -> dict:
    """Returns the commit of the checkout and whether files differ from it; '' where there is no git."""
    try:
        commit = _git(root, "rev-parse", "HEAD")
        return {"commit": commit, "dirty": bool(_git(root, "status", "--porcelain"))}
    except (OSError, subprocess.SubprocessError):
        return {"commit": "", "dirty": False}


def _git(root: Path, *arguments: str) -> str:
    command = ["git", "-C", str(root), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=20, check=True).stdout.strip()


def versions() -> dict[str, str]:
    """Returns the versions of Python and of packages that results depend on; '' for one that is absent."""
    known = {"python": sys.version.split()[0]}
    for name, packages in _PACKAGES.items():
        known[name] = ""
        for package in packages:
            with contextlib.suppress(importlib.metadata.PackageNotFoundError):
                known[name] = known[name] or importlib.metadata.version(package)
    return known


def device() -> str:
    """Returns the GPU's name when this process has used one, else cpu; torch is not imported for it."""
    torch = sys.modules.get("torch")
    used = torch is not None and torch.cuda.is_initialized()
    return torch.cuda.get_device_name() if used else "cpu"


def _usage() -> list:
    return [resource.getrusage(kind) for kind in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]


def peak_memory_mb() -> float:
    """Returns the peak resident memory of this process plus that of its largest finished child, MB."""
    unit = 1 if sys.platform == "darwin" else 1024
    return round(sum(u.ru_maxrss for u in _usage()) * unit / 1e6, 1)


def cpu_seconds() -> float:
    """Returns the seconds that CPUs have worked for this process and its finished children."""
    return sum(u.ru_utime + u.ru_stime for u in _usage())


def checked_metrics(metrics: Mapping[str, object]) -> dict:
    """Returns metrics as JSON holds them; M2SError names the first that it cannot hold."""
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
