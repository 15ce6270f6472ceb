"""Run directories at URLs (s3://, gs://, whatever fsspec knows): a local mirror, fetched before and pushed
after every stage.

At the URL lies a manifest with the content hash of every file and a version that changes with every push. A
mirror that has that version is ahead of the URL or equal to it: what differs is its own work, not yet pushed.
Any other version means that another machine has pushed since: the URL then wins. A stage's run.json goes
away before the stage's files change there and comes back last, so a push that was cut short leaves a stage
that did not finish, never one that looks done.
"""

import contextlib
import json
import os
import sys
import uuid
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TextIO
from urllib.parse import urlsplit

from m2s_lib.errors import M2SError
from m2s_lib.io import atomic_path, checksum, read_json, text_digest, write_json
from m2s_lib.progress import progress
from m2s_lib.runs.pipeline.pipeline import StageFailed
from m2s_lib.runs.project import is_url, shown_url
from m2s_lib.runs.records.record import MOVED, RECORD
from m2s_lib.runs.remote.remote_lock import NAME as LOCK
from m2s_lib.runs.remote.remote_lock import RemoteLock

CACHE = "M2S_CACHE"  # the folder of the mirrors; default ~/.cache/m2s
MANIFEST = ".m2s-manifest.json"
_STATE = ".m2s-mirror.json"
_LOCAL = {_STATE, MANIFEST, LOCK, MOVED, ".lock", ".stage.lock", ".fingerprints.json"}
_AT_ONCE = 8
_INSTALL = {"s3": "s3fs", "gs": "gcsfs", "gcs": "gcsfs", "abfs": "adlfs", "az": "adlfs"}


def mirror_folder(url: str, cache: str | os.PathLike | None = None) -> Path:
    """Returns where a URL's mirror lies: `cache`, else $M2S_CACHE, else ~/.cache/m2s."""
    base = Path(cache or os.environ.get(CACHE) or "~/.cache/m2s").expanduser().absolute()
    return base / "runs" / text_digest(shown_url(url))[:20]


@contextlib.contextmanager
def opened_run_dir(
    run_dir: str | os.PathLike | None,
    what: str,
    cache: str | os.PathLike | None = None,
    stream: TextIO | None = None,
) -> Iterator[tuple[str | os.PathLike | None, Callable[[], None]]]:
    """Gives the folder to run in, and what to call when a stage has ended.

    A folder is itself, with nothing to call. A URL is locked, fetched into its mirror, pushed after every
    call and once more in the end.

    Args:
        what: what is done there, for a second run's message. cache: see `mirror_folder`.
        stream: where the words about what was fetched and pushed go; None is standard output.

    Raises M2SError when the URL cannot be reached or is in use.
    """
    if not is_url(run_dir):
        yield run_dir, lambda: None
        return
    run = RemoteRun(run_dir, what, cache, stream or sys.stdout)
    with run.plain_errors():
        run.begin()
    try:
        yield run.folder, run.push
        run.push()
    finally:
        run.lock.release()


