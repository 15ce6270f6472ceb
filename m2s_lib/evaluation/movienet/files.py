"""MovieNet's scene boundaries on disk: label318, shot_movie318, split318.json (section 4.3b).

The label of shot i says whether the scene changes between shots i and i + 1: 1 yes, 0 no, -1 the annotators
were not sure. The field counts -1 as a boundary; reading it otherwise makes another task, which then has
another name. Files that disagree by a shot or more (some real ones do) are used as far as they agree.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from m2s_lib.errors import M2SError
from m2s_lib.evaluation.movienet.shot_windows import FIELD_FPS, NO_LABEL, LabelledFilm
from m2s_lib.io import is_count, is_name, read_json

BENCHMARK = "MovieNet"
SPLITS = ("train", "val", "test")
UNCERTAIN = {"boundary": 1, "same": 0, "drop": NO_LABEL}  # what a label -1 becomes
_TASKS = {
    "boundary": "scene boundaries",
    "same": "scene boundaries (uncertain = same scene)",
    "drop": "scene boundaries (uncertain left out)",
}
REPORT = (
    "film_id", "split", "n_shots", "n_labels", "n_boundaries", "n_uncertain", "n_missing", "n_beyond",
    "status", "reason",
)  # fmt: skip


@dataclass(frozen=True)
class MovieNet:
    """What was read.

    Attributes:
        films: labelled films, as far as their files agree.
        split: film_id to 'train', 'val' or 'test'.
        report: one row a film of the split: n_shots; n_labels; n_boundaries (used, uncertain ones included);
            n_uncertain (-1 in the file); n_missing (shots before the last without a label); n_beyond (labels
            of the last shot or later ones, which say nothing); status ('ok', 'differs', 'failed'), reason.
        task: name of the task, which says what was done with uncertain labels.
    """

    films: list[LabelledFilm]
    split: dict[str, str]
    report: pd.DataFrame
    task: str


def task_name(uncertain: str = "boundary") -> str:
    """Name of the task that a reading of the label -1 makes: 'boundary' (as the field), 'same', 'drop'."""
    if uncertain not in UNCERTAIN:
        raise M2SError(f"uncertain {uncertain!r} is unknown: a label -1 can be one of {list(UNCERTAIN)}")
    return _TASKS[uncertain]


def read_movienet(
    folder: str | os.PathLike, uncertain: str = "boundary", fps: float | Mapping[str, float] = FIELD_FPS
) -> MovieNet:
    """Read the labels, shot tables and split of MovieNet's 318 films.

    Args:
        folder: scene318 or the folder above it: label318/<imdb>.txt ("0003 1"), shot_movie318/<imdb>.txt
            ("0 48 12 24 36": first and last frame, keyframes) and meta/split318.json.
        uncertain: what a label -1 is: 'boundary' as in LGSS, SCRL and BaSSL, 'same' scene, or 'drop'.
        fps: frames per second, for all films or by film; the field takes 24 for all.

    Raises:
        M2SError: no such folder, or no split. A film whose files are missing or broken is a row of the report
            with status 'failed'. No folder ('') is no film.
    """
    task = task_name(uncertain)
    root = _root(folder) if str(folder) else Path()
    split = read_split(root / "meta" / "split318.json") if str(folder) else {}
    films, rows = [], []
    for film_id in split:
        try:
            labels = read_labels(root / "label318" / f"{film_id}.txt")
            bounds = read_shot_table(root / "shot_movie318" / f"{film_id}.txt")
            rate = fps.get(film_id, FIELD_FPS) if isinstance(fps, Mapping) else fps
            film, row = _labelled(film_id, bounds, labels, uncertain, rate)
            films.append(film)
        except M2SError as error:
            row = {"status": "failed", "reason": str(error)}
        rows.append({"film_id": film_id, "split": split[film_id]} | row)
    report = pd.DataFrame(rows, columns=list(REPORT))
    counts = list(REPORT[2:8])
    report[counts] = report[counts].fillna(0).astype(int)
    return MovieNet(films, split, report, task)


def read_split(path: str | os.PathLike) -> dict[str, str]:
    """split318.json, {"train": [...], "val": [...], "test": [...]}, as film_id to split.

    Raises M2SError for a missing list, or a film in two of them.
    """
    lists = read_json(path)
    if not isinstance(lists, dict) or not all(isinstance(lists.get(s), list) for s in SPLITS):
        found = sorted(lists) if isinstance(lists, dict) else type(lists).__name__
        raise M2SError(f"{path} is not a MovieNet split: expected lists {list(SPLITS)}, found {found}")
    split: dict[str, str] = {}
    for name in SPLITS:
        for film in map(str, lists[name]):
            if not is_name(film):
                raise M2SError(f"{path}: {film[:80]!r} is no name of a film, such as tt0000001")
            if split.setdefault(film, name) != name:
                raise M2SError(f"{path}: film {film} is in {split[film]} and in {name}; a film has one split")
    return split


def read_labels(path: str | os.PathLike) -> dict[int, int]:
    """label318: shot to label (1, 0 or -1), in the file's order.

    Raises M2SError that names the line with another label, a repeated shot, or no two numbers.
    """
    text = _text(path, "labels")
    try:
        numbers = list(map(int, text.split()))
    except ValueError:
        numbers = []
    shots, values = numbers[::2], numbers[1::2]
    labels = dict(zip(shots, values, strict=False))
    lines = text.count("\n") + (not text.endswith("\n"))
    sound = (
        len(labels) == len(values) == len(shots) and set(values) <= {0, 1, -1} and min(shots, default=0) >= 0
    )
    if sound and labels and lines == len(labels):
        return labels
    return _read_labels_slowly(path, text)


def _read_labels_slowly(path: str | os.PathLike, text: str) -> dict[int, int]:
    """The same line by line, to say which line is wrong."""
    labels: dict[int, int] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        parts = line.split()
        if not parts:
            continue
        if len(parts) != 2 or not is_count(parts[0]) or parts[1] not in ("0", "1", "-1"):
            raise M2SError(f"{path}, line {number}: expected 'shot label', such as '0003 1', found {line!r}")
        if int(parts[0]) in labels:
            raise M2SError(f"{path}, line {number}: shot {int(parts[0])} has a label already")
        labels[int(parts[0])] = int(parts[1])
    if not labels:
        raise M2SError(f"{path} has no labels: expected lines such as '0003 1'")
    return labels


def read_shot_table(path: str | os.PathLike) -> np.ndarray:
    """shot_movie318: int64 [n_shots, 2], first and last frame (inclusive) of every shot.

    Raises M2SError that names the line that is not two increasing frame numbers.
    """
    lines = [line.split(None, 2)[:2] for line in _text(path, "shots").splitlines() if line.strip()]
    try:
        bounds = np.array([(int(a), int(b)) for a, b in lines], np.int64).reshape(-1, 2)
    except (ValueError, OverflowError):
        from m2s_lib.films.video.shot_boundaries import read_ovsd_shots

        return read_ovsd_shots(path)  # says which line
    wrong = (bounds[:, 1] < bounds[:, 0]) | (bounds[:, 0] <= np.r_[-1, bounds[:-1, 1]])
    if not len(bounds) or wrong.any():
        where = f", shot {int(wrong.argmax())} {bounds[wrong.argmax()].tolist()}" if len(bounds) else ""
        raise M2SError(f"{path}{where}: expected shots 'start end' that follow each other")
    return bounds


def _text(path: str | os.PathLike, what: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise M2SError(f"{path} is missing: the film has no {what}") from error
    except (OSError, UnicodeDecodeError) as error:
        raise M2SError(f"{path} cannot be read ({error}): get the original file again") from error


def _root(folder: str | os.PathLike) -> Path:
    folder = Path(folder)
    for root in (folder, folder / "scene318"):
        if (root / "label318").is_dir():
            return root
    raise M2SError(
        f"{folder} has no label318: expected MovieNet's scene318 with label318, shot_movie318 and meta"
    )


def _labelled(
    film_id: str, bounds: np.ndarray, given: Mapping[int, int], uncertain: str, fps: float
) -> tuple[LabelledFilm, dict]:
    """A film from its shots and labels, as far as they agree, and its counts."""
    n = len(bounds)
    inside = {shot: label for shot, label in given.items() if shot < n - 1}
    labels = np.full(n, NO_LABEL, np.int8)
    if inside:
        labels[list(inside)] = list(inside.values())
    asked = np.zeros(n, bool)
    asked[list(inside)] = True
    unsure = asked & (labels == -1)
    labels[unsure] = UNCERTAIN[uncertain]
    missing, beyond = n - 1 - len(inside), len(given) - len(inside)
    row = {
        "n_shots": n,
        "n_labels": len(given),
        "n_boundaries": int((labels[asked] == 1).sum()),
        "n_uncertain": int(unsure.sum()),
        "n_missing": missing,
        "n_beyond": beyond,
        "status": "differs" if missing or beyond else "ok",
        "reason": f"{n} shots ask for {n - 1} labels, {len(given)} found" if missing or beyond else "",
    }
    return LabelledFilm(film_id, bounds, labels, float(fps)), row


def describe(data: MovieNet) -> str:
    """A few lines on what was read: films, labels and positive rate by split, and what did not fit."""
    if not data.split:
        return "No MovieNet films: its places and boundaries are not measured."
    lines = [f"{BENCHMARK}, {data.task}"]
    by_id = {f.film_id: f for f in data.films}
    for split in SPLITS:
        rows = data.report[data.report["split"] == split]
        read = [by_id[f] for f in rows["film_id"] if f in by_id]
        labels = np.concatenate([*(f.labels[f.asked] for f in read), np.zeros(0, np.int8)])
        rate = f"{(labels == 1).mean():.2%} boundaries" if len(labels) else "no labels"
        lines.append(
            f"  {split}: {len(read)} of {len(rows)} films, {len(labels):,} labels, {rate}, "
            f"{rows['n_uncertain'].sum():,} uncertain"
        )
    odd = data.report[data.report["status"] != "ok"]
    lines += [f"  {r.film_id} ({r.split}) {r.status}: {r.reason}" for r in odd.head(10).itertuples()]
    if len(odd) > 10:
        lines.append(f"  and {len(odd) - 10} more that differ")
    return "\n".join(lines)
