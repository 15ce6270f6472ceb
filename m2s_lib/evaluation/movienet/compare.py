"""All encoders on scene boundaries: MovieNet's films (Table 4), and the real films of OVSD and BBC."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from m2s_lib.evaluation.encoders.encoders import Encoder
from m2s_lib.evaluation.encoders.weight_files import Missing
from m2s_lib.evaluation.movienet import files as movienet
from m2s_lib.evaluation.movienet.files import MovieNet
from m2s_lib.evaluation.movienet.ovsd import COUNTS, OpenFilms, label_store
from m2s_lib.evaluation.movienet.scene_boundaries import (
    ALL_FILMS,
    LEFT_OUT,
    METRICS,
    SBD_PROBE,
    UNTRAINED,
    About,
    Scored,
    chance_rows,
    evaluate_boundaries,
    evaluate_untrained,
    leave_one_film_out,
    measure,
    unmeasured,
)
from m2s_lib.evaluation.protocol import compare_encoders, whitened_films
from m2s_lib.evaluation.results import Evaluation, empty_results, joined
from m2s_lib.evaluation.scene_vectors import Sources, shot_vectors
from m2s_lib.films.store.reference_shots import reference_films

READY = "ready features"
OWN_SHOTS = "scene boundaries, own shots"


def measure_boundaries(
    labels: MovieNet,
    encoders: Sequence[str | Encoder],
    stores: Mapping[str, object],
    sources: Sources,
    **how,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Returns results and predictions of `compare_boundaries`, whose arguments `how` are."""
    n_shots = {f: s.n_shots for f, s in stores.items()}
    found = shot_vectors(encoders, stores, n_shots, "movienet_shots", sources) if labels.films else {}
    got = compare_boundaries(labels, found, device=sources.device, **how)
    return got.results, got.predictions


def measure_open_films(data: Sequence[OpenFilms], **how) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Returns results and predictions of `compare_open_films`."""
    got = compare_open_films(data, **how)
    return got.results, got.predictions


def measure_pictured_films(
    films: Mapping[str, str],
    stores: Mapping[str, object],
    folder: str | Path | None,
    encoders: Sequence[str | Encoder],
    sources: Sources,
) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Returns results and predictions of `compare_pictured_films`, and its table of films."""
    stores = {f: stores[f] for f in reference_films(films, folder) if f in stores}
    n_shots = {f: s.n_shots for f, s in stores.items()}
    found = shot_vectors(encoders, stores, n_shots, "ovsd_shots", sources) if stores else {}
    got, table = compare_pictured_films(films, stores, folder, found)
    return got.results, got.predictions, table


def compare_boundaries(
    labels: MovieNet,
    found: Mapping[str, Mapping[str, np.ndarray] | Missing],
    *,
    seeds: Sequence[int] = (0,),
    threshold: float | str = 0.5,
    device: torch.device | str = "cpu",
    **changes,
) -> Evaluation:
    """Returns scene boundaries by every encoder, chance first: trained on the training films, test films
    looked at once.

    Args:
        labels: of `read_movienet`.
        found: encoder to its films' shot embeddings, or why there are none, see `shot_vectors`.
        seeds: one probe each. threshold: see `evaluate_boundaries`.
        changes: of the paper's probe (`SBD_PROBE`), such as epochs=150, batch=256 or patience=30 where there
            are hundreds of windows instead of its 300,000.
    """
    if not labels.films:
        return empty_results()
    test = [f for f in labels.films if labels.split[f.film_id] == "test"]
    about = About(movienet.BENCHMARK, "", task=labels.task)
    how = {"seeds": seeds, "threshold": threshold, "device": device}
    how["config"] = dataclasses.replace(SBD_PROBE, **changes)
    listed = sum(len(f.asked) for f in test)

    def one(embeddings: Mapping[str, np.ndarray], name: str) -> Evaluation:
        mine = dataclasses.replace(about, encoder=name)
        return evaluate_boundaries(labels.films, embeddings, labels.split, mine, **how)

    def missing(name: str) -> pd.DataFrame:
        return unmeasured(dataclasses.replace(about, encoder=name), listed)

    train = [f for f, split in labels.split.items() if split == "train"]
    every = compare_encoders("probes, scene boundaries", whitened_films(found, train), one, missing)
    return joined([empty_results(chance_rows(test, about)), every])


