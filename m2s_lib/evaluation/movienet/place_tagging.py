"""MovieNet's place tagging (section 4.3a, supp. 1.3a): which places does a scene show, several at once?

annotation/<imdb>.json holds a film's scenes with half-open ranges of shots and a place_tag that is null, a
name or a list of names. No published code computes the paper's mAP; here it is the mean over the classes that
have a test scene, and the number of classes is given with it.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from m2s_lib.errors import M2SError
from m2s_lib.evaluation.movienet.files import BENCHMARK
from m2s_lib.evaluation.probes.probes import ProbeConfig
from m2s_lib.evaluation.tasks import SEPARATOR, RankingTask
from m2s_lib.io import read_json

TASK = "place tagging"
PLACE_PROBE = ProbeConfig(loss="bce", lr=5.0, dropout=0.25, epochs=200, batch=512)  # supp. 1.3a
MIN_COUNT = 25  # MovieNet's documentation keeps the places that are named at least this often: 90
_SCENE = ("item", "film_id", "shot", "n_shots", "start", "end", "split", "places")
SHOTS_PER_SCENE = 9  # shots that the encoder sees (supp. 1.1c)


@dataclass(frozen=True)
class PlaceScenes:
    """Scenes with place tags.

    Attributes:
        scenes: item (the scene's id), film_id, shot and n_shots (what the encoder sees: the middle nine shots
            at most), start and end (all of the scene's shots, half-open), split, places (names of classes,
            joined by '|').
        classes: names of the places that are named often enough, in alphabetical order.
        report: one row a film: film_id, split, n_scenes, n_tagged (with a place of the classes), n_untagged,
            n_rare (only places that are too rare), n_outside (beyond the film's shots), n_bad (not
            understood), status, reason.
        note: why there is no scene, where there is none.
    """

    scenes: pd.DataFrame
    classes: list[str]
    report: pd.DataFrame
    note: str = ""

    def labels(self) -> np.ndarray:
        """bool [scenes, classes]."""
        column = {name: i for i, name in enumerate(self.classes)}
        hot = np.zeros((len(self.scenes), len(column)), bool)
        for row, places in enumerate(self.scenes["places"]):
            hot[row, [column[p] for p in places.split(SEPARATOR)]] = True
        return hot


def read_places(
    folder: str | os.PathLike,
    split: Mapping[str, str],
    n_shots: Mapping[str, int] | None = None,
    min_count: int = MIN_COUNT,
    shots_per_scene: int = SHOTS_PER_SCENE,
) -> PlaceScenes:
    """Read the scenes with place tags of the films of a split.

    Args:
        folder: the folder `annotation`, or the one above it.
        split: film_id to 'train', 'val' or 'test', see `movienet.read_split`.
        n_shots: film_id to its number of shots; scenes beyond are left out and counted. None trusts the
            annotation.
        min_count: scenes that name a place, over all films, for it to be a class.
        shots_per_scene: longer scenes are shown by their middle.

    Returns:
        The scenes; none, and why, without an annotation of any film or a place that is named often enough.
    """
    root = Path(folder)
    root = root / "annotation" if (root / "annotation").is_dir() else root
    tagged, rows = [], []
    for film_id, part in split.items():
        path = root / f"{film_id}.json"
        row = {"film_id": film_id, "split": part, "status": "ok", "reason": ""}
        try:
            scenes, counts = _film_scenes(film_id, read_json(path), n_shots, shots_per_scene)
            tagged += [{**s, "split": part} for s in scenes]
            rows.append(row | counts)
        except M2SError as error:
            rows.append(row | {"status": "failed", "reason": str(error)})
    named = pd.Series([p for s in tagged for p in s["places"]], dtype=object).value_counts()
    if not tagged:
        reason = next((r["reason"] for r in rows if r["reason"]), "no scene has a place tag")
        return _nothing(rows, f"{root} has no tagged scene of the {len(split)} films: {reason}")
    if named.iloc[0] < min_count:
        note = f"no place in {root} is named {min_count} times; the most frequent is {named.index[0]!r}, "
        return _nothing(rows, f"{note}{named.iloc[0]} times: lower min_count")
    return _with_classes(tagged, rows, sorted(named.index[named >= min_count]))


def _nothing(rows: list[dict], note: str) -> PlaceScenes:
    return PlaceScenes(pd.DataFrame(columns=list(_SCENE)), [], pd.DataFrame(rows), note)


def _with_classes(tagged: list[dict], rows: list[dict], classes: list[str]) -> PlaceScenes:
    """The scenes that have one of the classes."""
    known = set(classes)
    kept = [{**s, "places": SEPARATOR.join(p for p in s["places"] if p in known)} for s in tagged]
    table = pd.DataFrame(kept)[list(_SCENE)]
    rare = table["places"] == ""
    report = pd.DataFrame(rows)
    by_film = table.groupby("film_id")["places"].agg(
        n_tagged=lambda p: (p != "").sum(), n_rare=lambda p: (p == "").sum()
    )
    report = report.merge(by_film, on="film_id", how="left")
    columns = ["n_scenes", "n_tagged", "n_untagged", "n_rare", "n_outside", "n_bad"]
    report[columns] = report.reindex(columns=columns).fillna(0).astype(int)
    return PlaceScenes(
        table[~rare].reset_index(drop=True),
        classes,
        report[["film_id", "split", *columns, "status", "reason"]],
    )


def _film_scenes(film_id: str, annotation: dict, n_shots: Mapping[str, int] | None, most: int):
    """A film's scenes with places, and what was left out."""
    scenes, counts = [], {"n_scenes": 0, "n_untagged": 0, "n_outside": 0, "n_bad": 0}
    listed = annotation.get("scene") if isinstance(annotation, dict) else None
    for number, scene in enumerate(listed or []):
        counts["n_scenes"] += 1
        places, shots = _places(scene), _shots(scene)
        if places is None or shots is None:
            counts["n_bad"] += 1
        elif not places:
            counts["n_untagged"] += 1
        elif n_shots is not None and shots[1] > n_shots.get(film_id, 0):
            counts["n_outside"] += 1
        else:
            n = min(shots[1] - shots[0], most)
            first = shots[0] + (shots[1] - shots[0] - n) // 2
            item = str(scene.get("id") or f"{film_id}_{number:04d}")
            whole = {"start": shots[0], "end": shots[1]}
            seen = {"item": item, "film_id": film_id, "shot": first, "n_shots": n}
            scenes.append(seen | whole | {"places": places})
    return scenes, counts


