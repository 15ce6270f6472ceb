"""Found shot boundaries beside those of a reference, where one exists."""

import os
from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from m2s_lib.films.store.shot_store import ShotStore
from m2s_lib.films.video.shot_boundaries import map_frames, read_ovsd_shots, score_boundaries


def reference_folder(films_dir: str | os.PathLike, given: str) -> Path | None:
    """The reference's folder: the one given, or a folder `ovsd` beside the films, or None."""
    beside = Path(films_dir).resolve().parent / "ovsd"
    return Path(given) if given else beside if beside.is_dir() else None


def compare_with_reference(
    titles: Mapping[str, str],
    stores: Mapping[str, ShotStore],
    folder: str | os.PathLike | None,
    tolerance: int = 1,
) -> pd.DataFrame:
    """Precision, recall and F1 of the boundaries of every film that the reference names.

    A film whose file has every s-th frame of the reference's is compared on its own frames: s is the ratio of
    the two lengths, and a shot that starts at frame f starts at frame ceil((f - 1) / s).

    Args:
        titles: film_id -> title; matched with name.txt by the letters and digits that both begin with.
        stores: film_id -> ShotStore.
        folder: OVSD layout, a folder per film with name.txt and shots.txt; None gives an empty table.
        tolerance: frames of the film's file.

    Returns:
        film_id, title, precision, recall, f1 (0..1), n_found, n_truth, n_matched, every (the step s).
    """
    rows = []
    for film_id, place in reference_films(titles, folder).items():
        if film_id not in stores or not stores[film_id].n_shots or stores[film_id].source != "video":
            continue
        title = titles[film_id]
        truth = read_ovsd_shots(place / "shots.txt")
        shots = stores[film_id].shots
        step = max(1, round((truth[-1, 1] + 1) / (shots["end_frame"].iloc[-1] + 1)))
        starts = map_frames(truth[1:, 0], step) if step > 1 else truth[1:, 0]
        scores = score_boundaries(shots["start_frame"].to_numpy()[1:], starts, tolerance)
        rows.append({"film_id": film_id, "title": title, **scores, "every": step})
    columns = ["film_id", "title", "precision", "recall", "f1", "n_found", "n_truth", "n_matched", "every"]
    return pd.DataFrame(rows, columns=columns)


def reference_films(titles: Mapping[str, str], folder: str | os.PathLike | None) -> dict[str, Path]:
    """Which folder of a reference (OVSD layout) is about which film: film_id -> folder.

    Titles are matched with name.txt by the letters and digits that both begin with.
    """
    names = (
        {n.parent: n.read_text(encoding="utf-8") for n in sorted(Path(folder).glob("*/name.txt"))}
        if folder
        else {}
    )
    found = {}
    for film_id, title in titles.items():
        match = [
            p for p, name in names.items() if _letters(name) and _letters(title).startswith(_letters(name))
        ]
        if match:
            found[film_id] = match[0]
    return found


def _letters(text: str) -> str:
    return "".join(ch for ch in text.casefold() if ch.isalnum())
