"""A setting as a process of its own: the command that a user would give, here or as a task of a cluster."""

import contextlib
import os
import re
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from m2s_lib.parallel import cores, unseen
from m2s_lib.runs.pipeline.pipeline import StageFailed
from m2s_lib.runs.records.locks import FolderLock

PARENT = "M2S_PARENT"  # set for a setting's process: it ends when the process of this id has ended
LOG = "setting.log"
_HOW_FAR = re.compile(r"^\d\d_\w+  (started|done in|skipped)|\bETA \d")  # of what a setting's command prints
_children: set[subprocess.Popen] = set()


@dataclass(frozen=True)
class SettingRunner:
    """How settings are run: `at_once` of them; `apart` from this process, by `engine` where there is one."""

    at_once: int
    apart: bool
    engine: object = None
    cpus: int = 1
    gpus: int = 0
    token: Path | None = None

    def __call__(
        self, folder: Path, stages: Sequence[str], fresh: bool, root: Path, tell: Callable[[str], None]
    ) -> None:
        """Runs stages of the setting in `folder`; StageFailed says why it did not end well.

        Args:
            tell: called with each line that says how far it is; not for settings on a cluster.
        """
        words = ["run", str(folder / "setting.yaml"), *(w for s in stages for w in ("--only", s))]
        words += ["--fresh"] * fresh
        if self.engine is None:
            run_command(words, folder, root, self.cpus, tell)
            return
        needs = {"cpus": self.cpus, "gpus": self.gpus}
        if reason := self.engine.call(_on_a_worker, words, folder, root, self.cpus, self.token, **needs):
            raise StageFailed(reason)


@contextlib.contextmanager
def setting_runner(engine, jobs: int, run_dir: Path) -> Iterator[SettingRunner]:
    """Gives how an engine runs `jobs` settings at once; 1 leaves it to a cluster how many."""
    if engine is None or engine.name == "local":
        # settings that share cores must not fight for them
        yield SettingRunner(jobs, jobs > 1, cpus=max(cores() // jobs, 1))
        return
    at_once = jobs if jobs > 1 else max(engine.gpus or engine.nodes, 1)
    token = run_dir / f".{uuid.uuid4().hex}.{os.getpid()}.tmp"
    token.touch()
    try:
        cpus = max(min(engine.cpus // at_once, engine.node_cpus), 1)
        yield SettingRunner(at_once, True, engine, cpus, 1 if engine.gpus else 0, token)
    finally:
        token.unlink(missing_ok=True)


def _on_a_worker(words: list[str], folder: Path, root: Path, threads: int, token: Path) -> str:
    """Runs the command in a Ray worker; returns why it failed, '' when it did not."""
    if not token.exists():
        raise unseen(folder)
    # the process of a worker that was lost may need a moment to notice
    FolderLock(folder / ".lock", "m2s run").acquire(wait_s=90).release()
    try:
        run_command(words, folder, root, threads)
    except StageFailed as error:
        return str(error)
    return ""


def run_command(
    words: list[str], folder: Path, root: Path, threads: int, tell: Callable[[str], None] = lambda line: None
) -> None:
    """Runs `m2s` with these words; what it prints goes into the setting's folder, how far it is to `tell`."""
    own = {"M2S_ROOT": str(root), PARENT: str(os.getpid())}
    child = subprocess.Popen(
        [sys.executable, "-m", "m2s_lib.runs.cli", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        stdin=subprocess.DEVNULL,
        text=True,
        env={"OMP_NUM_THREADS": str(threads), **os.environ, **own},
    )
    message: list[str] = []  # from the command's own message on
    _children.add(child)
    try:
        with open(folder / LOG, "w", encoding="utf-8") as log, child.stdout:
            for line in child.stdout:
                print(line, end="", file=log, flush=True)
                message = [line] if line.startswith("m2s: ") else message + [line] * bool(message)
                if _HOW_FAR.search(line):
                    tell(line.strip())
        status = child.wait()
    except BaseException:
        child.terminate()
        raise
    finally:
        _children.discard(child)
    if status:
        why = f"it ended with status {status}, see {folder / LOG}"
        raise StageFailed("".join(message).removeprefix("m2s: ") or why)


@contextlib.contextmanager
def ended_together(run_one: SettingRunner) -> Iterator[None]:
    """Ends settings in processes of their own when this one is told to end."""
    try:
        yield
    except BaseException:
        if run_one.engine is not None:
            run_one.engine.cancel()
        for child in list(_children):
            child.terminate()
        raise
