"""Progress with an ETA: one line every ten seconds, the same in a terminal, a log and an executed
notebook."""

import math
import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

T = TypeVar("T")


class Progress:
    """Counts items and prints `what: done/total unit, rate, ETA` at most every `every_s` seconds.

    >>> bar = Progress("decoding", total=2, unit="films", every_s=60)
    >>> bar.step(); bar.step()
    """

    def __init__(
        self, what: str, total: int, unit: str = "items", every_s: float = 10.0, *, quiet: bool = False
    ):
        self.what, self.total, self.unit = what, total, unit
        self.every_s = math.inf if quiet else every_s  # quiet: of several processes one speaks
        self.done, self.start = 0, time.monotonic()
        self._said = self.start

    def step(self, count: int = 1, note: str = "") -> None:
        """Count `count` more items; print a line when the last one is old enough."""
        self.done += count
        now = time.monotonic()
        if now - self._said < self.every_s:
            return
        self._said = now
        rate = self.done / max(now - self.start, 1e-9)
        eta = int(max(self.total - self.done, 0) / max(rate, 1e-9))
        tail = f", {note}" if note else ""
        print(
            f"{self.what}: {self.done:,}/{self.total:,} {self.unit}, {rate:.3g} {self.unit}/s, "
            f"ETA {eta // 3600}:{eta // 60 % 60:02d}:{eta % 60:02d}{tail}",
            flush=True,
        )


def progress(items: Iterable[T], what: str, total: int | None = None, unit: str = "items") -> Iterator[T]:
    """Iterate over `items` and report as `Progress` does."""
    bar = Progress(what, len(items) if total is None else total, unit)  # type: ignore[arg-type]
    for item in items:
        yield item
        bar.step()
