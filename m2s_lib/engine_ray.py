"""The engine on Ray: films through Ray Data, shards of pairs and films to encode as Ray tasks.

A worker that sees the output folder (it looks for a token file in it) writes its files there itself; another
one returns their bytes, and this process writes them. A lost worker costs the item it had: Ray gives it to
another. Nothing of Ray is imported before an engine is made.
"""

import contextlib
import logging
import os
import pickle
import signal
import socket
import tempfile
import threading
import uuid
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from m2s_lib.errors import M2SError
from m2s_lib.io import atomic_path
from m2s_lib.parallel import Unseen, Work, cores, process_pool, result

_RETRIES = 5  # a worker that is lost with one and the same item so often is lost because of it
_ATTACHED = 16  # items that travel with their inputs at once
_OBJECT_STORE = 1 << 30  # bytes, on a machine of our own; what does not fit goes to disk
_opened: list[str] = []  # address of the cluster that this process is connected to


class RayEngine:
    """A Ray cluster, or Ray on this machine alone; see `engine.open_engine`.

    Attributes, of the cluster when it was joined: nodes (machines with CPUs), cpus, node_cpus (of the
    smallest of them), gpus (0 when the run's device is the CPU).
    """

    name = "ray"

    def __init__(self, address: str = "", device: str = "auto"):
        self._ray, self._calls = _connect(address), set()
        have = [node["Resources"] for node in self._ray.nodes() if node["Alive"]]
        cpus = [int(node["CPU"]) for node in have if node.get("CPU", 0) >= 1]
        if not cpus:
            raise M2SError(f"the Ray cluster at {address or 'this machine'} has no CPUs to work with")
        self.nodes, self.cpus, self.node_cpus = len(cpus), sum(cpus), min(cpus)
        self.gpus = 0 if device == "cpu" else int(sum(node.get("GPU", 0) for node in have))

    def __repr__(self) -> str:
        return f"engine: Ray, {self.nodes} machine(s), {self.cpus} CPUs, {self.gpus} GPUs used"

    def apart(
        self, work: Work, items: Sequence, folder: Path, *, workers: int = 0, timeout_s: float = 7200.0
    ) -> Iterator[tuple[int, object]]:
        """As `LocalEngine.apart`, mapped over the items by Ray Data; a worker runs each in a process."""
        if not items:
            return
        with _token(folder) as token:
            options = dict(work=work, folder=folder, token=token, timeout_s=timeout_s)
            rows = self._rows(items).map(
                run_apart, fn_kwargs=options, num_cpus=1, concurrency=workers or None
            )
            for row in self._iterate(rows):
                yield int(row["index"]), _received(row["outcome"], folder)

    def prepared(
        self,
        make: Callable[[object], Work],
        items: Sequence,
        folder: Path | None,
        *,
        device: object = None,
        attach: Callable[[object], object] | None = None,
        whole_machine: bool = False,
    ) -> Iterator[tuple[int, object]]:
        """As `LocalEngine.prepared`, by Ray tasks."""
        if not items:
            return
        unseen, cpus = [], self.node_cpus if whole_machine and not self.gpus else 1
        with _token(folder) as token:
            how = (self._ray.put(make), "cuda" if self.gpus else "cpu", folder, token)
            for index, outcome in self._tasks(how, list(enumerate(items)), cpus):
                try:
                    value = _received(outcome, folder)
                except Unseen:
                    if attach is None:
                        raise
                    unseen.append(index)
                    continue
                yield index, value
            for start in range(0, len(unseen), _ATTACHED):
                part = [(index, attach(items[index])) for index in unseen[start : start + _ATTACHED]]
                for index, outcome in self._tasks(how, part, cpus):
                    yield index, _received(outcome, folder)

    def call(self, function: Callable, *arguments, cpus: int = 1, gpus: int = 0) -> object:
        """One call on some worker; what it raised is raised."""
        task = self._ray.remote(run_call).options(num_cpus=cpus, num_gpus=gpus, max_retries=_RETRIES)
        reference = task.remote(function, *arguments)
        self._calls.add(reference)
        try:
            return _received(self._get(reference), None)
        except BaseException:
            self._ray.cancel(reference)
            raise
        finally:
            self._calls.discard(reference)

    def cancel(self) -> None:
        """End the calls that other threads wait for; what they run is interrupted."""
        for reference in list(self._calls):
            self._ray.cancel(reference)

    def close(self) -> None:
        """Leave the cluster; Ray that was started for this engine ends."""
        if _opened:
            _opened.clear()
            self._ray.shutdown()

    # -- how it is done --

    def _rows(self, items: Sequence):
        """One block an item, so that a lost worker costs one item and progress is told by the item."""
        import ray.data

        context = ray.data.DataContext.get_current()
        context.enable_progress_bars = False
        context.print_on_execution_start = False
        logging.getLogger("ray.data").setLevel(logging.ERROR)
        rows = [{"index": index, "item": packed(item)} for index, item in enumerate(items)]
        return ray.data.from_items(rows, override_num_blocks=len(rows))

    def _iterate(self, rows) -> Iterator[dict]:
        with self._told():
            yield from rows.iter_rows()

    def _tasks(
        self, how: tuple, items: Sequence[tuple[int, object]], cpus: int
    ) -> Iterator[tuple[int, bytes]]:
        options = dict(num_cpus=cpus, num_gpus=1 if self.gpus else 0, max_retries=_RETRIES)
        task = self._ray.remote(run_task).options(**options)
        waiting, running, key = list(reversed(items)), {}, uuid.uuid4().hex
        try:
            while waiting or running:
                while waiting and len(running) < 2 * (self.gpus or self.cpus // cpus):
                    index, item = waiting.pop()
                    running[task.remote(key, [how[0]], *how[1:], packed(item))] = index
                (done, *_), _ = self._ray.wait(list(running), num_returns=1)
                index = running.pop(done)
                yield index, self._get(done)
        finally:
            for reference in running:
                self._ray.cancel(reference)

    def _get(self, reference) -> bytes:
        with self._told():
            return self._ray.get(reference)

    @contextlib.contextmanager
    def _told(self) -> Iterator[None]:
        """Ray's own errors as ours; interrupts pass."""
        try:
            yield
        except self._ray.exceptions.RayError as error:
            last = str(error).strip().splitlines()[-1] if str(error).strip() else type(error).__name__
            raise M2SError(
                f"Ray gave up ({last}); what is done is kept: run the same command again, or with engine "
                "'local'"
            ) from error


def _connect(address: str):
    """Ray, connected to `address` or started on this machine."""
    defaults = {
        "RAY_USAGE_STATS_ENABLED": "0",  # nothing is told to anybody
        "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",  # spares a warning
        "RAY_DATA_DISABLE_PROGRESS_BARS": "1",
    }
    os.environ.update({name: os.environ.get(name, value) for name, value in defaults.items()})
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise M2SError(f"engine 'ray' needs Ray ({error}): pip install -e '.[ray]'") from error
    if ray.is_initialized():
        if not _opened or _opened[0] == address:
            return ray
        ray.shutdown()  # a notebook cell that was run again with another address
    _opened[:] = [address]
    handler = signal.getsignal(signal.SIGTERM)
    try:
        _init(ray, address)
    except BaseException:
        _opened.clear()
        raise
    finally:
        if handler is not None and threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, handler)  # Ray sets its own
    return ray


