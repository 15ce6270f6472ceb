"""`python -m tests.helpers.run_again NOTEBOOKS RUN`: Run All on a finished run computes and writes nothing."""

import sys
import time
from pathlib import Path

import nbformat
from nbclient import NotebookClient


def files(folder: Path) -> dict[Path, int]:
    """When each file of a folder was written, nanoseconds; the cache of checksums apart."""
    found = [path for path in folder.rglob("*") if path.is_file() and path.name != ".fingerprints.json"]
    return {path: path.stat().st_mtime_ns for path in found}


def run_again(notebook: Path, run: Path) -> float:
    """Runs all cells of one notebook as a person does; seconds, kernel included.

    Raises AssertionError naming the files that were written, changed or removed.
    """
    before, start = files(run), time.monotonic()
    NotebookClient(nbformat.read(notebook, 4), timeout=120, resources={"metadata": {"path": "."}}).execute()
    after = files(run)
    changed = sorted(str(p) for p in before.keys() | after.keys() if before.get(p) != after.get(p))
    assert not changed, f"{notebook.name} ran on a finished run and changed {changed}"
    return time.monotonic() - start


def main(notebooks: str, run: str) -> None:
    for notebook in sorted(Path(notebooks).glob("*.ipynb")):
        print(f"{notebook.name}: Run All on the finished run changes nothing, ", end="", flush=True)
        print(f"{run_again(notebook, Path(run)):.1f} s", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