def compare_open_films(
    data: Sequence[OpenFilms],
    *,
    name: str = READY,
    seeds: Sequence[int] = (0,),
    threshold: float | str = "val",
    device: torch.device | str = "cpu",
    **changes,
) -> Evaluation:
    """Returns ready features on real films, for each data set and over all films: random scores, what the
    features say untrained, and an MLP with one film left out (of its own data set).

    Args:
        data: of `read_open_films`. name: of the features in the tables.
        threshold, changes: as in `compare_boundaries`.
    """
    how = {"config": dataclasses.replace(SBD_PROBE, **changes), "seeds": seeds, "threshold": threshold}
    data = [_with_own_ids(one) for one in data] if len(data) > 1 else data
    parts, untrained, trained = [], [], []
    for one in data:
        about = About(one.benchmark, name)
        parts.append(empty_results(chance_rows(one.films, dataclasses.replace(about, split=ALL_FILMS))))
        plain, scored = evaluate_untrained(one.films, one.features, about)
        learned, by_seed = leave_one_film_out(one.films, one.features, about, device=device, **how)
        parts += [plain, learned]
        untrained.append(scored)
        trained.append(by_seed)
    if len(data) > 1:
        parts += _over_all(data, untrained, trained, name, seeds)
    return joined(parts)


def _with_own_ids(data: OpenFilms) -> OpenFilms:
    """The same films under ids that no other data set has: their folders are numbered alike."""
    films = [dataclasses.replace(f, film_id=f"{data.benchmark} {f.film_id}") for f in data.films]
    features = {f"{data.benchmark} {film_id}": x for film_id, x in data.features.items()}
    return dataclasses.replace(data, films=films, features=features)


def compare_pictured_films(
    films: Mapping[str, str],
    stores: Mapping[str, object],
    folder: str | Path | None,
    found: Mapping[str, Mapping[str, np.ndarray] | Missing],
) -> tuple[Evaluation, pd.DataFrame]:
    """Returns OVSD films that a run has as pictures, cut into shots by the run itself: every encoder,
    untrained, because a film or two leave none to learn from.

    Args:
        films: film_id to title, of the run; those that OVSD names are used.
        stores: film_id to shot store. folder: OVSD's.
        found: encoder to film_id to shot embeddings, see `shot_vectors`.

    Returns:
        The rows, task "scene boundaries, own shots", not measured for an encoder without embeddings of these
        films; and one row a film: film_id, title, n_shots, n_scenes, n_boundaries, n_merged, n_far.
    """
    labelled, rows = [], []
    for film_id, path in reference_films(films, folder).items():
        if film_id in stores and stores[film_id].n_shots > 1:
            film, row = label_store(stores[film_id], path / "scenes.txt")
            labelled.append(film)
            rows.append({"film_id": film_id, "title": films[film_id]} | row)
    table = pd.DataFrame(rows, columns=["film_id", "title", *COUNTS])
    if not labelled:
        return empty_results(), table
    about = About("OVSD", "", split=ALL_FILMS, task=OWN_SHOTS)
    listed = sum(len(f.asked) for f in labelled)

    def one(embeddings: Mapping[str, np.ndarray], name: str) -> Evaluation:
        return evaluate_untrained(labelled, embeddings, dataclasses.replace(about, encoder=name))[0]

    def missing(name: str) -> pd.DataFrame:
        return unmeasured(dataclasses.replace(about, encoder=UNTRAINED.format(name)), listed, METRICS[:2])

    every = compare_encoders("boundaries of pictured films", found, one, missing)
    return joined([empty_results(chance_rows(labelled, about)), every]), table


def _over_all(data, untrained, trained, name: str, seeds: Sequence[int]) -> list[Evaluation]:
    """The rows over the films of all data sets, each scored as in its own."""
    films = [f for one in data for f in one.films]
    about = About(" + ".join(one.benchmark for one in data), name, split=ALL_FILMS)
    n = sum(len(f.asked) for f in films)
    parts = [empty_results(chance_rows(films, about))]
    if all(untrained):
        plain = dataclasses.replace(about, encoder=UNTRAINED.format(name))
        rows = measure(sum((s[0] for s in untrained), Scored([], [])), plain, n, n)
        parts.append(empty_results(rows[rows["metric"].str.endswith("AP")]))
    if all(trained):
        for number, seed in enumerate(seeds):
            scored = sum((by_seed[number] for by_seed in trained), Scored([], []))
            mine = dataclasses.replace(about, split=LEFT_OUT, seed=seed)
            parts.append(empty_results(measure(scored, mine, n, n)))
    return parts
