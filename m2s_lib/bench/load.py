"""Thousands of made-up films through 02, 03 and 08: `python -m m2s_lib.bench.load --films 2000`.

Each size is a run directory as stage 01 leaves it, without any video: shot tables, small keyframes, features,
a watch log. The stages then run as they always do, `m2s run`, each in a kernel of its own that is watched
from outside: seconds, peak memory, how much of that is its own (not file pages, which the system takes back
when it needs them), open files. Then the explorer's and the gallery's answers are timed on the finished run.

Writes load.csv (a row a size and stage), answers.csv (a row a size and action) and growth.csv.
"""

import argparse
import contextlib
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd

from m2s_lib.bench.load_films import PROFILE, write_run
from m2s_lib.errors import M2SError
from m2s_lib.files import atomic_path

STAGES = ("02", "03", "08")
COLUMNS = ["films", "shots", "stage", "seconds", "peak_mb", "own_mb", "open_files", "mappings"]
OPEN_FILES = 1024  # what most systems allow a process
OWN_MB_A_FILM = 0.03  # most that a stage's own memory may grow by; a film's features are 0.16
ANSWER_MS = 300


def run_stage(run_dir: Path, profile: Path, stage: str) -> dict[str, float]:
    """Run one stage by `m2s run` with at most OPEN_FILES open files and watch its kernel.

    Returns seconds, peak_mb (resident), own_mb (of it anonymous), open_files, mappings: the most seen.
    Raises M2SError with the end of what it printed when it fails.
    """
    command = [sys.executable, "-m", "m2s_lib.runs.cli", "run", str(profile), "--run-dir", str(run_dir)]
    start, seen = time.perf_counter(), {"peak_mb": 0.0, "own_mb": 0.0, "open_files": 0, "mappings": 0}
    with tempfile.TemporaryFile("w+") as said:
        running = subprocess.Popen(
            [*command, "--only", stage], stdout=said, stderr=subprocess.STDOUT, preexec_fn=_few_files
        )
        while running.poll() is None:
            for pid in _kernels(running.pid):
                seen = {name: max(seen[name], value) for name, value in _look(pid, seen).items()}
            time.sleep(0.02)
        seconds = time.perf_counter() - start
        if running.returncode:
            said.seek(0)
            raise M2SError(f"stage {stage} in {run_dir} failed:\n{said.read()[-2000:]}")
    return {"seconds": seconds, **seen}


def _few_files() -> None:
    resource.setrlimit(resource.RLIMIT_NOFILE, (OPEN_FILES, OPEN_FILES))


def _kernels(pid: int) -> list[int]:
    """The IPython kernels among a process's children."""
    import psutil

    with contextlib.suppress(psutil.Error):
        children = psutil.Process(pid).children()
        return [c.pid for c in children if any("ipykernel" in word for word in c.cmdline())]
    return []


def _look(pid: int, seen: dict) -> dict[str, float]:
    """A process's memory, open files and mappings now; as `seen` when it has just ended."""
    place = Path("/proc", str(pid))
    try:
        status = dict(line.split(":", 1) for line in (place / "status").read_text().splitlines())
        files, maps = len(os.listdir(place / "fd")), (place / "maps").read_bytes().count(b"\n")
        peak, own = (int(status[name].split()[0]) / 1024 for name in ("VmHWM", "RssAnon"))
    except (OSError, KeyError):
        return seen
    return {"peak_mb": peak, "own_mb": own, "open_files": files, "mappings": maps}


def measure(folder: Path, films: int, pixels: int, stages=STAGES) -> tuple[pd.DataFrame, pd.DataFrame]:
    """One size: a row a stage (COLUMNS) and the answers of explorer and gallery (`time_answers`)."""
    run_dir = folder / f"run_{films}"
    shots = write_run(run_dir, films, pixels)
    profile = folder / "load.yaml"
    profile.write_text(PROFILE.format(log=run_dir / "log.parquet", size=pixels or 64), encoding="utf-8")
    rows = []
    for stage in stages:
        found = run_stage(run_dir, profile, stage)
        rows.append({"films": films, "shots": shots, "stage": stage, **found})
        print(
            f"{films:,} films, {stage}: {found['seconds']:.1f} s, {found['peak_mb']:,.0f} MB, "
            f"{found['own_mb']:,.0f} its own, {found['open_files']} open files",
            file=sys.stderr, flush=True,
        )  # fmt: skip
    return pd.DataFrame(rows, columns=COLUMNS), pd.DataFrame()


def growth(load: pd.DataFrame) -> pd.DataFrame:
    """What grows by stage: MB a film of peak and own memory, seconds a film, and the exponent of the seconds.

    The exponent is fitted to the differences between sizes, which a kernel's start is not in; NaN with fewer
    than three sizes.
    """
    rows = []
    for stage, part in load.sort_values("films").groupby("stage"):
        films = part["films"].to_numpy(float)
        slope = {c: np.polyfit(films, part[c], 1)[0] for c in ("peak_mb", "own_mb", "seconds")}
        more = np.diff(part["seconds"])
        fits = len(more) >= 2 and (more > 0).all()
        power = np.polyfit(np.log(films[1:]), np.log(more / np.diff(films)), 1)[0] + 1 if fits else np.nan
        names = ("peak_mb_a_film", "own_mb_a_film", "seconds_a_film")
        rows.append({"stage": stage, **dict(zip(names, slope.values(), strict=True)), "exponent": power})
    return pd.DataFrame(rows)


def main(arguments: list[str] | None = None) -> int:
    """Measure every size, write the tables; 1 when a stage's memory grows or an answer is late."""
    parser = argparse.ArgumentParser(prog="python -m m2s_lib.bench.load", description=__doc__)
    parser.add_argument("--films", type=int, default=2000, help="the largest size; 1/2, 1/4, 1/8 come first")
    parser.add_argument("--sizes", type=int, default=4, help="how many sizes, each twice the one before")
    parser.add_argument("--pixels", type=int, default=16, help="px, side of the keyframes; 0 for none")
    parser.add_argument("--out", default="runs/load", help="folder of load.csv, answers.csv, growth.csv")
    parser.add_argument("--keep", action="store_true", help="keep the run directories, in --out")
    options = parser.parse_args(arguments)
    sizes = [max(options.films // 2**i, 40) for i in reversed(range(options.sizes))]
    out = Path(options.out).absolute()
    out.mkdir(parents=True, exist_ok=True)
    load, answers = [], []
    with tempfile.TemporaryDirectory(prefix="m2s_load") as scratch:
        folder = out if options.keep else Path(scratch)
        for films in sizes:
            stages, answered = measure(folder, films, options.pixels)
            load.append(stages)
            answers.append(answered)
            if not options.keep:
                shutil.rmtree(folder / f"run_{films}")
    tables = {"load": pd.concat(load), "answers": pd.concat(answers)}
    tables["growth"] = growth(tables["load"])
    for name, table in tables.items():
        with atomic_path(out / f"{name}.csv") as temporary:
            table.to_csv(temporary, index=False)
        print(f"\n{name}\n{table.to_string(index=False, float_format='%.4g')}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