class RemoteRun:
    """A run directory at a URL with its mirror; `opened_run_dir` makes it."""

    def __init__(self, url: str, what: str, cache: str | os.PathLike | None, stream: TextIO):
        self.url, self.shown, self.stream = url, shown_url(url), stream
        self.folder = mirror_folder(url, cache)
        with self.plain_errors():
            self.fs, root = _file_system(url)
        self.root = root.rstrip("/")
        self.lock = RemoteLock(self.fs, self._at(LOCK), self.shown, what)

    def begin(self) -> None:
        """Locks the URL and fetches what the mirror lacks."""
        if note := self.lock.acquire():
            self._print(note)
        try:
            self.fetch()
        except BaseException:
            self.lock.release()
            raise

    def fetch(self) -> None:
        """Makes the mirror at least what the URL has, see the module."""
        self.folder.mkdir(parents=True, exist_ok=True)
        manifest, state = self._manifest(), self._state()
        there, here = self._there(), self._here(state)
        ours = bool(manifest) and manifest["version"] in state["versions"]
        known = manifest.get("files", {})
        wanted = {name: known.get(name, "") for name, size in there.items()}
        if ours:
            todo = [name for name in wanted if name not in here]
        else:
            todo = [name for name, digest in wanted.items() if not digest or here.get(name) != digest]
            for name in sorted(set(here) - set(there)) if there else ():
                (self.folder / name).unlink()
        if lost := sum(here.get(n) not in (None, state["pushed"].get(n)) for n in todo):
            self._print(f"another machine has worked in {self.shown} since: {lost} newer files here give way")
        self._each(todo, self._fetch_one, f"fetching from {self.shown}")
        if not ours:
            state["versions"] = [manifest["version"]] if manifest else []
            state["pushed"] = {
                name: digest for name, digest in self._here(state).items() if known.get(name) == digest
            }
        self._keep(state)
        self._print(f"{self.shown}: {len(todo)} of {len(there)} files fetched into {self.folder}")

    def push(self) -> None:
        """Makes the URL what the mirror is: changed files, then every run.json that belongs to them.

        Raises StageFailed when it cannot be done; all is in the mirror then.
        """
        try:
            with self.plain_errors():
                self._push()
        except M2SError as error:
            raise StageFailed(str(error)) from error

    def _push(self) -> None:
        state = self._state()
        here, before = self._here(state), state["pushed"]
        changed = sorted(name for name, digest in here.items() if before.get(name) != digest)
        gone = sorted(set(before) - set(here))
        if not changed and not gone:
            return
        self.lock.check()
        stages = {name.partition("/")[0] for name in changed + gone}
        records = [f"{stage}/{RECORD}" for stage in sorted(stages) if f"{stage}/{RECORD}" in {*here, *before}]
        changed = [name for name in changed if name not in records]
        kept = {n: d for n, d in before.items() if n not in {*changed, *gone, *records}}
        self._write_manifest(kept, state)
        for name in {*gone, *records} & set(before):
            with contextlib.suppress(FileNotFoundError):
                self.fs.rm_file(self._at(name))
        self._each(changed, self._push_one, f"pushing to {self.shown}")
        last = [name for name in records if name in here]
        for name in last:
            self._push_one(name)
        self._write_manifest(here, state)
        self._print(f"{self.shown}: {len(changed) + len(last)} files pushed, {len(gone)} removed")

    # -- files --

    def _at(self, name: str) -> str:
        return f"{self.root}/{name}"

    def _there(self) -> dict[str, int]:
        """Files at the URL by their names in the run directory: sizes."""
        self.fs.invalidate_cache()
        try:
            there = self.fs.find(self.root, detail=True)
        except FileNotFoundError:
            return {}
        names = {path[len(self.root) :].lstrip("/"): about["size"] for path, about in there.items()}
        return {name: size for name, size in names.items() if _counts(name)}

    def _here(self, state: dict) -> dict[str, str]:
        """Files of the mirror: content hashes, computed anew where size or time have changed."""
        seen = {}
        for path in sorted(p for p in self.folder.rglob("*") if p.is_file() and not p.is_symlink()):
            name, about = path.relative_to(self.folder).as_posix(), path.stat()
            if _counts(name):
                same = [about.st_size, about.st_mtime_ns]
                entry = state["seen"].get(name, [])
                seen[name] = entry if entry[:2] == same else [*same, checksum(path)]
        state["seen"] = seen
        return {name: entry[2] for name, entry in seen.items()}

    def _fetch_one(self, name: str) -> None:
        with atomic_path(self.folder / name) as temporary:
            self.fs.get_file(self._at(name), str(temporary))

    def _push_one(self, name: str) -> None:
        source, there = str(self.folder / name), self._at(name)
        try:
            self.fs.put_file(source, there)
        except FileNotFoundError:  # a file system with folders
            self.fs.makedirs(there.rpartition("/")[0], exist_ok=True)
            self.fs.put_file(source, there)

    def _each(self, names: list[str], work: Callable[[str], None], title: str) -> None:
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            list(progress(pool.map(work, names), title, total=len(names), unit="files"))

    # -- manifest and state --

    def _manifest(self) -> dict:
        try:
            manifest = json.loads(self.fs.cat_file(self._at(MANIFEST)))
            sound = isinstance(manifest["files"], dict) and isinstance(manifest["version"], str)
            return manifest if sound else {}
        except (FileNotFoundError, ValueError, KeyError, TypeError):
            return {}

    def _write_manifest(self, files: Mapping[str, str], state: dict) -> None:
        version = uuid.uuid4().hex
        state["versions"] = [*state["versions"][-1:], version]  # the one before, should this not get there
        self._keep(state)
        text = json.dumps({"version": version, "files": dict(sorted(files.items()))}, indent=0)
        self.fs.pipe_file(self._at(MANIFEST), text.encode())
        state["versions"], state["pushed"] = [version], dict(files)
        self._keep(state)

    def _state(self) -> dict:
        empty = {"versions": [], "pushed": {}, "seen": {}}
        with contextlib.suppress(M2SError):
            return empty | read_json(self.folder / _STATE)
        return empty

    def _keep(self, state: dict) -> None:
        write_json(self.folder / _STATE, state)

    # -- words --

    def _print(self, text: str) -> None:
        print(text, file=self.stream, flush=True)

    @contextlib.contextmanager
    def plain_errors(self) -> Iterator[None]:
        """Turns what a file system raises into an M2SError without the URL's secrets."""
        try:
            yield
        except (M2SError, KeyboardInterrupt):
            raise
        except Exception as error:  # every back end has its own kinds
            words = f"{type(error).__name__}: {error}".replace(self.url, self.shown)
            for secret in _secrets(self.url):
                words = words.replace(secret, "***")
            raise M2SError(
                f"{self.shown} cannot be read or written ({words}). What was computed is in {self.folder}; "
                "run the same command again when that is mended"
            ) from None


def _counts(name: str) -> bool:
    """Whether a file belongs to the run: not locks, states and temporaries."""
    last = name.rpartition("/")[2]
    return bool(last) and last not in _LOCAL and not (last.startswith(".") and last.endswith(".tmp"))


def _secrets(url: str) -> list[str]:
    parts = urlsplit(url)
    return [s for s in (parts.password, parts.netloc.rpartition("@")[0], parts.query) if s]


def _file_system(url: str):
    """fsspec's file system of a URL and the path in it."""
    import fsspec

    scheme = url.partition("://")[0].lower()
    try:
        return fsspec.core.url_to_fs(url)
    except ImportError as error:
        package = _INSTALL.get(scheme)
        hint = f"pip install {package}" if package else "install the package that the message names"
        raise M2SError(f"run directories at {scheme}:// need another package ({error}): {hint}") from error
    except ValueError as error:
        raise M2SError(
            f"{scheme}:// is no kind of place that fsspec {fsspec.__version__} knows, such as s3:// or gs://"
        ) from error