def _init(ray, address: str) -> None:
    quiet = dict(logging_level=logging.ERROR, log_to_driver=False)
    package = Path(__file__).resolve().parent
    if address:
        _join(ray, address, runtime_env={"py_modules": [str(package)]}, **quiet)
        return
    path = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, (str(package.parent), path)))
    try:  # workers inherit the path and import this m2s_lib
        _start(ray, num_cpus=cores(), include_dashboard=False, object_store_memory=_OBJECT_STORE, **quiet)
    finally:
        os.environ.pop("PYTHONPATH") if path is None else os.environ.update(PYTHONPATH=path)


def _start(ray, tries: int = 2, **options) -> None:
    """Ray on this machine. Its processes give each other half a minute, which a busy machine exceeds."""
    for left in reversed(range(tries)):
        try:
            ray.init("local", **options)
            return
        except Exception as error:  # Ray raises plain Exceptions here
            ray.shutdown()
            if not left:
                raise M2SError(
                    f"Ray did not start on this machine ({str(error).strip()}): try again when it is less "
                    "busy, or run with engine 'local'"
                ) from error


def _join(ray, address: str, **options) -> None:
    if "://" in address:
        raise M2SError(
            f"ray_address {address!r} is a client address, which Ray Data does not serve: start the run on a "
            "machine of the cluster, with 'auto' or host:port"
        )
    try:
        host, _, port = address.rpartition(":")
        if host:  # Ray itself would try for minutes
            socket.create_connection((host.strip("[]"), int(port)), timeout=10).close()
        ray.init(address, **options)
    except (OSError, RuntimeError, ValueError) as error:
        last = str(error).strip().splitlines()[-1]
        raise M2SError(
            f"there is no Ray cluster at ray_address {address!r} ({last}): start one with "
            "`ray start --head`, or leave ray_address empty to start Ray on this machine"
        ) from error


@contextlib.contextmanager
def _token(folder: Path | None) -> Iterator[str]:
    """A file in `folder` while the work lasts, by which workers know the folder; named as a temporary."""
    if folder is None:
        yield ""
        return
    folder.mkdir(parents=True, exist_ok=True)
    token = folder / f".{uuid.uuid4().hex}.{os.getpid()}.tmp"
    token.touch()
    try:
        yield token.name
    finally:
        token.unlink(missing_ok=True)


def _received(outcome: bytes, folder: Path | None) -> object:
    """What a worker returned, its files written; what it raised is raised."""
    value, files, error = pickle.loads(outcome)
    if error is not None:
        raise error
    for name, content in files.items():
        with atomic_path(folder / name) as temporary:
            temporary.write_bytes(content)
    return value


# -- what a worker does --

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
