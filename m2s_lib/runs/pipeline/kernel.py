"""One notebook executed by papermill in a fresh kernel."""

import contextlib
import os
import re
import sys
import warnings
from pathlib import Path
from typing import TextIO

import nbformat
import papermill
from jupyter_client.manager import AsyncKernelManager
from jupyter_client.provisioning import LocalProvisioner
from nbclient.exceptions import DeadKernelError
from papermill.clientwrap import PapermillNotebookClient
from papermill.engines import NBClientEngine, papermill_engines
from papermill.exceptions import PapermillExecutionError
from papermill.iorw import load_notebook_node
from papermill.parameterize import parameterize_notebook

from m2s_lib.errors import M2SError
from m2s_lib.io import atomic_path
from m2s_lib.runs.pipeline import fork_server

LAST_LINES = 15
_KERNEL = {"name": "python3", "display_name": "Python 3 (ipykernel)", "language": "python"}
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
_FULL_DISK = re.compile(r"No space left on device|no space left while writing|Disk quota exceeded")


class NotebookFailed(Exception):
    """A notebook stopped; the message says in which cell and why."""


class _Provisioner(LocalProvisioner):
    """Starts a kernel by a fork where there is a server for it, else as a new process."""

    async def launch_kernel(self, cmd: list[str], **kwargs):
        server = fork_server.running()
        if server is None or "-f" not in cmd:
            return await super().launch_kernel(cmd, **kwargs)
        arguments, log = cmd[cmd.index("-f") :], kwargs["stderr"].name
        try:
            self.process = server.fork(arguments, kwargs["env"], kwargs["cwd"], log)
        except (OSError, EOFError):  # it could not import or must not fork
            return await super().launch_kernel(cmd, **kwargs)
        self.pid = self.pgid = self.process.pid
        self.cwd = kwargs["cwd"]
        return self.connection_info


class _Manager(AsyncKernelManager):
    def __init__(self, **named):
        super().__init__(**named)
        self.provisioner = _Provisioner(kernel_spec=self.kernel_spec, parent=self)


class _Engine(NBClientEngine):
    """papermill's engine; environment and working folder are the kernel's alone, its log a file."""

    @classmethod
    def execute_managed_notebook(cls, nb_man, kernel_name, start_timeout=60, stdout_file=None, **kwargs):
        client = PapermillNotebookClient(
            nb_man,
            kernel_name=kernel_name,
            kernel_manager_class=_Manager,
            startup_timeout=max(start_timeout, 120),  # a busy machine starts kernels slowly
            iopub_timeout=120,
            stdout_file=stdout_file,
            stderr_file=stdout_file,
        )
        return client.execute(env=kwargs["env"], cwd=kwargs["kernel_cwd"], stderr=kwargs["kernel_log"])


papermill_engines.register("m2s", _Engine)


def parameterized(notebook: Path, values: dict[str, object]) -> nbformat.NotebookNode:
    """Returns a notebook with a cell of values after its parameters cell, without papermill's metadata."""
    node = load_notebook_node(str(notebook))
    node = parameterize_notebook(node, values, kernel_name="python3", language="python")
    for cell in node.cells:
        if "injected-parameters" in cell.metadata.get("tags", []):
            cell["id"] = "injected-parameters"
    return clean(node)


def clean(node: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """Returns `node` without papermill's metadata, with the kernel name python3 and an id for every cell."""
    node.metadata.pop("papermill", None)
    node.metadata["kernelspec"] = dict(_KERNEL)
    for number, cell in enumerate(node.cells):
        for name in ("papermill", "execution"):
            cell.metadata.pop(name, None)
        if cell.metadata.get("tags") == []:
            del cell.metadata["tags"]
        cell["id"] = cell.get("id") or f"cell-{number}"
    node.nbformat, node.nbformat_minor = 4, max(node.nbformat_minor, 5)
    nbformat.validate(node)
    return node


def write_notebook(node: nbformat.NotebookNode, path: Path) -> None:
    """Writes a notebook, atomically."""
    with atomic_path(path) as temporary:
        temporary.write_text(nbformat.writes(node), encoding="utf-8")


def execute(
    node: nbformat.NotebookNode, folder: Path, cwd: Path, env: dict[str, str], stream: TextIO | None = None
) -> None:
    """Runs all cells; leaves notebook.ipynb in `folder`, or notebook.failed.ipynb when a cell fails.

    Args:
        node: a notebook that has its values.
        folder: the stage's folder.
        cwd: working folder of the kernel.
        env: environment of the kernel.
        stream: where the cells' text goes while they run; None is standard output.

    Raises NotebookFailed with the cell, the last lines of the traceback and the kernel's last words.
    """
    folder.mkdir(parents=True, exist_ok=True)
    temporary, log = folder / f".notebook.ipynb.{os.getpid()}.tmp", folder / "kernel.log"
    try:
        with open(log, "w", encoding="utf-8") as kernel_log, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about the temporary's ending
            papermill.execute_notebook(
                node,
                str(temporary).replace("{", "{{").replace("}", "}}"),  # papermill formats paths
                engine_name="m2s",
                kernel_name="python3",
                progress_bar=False,
                stdout_file=stream or sys.stdout,
                env=env,
                kernel_cwd=str(cwd),
                kernel_log=kernel_log,
            )
        write_notebook(clean(nbformat.read(temporary, as_version=4)), folder / "notebook.ipynb")
        log.unlink()
    except (PapermillExecutionError, DeadKernelError) as error:
        with contextlib.suppress(OSError, M2SError):  # a full disk may be the reason
            os.replace(temporary, folder / "notebook.failed.ipynb")
        message = _cell_message(error) if isinstance(error, PapermillExecutionError) else _death_message(log)
        raise NotebookFailed(message) from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def _cell_message(error: PapermillExecutionError) -> str:
    text = _COLOUR.sub("", "\n".join(error.traceback)) or f"{error.ename}: {error.evalue}"
    lines = [line.rstrip() for line in text.splitlines() if line.strip()]
    if error.ename == "M2SError":
        lines = [f"{error.ename}: {error.evalue}"]  # says all there is to say
    lines = [f"cell {error.cell_index + 1} (In [{error.exec_count}]) failed:", *_indented(lines)]
    if _FULL_DISK.search(text):
        lines.append("The disk is full: free some space first; what is already written is kept.")
    return "\n".join(lines)


def _death_message(log: Path) -> str:
    lines = [line for line in log.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
    reason = "the kernel died, most often because memory ran out (the system then ends it without a word)"
    return "\n".join([reason, *_indented([line for line in lines if "without encryption" not in line])])


def _indented(lines: list[str]) -> list[str]:
    return [f"    {line}" for line in lines[-LAST_LINES:]]
