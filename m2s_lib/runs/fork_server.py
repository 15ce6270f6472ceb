"""Kernels that start at once: forked from a process that has imported what the notebooks import.

Importing torch and the rest takes seconds, and would be done again for each stage. The server imports them
once and never computes: a fork after OpenMP or CUDA have been used can hang or fail (so it forks nothing when
an import alone has opened CUDA's driver). It ends when the process that started it does, and its kernels with
it. Linux only (elsewhere a fork is not safe after such imports); M2S_FORK=0 starts ordinary kernels.
"""

import ast
import contextlib
import gc
import importlib
import json
import os
import runpy
import signal
import socket
import subprocess
import sys
import time
import warnings
from collections.abc import Iterable
from pathlib import Path

_ALWAYS = ("ipykernel_launcher", "ipykernel.kernelapp", "IPython.core.pylabtools")
_STARTED_WITH = ("M2S_BEGUN", "M2S_ROOT", "PYTEST_CURRENT_TEST")  # variables that no import reads
_server: "ForkServer | None" = None


def start(env: dict[str, str], notebooks: Iterable[Path]) -> None:
    """Starts this process's server for kernels of this environment, unless there is one for it already.

    Does not wait until the server has imported what the notebooks import.
    """
    global _server
    if sys.platform != "linux" or os.environ.get("M2S_FORK") == "0":
        return
    library = Path(__file__).resolve().parents[1]
    newest = max(p.stat().st_mtime_ns for p in library.rglob("*.py"))  # kernels have to run the newest code
    state = {k: v for k, v in env.items() if k not in _STARTED_WITH}, newest
    if not running() or _server.state != state:
        if _server is not None:
            _server.close()
        _server = ForkServer(state, env, sorted(set().union(*map(imports, notebooks))))


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
        self._socket, theirs = socket.socketpair()
        self._answers = self._socket.makefile("r", encoding="utf-8")
        with theirs:
            self.process = subprocess.Popen(
                [sys.executable, "-P", "-m", "m2s_lib.runs.fork_server", str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                env=env,
                start_new_session=True,  # Ctrl-C is for `m2s run`, which ends its kernels
            )
        with contextlib.suppress(OSError):  # it could not start: `running` says so later
            self._send(modules)

    def _send(self, request: object) -> None:
        self._socket.sendall(json.dumps(request).encode() + b"\n")

    def ask(self, request: object) -> int | None:
        """Returns the server's answer; OSError when it has ended."""
        self._send(request)
        if not (line := self._answers.readline()):
            raise ConnectionError("the fork server has ended")
        return json.loads(line)

    def fork(self, arguments: list[str], env: dict[str, str], cwd: str, log: str) -> "ForkedKernel":
        """Returns a kernel in a session of its own; OSError when there can be none.

        Args:
            arguments: ipykernel's.
            env: all environment variables.
            cwd: working folder.
            log: file that its standard error is appended to.
        """
        return ForkedKernel(self, self.ask({"arguments": arguments, "env": env, "cwd": cwd, "log": log}))

    def close(self) -> None:
        """Ends the server, and kernels that are left."""
        self._answers.close()
        self._socket.close()
        self.process.wait()


class ForkedKernel:
    """A kernel's process, with what jupyter_client uses of subprocess.Popen."""

    stdin = stdout = stderr = None

    def __init__(self, server: ForkServer, pid: int):
        self.pid, self.returncode = pid, None
        self._server = server

    def poll(self) -> int | None:
        """Returns its exit status, None while it runs."""
        if self.returncode is None:
            try:
                self.returncode = self._server.ask(self.pid)
            except OSError:  # the kernel ends when its server has
                self.returncode = -signal.SIGKILL
        return self.returncode

    def wait(self) -> int:
        """Waits for its end."""
        while self.poll() is None:
            time.sleep(0.05)
        return self.returncode

    def send_signal(self, signum: int) -> None:
        """Sends it a signal, unless it has ended."""
        if self.poll() is None:
            os.kill(self.pid, signum)

    def kill(self) -> None:
        """Ends it at once."""
        self.send_signal(signal.SIGKILL)

    def terminate(self) -> None:
        """Asks it to end."""
        self.send_signal(signal.SIGTERM)


# -- in the server's process --


def serve(connection: socket.socket) -> None:
    """Imports modules, then forks kernels and says whether they have ended, until the connection ends."""
    requests = connection.makefile("r", encoding="utf-8")
    for name in (*_ALWAYS, *json.loads(requests.readline())):
        try:
            importlib.import_module(name)
        except Exception:  # a name that is no module, or an error that the notebook's own import will raise
            continue
    if "libcuda.so" in Path("/proc/self/maps").read_text():
        return
    gc.collect()
    gc.freeze()  # the kernels share these pages as long as nobody writes to them
    for line in requests:
        request = json.loads(line)
        if isinstance(request, int):
            pid, status = os.waitpid(request, os.WNOHANG)
            answer = os.waitstatus_to_exitcode(status) if pid else None
        elif not (answer := _fork()):
            os.close(connection.detach())
            return _become_kernel(**request)
        connection.sendall(json.dumps(answer).encode() + b"\n")


def _fork() -> int:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of idle BLAS threads, which survive a fork
        return os.fork()


def _become_kernel(arguments: list[str], env: dict[str, str], cwd: str, log: str) -> None:
    server = os.getppid()
    os.setsid()
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(env)
    os.dup2(os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT), 2)
    sys.path.insert(0, "")  # which ipykernel_launcher takes away
    sys.argv = ["ipykernel_launcher", *arguments, f"--IPKernelApp.parent_handle={server}"]
    runpy.run_module("ipykernel_launcher", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    serve(socket.socket(fileno=int(sys.argv[1])))
