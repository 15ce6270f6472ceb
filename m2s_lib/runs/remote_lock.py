"""One run at a time at a URL: an object there says who works, and is renewed while it lasts.

Object stores have no locks, so an owner that is gone is known by its silence. Stores that can create an
object only where there is none (S3, GCS) decide who of two comes first; elsewhere the last one to write does.
"""

import contextlib
import datetime
import json
import os
import socket
import threading
import time
import uuid

from m2s_lib.errors import M2SError

NAME = ".m2s-lock.json"
STALE_S = 300.0  # seconds without a sign after which the owner counts as gone; clocks may differ by less
_RENEW_S = 60.0


class RemoteLock:
    """The lock of a run directory at a URL.

    Args:
        fs, path: fsspec's file system and the object's path. shown: the URL, for messages, without secrets.
        what: what the owner does.
    """

    def __init__(self, fs, path: str, shown: str, what: str):
        self.fs, self.path, self.shown = fs, path, shown
        since = datetime.datetime.now().astimezone().isoformat(timespec="seconds")
        self._me = {"id": uuid.uuid4().hex, "pid": os.getpid(), "host": socket.gethostname()}
        self._me |= {"since": since, "what": what}
        self._end, self._thread = threading.Event(), None

    def acquire(self) -> str:
        """Take the lock; returns what there is to say: '' or whose stale lock was taken over.

        Raises M2SError naming the owner, when there is one.
        """
        said, holder = "", self._read()
        if holder and not self._gone(holder):
            raise M2SError(self._refusal(holder))
        if holder:
            said = f"taking over {self.shown} from {_named(holder)}, silent for {_age(holder):,.0f} s"
        try:
            self._write(new=not holder)
        except FileExistsError:
            raise M2SError(self._refusal(self._read())) from None
        holder = self._read()
        if holder.get("id") != self._me["id"]:  # two at once, the other wrote last
            raise M2SError(self._refusal(holder))
        self._thread = threading.Thread(target=self._renew, name="remote lock", daemon=True)
        self._thread.start()
        return said

    def check(self) -> None:
        """Raise M2SError when another run has taken the lock over: nothing may be written any more."""
        holder = self._read()
        if holder.get("id") != self._me["id"]:
            owner = f"is now that of {_named(holder)}" if holder else "is gone"
            raise M2SError(
                f"the lock of {self.shown} {owner}: this run was silent for more than {STALE_S:.0f} s. "
                "Nothing more is written there; run the same command again"
            )

    def release(self) -> None:
        """Let go; doing so twice is harmless."""
        self._end.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None
            with contextlib.suppress(Exception):  # it becomes stale by itself
                if self._read().get("id") == self._me["id"]:
                    self.fs.rm_file(self.path)

    def _renew(self) -> None:
        while not self._end.wait(_RENEW_S):
            with contextlib.suppress(Exception):  # a network that is away for a moment
                if self._read().get("id") == self._me["id"]:
                    self._write()

    def _read(self) -> dict:
        self.fs.invalidate_cache()
        try:
            found = json.loads(self.fs.cat_file(self.path))
        except FileNotFoundError:
            return {}
        except ValueError:
            return {"beat": 0.0}  # cut short: nobody's
        return found if isinstance(found, dict) else {"beat": 0.0}

    def _write(self, new: bool = False) -> None:
        text = json.dumps({**self._me, "beat": time.time()}).encode()
        try:
            self.fs.pipe_file(self.path, text, **({"mode": "create"} if new else {}))
        except FileNotFoundError:  # a file system with folders
            self.fs.makedirs(self.path.rpartition("/")[0], exist_ok=True)
            self.fs.pipe_file(self.path, text)
        except (NotImplementedError, TypeError):  # one that cannot create only
            self.fs.pipe_file(self.path, text)

    def _gone(self, holder: dict) -> bool:
        if _age(holder) > STALE_S:
            return True
        return holder.get("host") == socket.gethostname() and not _alive(holder.get("pid"))

    def _refusal(self, holder: dict) -> str:
        return (
            f"the run directory {self.shown} is in use by {_named(holder)}: wait for it, stop it, or choose "
            f"another run_dir. Its last sign was {max(_age(holder), 0):.0f} s ago; after {STALE_S:.0f} s "
            "without one it counts as gone"
        )


def _named(holder: dict) -> str:
    pid, host, since = (holder.get(key, "?") for key in ("pid", "host", "since"))
    return f"process {pid} on host {host} since {since} ({holder.get('what', 'unknown')})"


def _age(holder: dict) -> float:
    beat = holder.get("beat")
    return time.time() - beat if isinstance(beat, int | float) else float("inf")


def _alive(pid: object) -> bool:
    try:
        os.kill(int(pid), 0)
    except (ProcessLookupError, TypeError, ValueError):
        return False
    except PermissionError:
        return True
    return True
