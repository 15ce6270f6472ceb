"""Processes that train together (section 3.2.2): on the GPUs of one machine, or Ray Train's on many.

Each executes the notebook's training loop (loop.py). Nothing comes back but files, which the first writes.
Lightning Fabric and Accelerate start processes, too, but from a notebook they take a function, where the loop
is to stand in the cell, and fork it, which CUDA forbids once it is in use; neither restarts lost workers.
"""

import contextlib
import dataclasses
import os
import shutil
import signal
import sys
import threading
import time
import traceback
from collections.abc import Iterator
from datetime import timedelta
from importlib.util import find_spec
from pathlib import Path

import torch
import torch.distributed as dist

from m2s_lib.engine import open_engine
from m2s_lib.errors import M2SError
from m2s_lib.io import read_json, write_json
from m2s_lib.parallel import end_with_parent
from m2s_lib.training.distributed import TIMEOUT_S
from m2s_lib.training.loop import Loop, run_packed

INSTALL = "pip install -e .[ray]"
_OUTPUT = "output.txt"  # what the first process prints


def launcher(
    engine: str, address: str = "", workers: int = 1, device: str = "auto"
) -> "LocalLauncher | RayLauncher | None":
    """Who starts the training's processes; None: it runs here, in this one.

    Args:
        engine: 'local' or 'ray'.
        address: of the Ray cluster; '' is one that is known already, or a new one on this machine.
        workers: processes; 0 is one for each GPU of the machine or cluster, 1 trains here.
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


@dataclasses.dataclass(frozen=True)
class LocalLauncher:
    """Processes on this machine: process r has GPU r, or all share the CPU."""

    workers: int
    timeout_s: float = TIMEOUT_S

    def run(self, loop: Loop) -> None:
        """Execute a loop in every process.

        Raises:
            M2SError: raised in one of the processes, or one of them was killed. The others are then ended.
            RuntimeError: any other exception of a process, with its traceback.
        """
        from torch.multiprocessing import ProcessExitedException, ProcessRaisedException, start_processes

        device = loop.run.device
        self._check_device(device)
        with _folder(loop) as folder:
            arguments = (self, loop.packed(), str(folder), device.type, os.getpid())
            # spawn: a child must not inherit threads, torch or CUDA
            group = start_processes(_local_rank, arguments, self.workers, join=False, start_method="spawn")
            try:
                while not group.join():
                    pass
            except (ProcessRaisedException, ProcessExitedException) as error:
                raise _reason(folder, [p.exitcode or 0 for p in group.processes]) from error
            finally:
                for process in group.processes:
                    process.kill()
                    process.join()

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


def _local_rank(rank: int, launcher: LocalLauncher, packed: bytes, folder: str, kind: str, parent: int):
    """One process of a LocalLauncher."""
    end_with_parent(parent)
    device = torch.device(kind, rank if kind == "cuda" else None)
    if kind == "cuda":
        torch.cuda.set_device(device)
    else:
        torch.set_num_threads(max(1, torch.get_num_threads() // launcher.workers))
        if sys.platform == "linux":
            os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")  # needs no network and no resolvable name
    with _reported(Path(folder), rank):
        dist.init_process_group(
            "nccl" if kind == "cuda" else "gloo",
            store=dist.FileStore(os.path.join(folder, "rendezvous"), launcher.workers),
            rank=rank,
            world_size=launcher.workers,
            timeout=timedelta(seconds=launcher.timeout_s),
        )
        run_packed(packed, device)
        dist.barrier()
        dist.destroy_process_group()


@dataclasses.dataclass(frozen=True)
class RayLauncher:
    """Ray Train's workers; one that is lost costs the steps since the last checkpoint, not the run.

    The run directory and the films must lie where all nodes see them.
    """

    workers: int  # 0: as many as the cluster has GPUs
    address: str = ""
    use_gpu: bool | None = None  # None: when the cluster has one for each
    restarts: int = 3  # how many times a training whose worker was lost goes on by itself

    def run(self, loop: Loop) -> None:
        """Execute a loop in every worker.

        Raises:
            M2SError: raised in a worker, workers were lost more often than `restarts`, or there is no Ray.
        """
        if find_spec("ray") is None:
            raise M2SError(f"engine 'ray' needs Ray: {INSTALL}, or use engine 'local'")
        import ray

        engine = None if ray.is_initialized() else open_engine("ray", self.address)
        try:
            with _folder(loop) as folder:
                self._fit(loop.packed(), folder)
        finally:
            if engine is not None:
                engine.close()

    def _fit(self, packed: bytes, folder: Path) -> None:
        import ray
        from ray.train import FailureConfig, RunConfig, ScalingConfig
        from ray.train.torch import TorchConfig, TorchTrainer

        gpus = int(ray.cluster_resources().get("GPU", 0))
        workers = self.workers or max(gpus, 1)
        use_gpu = gpus >= workers if self.use_gpu is None else self.use_gpu
        trainer = TorchTrainer(
            _ray_rank,
            train_loop_config={"packed": packed, "folder": str(folder)},
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
            if (known := _known_error(folder)) is not None:
                raise known from error
            raise M2SError(
                f"the {workers} workers that train together failed or were lost more than {self.restarts} "
                f"times ({str(error)[:500]}): run the same command again, it goes on from its last checkpoint"
            ) from error


def _ray_rank(config: dict) -> None:
    """One worker of a RayLauncher."""
    import ray.train
    from ray.train.torch import get_device

    folder = Path(config["folder"])
    if (known := _known_error(folder)) is not None:
        raise known  # bad input stays bad: a restart need not train again
    with _reported(folder, ray.train.get_context().get_world_rank()):
        run_packed(config["packed"], get_device())


# -- how processes report: files in a folder beside the checkpoint --


@contextlib.contextmanager
def _folder(loop: Loop) -> Iterator[Path]:
    """A folder for the processes' reports; what the first of them prints is printed here as it comes."""
    folder = loop.run.checkpoint.absolute().with_suffix(".processes")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    try:
        with _printed(folder / _OUTPUT):
            yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def _printed(path: Path, every_s: float = 0.5) -> Iterator[None]:
    """Print here what is written to `path` there."""
    done = threading.Event()

    def follow() -> None:
        at, last = 0, False
        while not last:
            last = done.wait(every_s)
            if path.exists():
                with open(path, encoding="utf-8", errors="replace") as f:
                    f.seek(at)
                    if new := f.read():
                        print(new, end="", flush=True)
                    at = f.tell()

    follower = threading.Thread(target=follow, daemon=True)
    follower.start()
    try:
        yield
    finally:
        done.set()
        follower.join()


