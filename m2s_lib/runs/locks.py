"""One process at a time in a run directory."""

import contextlib
import datetime
import errno
import fcntl
import json
import os
import socket
import time
from pathlib import Path

from m2s_lib.errors import M2SError

_held: dict[str, "FolderLock"] = {}  # a notebook cell that runs twice meets its own lock


class FolderLock:
    """An exclusive lock that the kernel of the operating system lets go when its process ends, however it
    ends.

    The file holds who has it, for the message to the second process; it is never removed (that would be a
    race).
    """

    def __init__(self, path: str | os.PathLike, what: str):
        self.path, self.what, self._file = Path(path), what, None

    def acquire(self, wait_s: float = 0.0) -> "FolderLock":
        """Take the lock, waiting up to `wait_s` seconds; the same process may take it again.

        Raises M2SError naming the holder's pid, host and start, or that nothing can be written there.
        """
        key = str(self.path.resolve())
        if key in _held:
            _held[key].release()
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._file = open(self.path, "a+", encoding="utf-8")
        except OSError as error:
            raise M2SError(
                f"the run directory {self.path.parent} cannot be written to ({error.strerror}): "
                "choose another run_dir, or copy it and run in the copy"
            ) from error
        until = time.monotonic() + wait_s
        while not self._try():
            if time.monotonic() >= until:
                message = self._refusal()
                self._file.close()
                raise M2SError(message)
            time.sleep(0.1)
        self._sign()
        _held[key] = self
        return self

    def _try(self) -> bool:
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            # a file system without locks cannot guard anything: go on rather than refuse every run
            return error.errno not in (errno.EWOULDBLOCK, errno.EACCES, errno.EAGAIN)
        return True

    def _sign(self) -> None:
        since = datetime.datetime.now().astimezone().isoformat(timespec="seconds")
        holder = {"pid": os.getpid(), "host": socket.gethostname(), "since": since, "what": self.what}
        self._file.seek(0)
        self._file.truncate()
        self._file.write(json.dumps(holder) + "\n")
        self._file.flush()

    def _refusal(self) -> str:
        holder = {}
        with contextlib.suppress(ValueError):
            self._file.seek(0)
            holder = json.loads(self._file.read())
        return (
            f"the run directory {self.path.parent} is in use by process {holder.get('pid', '?')} on host "
            f"{holder.get('host', '?')} since {holder.get('since', '?')} ({holder.get('what', 'unknown')}): "
            "wait for it, stop it (an open notebook: restart its kernel), or choose another run_dir"
        )

    def release(self) -> None:
        """Let go; doing so twice is harmless."""
        if self._file is not None:
            with contextlib.suppress(OSError):
                fcntl.flock(self._file, fcntl.LOCK_UN)
            self._file.close()
            self._file = None
        _held.pop(str(self.path.resolve()), None)

    def __enter__(self) -> "FolderLock":
        return self if self._file is not None else self.acquire()

    def __exit__(self, *_) -> None:
        self.release()
