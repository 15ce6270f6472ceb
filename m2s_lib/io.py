"""Files that are whole or absent: temporary names and renames, checksums, safe names.

One hash, XXH3, tells whether a file is still what was written: of whole files in manifests (`manifest`,
`damaged`) and behind the numbers of an array file, of samples of large inputs in `fingerprint`. It is faster
than disks, and no protection against somebody who changes files on purpose.
"""

import contextlib
import errno
import filecmp
import json
import os
import re
import tokenize
import warnings
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd
import xxhash

from m2s_lib.errors import M2SError

_WHOLE = 16 << 20  # files up to this size are fingerprinted whole, larger ones by size, head and tail
_PIECE = 1 << 20
_TEMPORARY = re.compile(r"^\..+\.\d+\.tmp$")
_FORBIDDEN = (errno.EROFS, errno.EACCES, errno.EPERM)
_SEAL = b"\0m2s xxh3 "  # and 16 hex digits: the end of an array file


@contextlib.contextmanager
def atomic_path(path: str | os.PathLike) -> Iterator[Path]:
    """Give a temporary path beside `path`; rename it to `path` when the block ends well, remove it when it
    fails or when `path` holds the same bytes already.

    Raises M2SError when the disk is full or read-only; whatever stood at `path` before is then untouched.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        if not (path.is_file() and filecmp.cmp(temporary, path, shallow=False)):
            os.replace(temporary, path)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise _no_space(path) from error
        if error.errno in _FORBIDDEN:
            raise M2SError(f"{path} cannot be written ({error.strerror}): choose another folder") from error
        raise
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def _no_space(path: Path) -> M2SError:
    return M2SError(
        f"no space left while writing {path}: free some disk and run the same command again; "
        "what is already written is kept"
    )


def remove_temporaries(folder: str | os.PathLike) -> int:
    """Remove what killed runs left under `folder` (names of `atomic_path`); return how many files went."""
    stale = [p for p in Path(folder).rglob(".*.tmp") if _TEMPORARY.match(p.name) and not _alive(p)]
    for p in stale:
        p.unlink(missing_ok=True)
    return len(stale)


def _alive(temporary: Path) -> bool:
    pid = int(temporary.name.split(".")[-2])
    return pid != os.getpid() and is_alive(pid)


def is_alive(pid: int) -> bool:
    """Whether a process of this id runs on this machine."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


def write_json(path: str | os.PathLike, value: object) -> None:
    """Write `value` as indented JSON, atomically; keys keep their order, NaN becomes null."""
    with atomic_path(path) as temporary:
        temporary.write_text(
            json.dumps(json_ready(value), indent=1, ensure_ascii=False) + "\n", encoding="utf-8"
        )


def json_ready(value: object) -> object:
    """JSON's own types: numpy scalars and paths unwrapped, NaN and infinities to None."""
    if isinstance(value, dict):
        return {str(k): json_ready(v) for k, v in value.items()}
    if isinstance(value, list | tuple | np.ndarray):
        return [json_ready(v) for v in value]
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not np.isfinite(value):
        return None
    return str(value) if isinstance(value, os.PathLike) else value


def read_json(path: str | os.PathLike) -> dict:
    """Read a JSON file; M2SError names the file when it is missing or cut short."""
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise M2SError(f"{path} is missing: run the stage that writes it first") from error
    except OSError as error:
        raise M2SError(f"{path} cannot be read ({error.strerror})") from error
    except (ValueError, RecursionError) as error:
        raise M2SError(f"{path} is not JSON ({error}): delete it and run its stage again") from error


def read_lines(path: str | os.PathLike, expected: str) -> list[str]:
    """Lines of a UTF-8 text file, without a byte order mark; M2SError says what was `expected` when it cannot
    be read."""
    try:
        return Path(path).read_text(encoding="utf-8-sig").splitlines()
    except OSError as error:
        raise M2SError(f"{path} cannot be read ({error.strerror}): {expected}") from error
    except UnicodeDecodeError as error:
        raise M2SError(f"{path} is not UTF-8 text ({error}): give the original file") from error


