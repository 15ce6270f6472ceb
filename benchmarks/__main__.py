"""`python -m benchmarks`: every hot path against what others run, in one process."""

import argparse
import datetime
import gc
import json
import platform
import sys
import tempfile
import time
import traceback
from pathlib import Path

import torch

from benchmarks import encoder_paths, evaluation_paths, film_paths, method_paths
from benchmarks.setting import Benchmark, Setting
from benchmarks.timing import Result, readable, results_table, take_turns
from m2s_lib.errors import M2SError
from m2s_lib.io import write_json

BENCHMARKS: list[Benchmark] = [
    *film_paths.BENCHMARKS,
    *method_paths.BENCHMARKS,
    *encoder_paths.BENCHMARKS,
    *evaluation_paths.BENCHMARKS,
]


def main(arguments: list[str] | None = None) -> int:
    """Run the benchmarks and write bench.json; 0, or 1 when one could not be run."""
    options = _parser().parse_args(arguments)
    device = torch.device(options.device)
    if device.type == "cuda" and not torch.cuda.is_available():
        print("m2s bench: no CUDA device is here; run it on a machine that has one", file=sys.stderr)
        return 1
    chosen = [b for b in BENCHMARKS if not options.only or any(o in b.name for o in options.only)]
    chosen = [b for b in chosen if b.aim(device) is not None]
    if not chosen:
        print(f"m2s bench: nothing fits {options.only}: {[b.name for b in BENCHMARKS]}", file=sys.stderr)
        return 1
    results, not_run = [], {}
    with tempfile.TemporaryDirectory(prefix="m2s_bench") as folder:
        setting = Setting(Path(folder), device, options.small)
        for b in chosen:
            start = time.monotonic()
            print(f"{b.name}: against {b.baseline}", end="", file=sys.stderr, flush=True)
            try:
                results.append(measure(b, setting, options.rounds))
            except Exception as error:  # whatever it is, the rows that follow are still to be measured
                if not isinstance(error, (M2SError, ImportError)):
                    traceback.print_exc()
                not_run[b.name] = reason(error)
            print(f", {time.monotonic() - start:.0f} s", file=sys.stderr, flush=True)
            write_results(Path(options.out) / "bench.json", results, not_run)  # a kill loses one row only
            _tidy(device)
    print(f"{_machine(device)}, {datetime.date.today()}; seconds are the best of {options.rounds} turns\n")
    print(readable(results))
    for name, why in not_run.items():
        print(f"not run: {name}: {why}")
    return bool(not_run)


def measure(b: Benchmark, setting: Setting, rounds: int) -> Result:
    """Time one benchmark. Products are strict float32 where they are float32: no TF32 on either side."""
    torch.set_float32_matmul_precision("highest")
    torch.backends.cudnn.allow_tf32 = False
    work = b.make(setting)
    base, ours, floor = take_turns(work, rounds, 0.02 if setting.small else 0.2)
    aim = b.aim(setting.device)
    return Result(
        b.name, b.baseline, b.item, base, ours, base / ours, floor, ours / floor, aim.ratio, aim.over_floor,
        setting.device.type, aim.most_s, work.wait() if work.wait else float("nan"), aim.wait,
    )  # fmt: skip


def write_results(path: Path, results: list[Result], not_run: dict[str, str]) -> None:
    """bench.json: a row for each result, then one with the reason for each path that could not be run."""
    rows = results_table(results).to_json(orient="records", double_precision=15)  # NaN becomes null
    write_json(path, json.loads(rows) + [{"name": name, "not_run": why} for name, why in not_run.items()])


def reason(error: Exception) -> str:
    """Why a path was not run, in one line."""
    said = " ".join(str(error).split())[:300]
    return said if isinstance(error, (M2SError, ImportError)) else f"{type(error).__name__}: {said}"


def _tidy(device: torch.device) -> None:
    """Give back the memory of the last path, so that the next one meets the device as it was."""
    if device.type == "cuda":
        gc.collect()
        torch.compiler.reset()
        torch.cuda.empty_cache()


def _machine(device: torch.device) -> str:
    if device.type == "cuda":
        return f"{torch.cuda.get_device_name(device)}, torch {torch.__version__}"
    return f"{platform.machine()}, {torch.get_num_threads()} threads, torch {torch.__version__}"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--only", action="append", default=[], help="paths whose name holds this; repeatable")
    parser.add_argument("--rounds", type=int, default=5, help="turns of baseline and ours; the best counts")
    parser.add_argument("--out", default="runs/bench", help="folder of bench.json")
    parser.add_argument(
        "--small", action="store_true", help="small sizes, to see that it runs; no ratio counts"
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
