"""`python -m m2s_lib.bench`: every hot path against what others run, in one process."""

import argparse
import datetime
import json
import platform
import sys
import tempfile
from pathlib import Path

import torch

from m2s_lib.bench import evaluation_paths, film_paths, method_paths
from m2s_lib.bench.setting import Benchmark, Setting
from m2s_lib.bench.timing import Result, readable, results_table, take_turns
from m2s_lib.errors import M2SError
from m2s_lib.files import write_json

BENCHMARKS: list[Benchmark] = [
    *film_paths.BENCHMARKS,
    *method_paths.BENCHMARKS,
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
    chosen = [b for b in chosen if (b.cuda if device.type == "cuda" else b.cpu) is not None]
    if not chosen:
        print(f"m2s bench: nothing fits {options.only}: {[b.name for b in BENCHMARKS]}", file=sys.stderr)
        return 1
    results, failed = [], []
    with tempfile.TemporaryDirectory(prefix="m2s_bench") as folder:
        setting = Setting(Path(folder), device, options.small)
        for b in chosen:
            print(f"{b.name}: against {b.baseline}", file=sys.stderr, flush=True)
            try:
                results.append(measure(b, setting, options.rounds))
            except (M2SError, ImportError) as error:
                failed.append(f"{b.name}: {error}")
    rows = results_table(results).to_json(orient="records", double_precision=15)  # NaN becomes null
    write_json(Path(options.out) / "bench.json", json.loads(rows))
    print(f"{_machine(device)}, {datetime.date.today()}; seconds are the best of {options.rounds} turns\n")
    print(readable(results))
    for reason in failed:
        print(f"not run: {reason}")
    return bool(failed)


def measure(b: Benchmark, setting: Setting, rounds: int) -> Result:
    """Time one benchmark."""
    base, ours, floor = take_turns(b.make(setting), rounds, 0.02 if setting.small else 0.2)
    target, most = b.cuda if setting.device.type == "cuda" else b.cpu
    return Result(
        b.name, b.baseline, b.item, base, ours, base / ours, floor, ours / floor, target, most,
        setting.device.type,
    )  # fmt: skip


def _machine(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{platform.machine()}, {torch.get_num_threads()} threads, torch {torch.__version__}"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m m2s_lib.bench", description=__doc__)
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
