"""The film table: which files of a folder are films, under which ids, and what metadata says of them."""

import contextlib
import logging
import os
import re
import unicodedata
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd

from m2s_lib.errors import M2SError
from m2s_lib.films.similarity.watch_log import imdb_id
from m2s_lib.films.tables import read_table
from m2s_lib.io import safe_name

PATTERNS = ("*.mp4", "*.mkv", "*.mov", "*.avi", "*.webm", "*.m4v", "*.mpg", "*.ts")
METADATA = ("title", "imdb_id", "genres", "synopsis", "year", "split")
COLUMNS = [
    *("film_id", "title", "path", "imdb_id", "genres", "synopsis", "year"),
    *("duration_s", "fps", "n_shots", "split", "status", "reason"),
]
SPLITS = ("train", "val", "test", "")
SOURCES = {  # what a film is on disk: (files that make it one, in words)
    "video": (PATTERNS, "video files (mp4 mkv mov avi webm m4v mpg ts)"),
    "movienet": (("shot_*_img_*.jpg",), "folders with keyframes named shot_0000_img_0.jpg"),
    "features": (("shots.txt",), "folders with shots.txt and a feature file"),
}
log = logging.getLogger(__name__)


def read_film_table(
    films_dir: str | os.PathLike,
    metadata: str | os.PathLike = "",
    source: str = "video",
) -> pd.DataFrame:
    """The films under a folder, sub-folders included, sorted by path, with what the metadata table adds.

    Args:
        films_dir: a folder of video files; for 'movienet' and 'features' a folder of film folders.
        metadata: '' or a CSV/parquet table, read by `read_table`, with film_id (the file's name without
            ending) or path (or file name), and any of title, imdb_id, genres ('|' or ',' between), synopsis,
            year, split.
        source: 'video', 'movienet' or 'features'.

    Returns:
        One row per film with the contract's columns; status 'pending', or 'failed' with a reason for names
        that cannot be told apart or lead out of the folder. `attrs["unknown_metadata"]`: the film ids that
        the metadata lists and the folder does not have.

    Raises:
        M2SError: no such folder, no film in it, or a metadata table that cannot be used (it names the row).
    """
    if source not in SOURCES:
        raise M2SError(f"source is {source!r}, expected one of {sorted(SOURCES)}")
    root = Path(films_dir)
    patterns, what = SOURCES[source]
    if not root.is_dir():
        raise M2SError(f"films_dir {root} is not a folder: expected one with {what}")
    rows = _name_films(root, list(_find(root, patterns, source)))
    if not rows:
        raise M2SError(f"no film under {root}: looked for {what}, sub-folders included")
    table = pd.DataFrame(rows)
    for column in ("title", "genres", "synopsis", "split"):
        table[column] = ""
    table["imdb_id"] = [i if re.fullmatch(r"tt\d{7,10}", i) else "" for i in table["film_id"]]
    table["year"] = pd.array([pd.NA] * len(table), dtype="Int64")
    unknown = _add_metadata(table, _read_metadata(Path(metadata)), str(metadata)) if str(metadata) else []
    table["title"] = [t or _own_title(Path(p)) for t, p in zip(table["title"], table["path"], strict=True)]
    table["duration_s"], table["fps"] = np.nan, np.nan
    table["n_shots"] = 0
    table = table[COLUMNS]
    table.attrs["unknown_metadata"] = unknown
    return table


def films_read(films: pd.DataFrame) -> pd.DataFrame:
    """Rows of the films that are ok; prints which are not, and why.

    Raises M2SError, with the first reasons, when there is none.
    """
    read = films[films["status"] == "ok"]
    if read.empty:
        reasons = "".join(f"\n  - {r.film_id}: {r.reason}" for r in films.head(3).itertuples())
        raise M2SError(f"none of the {len(films)} films could be read:{reasons}")
    for film in films[films["status"] != "ok"].itertuples():
        print(f"not read: {film.film_id}: {film.reason}")
    return read


