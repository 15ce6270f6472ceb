"""One item of work as engines run it, and what it says when its machine lacks a file.

`work(item, folder)` writes its files below `folder` (atomically) and returns what the caller wants to know.
"""

import os
import socket
from collections.abc import Callable
from pathlib import Path

from m2s_lib.errors import M2SError

Work = Callable[[object, Path | None], object]


class Unseen(M2SError):
    """A worker on another machine lacks an input that this machine has."""


def unseen(path: str | os.PathLike) -> Unseen:
    """The error for a file that this worker's machine does not have."""
    return Unseen(
        f"the worker on host {socket.gethostname()} does not see {path}: put it on a disk that all machines "
        "of the cluster see under the same path"
    )
