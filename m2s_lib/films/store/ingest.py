"""All films of a table into shot stores: one process per film, so that no film can take the run with it.

A file that cannot be read, crashes the decoder or never ends becomes a row with status and reason. A film
whose source, boundaries and settings are those of its store is not done again; a store without a film goes.
"""

import dataclasses
import hashlib
import json
import logging
import os
import socket
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd

from m2s_lib.engine import LocalEngine
from m2s_lib.errors import M2SError
from m2s_lib.films.store.film_table import SOURCES
from m2s_lib.films.store.shot_store import SUFFIX, ShotStore, write_shots
from m2s_lib.films.store.sources import read_ready_features, scan_keyframe_folder
from m2s_lib.films.store.subtitles import text_track
from m2s_lib.films.video.decoding import ScanConfig, ScannedFilm, scan_film
from m2s_lib.films.video.shot_boundaries import read_ovsd_shots
from m2s_lib.films.video.shot_pictures import Encode
from m2s_lib.io import fingerprint, read_csv, read_npy, remove_temporaries, write_npy
from m2s_lib.parallel import Lost, unseen
from m2s_lib.progress import Progress

_VERSION = 1  # raise when the same settings give other shots or pixels than before
log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Job:
    """One film for one worker; `stamp` is what its store has to say to be up to date."""

    film_id: str
    path: str
    out_dir: str
    source: str
    config: ScanConfig
    boundaries: str
    stamp: str
    encode: Encode | None = None


def ingest_films(
    table: pd.DataFrame,
    out_dir: str | os.PathLike,
    config: ScanConfig | None = None,
    *,
    boundaries_dir: str | os.PathLike = "",
    source: str = "video",
    workers: int = 0,
    timeout_s: float = 7200.0,
    task: "Callable[[Job], dict] | None" = None,
    engine=None,
    encode: Encode | None = None,
) -> pd.DataFrame:
    """Scan every pending film of a table and write `out_dir`/shots/<film_id>.arrow.

    Args:
        table: of `read_film_table`; rows that failed there stay as they are.
        out_dir: the stage's folder. With source 'features', features/<film_id>.npy are written as well.
            Features of films that are scanned again or gone are removed: their shots are others now.
        config: default `ScanConfig()`.
        boundaries_dir: '' or a folder with <film_id>.csv, .parquet or .txt, the user's own shots (see
            `scan_film`; .txt: 'start end' lines); films without one are detected as usual. For 'movienet':
            shot_movie318.
        source: 'video', 'movienet' or 'features'.
        workers: processes, 0 for one per core. timeout_s: seconds that one film may take.
        task: what a worker runs, by default `ingest_film`; it has to be importable by name.
        engine: of `open_engine`; None is this machine.
        encode: an encoder of pictures that workers can unpickle; features/<film_id>.npy are then written,
            too, while the film is decoded.

    Returns:
        The table with n_shots, fps, duration_s, status ('ok' or 'failed') and reason filled, in the same
        order. A film that is ok may have a reason too: how many frames were damaged.

    Raises:
        M2SError: no space left (finished films are kept, the next run goes on), or unusable arguments.
    """
    config, out = config or ScanConfig(), Path(out_dir)
    _check_arguments(boundaries_dir, source, workers, timeout_s)
    (out / "shots").mkdir(parents=True, exist_ok=True)
    remove_temporaries(out)
    table = table.copy()
    rows = {film: i for i, film in zip(table.index, table["film_id"], strict=True)}
    pending = table[table["status"] != "failed"]
    jobs = [_make_job(film, path, out, source, config, boundaries_dir, encode)
            for film, path in zip(pending["film_id"], pending["path"], strict=True)]  # fmt: skip
    with ThreadPoolExecutor() as threads:  # reading and summing let each other work
        kept = list(threads.map(_facts_of_store, jobs))
    done = {job.film_id: facts for job, facts in zip(jobs, kept, strict=True) if facts}
    _remove_stale(out, keep=set(done))
    for film, facts in done.items():
        _fill(table, rows[film], facts)
    todo = [job for job in jobs if job.film_id not in done]
    log.info("%d films: %d up to date, %d to do", len(table), len(done), len(todo))
    if boundaries_dir and (without := sum(not job.boundaries for job in jobs)):
        log.warning("%d of %d films have no boundary table in %s", without, len(jobs), boundaries_dir)
    how = dict(workers=workers, timeout_s=timeout_s)
    try:
        for film, facts in _run(engine or LocalEngine(), todo, _Film(task or ingest_film), out, how):
            _fill(table, rows[film], facts)
    finally:
        remove_temporaries(out)
    return table