def _find(root: Path, patterns: tuple[str, ...], source: str) -> Iterator[Path]:
    """Films in path order; hidden files (such as macOS's ._ files) are none."""
    import fnmatch

    wanted = re.compile("|".join(fnmatch.translate(p.lower()) for p in patterns))
    for folder, folders, files in os.walk(root):  # links to folders are not followed
        folders[:] = sorted(f for f in folders if not f.startswith("."))
        for name in folders:
            if (Path(folder) / name).is_symlink():
                log.warning("%s is a link to a folder and was not searched", Path(folder) / name)
        found = sorted(f for f in files if not f.startswith(".") and wanted.match(f.lower()))
        if found and source != "video":
            yield Path(folder)
        elif source == "video":
            yield from (Path(folder) / f for f in found)


def _name_films(root: Path, paths: list[Path]) -> list[dict]:
    """Rows film_id, path, status, reason: the first file keeps an id, later ones fail and name both."""
    inside, used, rows, clashes = root.resolve(), {}, [], []
    for path in sorted(paths, key=_is_empty):  # an empty file takes no name from a good one
        row = dict(film_id="", path=str(path), status="pending", reason="")
        rows.append(row)
        try:
            row["film_id"] = _film_id(path.name if path.is_dir() else path.stem)
        except M2SError as error:
            row.update(film_id="unnamed", status="failed", reason=f"{path.name}: {error}; rename it")
        if row["status"] == "pending" and not path.resolve().is_relative_to(inside):
            reason = (
                f"{path.name} is a link out of {root} (to {path.resolve()}): copy the film into the folder"
            )
            row.update(status="failed", reason=reason)
        if row["film_id"] in used:
            clashes.append(row)
        else:
            used[row["film_id"]] = path
    for row in clashes:
        first = used[row["film_id"]]
        if row["status"] == "pending":
            names = f"{_relative(first, root)} and {_relative(Path(row['path']), root)}"
            row.update(
                status="failed", reason=f"{names} have the same film id {row['film_id']!r}: rename one"
            )
        number = 2
        while f"{row['film_id']} ({number})" in used:
            number += 1
        row["film_id"] = f"{row['film_id']} ({number})"
        used[row["film_id"]] = Path(row["path"])
    order = {str(path): i for i, path in enumerate(paths)}
    return sorted(rows, key=lambda row: order[row["path"]])


def _is_empty(path: Path) -> bool:
    try:
        return path.is_file() and path.stat().st_size == 0
    except OSError:
        return False


def _film_id(name: str) -> str:
    """A safe id; one spelling for names that differ only in how their accents are stored."""
    return safe_name(unicodedata.normalize("NFC", name))


def _relative(path: Path, root: Path) -> str:
    return path.relative_to(root).as_posix()


def _own_title(path: Path) -> str:
    """The title in a film folder's name.txt (OVSD), else the name of the file or folder, in words."""
    with contextlib.suppress(OSError, UnicodeDecodeError):
        if title := (path / "name.txt").read_text(encoding="utf-8").strip():
            return title
    name = path.name if path.is_dir() else path.stem
    return name if " " in name else re.sub(r"[_.]+", " ", name).strip() or name


def _read_metadata(path: Path) -> pd.DataFrame:
    """The table as it is, CSV cells as text."""
    if not path.is_file():
        raise M2SError(f"metadata {path} is missing: expected a CSV or parquet table, or '' for none")
    try:
        return read_table(path, dtype=str, keep_default_na=False)
    except Exception as error:  # pandas and pyarrow raise many kinds for a file that is no table
        raise M2SError(f"metadata {path} cannot be read as a table: {error}") from error


