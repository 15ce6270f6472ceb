"""One process at a time in a run directory: filelock's lock, and who has it for the message to the second."""

import contextlib
import datetime
import json
import os
import socket
from pathlib import Path

import filelock

from m2s_lib.errors import M2SError

_locks: dict[str, filelock.FileLock] = {}  # a lock that nothing refers to would be let go


def holder(what: str) -> dict[str, object]:
    """Returns what a lock says of this process: pid, host, since when, and what it does."""
    since = datetime.datetime.now().astimezone().isoformat(timespec="seconds")
    return {"pid": os.getpid(), "host": socket.gethostname(), "since": since, "what": what}


def holder_text(holder: dict) -> str:
    """Returns the holder of a lock in words."""
    pid, host, since = (holder.get(key, "?") for key in ("pid", "host", "since"))
    return f"process {pid} on host {host} since {since} ({holder.get('what', 'unknown')})"


class FolderLock:
    """An exclusive lock that the operating system lets go when its process ends, however it ends.

    The lock's file holds who has it; it stays when the lock is let go. The same process may take it again, as
    a notebook cell that runs twice does.
    """

    def __init__(self, path: str | os.PathLike, what: str):
        self.path, self.what = Path(path), what
        key = str(self.path.resolve())
        self._lock = _locks.setdefault(key, filelock.FileLock(key, thread_local=False))

    def acquire(self, wait_s: float = 0.0) -> "FolderLock":
        """Take the lock, waiting up to `wait_s` seconds.

        Raises M2SError naming the holder's pid, host and start, or that nothing can be written there.
        """
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self.path.touch()
        except OSError as error:
            raise M2SError(
                f"the run directory {self.path.parent} cannot be written to ({error.strerror}): "
                "choose another run_dir, or copy it and run in the copy"
            ) from error
        try:
            self._lock.acquire(timeout=wait_s, poll_interval=0.1)
        except filelock.Timeout:
            raise M2SError(self._refusal()) from None
        self.path.write_text(json.dumps(holder(self.what)) + "\n", encoding="utf-8")
        return self

    def _refusal(self) -> str:
        owner = {}
        with contextlib.suppress(ValueError):
            owner = json.loads(self.path.read_text(encoding="utf-8"))
        return (
            f"the run directory {self.path.parent} is in use by {holder_text(owner)}: "
            "wait for it, stop it (an open notebook: restart its kernel), or choose another run_dir"
        )

    def release(self) -> None:
        """Let go, however often this process has taken it; doing so twice is harmless."""
        self._lock.release(force=True)

    def __enter__(self) -> "FolderLock":
        return self if self._lock.is_locked else self.acquire()

    def __exit__(self, *_) -> None:
        self.release()
