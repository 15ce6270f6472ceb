"""Training in several processes (section 3.2.2): on the GPUs of one machine, or with Ray Train on many.

A launcher has `run(function, job)`: it calls `function(**job)` in every process, with `device` the process's
own, after torch.distributed is set up. Nothing comes back but files, which the first process writes.
"""

import dataclasses
import io
import math
import multiprocessing
import os
import shutil
import signal
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Mapping
from datetime import timedelta
from importlib.util import find_spec
from multiprocessing.connection import wait
from pathlib import Path
from typing import Protocol

import pandas as pd
import torch
import torch.distributed as dist

from m2s_lib.errors import M2SError
from m2s_lib.files import read_json, write_json
from m2s_lib.films.shot_store import StorePaths
from m2s_lib.method.training_run import finished_log
from m2s_lib.method.weights import load_encoder

TIMEOUT_S = 900.0  # how long a process waits for the others: the first may be writing a large checkpoint
GRACE_S = 10.0  # how long the others may take to fail, too, once one has
INSTALL = "pip install -e .[ray]"


class Launcher(Protocol):
    """Starts the processes of a training and waits for them."""

    def run(self, function: Callable, job: dict) -> None:
        """Call `function(**job)`, importable by name, in every process; `job` can be pickled and names
        `device` ('cpu' or 'cuda') and `path`, the encoder's file."""


def launcher(engine: str, address: str = "", workers: int = 1, device: str = "auto") -> Launcher | None:
    """Who starts the training's processes; None: it runs here, in this one.

    Args:
        engine: 'local' or 'ray'.
        address: of the Ray cluster; '' is one that is known already, or a new one on this machine.
        workers: processes; 0 is one for each GPU of the machine or cluster.
        device: as `pick_device` takes it; with Ray, 'auto' are GPUs where the cluster has enough.
    """
    if engine not in ("local", "ray"):
        raise M2SError(f"engine {engine!r} is unknown: use 'local' or 'ray'")
    if workers < 0:
        raise M2SError(f"train_workers is {workers}: it must be at least 1, or 0 for one for each GPU")
    if engine == "ray" and workers != 1:
        return RayLauncher(workers, address, None if device == "auto" else device.startswith("cuda"))
    count = workers or (torch.cuda.device_count() if device != "cpu" else 0)
    return LocalLauncher(count) if count > 1 else None


def train_with(
    train: Launcher | None, function: Callable, job: dict, path: str | os.PathLike, device: torch.device | str
) -> tuple[torch.nn.Module, pd.DataFrame]:
    """Encoder and log of `function(**job, path=path, device=device)`, which trains and writes the encoder.

    Args:
        train: None calls it here; a launcher calls it in its processes and the result is read from the files.
        job: its other arguments; `stores` go to other processes as paths.
    """
    if train is None:
        return function(**job, path=path, device=device)
    path, device = Path(path).absolute(), torch.device(device)
    path.parent.mkdir(parents=True, exist_ok=True)
    train.run(function, {**job, "stores": _as_paths(job["stores"]), "path": path, "device": str(device)})
    return load_encoder(path, device), finished_log(path.with_suffix(".training"))


def _as_paths(stores: Mapping[str, object]) -> Mapping[str, object]:
    """The same films, opened lazily in the process that they are sent to."""
    if all(hasattr(store, "path") for store in stores.values()):
        return StorePaths({film: Path(store.path).absolute() for film, store in stores.items()})
    return stores


@dataclasses.dataclass(frozen=True)
class LocalLauncher:
    """Processes on this machine: process r has GPU r, or all share the CPU."""

    workers: int
    timeout_s: float = TIMEOUT_S

    def run(self, function: Callable, job: dict) -> None:
        """See Launcher.run.

        Raises:
            M2SError: raised in one of the processes, or one of them was killed. The others are then ended.
            RuntimeError: any other exception of a process, with its traceback.
        """
        self._check_device(torch.device(job["device"]))
        context = multiprocessing.get_context("spawn")  # a child must not inherit threads, torch or CUDA
        children = {}  # where a process is heard -> process
        with tempfile.TemporaryDirectory() as folder:
            try:
                for rank in range(self.workers):
                    heard, voice = context.Pipe(duplex=False)
                    arguments = (rank, self, folder, voice, function, job)
                    child = context.Process(target=_local_worker, args=arguments)
                    child.start()
                    children[heard] = child
                    voice.close()  # the child's end: hearing tells when it has gone
                errors = _listen(children)
                codes = [child.exitcode for child in children.values()]
            finally:
                for child in children.values():
                    child.kill()
                    child.join()
            if any(codes):
                _raise(errors, codes)

    def _check_device(self, device: torch.device) -> None:
        if device.type != "cuda":
            return
        if device.index is not None and self.workers > 1:
            raise M2SError(
                f"device '{device}' is one GPU and {self.workers} processes are to train: use device 'auto', "
                "or train_workers 1"
            )
        if self.workers > torch.cuda.device_count():
            raise M2SError(
                f"{self.workers} processes are to train and this machine has {torch.cuda.device_count()} "
                "GPUs: use train_workers 0, one for each"
            )


class _Voice(io.TextIOBase):
    """What is printed is heard in the process that started this one: its notebook cell shows it."""

    def __init__(self, connection):
        self.connection, self.lock = connection, threading.Lock()

    def write(self, text: str) -> int:
        with self.lock:
            self.connection.send(text)
        return len(text)


