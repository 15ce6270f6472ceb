"""The nine notebooks when the disk fills or a bit flips: what is said, what is kept, the same results."""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from unittest import mock

import pytest
import torch

from m2s_lib.errors import M2SError
from m2s_lib.io import read_json
from m2s_lib.runs.pipeline.pipeline import StageFailed
from m2s_lib.runs.project import stage_names
from m2s_lib.runs.records.record import RECORD
from m2s_lib.runs.report.report import summary_table, write_report
from m2s_lib.stages.screens import read_collection
from tests.conftest import ROOT
from tests.helpers.notebook_runs import (
    SMALL,
    contents,
    flip,
    no_kernels,
    run,
    temporaries,
    times,
    write_profile,
)

pytestmark = [pytest.mark.slow, pytest.mark.fault, pytest.mark.timeout(600)]
STAGES = stage_names(ROOT / "notebooks")
S1, S2, S3, S4 = STAGES[:4]
TIMED = ("log", "training", "films.parquet", "fig3")  # they hold speeds or places
KINDS = ("csv", "parquet", "safetensors", "arrow", "npy")


@pytest.fixture(scope="module", autouse=True)
def _one_thread():
    """Sums in one order, so that equal runs are equal to the last bit; and no kernels."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with mock.patch.dict(os.environ, {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}), no_kernels():
        yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def whole(tmp_path_factory, _one_thread):
    """Run directory and profile of all nine that nothing disturbed. Copy it, do not change it."""
    folder = tmp_path_factory.mktemp("whole")
    profile = write_profile(folder / "small.yaml", SMALL)
    run(profile, folder / "run")
    return folder / "run", profile


def results(folder: Path) -> dict[str, bytes]:
    """A stage's results that are equal in equal runs."""
    found = sorted(p.relative_to(folder).as_posix() for kind in KINDS for p in folder.rglob(f"*.{kind}"))
    return contents(folder, *(name for name in found if not any(part in name for part in TIMED)))


def assert_same(folder: Path, reference: Path) -> None:
    """Equal results, or the names of those that differ."""
    now, then = results(folder), results(reference)
    assert sorted(now) == sorted(then)
    assert [name for name in now if now[name] != then[name]] == []


def test_a_flipped_bit_is_named_and_only_what_it_hit_is_computed_again(whole, tmp_path):
    cut, profile = Path(shutil.copytree(whole[0], tmp_path / "cut")), whole[1]
    store, features, film = sorted((cut / S1 / "shots").iterdir())[:3]
    hit = [
        store, cut / S1 / "features" / f"{features.stem}.npy", cut / S1 / "shot_encoder.safetensors",
        cut / S1 / "embedded" / "films" / f"{film.stem}.mp4", cut / S2 / "film_pairs.parquet",
        cut / S2 / "movie_encoder.safetensors", cut / S2 / "movie_encoders" / "random-seed1.safetensors",
        cut / S3 / "scene_pairs.parquet", cut / S4 / "scene_encoder.safetensors",
        next((cut / S4 / "scene_encoder.training").glob("weights-*")),
    ]  # fmt: skip
    for path in hit:
        flip(path, 0.1 if path.suffix == ".parquet" else 0.6)
    before = times(cut / S1 / "shots") | times(cut / S1 / "features")
    said = run(profile, cut, "01", "02", "03", "04")
    for stage in (S1, S2, S3, S4):
        names = [p.relative_to(cut / stage).as_posix() for p in hit if p.is_relative_to(cut / stage)]
        assert any(f"(output {name} is damaged)" in said for name in names), said
        assert_same(cut / stage, whole[0] / stage)
    again = times(cut / S1 / "shots") | times(cut / S1 / "features")
    redone = {name for name in again if again[name] != before.get(name)}
    assert {store.name, f"{features.stem}.npy"} <= redone
    assert redone <= {store.name, film.name, *(f"{p.stem}.npy" for p in (store, features, film))}
    mp4 = f"embedded/films/{film.stem}.mp4"
    assert contents(cut / S1, mp4) == contents(whole[0] / S1, mp4)
    assert temporaries(cut) == []


@pytest.fixture
def small_disk(tmp_path):
    """A file system of its own, and how to make it larger."""
    place = tmp_path / "disk"
    place.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=48k", "tmpfs", place]
    made = subprocess.run(command, capture_output=True, text=True)
    if made.returncode:
        pytest.skip(f"no file system can be mounted here: {made.stderr.strip()}")
    yield place, lambda: subprocess.run(["mount", "-o", "remount,size=400m", place], check=True)
    subprocess.run(["umount", "-l", place], check=True)


