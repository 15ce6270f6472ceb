"""Watch logs: who watched which film, and when. Reads a MovieLens folder or any table of (user, film_id,
time).

The paper's co-watch metadata (§4.1.1) is a private watch history. A MovieLens folder (ml-latest-small, 20m,
25m, 32m: ratings.csv, movies.csv, links.csv) is the public stand-in; a film archive brings its own table.
"""

import csv
import os
import re
from pathlib import Path

import numpy as np
import pandas as pd

from m2s_lib.errors import M2SError
from m2s_lib.films.tables import read_table
from m2s_lib.io import read_csv

NO_GENRES = "(no genres listed)"  # how MovieLens writes an empty list of genres
_MANY = (list, dict, set, np.ndarray)  # what parquet may hold in a cell
_YEAR = re.compile(r"\s*\((\d{4})(?:\s*[-–]\s*(?:\d{4})?)?\)\s*$")
_ARTICLES = "The|A|An|Le|La|Les|Un|Une|Der|Die|Das|Ein|Eine|El|Los|Las|Il|Lo|Gli|I|O|Os|De|Det|Den|En|Het"
_TRAILING_ARTICLE = re.compile(rf"^(.+?), ({_ARTICLES}|L')((?:\s*\(.*\))?)$")
_ADDRESS = re.compile(r"^\s*(?:\w+://)?[\w.]*\bimdb\.com/(?:[\w-]+/)?title/(tt\d+)\b.*$", re.IGNORECASE)
_UNITS = ((1e17, 1e9), (1e14, 1e6), (1e11, 1e3))  # numbers above the first are not seconds but parts of one


class NoFilmPairs(M2SError):
    """Metadata that can be read but makes no two of the films similar."""


def read_any_log(path: str | os.PathLike) -> pd.DataFrame:
    """Reads a watch log: a MovieLens folder, or a CSV or parquet table (user, film_id, time)."""
    return read_movielens(path) if Path(path).is_dir() else read_watch_log(path)


def read_movielens(folder: str | os.PathLike) -> pd.DataFrame:
    """Reads the watch log of a MovieLens folder: every rating counts as one viewing, whatever its value.

    Times are the moments at which ratings were TYPED IN, often a whole list in one sitting, so their order is
    not the order of watching (see `cowatch_neighbours`).

    Args:
        folder: the folder that holds ratings.csv and links.csv.

    Returns:
        Table with user (int), film_id (category of IMDb ids, 'tt' and at least seven digits) and time (float,
        seconds since 1970). `attrs["counts"]`: rows, users, films, and unknown_films / unknown_rows (rated
        films that links.csv does not know; their rows are left out).
    """
    ratings = _read_columns(
        Path(folder) / "ratings.csv", {"userId": np.int64, "movieId": np.int64, "timestamp": np.int64}
    )
    links = _read_links(folder)
    codes, movies = pd.factorize(ratings["movieId"])
    imdb = links.reindex(movies).fillna("").to_numpy(dtype=object)
    categories, of_movie = np.unique(imdb.astype(str), return_inverse=True)
    known = (imdb != "")[codes]
    film = pd.Categorical.from_codes(of_movie[codes], categories)
    film = film.remove_categories([c for c in categories if not c])
    times = ratings["timestamp"].astype(float)
    log = pd.DataFrame({"user": ratings["userId"], "film_id": film, "time": times})
    log = log[known].reset_index(drop=True)
    unknown = {"unknown_films": int((imdb == "").sum()), "unknown_rows": int((~known).sum())}
    log.attrs["counts"] = _counts(log) | unknown
    return log


def movielens_films(folder: str | os.PathLike) -> pd.DataFrame:
    """Reads the films of a MovieLens folder as a film table, so that stage 02 can run on a watch log alone.

    Returns:
        One row a film, sorted by film_id: film_id (its IMDb id), title (without year, article in front),
        year (Int64), genres ('|'-joined, '' when none are listed), synopsis (''), imdb_id.
        `attrs["counts"]`: films, and without_imdb_id / repeated_imdb_id (left out).
    """
    movies = _read_columns(Path(folder) / "movies.csv", {"movieId": np.int64, "title": str, "genres": str})
    imdb = _read_links(folder).reindex(movies["movieId"]).fillna("").astype(str).to_numpy()
    split = [split_title(t) for t in movies["title"].fillna("")]
    columns = {
        "film_id": imdb,
        "title": [t for t, _ in split],
        "year": pd.array([y for _, y in split], dtype="Int64"),
        "genres": movies["genres"].fillna("").replace(NO_GENRES, "").astype(str),
        "synopsis": "",
        "imdb_id": imdb,
    }
    films = pd.DataFrame(columns)
    known = films["film_id"] != ""
    repeated = known & films["film_id"].duplicated()
    out = films[known & ~repeated].sort_values("film_id").reset_index(drop=True)
    left_out = {"without_imdb_id": int((~known).sum()), "repeated_imdb_id": int(repeated.sum())}
    out.attrs["counts"] = {"films": len(out), **left_out}
    return out


