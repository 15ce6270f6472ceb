"""What a Ray worker does for engine_ray.py."""

import pickle
import tempfile
from collections.abc import Callable
from pathlib import Path

from m2s_lib.parallel import Work, process_pool, result

_here: dict = {}  # what this worker keeps from item to item


def packed(value: object) -> bytes:
    """A value for another process, closures included."""
    from ray import cloudpickle

    return cloudpickle.dumps(value)


def _outcome(work: Callable, *arguments) -> bytes:
    """`work`'s (value, files), or the error it raised."""
    try:
        return packed((*work(*arguments), None))
    except Exception as error:  # the caller's to judge, as if it had happened there
        return packed((None, {}, error))


def _deliver(work: Work, item: object, folder: Path | None, token: str) -> tuple[object, dict[str, bytes]]:
    """The item's result, and its files where this machine does not see the output folder."""
    if folder is None or (folder / token).exists():
        return work(item, folder), {}
    with tempfile.TemporaryDirectory(prefix="m2s-") as place:
        value = work(item, Path(place))
        found = (p for p in sorted(Path(place).rglob("*")) if p.is_file())
        return value, {p.relative_to(place).as_posix(): p.read_bytes() for p in found}


def run_apart(row: dict, work: Work, folder: Path, token: str, timeout_s: float) -> dict:
    """One item of `RayEngine.apart`, in a process that this worker keeps for the next ones."""
    pool = _here.setdefault("pool", None) or _here.update(pool=process_pool(1)) or _here["pool"]

    def run() -> tuple[object, dict]:
        arguments = (work, pickle.loads(row["item"]), folder, token)
        ended = result(pool.schedule(_deliver, args=arguments, timeout=timeout_s))
        return ended if isinstance(ended, tuple) else (ended, {})

    return {"index": row["index"], "outcome": _outcome(run)}


class Prepared:
    """An actor of `map_batches`: the work built once, then item after item."""

    def __init__(self, shared: list, device: str, folder: Path | None, token: str):
        import ray

        self.work, self.folder, self.token = ray.get(shared[0])(device), folder, token

    def __call__(self, batch: dict) -> dict:
        def one(item: bytes) -> bytes:
            return _outcome(lambda: _deliver(self.work, pickle.loads(item), self.folder, self.token))

        return {"index": batch["index"], "outcome": [one(item) for item in batch["item"]]}


def run_task(key: str, shared: list, device: str, folder: Path | None, token: str, item: bytes) -> bytes:
    """One item as a task; the work is kept in this worker for the next one."""
    import ray

    def run() -> tuple[object, dict]:
        if _here.get("key") != key:
            _here.update(key=key, work=ray.get(shared[0])(device))
        return _deliver(_here["work"], pickle.loads(item), folder, token)

    return _outcome(run)


def run_call(function: Callable, *arguments) -> bytes:
    return _outcome(lambda: (function(*arguments), {}))