def _check_arguments(boundaries_dir: str | os.PathLike, source: str, workers: int, timeout_s: float) -> None:
    if source not in SOURCES:
        raise M2SError(f"source is {source!r}, expected one of {sorted(SOURCES)}")
    if workers < 0 or not timeout_s > 0:
        raise M2SError(f"workers ({workers}) must be 0 or more, timeout_s ({timeout_s}) more than 0")
    if str(boundaries_dir) and not Path(boundaries_dir).is_dir():
        raise M2SError(
            f"boundaries_dir {boundaries_dir} is not a folder: expected <film_id>.csv, .parquet or .txt in it"
        )


def _run(engine, jobs: list[Job], work: "_Film", out: Path, how: dict) -> Iterator[tuple[str, dict]]:
    """Each film's id and facts, as it ends."""
    jobs = sorted(jobs, key=_size, reverse=True)  # the longest first: no core waits for it at the end
    bar = Progress("scanning films", total=len(jobs), unit="films")
    for index, facts in engine.apart(work, jobs, out, **how):
        film = jobs[index].film_id
        if isinstance(facts, Lost):
            facts = _failed(_why_lost(facts, how["timeout_s"]))
        yield film, facts
        bar.step(note=f"{film}: {facts['reason']}" if facts["status"] == "failed" else "")


def _why_lost(lost: Lost, timeout_s: float) -> str:
    if lost.exitcode is None:
        return f"decoding took longer than {timeout_s:g} s: raise timeout_s, or check the file"
    return f"the decoder crashed the process (exit code {lost.exitcode}): check or re-encode the file"


@dataclasses.dataclass(frozen=True)
class _Film:
    """A worker's work, for an engine: a task, which writes below the folder that it is given."""

    task: Callable[[Job], dict]
    host: str = dataclasses.field(default_factory=socket.gethostname)  # where the films are known to be

    def __call__(self, job: Job, folder: Path) -> dict:
        if socket.gethostname() != self.host and not Path(job.path).exists():
            raise unseen(job.path)  # not the film's fault
        return self.task(dataclasses.replace(job, out_dir=str(folder)))


def _size(job: Job) -> int:
    try:
        return os.stat(job.path).st_size
    except OSError:
        return 0


def _failed(reason: str) -> dict:
    return dict(status="failed", reason=reason, n_shots=0, fps=np.nan, duration_s=np.nan)


def _fill(table: pd.DataFrame, row: object, facts: dict) -> None:
    for column, value in facts.items():
        table.at[row, column] = value


def ingest_film(job: Job) -> dict:
    """One film, in a worker: scan it, write its store (and features), return the facts for its row.

    Raises M2SError where nothing can be written; everything that is wrong with the film is a row.
    """
    features = None
    try:
        if job.source == "features":
            shots, features = read_ready_features(job.path)
            film = ScannedFilm(shots, None, float("nan"), float("nan"), 0, 0, 1.0)
        elif job.source == "movienet":
            film = scan_keyframe_folder(job.path, job.config, job.boundaries, job.encode)
        else:
            table = read_boundaries(job.boundaries) if job.boundaries else None
            _one_opencv_thread()
            film = scan_film(job.path, job.config, table, job.encode)
    except M2SError as error:
        return _failed(str(error))
    except Exception as error:  # whatever a broken file makes a decoder do, it is this film's row
        return _failed(f"{Path(job.path).name}: {type(error).__name__}: {error}")
    note = f"{film.damaged:,} of {film.decoded:,} decoded frames are damaged" if film.damaged else ""
    features = film.features if features is None else features
    if features is not None:
        write_npy(_features_path(job), features)
    extra = dict(stamp=job.stamp, note=note, duration_s=repr(film.duration_s))
    extra |= dict(width=str(film.width), height=str(film.height), timecode=film.timecode)
    extra |= dict(subtitles=text_track(job.path)) if job.source == "video" else {}
    write_shots(
        _store_path(job), film.shots, film.keyframes, aspect=film.aspect, fps=film.fps, source=job.source,
        extra=extra, previews=film.previews,
    )  # fmt: skip
    return dict(status="ok", reason=note, n_shots=len(film.shots), fps=film.fps, duration_s=film.duration_s)


