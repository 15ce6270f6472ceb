"""One run at a time at a URL: a lease, an object there that says who works and is renewed while that lasts.

Object stores have no locks, so an owner that is gone is known by its silence. Stores that can create an
object only where there is none (S3, GCS) decide who of two comes first; elsewhere the last one to write does.
"""

import contextlib
import json
import socket
import threading
import time
import uuid

from m2s_lib.errors import M2SError
from m2s_lib.io import is_alive
from m2s_lib.runs.records.locks import holder, holder_text

NAME = ".m2s-lock.json"
STALE_S = 300.0  # seconds without a sign after which the owner counts as gone; clocks may differ by less
_RENEW_S = 60.0


class RemoteLock:
    """The lease of a run directory at a URL.

    Args:
        fs, path: fsspec's file system and the object's path. shown: the URL, for messages, without secrets.
        what: what the owner does.
    """

    def __init__(self, fs, path: str, shown: str, what: str):
        self.fs, self.path, self.shown = fs, path, shown
        self._me = {"id": uuid.uuid4().hex} | holder(what)
        self._end, self._thread = threading.Event(), None

    def acquire(self) -> str:
        """Takes the lease; returns what there is to say: '' or whose stale lease was taken over.

        Raises M2SError naming the owner, when there is one.
        """
        owner, note = self._read(), ""
        if owner and not _gone(owner):
            raise M2SError(self._refusal(owner))
        if owner:
            note = f"taking over {self.shown} from {holder_text(owner)}, silent for {_age(owner):,.0f} s"
        try:
            self._write(new=not owner)
        except FileExistsError:
            raise M2SError(self._refusal(self._read())) from None
        owner = self._read()
        if not self._mine(owner):  # two at once, the other wrote last
            raise M2SError(self._refusal(owner))
        self._thread = threading.Thread(target=self._renew, name="remote lock", daemon=True)
        self._thread.start()
        return note

    def check(self) -> None:
        """Raises M2SError when another run has taken the lease over: nothing may be written any more."""
        owner = self._read()
        if not self._mine(owner):
            now = f"is now that of {holder_text(owner)}" if owner else "is gone"
            raise M2SError(
                f"the lock of {self.shown} {now}: this run was silent for more than {STALE_S:.0f} s. "
                "Nothing more is written there; run the same command again"
            )

    def release(self) -> None:
        """Lets go; doing so twice is harmless."""
        self._end.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None
            with contextlib.suppress(Exception):  # it becomes stale by itself
                if self._mine(self._read()):
                    self.fs.rm_file(self.path)

    def _renew(self) -> None:
        while not self._end.wait(_RENEW_S):
            with contextlib.suppress(Exception):  # a network that is away for a moment
                if self._mine(self._read()):
                    self._write()

    def _mine(self, owner: dict) -> bool:
        return owner.get("id") == self._me["id"]

    def _read(self) -> dict:
        self.fs.invalidate_cache()
        try:
            owner = json.loads(self.fs.cat_file(self.path))
        except FileNotFoundError:
            return {}
        except ValueError:
            owner = None  # cut short: nobody's
        return owner if isinstance(owner, dict) else {"beat": 0.0}

    def _write(self, new: bool = False) -> None:
        text = json.dumps({**self._me, "beat": time.time()}).encode()
        try:
            self.fs.pipe_file(self.path, text, **({"mode": "create"} if new else {}))
        except FileNotFoundError:  # a file system with folders
            self.fs.makedirs(self.path.rpartition("/")[0], exist_ok=True)
            self.fs.pipe_file(self.path, text)
        except (NotImplementedError, TypeError):  # one that cannot create only
            self.fs.pipe_file(self.path, text)

    def _refusal(self, owner: dict) -> str:
        silent = f"{max(_age(owner), 0):.0f} s ago; after {STALE_S:.0f} s without one it counts as gone"
        return (
            f"the run directory {self.shown} is in use by {holder_text(owner)}: wait for it, stop it, or "
            f"choose another run_dir. Its last sign was {silent}"
        )


def _gone(owner: dict) -> bool:
    here, pid = owner.get("host") == socket.gethostname(), owner.get("pid")
    return _age(owner) > STALE_S or (here and not (isinstance(pid, int) and is_alive(pid)))


def _age(owner: dict) -> float:
    beat = owner.get("beat")
    return time.time() - beat if isinstance(beat, int | float) else float("inf")
