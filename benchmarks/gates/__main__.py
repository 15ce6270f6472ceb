"""`python -m benchmarks.gates`: measures g1 to g5 on development worlds and writes gates.csv."""

import argparse
from pathlib import Path

import pandas as pd

from benchmarks.gates.measure import measure_gates
from benchmarks.gates.training import Budget
from m2s_lib.io import atomic_path


def main(arguments: list[str] | None = None) -> None:
    """Measures the gates world by world; gates.csv grows with each."""
    options = _parser().parse_args(arguments)
    budget = Budget(steps=options.steps, patch=options.patch, pixels=not options.no_pixels)
    out, parts = Path(options.out), []
    out.mkdir(parents=True, exist_ok=True)
    for seed in options.worlds:
        parts.append(measure_gates(seed, budget, options.films, only_plan=options.only_plan))
        with atomic_path(out / "gates.csv") as temporary:
            pd.concat(parts).to_csv(temporary, index=False)
    table = pd.concat(parts).pivot_table(index=["gate", "name"], columns="world", values="value", sort=False)
    print(table.round(3).to_string())


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gates", description=__doc__)
    parser.add_argument("--worlds", type=int, nargs="+", default=[100], help="seeds, 100 to 109")
    parser.add_argument("--films", type=int, default=96, help="films for training")
    parser.add_argument("--steps", type=int, default=Budget.steps, help="of each training with labels")
    parser.add_argument("--patch", type=int, default=Budget.patch, help="px, side of a patch in g3")
    parser.add_argument("--only-plan", action="store_true", help="g4 and g5 alone: seconds")
    parser.add_argument("--no-pixels", action="store_true", help="without g1 and without E_scene from pixels")
    parser.add_argument("--out", default="runs/gates", help="folder for gates.csv")
    return parser


if __name__ == "__main__":
    main()
