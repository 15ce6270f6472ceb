"""All encoders on places and scene boundaries (Tables 3 and 4): MovieNet's films and OVSD's open ones."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from m2s_lib.errors import M2SError
from m2s_lib.evaluation.encoders.computed_features import Vectors
from m2s_lib.evaluation.encoders.weight_files import Missing
from m2s_lib.evaluation.movienet import files as movienet
from m2s_lib.evaluation.movienet import ovsd
from m2s_lib.evaluation.movienet.files import MovieNet
from m2s_lib.evaluation.movienet.ovsd import Ovsd, label_store
from m2s_lib.evaluation.movienet.place_tagging import (
    PLACE_PROBE,
    TASK,
    PlaceScenes,
    evaluate_places,
    place_chance_rows,
    place_probe,
)
from m2s_lib.evaluation.movienet.scene_boundaries import (
    chance_rows,
    evaluate_sbd,
    evaluate_untrained,
    leave_one_film_out,
)
from m2s_lib.evaluation.movienet.window_probe import SBD_PROBE, window_probe
from m2s_lib.evaluation.results import Evaluation, empty_results, joined
from m2s_lib.evaluation.scene_vectors import missing_rows
from m2s_lib.films.store.reference_shots import reference_films
from m2s_lib.progress import Progress

READY = "ready features"
_SBD_METRICS = ("pooled AP", "mean per-film AP", "mIoU", "recall@3s")


def compare_boundaries(
    labels: MovieNet,
    found: Mapping[str, Mapping[str, np.ndarray] | Missing],
    *,
    seeds: Sequence[int] = (0,),
    threshold: float | str = 0.5,
    device: torch.device | str = "cpu",
    **changes,
) -> Evaluation:
    """Scene boundaries by every encoder: trained on the training films, test films looked at once.

    Args:
        labels: of `read_movienet`.
        found: encoder to its films' shot embeddings, or why there are none, see `shot_vectors`.
        seeds: one probe each. threshold: see `evaluate_sbd`.
        changes: of the paper's probe (`SBD_PROBE`), such as epochs=150, batch=256 or patience=30 where there
            are hundreds of windows instead of its 300,000.
    """
    config = replace(SBD_PROBE, **changes)
    test = [f for f in labels.films if labels.split[f.film_id] == "test"]
    parts = [empty_results(chance_rows(test, benchmark=movienet.BENCHMARK, task=labels.task))]
    listed = sum(len(f.asked) for f in test)
    bar = Progress("scene boundaries", len(found) * len(seeds), "probes")
    for name, one in found.items():
        for seed in seeds:
            if isinstance(one, Missing):
                about = {"benchmark": movienet.BENCHMARK, "task": labels.task, "split": "test"}
                rows = missing_rows(one, **about, metrics=_SBD_METRICS, n_listed=listed, seed=seed)
                parts.append(empty_results(rows))
            else:
                about = {"encoder": name, "task": labels.task, "seed": seed, "threshold": threshold}
                tables = evaluate_sbd(
                    labels.films, one, labels.split, window_probe(config, device), **about
                )  # fmt: skip
                parts.append(Evaluation(*tables, pd.DataFrame()))
            bar.step(1)
    return joined(parts)


def compare_places(
    places: PlaceScenes,
    found: Mapping[str, Vectors | Missing],
    *,
    seeds: Sequence[int] = (0,),
    epochs: int = 0,
    device: torch.device | str = "cpu",
) -> Evaluation:
    """Place tagging by every encoder; epochs: 0 for the paper's 200, the rest as in `compare_boundaries`;
    `found` of `scene_vectors`."""
    config = replace(PLACE_PROBE, epochs=epochs or PLACE_PROBE.epochs)
    n_test = int((places.scenes["split"] == "test").sum())
    parts = [empty_results(place_chance_rows(places))]
    for name, one in found.items():
        for seed in seeds:
            if isinstance(one, Missing):
                about = {"benchmark": movienet.BENCHMARK, "task": TASK, "split": "test", "metrics": ["mAP"]}
                parts.append(empty_results(missing_rows(one, **about, n_listed=n_test, seed=seed)))
            else:
                fit = place_probe(config, device)
                tables = evaluate_places(places, one.values, fit, encoder=name, seed=seed)
                parts.append(Evaluation(*tables, pd.DataFrame()))
    return joined(parts)


def ovsd_ready_features(
    data: Ovsd,
    *,
    name: str = READY,
    seeds: Sequence[int] = (0,),
    threshold: float | str = "val",
    device: torch.device | str = "cpu",
    **changes,
) -> Evaluation:
    """OVSD's ready features: random scores, what they say untrained, and an MLP with one film left out.

    Args:
        name: of the features in the tables.
        threshold, changes: as in `compare_boundaries`.
    """
    config = replace(SBD_PROBE, **changes)
    parts = [empty_results(chance_rows(data.films, benchmark=ovsd.BENCHMARK, split="all films"))]
    about = {"encoder": name, "benchmark": ovsd.BENCHMARK}
    parts.append(Evaluation(*evaluate_untrained(data.films, data.features, **about), pd.DataFrame()))
    for seed in seeds:
        fit = window_probe(config, device)
        tables = leave_one_film_out(data.films, data.features, fit, seed=seed, threshold=threshold, **about)
        parts.append(Evaluation(*tables, pd.DataFrame()))
    return joined(parts)


def ovsd_pictures(
    films: Mapping[str, str],
    stores: Mapping[str, object],
    folder: str | Path,
    found: Mapping[str, Mapping[str, np.ndarray] | Missing],
) -> tuple[Evaluation, pd.DataFrame]:
    """OVSD films that a run has as pictures, cut into shots by the run itself: every encoder, untrained.

    Args:
        films: film_id to title, of the run; those that OVSD names are used.
        stores: film_id to shot store. folder: OVSD's.
        found: encoder to film_id to shot embeddings, see `shot_vectors`.

    Returns:
        The rows, task "scene boundaries, own shots", not measured for an encoder without embeddings of these
        films; and one row a film: film_id, title, n_shots, n_scenes, n_boundaries, n_merged, n_far.
    """
    labelled, rows = [], []
    for film_id, place in reference_films(films, folder).items():
        if film_id in stores and stores[film_id].n_shots > 1:
            film, row = label_store(stores[film_id], place / "scenes.txt")
            labelled.append(film)
            rows.append({"film_id": film_id, "title": films[film_id]} | row)
    table = pd.DataFrame(rows)
    if not labelled:
        return empty_results(), table
    about = {"benchmark": ovsd.BENCHMARK, "task": "scene boundaries, own shots"}
    parts = [empty_results(chance_rows(labelled, split="all films", **about))]
    nothing = {
        "split": "all films",
        "metrics": _SBD_METRICS[:2],
        "n_listed": sum(len(f.asked) for f in labelled),
    }
    for name, one in found.items():
        if isinstance(one, Missing) or not any(f.film_id in one for f in labelled):
            rows = missing_rows(Missing(f"{name}, untrained", "no embeddings"), **about, **nothing)
            parts.append(empty_results(rows))
        else:
            tables = evaluate_untrained(labelled, one, encoder=name, **about)
            parts.append(Evaluation(*tables, pd.DataFrame()))
    return joined(parts), table


def boundary_examples(
    predictions: pd.DataFrame,
    stores: Mapping[str, object],
    task: str,
    encoder: str,
    places: PlaceScenes | None = None,
    tagging: pd.DataFrame | None = None,
    *,
    n: int = 3,
    around: int = 4,
) -> pd.DataFrame:
    """Test boundaries for the figure (supp. Fig. 8): the surest right one, the surest that is not there, the
    one most surely missed, and so on in turn, of different films where there are enough.

    Args:
        predictions: of `compare_boundaries`; the first seed of `encoder` is shown. stores: of the films.
        task: `MovieNet.task`.
        places, tagging: of `read_places`, and the predictions of `compare_places`, for what lies on both
            sides of a boundary.
        n: how many. around: shots drawn on each side; boundaries nearer to a film's end are not shown.

    Returns:
        film_id, shot (first of the drawn), n_shots, boundary (shots drawn before it), after (the shot before
        it), label, prediction, score, scenes ('' where no place is known).
    """
    mine = _first_seed(predictions, task, encoder)
    if not len(mine):
        raise M2SError(f"no predictions of {encoder!r} for {task!r}: it was not measured")
    item = mine["item"].str.rsplit(":", n=1)
    table = mine[["label", "prediction"]].astype(int)
    table = table.assign(film_id=item.str[0], after=item.str[1].astype(int))
    table["score"] = [float(s[0]) for s in mine["scores"]]
    last = table["film_id"].map({f: s.n_shots for f, s in stores.items()}).fillna(0)
    table = table[(table["after"] >= around - 1) & (table["after"] + around < last)]
    surest = table.sort_values("score", ascending=False, kind="stable")
    kinds = [surest[surest["label"] == 1], surest[surest["label"] == 0], surest[surest["label"] == 1][::-1]]
    chosen = _in_turn(kinds, n).assign(boundary=around, n_shots=2 * around)
    chosen["shot"] = chosen["after"] - around + 1
    tags = _tags(tagging, encoder) if tagging is not None else {}
    ends = zip(chosen["film_id"], chosen["after"], strict=True)
    return chosen.assign(scenes=[_sides(places, tags, film, after) for film, after in ends])


def _first_seed(predictions: pd.DataFrame, task: str, encoder: str) -> pd.DataFrame:
    mine = predictions[(predictions["task"] == task) & (predictions["encoder"] == encoder)]
    return mine[mine["seed"] == mine["seed"].min()]


def _in_turn(kinds: Sequence[pd.DataFrame], n: int) -> pd.DataFrame:
    """n rows, one of each kind in turn, none twice, of films that were not shown yet where there are any."""
    chosen, films = [], set()
    for turn in range(n):
        kind = kinds[turn % len(kinds)].drop(index=chosen, errors="ignore")
        new = kind[~kind["film_id"].isin(films)]
        for index in (new if len(new) else kind).index[:1]:
            chosen.append(index)
            films.add(kind.at[index, "film_id"])
    return pd.concat(kinds[:2]).loc[chosen].reset_index(drop=True)


def _tags(tagging: pd.DataFrame, encoder: str) -> dict[str, str]:
    """The places that an encoder predicts, by scene."""
    mine = _first_seed(tagging, TASK, encoder)
    return dict(zip(mine["item"], mine["prediction"], strict=True))


def _sides(places: PlaceScenes | None, tags: Mapping[str, str], film: str, after: int) -> str:
    """What the scenes before and after a boundary are, and what they were taken for."""
    if places is None:
        return ""
    scenes = places.scenes[places.scenes["film_id"] == film].sort_values("start")
    before = scenes[(scenes["start"] <= after) & (after < scenes["end"])].head(1)
    behind = scenes[(scenes["start"] <= after + 1) & (after + 1 < scenes["end"])].tail(1)
    pair = pd.concat([before, behind])
    if len(pair) < 2:
        return ""
    true, said = pair["places"].tolist(), [tags.get(i, "-") for i in pair["item"]]
    sides = (
        f"{t.replace('|', ', ')} (predicted {s.replace('|', ', ')})" for t, s in zip(true, said, strict=True)
    )
    return "place: " + " | ".join(sides)
