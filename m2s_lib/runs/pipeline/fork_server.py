"""Kernels that start at once: forked from a process that has imported what the notebooks import.

Importing torch and the rest takes seconds, and would be done again for each stage. The server imports them
once and never computes: a fork after OpenMP or CUDA have been used can hang or fail (so it forks nothing when
an import alone has opened CUDA's driver). It ends when the process that started it does, and its kernels with
it. Linux only (elsewhere a fork is not safe after such imports); M2S_FORK=0 starts ordinary kernels.
"""

import ast
import atexit
import contextlib
import gc
import importlib
import json
import os
import runpy
import signal
import subprocess
import sys
import threading
import warnings
from collections.abc import Sequence
from multiprocessing.connection import Connection, Pipe
from pathlib import Path

import psutil

_ALWAYS = ("ipykernel_launcher", "ipykernel.kernelapp", "IPython.core.pylabtools")
# what the library imports where it is needed, for most who use torch
_WITH_TORCH = ("timm", "torch._dynamo", "sklearn.metrics", "scipy.stats")
_STARTED_WITH = ("M2S_BEGUN", "M2S_ROOT", "PYTEST_CURRENT_TEST")  # variables that no import reads
_server: "ForkServer | None" = None


def start(env: dict[str, str], notebooks: Sequence[Path]) -> None:
    """Starts this process's server for kernels of this environment, unless there is one for it already.

    For a single notebook it is not worth it. Does not wait until the server has imported what they import.
    """
    global _server
    library = Path(__file__).resolve().parents[2]
    newest = max(p.stat().st_mtime_ns for p in library.rglob("*.py"))  # kernels have to run the newest code
    state = {k: v for k, v in env.items() if k not in _STARTED_WITH}, newest
    if running() and _server.state == state:
        return
    if _server is not None:
        _server.close()
    wanted = sys.platform == "linux" and env.get("M2S_FORK") != "0" and len(notebooks) > 1
    _server = ForkServer(state, env, sorted(set().union(*map(imports, notebooks)))) if wanted else None


def running() -> "ForkServer | None":
    """Returns this process's server, None when there is none."""
    return _server if _server is not None and _server.process.poll() is None else None


def imports(notebook: Path) -> set[str]:
    """Returns the modules that a notebook's cells import at their top."""
    names = set()
    for cell in json.loads(notebook.read_text(encoding="utf-8"))["cells"]:
        try:
            body = ast.parse("".join(cell["source"])).body if cell["cell_type"] == "code" else []
        except SyntaxError:  # the kernel will say so
            continue
        for statement in body:
            if isinstance(statement, ast.Import):
                names |= {alias.name for alias in statement.names}
            elif isinstance(statement, ast.ImportFrom) and statement.module:
                names |= {statement.module} | {f"{statement.module}.{a.name}" for a in statement.names}
    return names


class ForkServer:
    """The server as the process sees it that started it."""

    def __init__(self, state: object, env: dict[str, str], modules: list[str]):
        self.state = state
        self._connection, theirs = Pipe()
        with theirs:
            self.process = subprocess.Popen(
                [sys.executable, "-P", "-m", "m2s_lib.runs.pipeline.fork_server", str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                env=env,
                start_new_session=True,  # Ctrl-C is for `m2s run`, which ends its kernels
            )
        with contextlib.suppress(OSError):  # it could not start: `running` says so later
            self._connection.send(modules)

    def fork(self, arguments: list[str], env: dict[str, str], cwd: str, log: str) -> "ForkedKernel":
        """Returns a kernel in a session of its own.

        Args:
            arguments: ipykernel's.
            env: all environment variables.
            cwd: working folder.
            log: file that its standard error is appended to.

        Raises OSError or EOFError when the server has ended.
        """
        self._connection.send((arguments, env, cwd, log))
        return ForkedKernel(self._connection.recv())

    def close(self) -> None:
        """Ends the server, and kernels that are left."""
        self._connection.close()
        self.process.wait()


class ForkedKernel(psutil.Process):
    """A kernel's process, with what jupyter_client uses of subprocess.Popen."""

    stdin = stdout = stderr = None

    def poll(self) -> int | None:
        """Returns None while it runs; its status is not known to a process that is not its parent."""
        return None if self.is_running() else 0


# -- in the server's process --


def serve(connection: Connection) -> None:
    """Imports modules, then forks kernels until the connection ends."""
    for name in (*_ALWAYS, *connection.recv()):
        _import(name)
    for name in _WITH_TORCH if "torch" in sys.modules else ():
        _import(name)
    if "libcuda.so" in Path("/proc/self/maps").read_text():
        return
    gc.collect()
    gc.freeze()  # the kernels share these pages as long as nobody writes to them
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # kernels that have ended leave nothing
    with contextlib.suppress(EOFError):
        while True:
            request = connection.recv()
            if not (pid := _fork()):
                connection.close()
                _become_kernel(*request)
            connection.send(pid)


def _import(name: str) -> None:
    with contextlib.suppress(Exception):  # a name that is no module, or what the notebook's own import raises
        importlib.import_module(name)


def _fork() -> int:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of idle BLAS threads, which survive a fork
        return os.fork()


def _become_kernel(arguments: list[str], env: dict[str, str], cwd: str, log: str) -> None:
    server = os.getppid()
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    os.setsid()
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(env)
    os.dup2(os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT), 2)
    sys.path.insert(0, "")  # which ipykernel_launcher takes away
    sys.argv = ["ipykernel_launcher", *arguments, f"--IPKernelApp.parent_handle={server}"]
    status = 0
    try:
        runpy.run_module("ipykernel_launcher", run_name="__main__", alter_sys=True)
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else int(end.code is not None)
    # all of a normal exit, but for taking thousands of modules apart, which takes longer than the rest
    threading._shutdown()
    atexit._run_exitfuncs()
    sys.stdout.flush()
    os._exit(status)


if __name__ == "__main__":
    serve(Connection(int(sys.argv[1])))
