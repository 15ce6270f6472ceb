"""LVU as distributed: the folder lvu_1.0, its nine tasks, its targets, and what is odd about its splits.

    lvu_1.0/<task>/{train,val,test}.csv   separated by single SPACES, one header line, no quotes
    lvu_1.0/lvu_durations.csv             videoid,duration (commas, whole seconds)

Reference: section 4.2, supp. 1.2 and Table 1. Place is called "scene" in the folder.
"""

import logging
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from m2s_lib.errors import M2SError
from m2s_lib.evaluation.probes.probes import ProbeConfig
from m2s_lib.io import is_count, read_lines

SPLITS = ("train", "val", "test")
LIKE_MEAN, VIEW_LOG_MEAN = 9.138220535629456, 11.76425435683139  # shifts of LVU's code; kept, see FORMATS
_CLASS_HEAD = ("class_id", "class_name", "youtube_id", "imdb_id")
_EXPECTED = "LVU's folder has <task>/train.csv, val.csv, test.csv"
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class TaskKind:
    """One of the nine tasks."""

    paper: str  # its name in the paper's tables
    outputs: int  # classes of LVU's own head, some of which never occur; 1 for a number
    columns: tuple[str, ...] = _CLASS_HEAD

    @property
    def regression(self) -> bool:
        """Whether a number is predicted."""
        return self.columns != _CLASS_HEAD


TASKS = {
    "scene": TaskKind("place", 6),
    "director": TaskKind("director", 10),
    "relationship": TaskKind("relation", 4),
    "way_speaking": TaskKind("speak", 5),
    "writer": TaskKind("writer", 10),
    "year": TaskKind("year", 9),
    "genre": TaskKind("genre", 4),
    "view_count": TaskKind("view", 1, ("view_count", "youtube_id", "imdb_id")),
    "like_ratio": TaskKind("like", 1, ("like_count", "dislike_count", "youtube_id", "imdb_id")),
}

# Hyper-parameters that the paper chose on validation for its co-watch representation (supp. Table 1).
# The limit on gradients of the two regressions is ours: on features of variance 1 these rates can diverge.
SUPP_TABLE_1 = {
    "scene": ProbeConfig(lr=0.1, batch=128, epochs=400, dropout=0.1),
    "director": ProbeConfig(lr=1.0, batch=256, epochs=400, dropout=0.5),
    "relationship": ProbeConfig(lr=0.01, batch=16, epochs=400, dropout=0.5),
    "way_speaking": ProbeConfig(lr=0.1, batch=256, epochs=400, dropout=0.1),
    "writer": ProbeConfig(lr=0.5, batch=32, epochs=400, dropout=0.25),
    "year": ProbeConfig(lr=0.1, batch=128, epochs=400, dropout=0.75),
    "genre": ProbeConfig(lr=0.1, batch=256, epochs=400, dropout=0.1),
    "view_count": ProbeConfig(loss="mse", lr=0.01, batch=16, epochs=500, dropout=0.8, clip=1.0),
    "like_ratio": ProbeConfig(loss="mse", lr=0.1, batch=16, epochs=500, dropout=0.5, clip=1.0),
}


@dataclass(frozen=True)
class LvuTask:
    """One task's labels.

    Attributes:
        rows: split, youtube_id, imdb_id, label (class name, or the target as text), class_id (int, -1 for a
            number), target (float in LVU's units, nan for a class), duration_s (nan where unknown).
        classes: class names by number; '' for a class that no row has. Empty for a number.
    """

    name: str
    kind: TaskKind
    rows: pd.DataFrame
    classes: tuple[str, ...]

    def split(self, name: str) -> pd.DataFrame:
        """Rows of one split, in the file's order."""
        return self.rows[self.rows["split"] == name]

    @property
    def targets(self) -> np.ndarray:
        """What is learned: class numbers int64 [n] or targets float64 [n], one for each row."""
        return self.rows["target" if self.kind.regression else "class_id"].to_numpy()


