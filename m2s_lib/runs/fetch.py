"""Films that anyone may have: downloads that go on where they stopped, with their sums checked."""

import hashlib
import os
import time
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path

import yaml

from m2s_lib.errors import M2SError
from m2s_lib.progress import Progress
from m2s_lib.runs.project import project_root

_PIECE = 1 << 20  # bytes
_PATIENCE_S = 60.0  # seconds without a byte before an address counts as silent
_TRIES = 3  # of each address; every one goes on where the last stopped


def fetch_films(
    names: Sequence[str], folder: str | os.PathLike, manifest: str | os.PathLike | None = None
) -> list[Path]:
    """Download films of a manifest into a folder; returns their files.

    A file that is there with the right sum is not fetched again, one that is there in part goes on. Where an
    address refuses, the next one of the film is asked.

    Args:
        names: of films in the manifest, none for all.
        folder: where the films go; made if it is missing.
        manifest: a YAML file with films: name -> file, sha256, addresses; None is open_films.yaml.

    Raises:
        M2SError: a name that the manifest does not have, no address that answers (each with its reason), a
            file whose sum is another, or no space left.
    """
    path = Path(manifest) if manifest else project_root() / "data_manifests" / "open_films.yaml"
    films = yaml.safe_load(path.read_text(encoding="utf-8"))["films"]
    if unknown := [name for name in names if name not in films]:
        raise M2SError(f"there is no film {unknown[0]!r}; the films are {', '.join(films)}")
    return [_fetch(name, films[name], Path(folder)) for name in names or films]


def _fetch(name: str, film: Mapping, folder: Path) -> Path:
    target = folder / film["file"]
    if target.is_file() and sha256(target) == film["sha256"]:
        print(f"{name}: {target} is there")
        return target
    folder.mkdir(parents=True, exist_ok=True)
    part, reasons = target.with_name(f"{target.name}.part"), []
    for address in film["addresses"]:
        reason = _download(name, address, part)
        if not reason and sha256(part) == film["sha256"]:
            os.replace(part, target)
            return target
        if not reason:
            reason = f"the file has the sum {sha256(part)[:16]}..., expected {film['sha256'][:16]}..."
            part.unlink()
        reasons.append(f"  - {address}: {reason}")
    listed = "\n".join(reasons)
    raise M2SError(
        f"{name} could not be fetched:\n{listed}\nGo online and run the same command again (what is there "
        f"already is kept), or put the file at {target}"
    )


def _download(name: str, address: str, part: Path) -> str:
    """Append to `part` what is missing of it; returns why that failed, '' when it is whole."""
    reason = ""
    for attempt in range(_TRIES):
        try:
            _go_on(name, address, part)
            return ""
        except urllib.error.HTTPError as error:
            if error.code == 416:  # nothing is missing
                return ""
            return f"{error.code} {error.reason}"
        except (urllib.error.URLError, TimeoutError, ConnectionError) as error:
            reason = str(getattr(error, "reason", error))
        except OSError as error:
            raise M2SError(f"{part} cannot be written ({error.strerror}): free some space") from error
        time.sleep(0.2 * attempt)
    return reason


def _go_on(name: str, address: str, part: Path) -> None:
    begun = part.stat().st_size if part.is_file() else 0
    request = urllib.request.Request(address, headers={"Range": f"bytes={begun}-"} if begun else {})
    with urllib.request.urlopen(request, timeout=_PATIENCE_S) as answer:
        begun = begun if answer.status == 206 else 0  # a server without ranges starts again
        left = int(answer.headers.get("Content-Length") or 0)
        bar = Progress(f"fetching {name}", total=max(left // _PIECE, 1), unit="MiB")
        with open(part, "ab" if begun else "wb") as file:
            while piece := answer.read(_PIECE):
                file.write(piece)
                left -= len(piece)
                bar.step()
    if left > 0:
        raise ConnectionError(f"the connection broke off {left:,} bytes before the end")


def sha256(path: str | os.PathLike) -> str:
    """The SHA-256 of a file, hexadecimal."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