def _one_opencv_thread() -> None:
    import cv2

    cv2.setNumThreads(1)  # the cores are taken by other films


def read_boundaries(path: str | os.PathLike) -> pd.DataFrame:
    """A user's boundary table for `scan_film`: .csv or .parquet with columns, .txt with 'start end' lines."""
    path = Path(path)
    if path.suffix == ".txt":
        return pd.DataFrame(read_ovsd_shots(path), columns=["start_frame", "end_frame"])
    try:
        return pd.read_parquet(path) if path.suffix == ".parquet" else read_csv(path)
    except Exception as error:  # pandas and pyarrow raise many kinds for a file that is no table
        raise M2SError(f"boundary table {path} cannot be read: {error}") from error


def _make_job(
    film_id: str, path: str, out: Path, source: str, config: ScanConfig, boundaries_dir, encode: Encode | None
) -> Job:
    folder = Path(boundaries_dir) if str(boundaries_dir) else None
    endings = (".txt",) if source == "movienet" else (".csv", ".parquet", ".txt")
    tables = [folder / f"{film_id}{e}" for e in endings if folder and (folder / f"{film_id}{e}").is_file()]
    boundaries = str(tables[0]) if tables else ""
    settings = dataclasses.asdict(config)
    settings |= {"encoder": encode.identity} if encode and source != "features" else {}
    try:
        content = [_source_fingerprint(Path(path)), fingerprint(boundaries) if boundaries else ""]
    except OSError as error:  # the worker meets it again and says so in the film's row
        content = [f"unreadable: {error}"]
    stamp = json.dumps([_VERSION, source, settings, content], sort_keys=True)
    return Job(film_id, str(path), str(out), source, config, boundaries, stamp, encode)


def _source_fingerprint(path: Path) -> str:
    """A file's content; of a film folder its tables' and features' content, its images' names and sizes."""
    if not path.is_dir():
        return fingerprint(path)
    digest = hashlib.blake2b(digest_size=16)
    for p in sorted(path.iterdir()):
        content = fingerprint(p) if p.suffix in (".txt", ".npy") else p.stat().st_size
        digest.update(f"{p.name}\0{content}\0".encode())
    return digest.hexdigest()


def _store_path(job: Job) -> Path:
    return Path(job.out_dir) / "shots" / f"{job.film_id}{SUFFIX}"


def _features_path(job: Job) -> Path:
    return Path(job.out_dir) / "features" / f"{job.film_id}.npy"


def _facts_of_store(job: Job) -> dict | None:
    """The row of a film whose store is whole and up to date, else None."""
    path = _store_path(job)
    with_features = job.source == "features" or job.encode is not None
    if not path.exists() or (with_features and not _features_path(job).exists()):
        return None
    try:
        store = ShotStore(path)
        if store.metadata.get("stamp") != job.stamp:
            return None
        duration, note = float(store.metadata["duration_s"]), store.metadata["note"]
        store.verify()
        if with_features:
            read_npy(_features_path(job))
    except (KeyError, ValueError, EOFError, OSError):
        return None
    return dict(status="ok", reason=note, n_shots=store.n_shots, fps=store.fps, duration_s=duration)


def _remove_stale(out: Path, keep: set[str]) -> None:
    """Remove stores and features of films that are gone, changed or damaged: nothing may read them."""
    for path in (out / "shots").iterdir():
        if path.name.endswith(SUFFIX) and path.name.removesuffix(SUFFIX) not in keep:
            path.unlink()
    for path in (out / "features").glob("*.npy"):
        if path.name.removesuffix(".npy") not in keep:
            path.unlink()
