"""Runs of the real notebooks on next to nothing, for the tests of what goes wrong."""

import contextlib
import io
import linecache
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from unittest import mock

import numpy as np
import yaml
from safetensors.torch import load_file

from m2s_lib.io import read_json
from m2s_lib.runs.pipeline import kernel
from m2s_lib.runs.pipeline.pipeline import run_profile
from m2s_lib.runs.records.in_notebook import StageEnded
from m2s_lib.runs.records.record import RECORD
from tests.conftest import ROOT

TINY = {
    "01": {
        "world_films": 5, "world_benchmark_films": 2, "world_shots": 18, "world_viewers": 40, "workers": 1,
        "frame_size": 32, "shot_encoder": "test", "shot_epochs": 1, "shot_batch": 16, "shot_queue": 32,
    },
    "02": {
        "metadata_source": "random", "control_source": "", "neighbours": 1, "movie_shots": 16,
        "avg_kernel": 4, "avg_stride": 2, "max_kernel": 2, "max_stride": 1,
        "movie_epochs": 2, "movie_seeds": [1], "movie_held_out": 0.0,
    },
    "03": {"shots_per_scene": 3, "shown_pairs": 1},
    "04": {
        "scene_encoder": "test", "scene_epochs": 60, "scene_batch": 4, "scene_queue": 8,
        "checkpoint_every_s": 0.0,
    },
    "08": {"queries": 1, "results": 2},
}  # fmt: skip


def write_profile(path: Path, base: dict = TINY, **changes: dict) -> Path:
    """A profile like `base`, with changes by notebook: `_01={"films_dir": ...}`."""
    parameters = {number: {**values, **changes.get(f"_{number}", {})} for number, values in base.items()}
    path.write_text(
        yaml.safe_dump({"description": "a test", "parameters": parameters}, allow_unicode=True),
        encoding="utf-8",
    )
    return path


SMALL = {  # for all nine; less does not reach every part of 05 to 07
    "01": {**TINY["01"], "world_films": 6, "world_benchmark_films": 3, "world_shots": 22},
    "02": TINY["02"],
    "03": TINY["03"],
    "04": {**TINY["04"], "scene_epochs": 4, "compared": ["colour"]},
    "05": {"lvu_epochs": 1, "end_to_end_epochs": 1, "shown_tasks": ["genre"], "shown_clips": 1},
    "06": {"boundary_epochs": 1, "place_epochs": 1, "place_min_count": 1, "shown_boundaries": 1},
    "07": {"mcd_epochs": 1, "mcd_end_to_end_epochs": 1, "mcd_recalls": [0.8], "shown_per_class": 1},
    "08": TINY["08"],
}  # fmt: skip


@contextlib.contextmanager
def no_kernels():
    """Notebooks run in this process: what a kernel takes to start is most of what a small stage takes."""
    with mock.patch("m2s_lib.runs.pipeline.kernel.execute", _execute_here):
        yield


def _execute_here(node, folder: Path, cwd: Path, env: dict, stream=None) -> None:
    names = {"__name__": "__main__", "display": lambda *_: None}
    with mock.patch.dict(os.environ, env), contextlib.chdir(cwd), contextlib.redirect_stdout(stream):
        for number, cell in enumerate(c for c in node.cells if c.cell_type == "code"):
            file = f"<{node.cells[0].source.splitlines()[0]}, cell {number}>"
            lines = cell.source.splitlines(keepends=True)
            linecache.cache[file] = (len(cell.source), None, lines, file)  # as IPython does
            try:
                exec(compile(cell.source, file, "exec"), names)
            except StageEnded:
                break
            except Exception as error:
                kernel.write_notebook(node, folder / "notebook.failed.ipynb")
                raise kernel.NotebookFailed(f"cell {number}: {type(error).__name__}: {error}") from error
    kernel.write_notebook(node, folder / "notebook.ipynb")


def run(profile: Path, run_dir: Path, *only: str) -> str:
    """Run to the end in this process; what was printed."""
    said = io.StringIO()
    run_profile(str(profile), run_dir, only, root=ROOT, stream=said)
    return said.getvalue()


def start(profile: Path, run_dir: Path, *only: str) -> subprocess.Popen:
    """`m2s run` in a process group of its own."""
    command = [sys.executable, "-m", "m2s_lib.runs.cli", "run", str(profile), "--run-dir", str(run_dir)]
    for stage in only:
        command += ["--only", stage]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(command, cwd=ROOT, start_new_session=True, **pipes)


def wait_for(seen, process: subprocess.Popen, seconds: float = 120) -> None:
    """Wait until `seen()`; the process has to be running then."""
    until = time.monotonic() + seconds
    while not seen():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < until, "it did not happen in time"
        time.sleep(0.005)


def kill(process: subprocess.Popen, folder: Path, *, kernel: bool) -> None:
    """SIGKILL to `m2s run`; with `kernel` also to the notebook's process group, as when the power fails.

    Without, the kernel is an orphan that the next run meets.
    """
    if kernel:
        os.killpg(read_json(folder / RECORD)["pid"], signal.SIGKILL)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()


def contents(folder: Path, *names: str) -> dict[str, bytes]:
    """What is in files, and in all files of folders: their bytes, of weights the tensors'."""
    files = [
        p
        for name in names
        for p in ([folder / name] if (folder / name).is_file() else (folder / name).rglob("*"))
    ]
    return {p.relative_to(folder).as_posix(): _content(p) for p in files if p.is_file()}


def _content(path: Path) -> bytes:
    if path.suffix != ".safetensors":
        return path.read_bytes()
    tensors = load_file(path)
    return b"".join(
        f"{n} {t.shape} {t.dtype}".encode() + t.numpy().tobytes() for n, t in sorted(tensors.items())
    )


def times(folder: Path) -> dict[str, int]:
    """When the files of a folder were written."""
    return {p.name: p.stat().st_mtime_ns for p in folder.iterdir()}


def temporaries(folder: Path) -> list[Path]:
    """What killed processes left."""
    return [p for p in folder.rglob("*.tmp")]


def flip(path: Path, at: float = 0.5) -> Path:
    """Change one bit, `at` of the way through a file, and nothing of its size and time; returns the path."""
    data, stat = bytearray(path.read_bytes()), path.stat()
    data[int(at * (len(data) - 1))] ^= 8
    path.write_bytes(data)
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    return path


def write_features(folder: Path, films: int = 5, shots: int = 26, d: int = 512) -> Path:
    """Films in OVSD's layout with made-up features, a metadata table beside them; returns their folder."""
    rng, genres = np.random.default_rng(0), ["Comedy", "Drama|Comedy", "Drama"]
    rows = ["film_id,genres"]
    for number in range(films):
        place, n = folder / "films" / f"{number:02d}", shots + number
        place.mkdir(parents=True)
        (place / "name.txt").write_text(f"Film {number}\n")
        (place / "shots.txt").write_text("".join(f"{10 * i} {10 * i + 8}\n" for i in range(n)))
        np.save(place / "features_vgg19.npy", rng.random((n, d), dtype=np.float32))
        rows.append(f"{number:02d},{genres[number % 3]}")
    (folder / "metadata.csv").write_text("\n".join(rows) + "\n")
    return folder / "films"