def split_title(title: str) -> tuple[str, int | None]:
    """Returns a MovieLens title as (title, year).

    >>> split_title("Godfather: Part II, The (1974)")
    ('The Godfather: Part II', 1974)
    """
    match = _YEAR.search(title)
    year = int(match.group(1)) if match else None
    name = title[: match.start()].strip() if match else title.strip()
    article = _TRAILING_ARTICLE.match(name)
    if article:
        head, word, tail = article.groups()
        name = f"{word}{'' if word.endswith(chr(39)) else ' '}{head}{tail}"
    return name, year


def imdb_id(value: object) -> str:
    """Returns an IMDb id in its one spelling, 'tt' and at least seven digits; '' for what is none.

    >>> imdb_id("114709"), imdb_id("TT0114709"), imdb_id("www.imdb.com/title/tt0114709/"), imdb_id(None)
    ('tt0114709', 'tt0114709', 'tt0114709', '')
    """
    text = _ADDRESS.sub(r"\1", str(value))
    match = re.fullmatch(r"\s*(?:tt)?(\d{1,10})(?:\.0)?\s*", text, re.IGNORECASE)
    return f"tt{int(match.group(1)):07d}" if match else ""


def read_watch_log(path: str | os.PathLike) -> pd.DataFrame:
    """Reads a watch log from a CSV or parquet table with the columns user, film_id and, if known, time.

    film_id may be the film table's film_id, an IMDb id or its address. time may be a number (seconds, or
    thousandths and smaller parts of them, by their size) or a date.

    Returns:
        Table with user, film_id (category of str) and time (float seconds, NaN where unknown).
        `attrs["counts"]`: rows, users, films, and incomplete_rows (no user or film; left out).

    Raises:
        M2SError: no such file, unreadable, a column missing, or times that are neither numbers nor dates.
    """
    path = Path(path)
    table = _read_own_table(path)
    missing = [c for c in ("user", "film_id") if c not in table.columns]
    if missing:
        raise M2SError(
            f"{path} lacks the column(s) {missing}: found {list(table.columns)}, expected user, film_id and "
            "optionally time; rename the columns and read it again"
        )
    if lists := [c for c in ("user", "film_id") if _has_lists(table[c])]:
        raise M2SError(f"{path}: the column(s) {lists} hold lists, expected one user and one film a row")
    whole = table["user"].notna() & table["film_id"].notna()
    kept = table[whole]
    times = kept["time"] if "time" in kept.columns else pd.Series(np.nan, index=kept.index)
    film = pd.Categorical(kept["film_id"].astype(str).str.strip())
    log = pd.DataFrame({"user": kept["user"], "film_id": film, "time": _seconds(times, path)})
    log = log.reset_index(drop=True)
    log.attrs["counts"] = _counts(log) | {"incomplete_rows": int((~whole).sum())}
    return log


def match_watch_log(log: pd.DataFrame, films: pd.DataFrame) -> tuple[pd.DataFrame, dict[str, int]]:
    """Renames a log's films to the film table's film_id; films not in the table are left out and counted.

    A log id is looked up as film_id first, then as IMDb id (the first film wins where two share one).

    Args:
        log: columns user, film_id, and optionally time.
        films: columns film_id, and optionally imdb_id.

    Returns:
        The matched rows (user, film_id, time), and counts: rows, rows_matched, users, log_films,
        matched_films, unknown_films (in the log only), unwatched_films (in the film table only).

    Raises:
        M2SError: either table is empty or lacks a column, or no film is in both.
    """
    _need(log, ("user", "film_id"), "the watch log")
    _need(films, ("film_id",), "the film table")
    ids = films["film_id"].astype(str)
    given = films["imdb_id"] if "imdb_id" in films.columns else [""] * len(films)
    imdb = pd.Series([imdb_id(i) for i in given], index=films.index)
    names = {i: f for i, f in zip(imdb.iloc[::-1], ids.iloc[::-1], strict=True) if i}
    names |= {f: f for f in ids}
    codes, log_ids = pd.factorize(log["film_id"])
    # a bare number is nobody's IMDb id: it may be any database's
    spelled = [str(i) if str(i).strip()[:1].isdigit() else imdb_id(i) for i in log_ids]
    target = np.array([names.get(str(i), names.get(s, "")) for i, s in zip(log_ids, spelled, strict=True)])
    kept = (target != "")[codes]
    if not kept.any():
        raise NoFilmPairs(
            f"the watch log ({len(log):,} rows, {len(log_ids):,} films such as {str(log_ids[0])!r}) and the "
            f"film table ({len(films):,} films such as {ids.iloc[0]!r}, {int((imdb != '').sum()):,} with an "
            "imdb_id) have no film in common: give the films an imdb_id in the metadata table, or use their "
            "film_id in the log"
        )
    times = log["time"].to_numpy(float)[kept] if "time" in log.columns else np.full(int(kept.sum()), np.nan)
    matched, of_target = np.unique(target, return_inverse=True)
    film = pd.Categorical.from_codes(of_target[codes[kept]], matched).remove_unused_categories()
    out = pd.DataFrame({"user": log["user"].to_numpy()[kept], "film_id": film, "time": times})
    seen = len(film.categories)
    counts = {
        "rows": len(log),
        "rows_matched": len(out),
        "users": int(out["user"].nunique()),
        "log_films": len(log_ids),
        "matched_films": seen,
        "unknown_films": int((target == "").sum()),
        "unwatched_films": int(ids.nunique()) - seen,
    }
    return out, counts