def read_lvu(folder: str | os.PathLike, tasks: Iterable[str] = tuple(TASKS)) -> dict[str, LvuTask]:
    """Read LVU's label folder (lvu_1.0, or the folder above it).

    Args:
        folder: the folder with one sub-folder a task.
        tasks: names of the folder's tasks (`TASKS`).

    Returns:
        {task: LvuTask}, in the order asked for.

    Raises:
        M2SError: an absent file, another separator, a row of the wrong shape, an unknown class, a class with
            two names, a number that cannot be, or a video listed twice; file and line are named.
    """
    root = Path(folder)
    root = root / "lvu_1.0" if (root / "lvu_1.0").is_dir() else root
    if unknown := [t for t in tasks if t not in TASKS]:
        raise M2SError(f"unknown LVU tasks {unknown}: LVU has {list(TASKS)}")
    durations = _durations(root / "lvu_durations.csv")
    return {name: _read_task(root, name, durations) for name in tasks}


def view_target(view_count: np.ndarray) -> np.ndarray:
    """LVU's target for view count: ln(views) minus its constant; no scaling."""
    return np.log(np.asarray(view_count, float)) - VIEW_LOG_MEAN


def like_target(like_count: np.ndarray, dislike_count: np.ndarray) -> np.ndarray:
    """LVU's target for like ratio: ten times the share of likes, minus its constant."""
    likes, dislikes = np.asarray(like_count, float), np.asarray(dislike_count, float)
    return 10 * likes / (likes + dislikes) - LIKE_MEAN


def film_overlap(task: LvuTask) -> pd.DataFrame:
    """Films in two splits of one task: LVU splits only director, writer, year and genre by film.

    Returns:
        One row a pair of splits: split_a, split_b, n_films shared, n_videos of split_b whose film is in
        split_a.
    """
    films = {s: task.split(s)["imdb_id"] for s in SPLITS}
    rows = []
    for a, b in (("train", "val"), ("train", "test"), ("val", "test")):
        shared = set(films[a]) & set(films[b])
        rows.append((a, b, len(shared), int(films[b].isin(list(shared)).sum())))
    return pd.DataFrame(rows, columns=["split_a", "split_b", "n_films", "n_videos"])


def task_table(tasks: Mapping[str, LvuTask], found: Iterable[str] | None = None) -> pd.DataFrame:
    """One row a task and split: task, paper, split, n_listed, n_found, n_films, classes, missing_classes,
    shared_films (with the training split).

    Args:
        tasks: of `read_lvu`.
        found: videos that there are features for; None counts all as found.

    Returns:
        missing_classes names the classes of the head without an item in this split; they are not measured.
    """
    known, rows = None if found is None else set(found), []
    for name, task in tasks.items():
        overlap = film_overlap(task).set_index(["split_a", "split_b"])["n_films"]
        for split in SPLITS:
            there = task.split(split)
            n_found = len(there) if known is None else int(there["youtube_id"].isin(known).sum())
            seen = set(there["class_id"]) - {-1}
            absent = [task.classes[c] or f"class {c}" for c in range(len(task.classes)) if c not in seen]
            row = {"task": name, "paper": task.kind.paper, "split": split, "n_listed": len(there)}
            row |= {"n_found": n_found, "n_films": there["imdb_id"].nunique(), "classes": len(seen)}
            row |= {"missing_classes": ", ".join(absent)}
            rows.append(row | {"shared_films": 0 if split == "train" else int(overlap["train", split])})
    return pd.DataFrame(rows)


def _read_task(root: Path, name: str, durations: dict[str, float]) -> LvuTask:
    kind = TASKS[name]
    parts = [_read_split(root / name / f"{split}.csv", kind).assign(split=split) for split in SPLITS]
    rows = pd.concat(parts, ignore_index=True)
    twice = rows["youtube_id"].duplicated()
    if twice.any():
        video = rows.loc[twice, "youtube_id"].iloc[0]
        where = ", ".join(
            f"{r.split}.csv line {r.line}" for r in rows[rows["youtube_id"] == video].itertuples()
        )
        raise M2SError(f"{root / name}: video {video} is listed more than once ({where}): keep one row")
    classes = () if kind.regression else _class_names(rows, root / name, kind.outputs)
    rows["duration_s"] = rows["youtube_id"].map(durations).astype(float)
    if durations and rows["duration_s"].isna().any():
        missing = rows.loc[rows["duration_s"].isna(), "youtube_id"]
        _log.warning(
            "LVU %s: %d videos have no duration, the first is %s", name, len(missing), missing.iloc[0]
        )
    columns = ["split", "youtube_id", "imdb_id", "label", "class_id", "target", "duration_s"]
    return LvuTask(name, kind, rows[columns], classes)