def _add_metadata(table: pd.DataFrame, given: pd.DataFrame, name: str) -> list[str]:
    """Fill `table` from the user's table in place; return the ids that no film has."""
    key = next((c for c in ("film_id", "path", "file", "filename", "file_name") if c in given.columns), None)
    if key is None:
        raise M2SError(
            f"metadata {name} has the columns {[str(c) for c in given.columns]}; expected film_id (or path), "
            f"and any of {', '.join(METADATA)}"
        )
    place = {film: i for i, film in enumerate(table["film_id"])}
    columns = [c for c in METADATA if c in given.columns]
    values = {c: table[c].tolist() for c in columns}
    unknown, seen = [], {}
    for number, row in enumerate(given[[key, *columns]].to_dict("records"), start=1):
        text = _text(row[key])
        where = f"metadata {name}, row {number} ({key} {text!r})"
        film = _metadata_id(text, key, where)
        if film not in place and Path(film).stem in place and f"*{Path(film).suffix.lower()}" in PATTERNS:
            film = Path(film).stem  # the file's name instead of the film's
        if film in seen:
            raise M2SError(f"{where}: film {film!r} is already in row {seen[film]}; keep one of them")
        seen[film] = number
        if film not in place:
            unknown.append(film)
            continue
        for column in columns:
            value = _CLEAN[column](row[column], where)
            if not (column == "imdb_id" and value == ""):  # an id in the film's name stands
                values[column][place[film]] = value
    for column in columns:
        table[column] = pd.array(values[column], dtype="Int64") if column == "year" else values[column]
    if unknown and len(unknown) == len(given):
        raise M2SError(
            f"metadata {name} names none of the films: its first {key} is {_text(given[key].iloc[0])!r}, the "
            f"first film is {next(iter(place))!r} (a film's id is its file's name without ending)"
        )
    if unknown:
        log.warning("metadata %s: %d of %d rows are of films that are not here (%s ...)",
                    name, len(unknown), len(given), ", ".join(unknown[:3]))  # fmt: skip
    return unknown


def _metadata_id(text: str, key: str, where: str) -> str:
    try:
        if key == "film_id":
            return _film_id(text)
        last = re.split(r"[\\/]", text.rstrip("/\\"))[-1]
        return _film_id(last.rsplit(".", 1)[0] if re.search(r"\.\w{2,5}$", last) else last)
    except M2SError as error:
        raise M2SError(f"{where}: {error}") from error


def _text(value: object, where: str = "") -> str:
    """A cell as text; '' for what a table leaves open."""
    if value is None or value is pd.NA or (isinstance(value, float) and np.isnan(value)):
        return ""
    return str(value).strip()


def _imdb(value: object, where: str) -> str:
    text = _text(value)
    if text in ("", r"\N"):
        return ""
    found = imdb_id(text)
    if not found or int(found[2:]) == 0:
        raise M2SError(
            f"{where}: imdb_id is {text!r}, expected 'tt' and seven or more digits, or the digits alone"
        )
    return found


def _genres(value: object, where: str) -> str:
    """Genres joined by '|'; MovieLens' '(no genres listed)' and SQL's null are none."""
    if isinstance(value, list | tuple | np.ndarray):
        names = [_text(v) for v in value]
    else:
        text = _text(value)
        names = text.split("|" if "|" in text else ",")
    names = [n.strip() for n in names]
    return "|".join(dict.fromkeys(n for n in names if n and n not in ("(no genres listed)", r"\N")))


def _year(value: object, where: str) -> object:
    text = _text(value).removesuffix(".0")
    if text in ("", r"\N"):
        return pd.NA
    if not re.fullmatch(r"(18|19|20|21)\d\d", text):
        raise M2SError(f"{where}: year is {text!r}, expected four digits such as 1999")
    return int(text)


def _split(value: object, where: str) -> str:
    text = _text(value).lower()
    if text not in SPLITS:
        raise M2SError(f"{where}: split is {text!r}, expected train, val, test or nothing")
    return text


_CLEAN = {
    "title": _text,
    "imdb_id": _imdb,
    "genres": _genres,
    "synopsis": _text,
    "year": _year,
    "split": _split,
}