def _places(scene: object) -> list[str] | None:
    """The scene's places without repetition; None when the tag is something else."""
    tag = scene.get("place_tag") if isinstance(scene, dict) else 0
    tag = [] if tag is None else [tag] if isinstance(tag, str) else tag
    if not isinstance(tag, list) or not all(isinstance(t, str) for t in tag):
        return None
    return list(dict.fromkeys(t.strip().replace(SEPARATOR, "/") for t in tag if t.strip()))


def _shots(scene: object) -> tuple[int, int] | None:
    """First shot and the one after the last; an empty range is one shot; None when it is no range."""
    shot = scene.get("shot") if isinstance(scene, dict) else None
    if not isinstance(shot, list) or len(shot) != 2 or not all(isinstance(s, int) for s in shot):
        return None
    return (shot[0], max(shot[1], shot[0] + 1)) if 0 <= shot[0] <= shot[1] else None


def place_task(places: PlaceScenes) -> RankingTask:
    """Returns the task for the protocol: several places a scene, mAP over those with a test scene.

    "classes" counts them (n is how many there are in all), and "AP <place>" is of each.
    """
    items = places.scenes[["item", "film_id", "split"]].assign(label=places.scenes["places"])
    return RankingTask(
        benchmark=BENCHMARK,
        name=TASK,
        items=items,
        y=places.labels(),
        config=PLACE_PROBE,
        classes=tuple(places.classes),
        mean_name=(TASK, "mAP"),
        one_task=True,
    )


def describe_places(places: PlaceScenes) -> str:
    """Scenes by split, how many classes have a test scene, and what was left out."""
    if places.note:
        return f"No places: {places.note}"
    counts = places.scenes["split"].value_counts()
    hot = places.labels()[(places.scenes["split"] == "test").to_numpy()]
    shown = ", ".join(f"{counts.get(s, 0):,} {s}" for s in ("train", "val", "test"))
    out = places.report[["n_untagged", "n_rare", "n_outside", "n_bad"]].sum()
    failed = int((places.report["status"] == "failed").sum())
    return (
        f"{len(places.scenes):,} tagged scenes ({shown}); {int(hot.any(0).sum())} of {len(places.classes)} "
        f"classes have a test scene; left out: {out['n_untagged']:,} scenes without a tag, {out['n_rare']:,} "
        f"of rare places, {out['n_outside']:,} beyond their film, {out['n_bad']:,} not understood, "
        f"{failed} films without annotation"
    )
