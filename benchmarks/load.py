"""Thousands of made-up films through 02, 03 and 08: `python -m benchmarks.load --films 2000`.

Each size is a run directory as stage 01 leaves it, without any video: shot tables, small keyframes, features,
a watch log. The stages then run as they always do, `m2s run`, each in a kernel of its own that is watched
from outside: seconds, peak memory, how much of that is its own (not file pages, which the system takes back
when it needs them), open files. Then the answers of explorer, gallery and page are timed on the finished run.

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

from benchmarks.load_answers import time_answers
from benchmarks.load_films import PROFILE, TOGETHER, write_run
from m2s_lib.errors import M2SError
from m2s_lib.io import atomic_path

STAGES = ("02", "03", "08")
_SEEN = ("cpu_seconds", "peak_mb", "own_mb", "open_files", "mappings")
COLUMNS = ["films", "shots", "stage", "seconds", *_SEEN]
OPEN_FILES = 1024  # what most systems allow a process
ANSWER_MS = 300
# Most that a stage's own memory may grow by, MB a film of 80 shots, whose features are 0.16 MB. 02 and 03 hold a
# share of the corpus up to a bound (64 MB each, of `movie_corpus` and `pair_miner`), which counts while it fills;
# 08 holds the main encoder's vectors while it writes their index, 0.02.
OWN_MB_A_FILM = {"02": 0.1, "03": 0.1, "08": 0.03}


def run_stage(run_dir: Path, profile: Path, stage: str) -> dict[str, float]:
    """Run one stage by `m2s run` and watch its kernel, which gets one thread and OPEN_FILES open files.

    Returns seconds and, of the kernel, cpu_seconds, peak_mb (resident), own_mb (of it anonymous), open_files
    and mappings: the most seen.
    Raises M2SError with the end of what it printed when it fails.
    """
    command = [sys.executable, "-m", "m2s_lib.runs.cli", "run", str(profile), "--run-dir", str(run_dir)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}  # on a busy machine threads wait for each other
    start, seen = time.perf_counter(), dict.fromkeys(_SEEN, 0.0)
    with tempfile.TemporaryFile("w+") as said:
        running = subprocess.Popen(
            [*command, "--only", stage], stdout=said, stderr=subprocess.STDOUT, env=environment,
            preexec_fn=_few_files,
        )  # fmt: skip
        while running.poll() is None:
            for pid in _kernels(running.pid):
                seen = {name: max(seen[name], value) for name, value in _look(pid, seen).items()}
            time.sleep(0.05)
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
    """_SEEN of a process now; as `seen` when it has just ended."""
    place = Path("/proc", str(pid))
    try:
        status = dict(line.split(":", 1) for line in (place / "status").read_text().splitlines())
        files, maps = len(os.listdir(place / "fd")), (place / "maps").read_bytes().count(b"\n")
        peak, own = (int(status[name].split()[0]) / 1024 for name in ("VmHWM", "RssAnon"))
        ticks = (place / "stat").read_text().rpartition(")")[2].split()[11:13]
    except (OSError, KeyError):
        return seen
    cpu = sum(map(int, ticks)) / os.sysconf("SC_CLK_TCK")
    return dict(zip(_SEEN, (cpu, peak, own, files, maps), strict=True))


def measure(
    folder: Path, films: int, pixels: int, stages=STAGES, shots_a_film: int = 80
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """One size: a row a stage (COLUMNS) and the answers of the screens (`time_answers`).

    Args:
        shots_a_film: the mean; films have up to a quarter more or fewer.
    """
    run_dir = folder / f"run_{films}"
    shots = write_run(run_dir, films, pixels, shots=(3 * shots_a_film // 4, 5 * shots_a_film // 4))
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
    return pd.DataFrame(rows, columns=COLUMNS), time_answers(run_dir).assign(films=films)


def growth(load: pd.DataFrame) -> pd.DataFrame:
    """What grows by stage: MB a film of peak and own memory, CPU seconds a film, the exponent of the seconds.

    The exponent is fitted to what each size takes more than the one before, which a kernel's start is not
    in; NaN with fewer than three sizes.
    """
    rows = []
    for stage, part in load.sort_values("films").groupby("stage"):
        films = part["films"].to_numpy(float)
        slope = {
            f"{c}_a_film": np.polyfit(films, part[c], 1)[0] for c in ("peak_mb", "own_mb", "cpu_seconds")
        }
        more = np.diff(part["cpu_seconds"]) / np.diff(films)
        fits = len(more) >= 2 and (more > 0).all()
        power = 1 + np.polyfit(np.log(films[1:]), np.log(more), 1)[0] if fits else np.nan
        rows.append({"stage": stage, **slope, "exponent": power})
    return pd.DataFrame(rows)


def complaints(load: pd.DataFrame, answers: pd.DataFrame) -> list[str]:
    """What grows or takes longer than it may, in words; [] when all is well."""
    said, longer = [], load["shots"].sum() / load["films"].sum() / 80
    for row in growth(load).itertuples():
        if row.own_mb_a_film > (most := longer * OWN_MB_A_FILM[row.stage]):
            said.append(f"{row.stage} grows by {row.own_mb_a_film:.3f} MB a film, {most:.3g} are allowed")
    late = answers[answers["ms"] > ANSWER_MS]
    said += [f"{r.screen}, {r.action}: {r.ms:.0f} ms with {r.films:,} films" for r in late.itertuples()]
    return said


def write_csv(path: Path, table: pd.DataFrame) -> None:
    """A table without its index, atomically."""
    with atomic_path(path) as temporary:
        table.to_csv(temporary, index=False)


def main(arguments: list[str] | None = None) -> int:
    """Measure every size, write the tables; 1 when a stage's memory grows or an answer is late."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.load", description=__doc__)
    parser.add_argument("--films", type=int, default=2000, help="the largest size; 1/2, 1/4, 1/8 come first")
    parser.add_argument("--sizes", type=int, default=4, help="how many sizes, each twice the one before")
    parser.add_argument("--shots", type=int, default=80, help="mean of a film's shots; real films have 1,000")
    parser.add_argument("--pixels", type=int, default=16, help="px, side of the keyframes; 0 for none")
    parser.add_argument("--out", default="runs/load", help="folder of load.csv, answers.csv, growth.csv")
    parser.add_argument("--keep", action="store_true", help="keep the run directories, in --out")
    options = parser.parse_args(arguments)
    sizes = [options.films // 2**i for i in reversed(range(options.sizes))]
    if options.sizes < 2 or sizes[0] < 2 * TOGETHER:
        parser.error(f"growth needs two sizes or more, the smallest of {2 * TOGETHER} films or more: {sizes}")
    out = Path(options.out).absolute()
    out.mkdir(parents=True, exist_ok=True)
    load, answers = [], []
    with tempfile.TemporaryDirectory(prefix="m2s_load") as scratch:
        folder = out if options.keep else Path(scratch)
        for films in sizes:
            stages, answered = measure(folder, films, options.pixels, shots_a_film=options.shots)
            load.append(stages)
            answers.append(answered)
            write_csv(out / "load.csv", pd.concat(load))  # what is measured is kept
            write_csv(out / "answers.csv", pd.concat(answers))
            if not options.keep:
                shutil.rmtree(folder / f"run_{films}")
    tables = {"load": pd.concat(load), "answers": pd.concat(answers)}
    tables["growth"] = growth(tables["load"])
    for name, table in tables.items():
        print(f"\n{name}\n{table.to_string(index=False, float_format='%.4g')}")
    write_csv(out / "growth.csv", tables["growth"])
    said = complaints(tables["load"], tables["answers"])
    print("\n" + ("\n".join(said) or "memory and answers stay within their bounds"))
    return bool(said)


if __name__ == "__main__":
    sys.exit(main())
