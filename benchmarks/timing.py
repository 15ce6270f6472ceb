"""Two ways to do the same, timed in turns in one process, and the table of what came out."""

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import NamedTuple

import pandas as pd
import torch

ROUNDS = 5  # turns; the best of each side counts, so that a busy moment of the machine does not
NONE = float("nan")
LEAST_S = 0.2  # seconds that one turn takes at least: quick work is repeated within it


class Work(NamedTuple):
    """What a benchmark compares, after it has checked that both sides give the same.

    baseline, ours: to be timed. floor: the least that the hardware has to do for it (a bare matrix product, a
    copy, a decode), or None; of several ways to do that the fastest counts. per: how many items one call
    does, for the report of seconds per item; base_per: how many the baseline's call does, where it is slow.
    wait: asked after the turns, the share of our time that went by waiting for data, 0..1.
    """

    baseline: Callable[[], object]
    ours: Callable[[], object]
    floor: Callable[[], object] | tuple[Callable[[], object], ...] | None = None
    per: int = 1
    base_per: int | None = None  # None: as many as ours
    wait: Callable[[], float] | None = None

    @property
    def floors(self) -> tuple[Callable[[], object], ...]:
        """The ways to do the floor's work: none, one or several."""
        return self.floor if isinstance(self.floor, tuple) else () if self.floor is None else (self.floor,)


@dataclass(frozen=True)
class Result:
    """One line of bench.json; times are seconds per item.

    ratio: baseline over ours, higher is better. over_floor: ours over the floor, 1 is the limit. target: the
    ratio aimed at; most_over_floor: how far above the floor at most; most_s: how many seconds an item at
    most. wait: share of the time spent waiting for data, most_wait: what is aimed at. NaN where there is
    none.
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
    most_s: float = NONE
    wait: float = NONE
    most_wait: float = NONE

    @property
    def reached(self) -> bool:
        """Whether all that was aimed at is there."""
        below = [(self.over_floor, self.most_over_floor), (self.t_ours, self.most_s)]
        below.append((self.wait, self.most_wait))
        return not self.ratio < self.target and not any(is_ > most for is_, most in below)  # NaN: no aim


def take_turns(work: Work, rounds: int = ROUNDS, least_s: float = LEAST_S) -> tuple[float, float, float]:
    """Seconds per item of baseline, ours and floor (NaN without one): each the best of `rounds` turns.

    Every side is called once before, so that caches are warm for all.
    """
    sides = [work.baseline, work.ours, *work.floors]
    items = [work.base_per or work.per, *[work.per] * (len(sides) - 1)]
    calls = [max(1, round(least_s / max(_seconds(f, 1), 1e-9))) for f in sides]
    best = [float("inf")] * len(sides)
    for _ in range(rounds):
        for i, side in enumerate(sides):
            best[i] = min(best[i], _seconds(side, calls[i]) / calls[i] / items[i])
    return best[0], best[1], min(best[2:], default=NONE)


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
    """The results as lines of text: milliseconds per item, ratios, what was aimed at.

    Columns in which no line has anything are left out.
    """
    lines = [
        ("path", "item", "baseline", "base ms", "ours ms", "aim", "ratio", "aim", "floor ms", "over", "aim",
         "waits %", "aim", "")
    ]  # fmt: skip
    for r in results:
        lines.append(
            (r.name, r.item, r.baseline, _ms(r.t_base), _ms(r.t_ours), _aim(1e3 * r.most_s, "<= ", "g"),
             f"{r.ratio:.2f}", _aim(r.target, ">= "), _ms(r.t_floor), _aim(r.over_floor, ""),
             _aim(r.most_over_floor, "<= "), _aim(100 * r.wait, ""), _aim(100 * r.most_wait, "<= "),
             "" if r.reached else "not reached")
        )  # fmt: skip
    told = [k for k in range(len(lines[0])) if any(line[k] != "-" for line in lines[1:])]
    widths = {k: max(len(line[k]) for line in lines) for k in told}
    return "\n".join("  ".join(line[k].ljust(widths[k]) for k in told).rstrip() for line in lines)


def _ms(seconds: float) -> str:
    return "-" if seconds != seconds else f"{1e3 * seconds:.3g}"


def _aim(value: float, sign: str, digits: str = "f") -> str:
    return "-" if value != value else f"{sign}{value:.3g}" if digits == "g" else f"{sign}{value:.2f}"