@pytest.mark.parametrize("stage", STAGES[1:])  # 01 with a real kernel in test_faults
def test_no_space_left_at_any_stage(whole, small_disk, stage):
    run_dir, enlarge = small_disk
    for before in STAGES[: STAGES.index(stage)]:
        (run_dir / before).symlink_to(whole[0] / before)
    with pytest.raises(StageFailed) as failed:
        run(whole[1], run_dir, stage)
    said = str(failed.value)
    assert said.startswith(f"{stage}: ")
    assert "no space left" in said.lower(), said
    assert f"--run-dir {run_dir} --only {stage[:2]}" in said  # how to go on
    assert temporaries(run_dir / stage) == []
    enlarge()
    run(whole[1], run_dir, stage)
    assert read_json(run_dir / stage / RECORD)["status"] == "done"
    assert_same(run_dir / stage, whole[0] / stage)


def test_a_run_that_only_may_be_read_says_so_and_can_be_read(whole, tmp_path):
    """Root may write anywhere, so the file system itself is made read-only."""
    place = tmp_path / "read-only"
    shutil.copytree(whole[0], place / "run")
    made = subprocess.run(["mount", "--bind", place, place], capture_output=True, text=True)
    if made.returncode:
        pytest.skip(f"no file system can be mounted here: {made.stderr.strip()}")
    try:
        subprocess.run(["mount", "-o", "remount,ro,bind", place], check=True)
        with pytest.raises(M2SError, match=r"the run directory .*run cannot be written to \(Read-only file"):
            run(whole[1], place / "run", "03")
        with pytest.raises(M2SError, match=r"summary.json cannot be written \(Read-only file system\)"):
            write_report(place / "run")
        assert "scene pairs" in summary_table(place / "run")
        assert len(read_collection(place / "run").scenes) > 10  # what the gallery shows
    finally:
        subprocess.run(["umount", "-l", place], check=True)


AUDITED = """
import os, sys
from pathlib import Path
import tests.helpers.notebook_runs as runs
seen = set()
def hook(event, arguments):
    if event == "open" and isinstance(arguments[0], str | bytes | os.PathLike):
        mode, flags = arguments[1], arguments[2] or 0
        if (mode and set(str(mode)) & set("wax+")) or flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
            seen.add(os.path.abspath(os.fsdecode(arguments[0])))
    elif event == "os.symlink":
        seen.add(os.path.abspath(arguments[1]))
    elif event in ("os.mkdir", "os.remove", "os.rename", "os.rmdir", "shutil.rmtree"):
        if event != "shutil.rmtree" and arguments[-1] != -1:
            return  # a name seen from an open folder: rmtree, which tells of itself
        paths = [a for a in arguments[:2] if isinstance(a, str | os.PathLike)]
        seen.update(os.path.abspath(os.fsdecode(a)) for a in paths)
sys.addaudithook(hook)
with runs.no_kernels():
    runs.run(Path(sys.argv[1]), Path(sys.argv[2]), "02", "03", "08", "09")
print("\\n".join(sorted(seen)))
"""


def test_notebooks_write_into_the_run_and_nowhere_else(whole, tmp_path):
    """An audit hook sees every file that Python opens for writing, makes, moves or removes."""
    run_dir = tmp_path / "run"
    run_dir.mkdir()
    for stage in STAGES:
        if stage[:2] not in ("02", "03", "08", "09"):
            (run_dir / stage).symlink_to(whole[0] / stage)
    command = [sys.executable, "-B", "-c", AUDITED, whole[1], run_dir]
    (tmp_path / "temporary").mkdir()
    elsewhere = dict.fromkeys(
        ("TMPDIR", "MPLCONFIGDIR", "IPYTHONDIR", "TORCHINDUCTOR_CACHE_DIR"), str(tmp_path / "temporary")
    )
    environment = {**os.environ, **elsewhere}
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr[-3000:]
    written = [p for p in done.stdout.splitlines() if p.startswith("/")]
    assert len([p for p in written if p.startswith(str(run_dir))]) > 50
    caches = (str(tmp_path / "temporary"), str(Path.home() / ".cache"))  # of matplotlib and torch themselves
    allowed = (str(run_dir), *caches, "/dev/null", "/dev/shm/", "/dev/tty", "/proc/self/")
    assert [p for p in written if not p.startswith(allowed)] == []
