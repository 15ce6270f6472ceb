"""All encoders on places and scene boundaries (Tables 3 and 4): MovieNet's films and OVSD's open ones."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from m2s_lib.errors import M2SError
from m2s_lib.evaluation import movienet, ovsd
from m2s_lib.evaluation.computed_features import Vectors
from m2s_lib.evaluation.movienet import MovieNet
from m2s_lib.evaluation.ovsd import Ovsd, label_store
from m2s_lib.evaluation.place_tagging import (
    PLACE_PROBE,
    TASK,
    PlaceScenes,
    evaluate_places,
    place_chance_rows,
    place_probe,
)
from m2s_lib.evaluation.results import Evaluation, empty_results, joined
from m2s_lib.evaluation.scene_boundaries import (
    chance_rows,
    evaluate_sbd,
    evaluate_untrained,
    leave_one_film_out,
)
from m2s_lib.evaluation.scene_vectors import missing_rows
from m2s_lib.evaluation.weight_files import Missing
from m2s_lib.evaluation.window_probe import SBD_PROBE, window_probe
from m2s_lib.films.reference_shots import reference_films
from m2s_lib.progress import Progress

READY = "ready features"
_SBD_METRICS = ("pooled AP", "mean per-film AP", "mIoU", "recall@3s")


def compare_boundaries(
    labels: MovieNet,
    found: Mapping[str, Mapping[str, np.ndarray] | Missing],
    *,
    seeds: Sequence[int] = (0,),
    epochs: int = 0,
    threshold: float | str = 0.5,
    device: torch.device | str = "cpu",
) -> Evaluation:
    """Scene boundaries by every encoder: trained on the training films, test films looked at once.

    Args:
        labels: of `read_movienet`.
        found: encoder to its films' shot embeddings, or why there are none, see `shot_vectors`.
        seeds: one probe each. epochs: of the probes, 0 for the paper's 800. threshold: see `evaluate_sbd`.
    """
    config = replace(SBD_PROBE, epochs=epochs or SBD_PROBE.epochs)
    test = [f for f in labels.films if labels.split[f.film_id] == "test"]
    parts = [empty_results(chance_rows(test, benchmark=movienet.BENCHMARK, task=labels.task))]
    listed = int(sum((f.labels[f.asked] > 0).sum() for f in test))
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
    """Place tagging by every encoder; arguments as in `compare_boundaries`, `found` of `scene_vectors`."""
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
    epochs: int = 0,
    hidden: int = 0,
    threshold: float | str = "val",
    device: torch.device | str = "cpu",
) -> Evaluation:
    """OVSD's ready features: random scores, what they say untrained, and an MLP with one film left out.

    Args:
        name: of the features in the tables.
        epochs, hidden: of the MLP, 0 for the paper's 800 and 512. threshold: see `evaluate_sbd`.
    """
    config = replace(SBD_PROBE, epochs=epochs or SBD_PROBE.epochs, hidden=hidden or SBD_PROBE.hidden)
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
        The rows, task "scene boundaries, own shots"; and one row a film: film_id, title, n_shots, n_scenes,
        n_boundaries, n_merged, n_far.
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
    for name, one in found.items():
        if not isinstance(one, Missing):
            tables = evaluate_untrained(labelled, one, encoder=name, **about)
            parts.append(Evaluation(*tables, pd.DataFrame()))
    return joined(parts), table


def boundary_examples(
    predictions: pd.DataFrame,
    stores: Mapping[str, object],
    task: str,
    encoder: str,
    n: int = 3,
    around: int = 4,
) -> pd.DataFrame:
    """Test boundaries for the figure (supp. Fig. 8): the surest right one, the surest wrong one, the one most
    surely missed, and so on in turn, of different films where there are enough.

    Returns:
        film_id, shot (first of the drawn), n_shots, boundary (shots drawn before it), label, prediction,
        score.
    """
    mine = predictions[(predictions["task"] == task) & (predictions["encoder"] == encoder)]
    if not len(mine):
        raise M2SError(f"no predictions of {encoder!r} for {task!r}: it was not measured")
    mine = mine[mine["seed"] == mine["seed"].iloc[0]]
    film, shot = (
        mine["item"].str.rsplit(":", n=1).str[0],
        mine["item"].str.rsplit(":", n=1).str[1].astype(int),
    )
    table = mine[["label", "prediction"]].astype(int).assign(film_id=film, after=shot)
    table["score"] = [float(s[0]) for s in mine["scores"]]
    last = table["film_id"].map(lambda f: stores[f].n_shots if f in stores else 0)
    table = table[(table["after"] >= around - 1) & (table["after"] + around < last)]
    kinds = [
        table[table["label"] == 1].sort_values("score", ascending=False),  # right
        table[table["label"] == 0].sort_values("score", ascending=False),  # said, not there
        table[table["label"] == 1].sort_values("score"),  # there, not said
    ]
    chosen: list[pd.Series] = []
    for turn in range(n):
        kind = kinds[turn % 3]
        taken = {(r["film_id"], r["after"]) for r in chosen}
        new = kind[[(f, a) not in taken for f, a in zip(kind["film_id"], kind["after"], strict=True)]]
        other = new[~new["film_id"].isin({r["film_id"] for r in chosen})]
        pick = other if len(other) else new
        if len(pick):
            chosen.append(pick.iloc[0])
    out = pd.DataFrame(chosen).reset_index(drop=True)
    if out.empty:
        return out
    return out.assign(shot=out["after"] - around + 1, n_shots=2 * around, boundary=around)