def _has_lists(values: pd.Series) -> bool:
    return values.dtype == object and any(isinstance(v, _MANY) for v in values)


def _need(table: pd.DataFrame, columns: tuple[str, ...], name: str) -> None:
    missing = [c for c in columns if c not in table.columns]
    if missing:
        raise M2SError(f"{name} lacks the column(s) {missing}: found {list(table.columns)}")
    if not len(table):
        raise NoFilmPairs(f"{name} has 0 rows, at least 1 is needed: check the path it was read from")


def _counts(log: pd.DataFrame) -> dict[str, int]:
    return {"rows": len(log), "users": int(log["user"].nunique()), "films": int(log["film_id"].nunique())}


def _read_links(folder: str | os.PathLike) -> pd.Series:
    """IMDb id ('tt…', '' unknown) by movieId."""
    links = _read_columns(Path(folder) / "links.csv", {"movieId": np.int64, "imdbId": str})
    return pd.Series([imdb_id(i) for i in links["imdbId"]], index=links["movieId"]).groupby(level=0).first()


def _read_columns(path: Path, types: dict[str, type]) -> pd.DataFrame:
    """The named columns of one MovieLens CSV; M2SError names the file and what it has instead."""
    if not path.is_file():
        if (path.parent / "ratings.dat").is_file():
            raise M2SError(
                f"{path.parent} is in the format of MovieLens 1M and 10M (ratings.dat, '::' between values), "
                "which has no IMDb ids to find its films by: give ml-latest-small, 20M, 25M or 32M, or a "
                "table with the columns user, film_id and time"
            )
        has = sorted(p.name for p in path.parent.glob("*.csv"))
        raise M2SError(
            f"{path} is missing: a MovieLens folder holds ratings.csv, movies.csv and links.csv; this one "
            f"has {has or 'no CSV files'}"
        )
    with open(path, encoding="utf-8-sig", newline="", errors="replace") as f:
        header = next(csv.reader(f), [])
    missing = [c for c in types if c not in header]
    if missing:
        raise M2SError(f"{path} lacks the column(s) {missing}: found {header}, expected {list(types)}")
    try:
        return read_csv(path, usecols=list(types), dtype=types, keep_default_na=False)
    except (ValueError, UnicodeDecodeError) as error:
        raise M2SError(f"{path} cannot be read as a MovieLens table ({error}): download it again") from error


def _read_own_table(path: Path) -> pd.DataFrame:
    if not path.is_file():
        raise M2SError(
            f"{path} is missing: give a CSV or parquet table with the columns user, film_id and time"
        )
    try:
        return read_table(path, dtype={"user": str, "film_id": str})
    except Exception as error:  # pandas and pyarrow raise many kinds for a damaged or foreign file
        raise M2SError(f"{path} cannot be read as a table ({error}): give a CSV or a parquet file") from error


def _seconds(times: pd.Series, path: Path) -> np.ndarray:
    """Numbers as seconds, dates as seconds since 1970 UTC, missing as NaN."""
    number = pd.Series(np.nan, times.index)
    if times.dtype.kind != "M":
        number = pd.to_numeric(times, errors="coerce")
        number = number / next((per_s for above, per_s in _UNITS if number.abs().median() > above), 1)
    dates = times.where(number.isna() & times.notna())
    if not dates.notna().any():
        return number.to_numpy(float)
    form = "ISO8601" if dates.dtype.kind != "M" else None
    try:
        parsed = pd.to_datetime(dates, utc=True, errors="coerce", format=form).astype("datetime64[ns, UTC]")
    except (ValueError, OverflowError) as error:  # raised in spite of "coerce" for years far away
        raise M2SError(f"{path}: a time is no date ({error}): correct it or drop the column time") from error
    bad = dates[dates.notna() & parsed.isna()]
    if len(bad):
        raise M2SError(
            f"{path}: {len(bad):,} of {len(times):,} times are neither numbers (seconds) nor ISO dates, "
            f"e.g. {bad.iloc[0]!r}: correct them or drop the column time"
        )
    return number.fillna((parsed - pd.Timestamp(0, tz="UTC")) / pd.Timedelta(seconds=1)).to_numpy(float)
