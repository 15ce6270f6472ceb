"""One item, one process, killable: what crashes or never ends costs its item, not the run.

An item's work, `work(item, folder)`, writes its files below `folder` (atomically) and returns what the caller
wants to know; engines (engine.py) run it here or on a cluster.
"""

import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import TimeoutError as FutureTimeout
from concurrent.futures import as_completed
from dataclasses import dataclass
from pathlib import Path

from m2s_lib.errors import M2SError

Work = Callable[[object, Path | None], object]


class Unseen(M2SError):
    """A worker on another machine lacks an input that this machine has."""


def unseen(path: str | os.PathLike) -> Unseen:
    """The error for a file that this worker's machine does not have."""
    return Unseen(
        f"the worker on host {socket.gethostname()} does not see {path}: put it on a disk that all machines "
        "of the cluster see under the same path"
    )


@dataclass(frozen=True)
class Lost:
    """An item without a result: its process ended with `exitcode`, or took too long (None)."""

    exitcode: int | None = None


def cores() -> int:
    """CPUs this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def process_pool(workers: int):
    """Processes that end when this one does, however it ends."""
    import multiprocessing

    import pebble

    # spawn: a forked reader hangs, and a worker must not inherit the notebook's threads, torch or CUDA
    context = multiprocessing.get_context("spawn")
    return pebble.ProcessPool(workers, context=context, initializer=end_with_parent, initargs=(os.getpid(),))


def end_with_parent(parent: int, every_s: float = 1.0) -> None:
    """End this process (SIGTERM, and SIGKILL if that is not enough) soon after process `parent` ended.

    A process that is killed cannot end its children; this is how they notice.
    """

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(every_s)
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(60)
        os.kill(os.getpid(), signal.SIGKILL)

    threading.Thread(target=watch, name="end with parent", daemon=True).start()


def result(future) -> object:
    """What a process returned, or `Lost`; what it raised is raised."""
    import pebble

    try:
        return future.result()
    except FutureTimeout:
        return Lost()
    except pebble.ProcessExpired as error:
        return Lost(error.exitcode)


def results(
    work: Callable, items: Sequence[tuple], workers: int = 0, timeout_s: float = 7200.0
) -> Iterator[tuple[int, object]]:
    """`work(*item)` of every item in processes of their own, as they end: (index, result or `Lost`).

    Args:
        work: importable by name, or an object that can be pickled.
        workers: processes, 0 for one per core. timeout_s: seconds that one item may take.

    Raises what an item raised; the others are then stopped.
    """
    if not items:
        return
    pool = process_pool(min(workers or cores(), len(items)))
    try:
        futures = {
            pool.schedule(work, args=item, timeout=timeout_s): index for index, item in enumerate(items)
        }
        for future in as_completed(futures):
            yield futures[future], result(future)
    except BaseException:
        pool.stop()
        raise
    finally:
        pool.close()
        pool.join()