def read_csv(path: str | os.PathLike, encoding: str = "utf-8-sig", **options) -> pd.DataFrame:
    """`pd.read_csv` of UTF-8 text, with or without a byte-order mark, whose first column is never an index.

    Raises ValueError where rows have more fields than the header has names: columns would shift or be lost.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", pd.errors.ParserWarning)
            return pd.read_csv(path, encoding=encoding, index_col=False, **options)
    except pd.errors.ParserWarning as error:
        raise ValueError("rows have more fields than the header") from error
    except OverflowError as error:
        raise ValueError("a number is too large") from error


def is_count(text: str) -> bool:
    """Whether a text is a whole number from 0 up that an int64 holds: a frame, a shot, a second."""
    return text.isdecimal() and len(text) <= 18


def write_parquet(table: pd.DataFrame, path: str | os.PathLike) -> None:
    """Write a table as parquet, atomically, each page with its checksum."""
    with atomic_path(path) as temporary:
        table.to_parquet(temporary, index=False, write_page_checksum=True)


def read_parquet(path: str | os.PathLike, columns: list[str] | None = None) -> pd.DataFrame:
    """Read a parquet table; M2SError names the file when it is missing or damaged, and any column it
    lacks."""
    path = Path(path)
    if not path.exists():
        raise M2SError(
            f"{path} is missing: run stage {path.parent.name} first "
            f"(m2s run PROFILE --only {path.parent.name[:2]})"
        )
    try:
        table = pd.read_parquet(path, page_checksum_verification=True)
    except Exception as error:  # pyarrow raises several kinds for a damaged file
        raise M2SError(
            f"{path} cannot be read ({error}): delete it and run stage {path.parent.name} again"
        ) from error
    missing = sorted(set(columns or []) - set(table.columns))
    if missing:
        raise M2SError(f"{path} lacks the columns {missing}; it has {sorted(table.columns)}")
    return table


def write_npy(path: str | os.PathLike, array: np.ndarray) -> None:
    """Write one array as .npy, atomically; its checksum stands behind the numbers, where numpy does not
    look."""
    with atomic_path(path) as temporary:
        with open(temporary, "wb") as f:
            np.save(f, array)
        seal = _SEAL + checksum(temporary).encode()
        with open(temporary, "ab") as f:
            f.write(seal)


def read_npy(path: str | os.PathLike) -> np.ndarray:
    """Read an array file, memory-mapped; those of others, which have no checksum, are taken as they are.

    Raises ValueError, EOFError or OSError for a file that is missing, no array, cut short or damaged.
    """
    size = os.path.getsize(path)
    end = max(size - len(_SEAL) - 16, 0)
    with open(path, "rb") as f:
        f.seek(end)
        seal = f.read()
    sealed = seal.startswith(_SEAL)
    if sealed and seal != _SEAL + checksum(path, end).encode():
        raise ValueError("it is damaged: it does not match its checksum")
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except (SyntaxError, tokenize.TokenError, TypeError, OverflowError) as error:  # as numpy reads its header
        raise ValueError(f"it is damaged ({error})") from error
    if not isinstance(array, np.memmap) or array.offset + array.nbytes != (end if sealed else size):
        raise ValueError("it is damaged: it has more bytes than numbers")
    return array


# -- what a file holds --


def checksum(path: str | os.PathLike, size: int | None = None) -> str:
    """XXH3 of a file, or of its first `size` bytes: 16 hex digits; some GB a second."""
    digest, left = xxhash.xxh3_64(), os.path.getsize(path) if size is None else size
    with open(path, "rb") as f:
        while left > 0 and (piece := f.read(min(left, _WHOLE))):
            digest.update(piece)
            left -= len(piece)
    return digest.hexdigest()


def manifest(folder: str | os.PathLike, names: Iterable[str]) -> list[dict]:
    """Size and checksum of files below `folder`: a dict with path, size and xxh3 for each name."""
    paths = [Path(folder, name) for name in names]
    return [
        {"path": path.relative_to(folder).as_posix(), "size": path.stat().st_size, "xxh3": digest}
        for path, digest in zip(paths, _checksums(paths), strict=True)
    ]


def damaged(folder: str | os.PathLike, entries: Sequence[dict]) -> dict[str, str]:
    """Files of a manifest that are not what they were.

    Returns:
        path -> 'missing', 'of another size' or 'damaged'; {} when all are whole.
    """
    wrong, same = {}, []
    for entry in entries:
        path = Path(folder, entry["path"])
        if not path.is_file():
            wrong[entry["path"]] = "missing"
        elif path.stat().st_size != entry["size"]:
            wrong[entry["path"]] = "of another size"
        elif "xxh3" in entry:  # records of earlier versions have none
            same.append(entry)
    digests = _checksums(Path(folder, e["path"]) for e in same)
    return wrong | {
        e["path"]: "damaged" for e, digest in zip(same, digests, strict=True) if e["xxh3"] != digest
    }


def _checksums(paths: Iterable[Path]) -> list[str]:
    with ThreadPoolExecutor() as pool:  # reading and summing let other threads work
        return list(pool.map(checksum, paths))


def text_digest(text: str) -> str:
    """Returns the XXH3 of a text: 32 hex digits."""
    return xxhash.xxh3_128_hexdigest(text.encode())


def fingerprint(path: str | os.PathLike) -> str:
    """XXH3 (32 hex digits) of a file, or of a folder's names and contents; '' when absent.

    Times and places do not count, so a moved or copied run directory stays valid. Files over 16 MiB count by
    size, first and last MiB.
    """
    path = Path(path)
    digest = xxhash.xxh3_128()
    if path.is_dir():
        for p in sorted(q for q in path.rglob("*") if q.is_file() and not _TEMPORARY.match(q.name)):
            digest.update(f"{p.relative_to(path).as_posix()}\0".encode())
            _digest_file(p, digest)
    elif path.is_file():
        _digest_file(path, digest)
    else:
        return ""
    return digest.hexdigest()


def _digest_file(path: Path, digest: xxhash.xxh3_128) -> None:
    size = path.stat().st_size
    digest.update(f"{size}\0".encode())
    with open(path, "rb") as f:
        if size <= _WHOLE:
            digest.update(f.read())
        else:
            digest.update(f.read(_PIECE))
            f.seek(-_PIECE, os.SEEK_END)
            digest.update(f.read())


# -- names --


def is_name(text: str) -> bool:
    """Whether a text can be a file's name as it stands: one that `safe_name` would not change."""
    try:
        return safe_name(text) == text
    except M2SError:
        return False


def inside(folder: str | os.PathLike, name: str | os.PathLike) -> Path:
    """`name` as a table or record gives it, seen from `folder`, which it may not leave by '..' or a root.

    Links inside the folder are followed: whoever made the folder set them.
    """
    path = Path(os.path.normpath(Path(folder, name)))
    if "\0" in str(path) or not path.is_relative_to(os.path.normpath(folder)):
        raise M2SError(f"{str(name)[:200]!r} leads out of {folder}")
    return path


def safe_name(name: str) -> str:
    """A table's film id as a file name that cannot leave its folder: letters, digits, space and . _ - ( )
    kept, others '_'.

    Raises M2SError for a name that is empty or only dots.
    """
    clean = "".join(ch if ch.isalnum() or ch in " ._-()" else "_" for ch in str(name)).strip()
    if not clean.strip(".") or len(clean.encode()) > 200:
        raise M2SError(
            f"{name!r} cannot be a film id: it needs 1 to 200 bytes of letters, "
            "digits or . _ - ( ) and not only dots"
        )
    return clean