def _local_worker(rank: int, told: LocalLauncher, folder: str, voice, function: Callable, job: dict) -> None:
    """One process of a LocalLauncher."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    if rank == 0:
        sys.stdout = sys.stderr = _Voice(voice)
    try:
        device = torch.device(job["device"])
        if device.type == "cuda":
            device = torch.device("cuda", rank)
            torch.cuda.set_device(device)
        else:
            torch.set_num_threads(max(1, torch.get_num_threads() // told.workers))
            if sys.platform == "linux":
                os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")  # needs no network and no resolvable name
        dist.init_process_group(
            "nccl" if device.type == "cuda" else "gloo",
            store=dist.FileStore(os.path.join(folder, "rendezvous"), told.workers),
            rank=rank,
            world_size=told.workers,
            timeout=timedelta(seconds=told.timeout_s),
        )
        function(**{**job, "device": device})
        dist.barrier()
        dist.destroy_process_group()
    except BaseException as error:
        text = str(error) if isinstance(error, M2SError) else traceback.format_exc()[-20_000:]
        voice.send((time.time(), isinstance(error, M2SError), text))
        voice.close()
        os._exit(1)  # the group's own ending could wait for processes that are gone


def _end_with_parent() -> None:
    """A killed notebook must not leave processes behind that go on writing into its folder."""
    multiprocessing.parent_process().join()
    os._exit(1)


def _listen(children: dict) -> list[tuple[float, bool, str]]:
    """Print what processes say until all have ended, or one has failed and the others had time to fail, too.

    Returns:
        What those that failed said: when, whether it is an M2SError, and the text.
    """
    errors, ends, until = [], {child.sentinel: child for child in children.values()}, math.inf
    hearing = list(children)
    while (ends or hearing) and time.monotonic() < until:
        left = None if until == math.inf else max(0.0, until - time.monotonic())
        for source in wait([*hearing, *ends], left):
            if source in ends:
                child = ends.pop(source)
                child.join()
                if child.exitcode:
                    until = min(until, time.monotonic() + GRACE_S)
                continue
            try:
                said = source.recv()
            except EOFError:
                hearing.remove(source)
                continue
            if isinstance(said, str):
                print(said, end="", flush=True)
            else:
                errors.append(said)
    return errors


def _raise(errors: list[tuple[float, bool, str]], codes: list[int | None]) -> None:
    """The reason among what the processes said: a user's error, a signal, or the first other exception."""
    for _, known, text in sorted(errors):
        if known:
            raise M2SError(text)
    for rank, code in enumerate(codes):
        if code is not None and code < 0:
            raise M2SError(
                f"process {rank} of {len(codes)} that train together was ended by "
                f"{signal.Signals(-code).name} (SIGKILL is often the system that is out of memory), so the "
                "training has stopped: run the same command again, it goes on from its last checkpoint"
            )
    raise RuntimeError(min(errors)[2] if errors else f"the training's processes ended with codes {codes}")


@dataclasses.dataclass(frozen=True)
class RayLauncher:
    """Ray Train's workers; one that is lost costs the steps since the last checkpoint, not the run.

    The run directory and the films must lie where all nodes see them.
    """

    workers: int  # 0: as many as the cluster has GPUs
    address: str = ""
    use_gpu: bool | None = None  # None: when the cluster has one for each
    restarts: int = 3  # how many times a training whose worker was lost goes on by itself

    def run(self, function: Callable, job: dict) -> None:
        """See Launcher.run.

        Raises:
            M2SError: raised in a worker, workers were lost more often than `restarts`, or there is no Ray.
        """
        if find_spec("ray") is None:
            raise M2SError(f"engine 'ray' needs Ray: {INSTALL}, or use engine 'local'")
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing is told to anybody
        import ray

        ours = not ray.is_initialized()
        if ours:
            ray.init(self.address or None, include_dashboard=False)
        folder = Path(job["path"]).with_suffix(".ray")
        shutil.rmtree(folder, ignore_errors=True)
        try:
            self._fit(function, job, folder)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
            if ours:
                ray.shutdown()

    def _fit(self, function: Callable, job: dict, folder: Path) -> None:
        import ray
        from ray.train import FailureConfig, RunConfig, ScalingConfig
        from ray.train.torch import TorchConfig, TorchTrainer

        gpus = int(ray.cluster_resources().get("GPU", 0))
        workers = self.workers or max(gpus, 1)
        use_gpu = gpus >= workers if self.use_gpu is None else self.use_gpu
        trainer = TorchTrainer(
            _ray_worker,
            train_loop_config={"function": function, "job": job, "folder": str(folder)},
            scaling_config=ScalingConfig(num_workers=workers, use_gpu=use_gpu),
            run_config=RunConfig(
                name=folder.name,
                storage_path=str(folder.parent),
                failure_config=FailureConfig(max_failures=self.restarts),
            ),
            torch_config=TorchConfig(timeout_s=int(TIMEOUT_S)),
        )
        try:
            trainer.fit()
        except Exception as error:  # Ray has several, and they hold the worker's as text
            if (said := folder / "error.json").exists():
                raise M2SError(read_json(said)["error"]) from error
            raise M2SError(
                f"the {workers} workers that train together failed or were lost more than {self.restarts} "
                f"times ({str(error)[:500]}): run the same command again, it goes on from its last checkpoint"
            ) from error


def _ray_worker(config: dict) -> None:
    """One worker of a RayLauncher."""
    from ray.train.torch import get_device

    said = Path(config["folder"]) / "error.json"
    if said.exists():  # bad input stays bad: a restart need not train to find it out
        raise M2SError(read_json(said)["error"])
    try:
        config["function"](**{**config["job"], "device": get_device()})
    except M2SError as error:
        write_json(said, {"error": str(error)})
        raise
