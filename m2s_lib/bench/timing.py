"""Two ways to do the same, timed in turns in one process, and the table of what came out."""

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import NamedTuple

import pandas as pd
import torch

ROUNDS = 5  # turns; the best of each side counts, so that a busy moment of the machine does not
LEAST_S = 0.2  # seconds that one turn takes at least: quick work is repeated within it


class Work(NamedTuple):
    """What a benchmark compares, after it has checked that both sides give the same.

    baseline, ours: to be timed. floor: the least that the hardware has to do for it (a bare matrix product, a
    copy, a decode), or None. per: how many items one call does, for the report of seconds per item.
    """

    baseline: Callable[[], object]
    ours: Callable[[], object]
    floor: Callable[[], object] | None = None
    per: int = 1


@dataclass(frozen=True)
class Result:
    """One line of bench.json; times are seconds per item.

    ratio: baseline over ours, higher is better. over_floor: ours over the floor, 1 is the limit. target: the
    ratio aimed at; most_over_floor: how far above the floor at most, NaN where none is aimed at.
    """

    name: str
    baseline: str
    item: str
    t_base: float
    t_ours: float
    ratio: float
    t_floor: float
    over_floor: float
    target: float
    most_over_floor: float
    device: str

    @property
    def reached(self) -> bool:
        """Whether all that was aimed at is there."""
        ahead = not self.ratio < self.target  # NaN: nothing aimed at
        return ahead and not self.over_floor > self.most_over_floor


def take_turns(work: Work, rounds: int = ROUNDS, least_s: float = LEAST_S) -> tuple[float, float, float]:
    """Seconds per item of baseline, ours and floor (NaN without one): each the best of `rounds` turns.

    Every side is called once before, so that caches are warm for all.
    """
    sides = [f for f in work if callable(f)]
    calls = [max(1, round(least_s / max(_seconds(f, 1), 1e-9))) for f in sides]
    best = [float("inf")] * len(sides)
    for _ in range(rounds):
        for i, side in enumerate(sides):
            best[i] = min(best[i], _seconds(side, calls[i]) / calls[i] / work.per)
    return best[0], best[1], best[2] if len(best) > 2 else float("nan")


def _seconds(call: Callable[[], object], times: int) -> float:
    on_gpu = torch.cuda.is_available()
    if on_gpu:
        torch.cuda.synchronize()
    start = time.perf_counter()
    for _ in range(times):
        call()
    if on_gpu:
        torch.cuda.synchronize()
    return time.perf_counter() - start


def results_table(results: Sequence[Result]) -> pd.DataFrame:
    """The results as a table, one row each, in the order given; `reached` says whether the aim was met."""
    return pd.DataFrame([asdict(r) | {"reached": r.reached} for r in results])


def readable(results: Sequence[Result]) -> str:
    """The results as lines of text: milliseconds per item, ratios, what was aimed at."""
    lines = [
        ("path", "item", "baseline", "base ms", "ours ms", "ratio", "aim", "floor ms", "over", "aim", "")
    ]
    for r in results:
        lines.append(
            (r.name, r.item, r.baseline, _ms(r.t_base), _ms(r.t_ours), f"{r.ratio:.2f}",
             _aim(r.target, ">= "), _ms(r.t_floor), _aim(r.over_floor, ""), _aim(r.most_over_floor, "<= "),
             "" if r.reached else "not reached")
        )  # fmt: skip
    widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
    text = ("  ".join(c.ljust(w) for c, w in zip(line, widths, strict=True)).rstrip() for line in lines)
    return "\n".join(text)


def _ms(seconds: float) -> str:
    return "-" if seconds != seconds else f"{1e3 * seconds:.3g}"


def _aim(value: float, sign: str) -> str:
    return "-" if value != value else f"{sign}{value:.2f}"
