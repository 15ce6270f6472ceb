"""Training in several processes of this machine, one for each GPU, or all on the CPU."""

import dataclasses
import io
import math
import multiprocessing
import os
import signal
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable
from datetime import timedelta
from multiprocessing.connection import wait

import torch
import torch.distributed as dist

from m2s_lib.errors import M2SError
from m2s_lib.training.distributed import TIMEOUT_S

GRACE_S = 10.0  # how long the other processes may take to fail, too, once one has


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
