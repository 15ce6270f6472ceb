"""A stage's results on disk: their sizes and checksums, and which are no longer what was recorded."""

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from m2s_lib.io import checksum

RECORD = "run.json"
NOTEBOOKS = ("notebook.ipynb", "notebook.failed.ipynb", "notebook.html")
NOT_OUTPUTS = {RECORD, *NOTEBOOKS, "kernel.log"}


def outputs(folder: Path) -> list[dict]:
    """Files in a stage's folder that are its results: path, size and crc32."""
    found = sorted(p for p in folder.rglob("*") if p.is_file() and not p.name.endswith(".tmp"))
    names = {p.relative_to(folder).as_posix(): p for p in found}
    kept = {name: p for name, p in names.items() if name not in NOT_OUTPUTS}
    sums = checksums(kept.values())
    return [
        {"path": name, "size": p.stat().st_size, "crc32": crc}
        for (name, p), crc in zip(kept.items(), sums, strict=True)
    ]


def checksums(paths: Iterable[Path]) -> list[int]:
    """Checksums of whole files, several at once: reading and summing let other threads work."""
    with ThreadPoolExecutor() as pool:
        return list(pool.map(checksum, paths))


def spoilt(folder: Path, entries: list[dict]) -> dict[str, str]:
    """Recorded outputs that are not what they were: path -> 'missing', 'of another size' or 'damaged'."""
    wrong, same = {}, []
    for entry in entries:
        path = folder / entry["path"]
        if not path.is_file():
            wrong[entry["path"]] = "missing"
        elif path.stat().st_size != entry["size"]:
            wrong[entry["path"]] = "of another size"
        elif "crc32" in entry:  # records of earlier versions have none
            same.append(entry)
    for entry, crc in zip(same, checksums(folder / e["path"] for e in same), strict=True):
        if crc != entry["crc32"]:
            wrong[entry["path"]] = "damaged"
    return wrong