@contextlib.contextmanager
def _reported(folder: Path, rank: int) -> Iterator[None]:
    """What this process raises, and what the first one prints, as files in `folder`."""
    with contextlib.ExitStack() as stack:
        if rank == 0:
            out = stack.enter_context(open(folder / _OUTPUT, "a", encoding="utf-8", buffering=1))
            stack.enter_context(contextlib.redirect_stdout(out))
            stack.enter_context(contextlib.redirect_stderr(out))
        try:
            yield
        except Exception as error:
            known = isinstance(error, M2SError)
            text = str(error) if known else traceback.format_exc()[-20_000:]
            write_json(folder / f"error-{rank}.json", {"at": time.time(), "known": known, "text": text})
            raise


def _errors(folder: Path) -> list[dict]:
    """What processes raised, the first first."""
    return sorted((read_json(p) for p in folder.glob("error-*.json")), key=lambda e: e["at"])


def _known_error(folder: Path) -> M2SError | None:
    return next((M2SError(e["text"]) for e in _errors(folder) if e["known"]), None)


def _reason(folder: Path, codes: list[int]) -> Exception:
    """Why a group of processes ended: a user's error, a signal, or the first other exception."""
    if (known := _known_error(folder)) is not None:
        return known
    for rank, code in enumerate(codes):
        if code < 0 and code != -signal.SIGTERM:  # with SIGTERM the others are ended
            return M2SError(
                f"process {rank} of {len(codes)} that train together was ended by "
                f"{signal.Signals(-code).name} (SIGKILL is often the system that is out of memory), so the "
                "training has stopped: run the same command again, it goes on from its last checkpoint"
            )
    errors = _errors(folder)
    return RuntimeError(errors[0]["text"] if errors else f"the training's processes ended with codes {codes}")
