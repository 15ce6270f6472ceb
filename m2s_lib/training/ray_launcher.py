"""Training by Ray Train's workers, on as many machines as the cluster has."""

import contextlib
import dataclasses
import shutil
import threading
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path

from m2s_lib.engine import open_engine
from m2s_lib.errors import M2SError
from m2s_lib.io import read_json, write_json
from m2s_lib.training.distributed import TIMEOUT_S

INSTALL = "pip install -e .[ray]"
_SAID = "said.txt"  # what the first worker prints


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
        import ray

        engine = None if ray.is_initialized() else open_engine("ray", self.address)
        folder = Path(job["path"]).with_suffix(".ray")
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        try:
            with _heard(folder / _SAID):
                self._fit(function, job, folder)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
            if engine is not None:
                engine.close()

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


@contextlib.contextmanager
def _heard(path: Path, every_s: float = 1.0) -> Iterator[None]:
    """Print here what is written to `path` there."""
    done = threading.Event()

    def listen() -> None:
        at, last = 0, False
        while not last:
            last = done.wait(every_s)
            if path.exists():
                with open(path, encoding="utf-8", errors="replace") as f:
                    f.seek(at)
                    if new := f.read():
                        print(new, end="", flush=True)
                    at = f.tell()

    listener = threading.Thread(target=listen, daemon=True)
    listener.start()
    try:
        yield
    finally:
        done.set()
        listener.join()


def _ray_worker(config: dict) -> None:
    """One worker of a RayLauncher."""
    import ray.train
    from ray.train.torch import get_device

    folder = Path(config["folder"])
    said = folder / "error.json"
    if said.exists():  # bad input stays bad: a restart need not train to find it out
        raise M2SError(read_json(said)["error"])
    first = ray.train.get_context().get_world_rank() == 0
    with contextlib.ExitStack() as stack:
        if first:  # Ray's own way to the driver is closed: all workers' noise would come with it
            out = stack.enter_context(open(folder / _SAID, "a", encoding="utf-8", buffering=1))
            stack.enter_context(contextlib.redirect_stdout(out))
        try:
            config["function"](**{**config["job"], "device": get_device()})
        except M2SError as error:
            write_json(said, {"error": str(error)})
            raise