def _read_split(path: Path, kind: TaskKind) -> pd.DataFrame:
    """Columns line, youtube_id, imdb_id, label, class_id, target."""
    lines = read_lines(path, _EXPECTED)
    head = " ".join(kind.columns)
    if not lines or lines[0].strip() != head:
        told = (
            ""
            if not lines or "," not in lines[0] and "\t" not in lines[0]
            else "; the separator is one space"
        )
        raise M2SError(f"{path}: the first line is {lines[0] if lines else ''!r}, expected {head!r}{told}")
    numbered = [(i, line) for i, line in enumerate(lines[1:], start=2) if line.strip()]
    fields = [_fields(line, len(kind.columns)) for _, line in numbered]
    for (number, line), got in zip(numbered, fields, strict=True):
        if got is None or not re.fullmatch(r"tt\d{7,10}", got[-1]):
            raise M2SError(
                f"{path}, line {number}: {line!r} is not {head!r} with an IMDb id such as tt1175709"
            )
    table = pd.DataFrame(fields, columns=list(kind.columns), dtype=object)
    table["line"] = [number for number, _ in numbered]
    return _with_targets(table, path, kind)


def _fields(line: str, count: int) -> list[str] | None:
    """The fields of a line, taken from the right: a class name may hold spaces, an id may start with '-'."""
    right = line.rsplit(" ", 2)
    left = right[0].split(" ", count - 3)
    fields = [*left, *right[1:]]
    return fields if len(fields) == count and all(fields) else None


def _with_targets(table: pd.DataFrame, path: Path, kind: TaskKind) -> pd.DataFrame:
    numbers = {c: _whole(table, c, path) for c in kind.columns if c.endswith(("_id", "_count")) and
               c not in ("youtube_id", "imdb_id")}  # fmt: skip
    if not kind.regression:
        wrong = numbers["class_id"] >= kind.outputs
        if wrong.any():
            row = table[wrong].iloc[0]
            raise M2SError(
                f"{path}, line {row['line']}: class {row['class_id']} ({row['class_name']}) is unknown, "
                f"{path.parent.name} has classes 0..{kind.outputs - 1}"
            )
        return table.assign(class_id=numbers["class_id"], label=table["class_name"], target=np.nan)
    views = numbers.get("view_count")
    total = views if views is not None else numbers["like_count"] + numbers["dislike_count"]
    if (total == 0).any():
        line = table["line"][total == 0].iloc[0]
        raise M2SError(f"{path}, line {line}: a count of 0 has no target, expected 1 or more")
    target = view_target(views) if views is not None else like_target(*numbers.values())
    return table.assign(class_id=-1, target=target, label=[f"{t:.6g}" for t in target])


def _whole(table: pd.DataFrame, column: str, path: Path) -> np.ndarray:
    good = table[column].astype(str).str.fullmatch(r"\d{1,18}")
    if not good.all():
        row = table[~good].iloc[0]
        raise M2SError(
            f"{path}, line {row['line']}: {column} is {row[column]!r}, expected a whole number from 0"
        )
    return table[column].astype(np.int64).to_numpy()


def _class_names(rows: pd.DataFrame, folder: Path, outputs: int) -> tuple[str, ...]:
    pairs = rows[["class_id", "label"]].drop_duplicates()
    for column, other in (("class_id", "label"), ("label", "class_id")):
        twice = pairs[pairs[column].duplicated(keep=False)].sort_values(column)
        if len(twice):
            first = twice.iloc[0]
            both = twice[twice[column] == first[column]][other].tolist()
            raise M2SError(
                f"{folder}: {column} {str(first[column])!r} goes with {both}, expected one {other} for it"
            )
    names = dict(pairs.itertuples(index=False))
    return tuple(str(names.get(c, "")) for c in range(outputs))


def _durations(path: Path) -> dict[str, float]:
    if not path.is_file():
        _log.warning("%s is missing: durations are unknown", path)
        return {}
    lines = read_lines(path, _EXPECTED)
    if not lines or lines[0].strip() != "videoid,duration":
        raise M2SError(
            f"{path}: the first line is {lines[0] if lines else ''!r}, expected 'videoid,duration'"
        )
    found = {}
    for number, line in enumerate(lines[1:], start=2):
        video, _, seconds = line.rpartition(",")
        if line and not (video and is_count(seconds)):
            raise M2SError(f"{path}, line {number}: {line!r} is not 'videoid,duration' in whole seconds")
        if line:
            found[video] = float(seconds)
    return found
