"""The protocol of all benchmarks: vectors of items, a probe on training items, validation chooses, test once.

LVU, moderation, places and scene boundaries differ in what they read and in their metrics; what they share
stands here. Items without vectors are counted, never dropped in silence: a row says how many of the listed
items it rests on. An encoder that is missing, or has no vectors to train on, has rows that say so.
"""

import dataclasses
import logging
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import pandas as pd
import torch

from m2s_lib.evaluation.clips import ItemSequences, ItemVectors, mean_by_owner
from m2s_lib.evaluation.encoders.compared import SHOT_MEAN, by_item
from m2s_lib.evaluation.encoders.computed_features import Vectors
from m2s_lib.evaluation.encoders.encoders import Encoder
from m2s_lib.evaluation.encoders.weight_files import Missing
from m2s_lib.evaluation.probes.probe_search import best_setting, probe_rows, search_configs
from m2s_lib.evaluation.probes.probes import ProbeData, train_probe_sets
from m2s_lib.evaluation.probes.state_space import StateSpaceConfig
from m2s_lib.evaluation.results import Evaluation, empty_results, joined
from m2s_lib.evaluation.scene_vectors import Sources, shot_sequences
from m2s_lib.evaluation.tasks import Task
from m2s_lib.evaluation.vectors import whitening
from m2s_lib.progress import Progress

PERMUTED = "{} (permuted labels)"
WHITENED = "{}, whitened"
BASELINES = ("random init", "colour")  # always measured, whatever else is asked for
_WHITENED_TOO = ("random init", SHOT_MEAN)
SEQUENCE_HEAD = "ViS4mer-style"
_log = logging.getLogger(__name__)


def compare_encoders(
    title: str,
    found: Mapping[str, object],
    evaluate_one: Callable[[object, str], Evaluation],
    unmeasured: Callable[[str], pd.DataFrame],
) -> Evaluation:
    """Returns the evaluations of all encoders below one another, those that are missing as unmeasured rows.

    Args:
        title: of the progress line.
        found: encoder to its vectors, or `Missing`.
        evaluate_one: from vectors and the encoder's name. unmeasured: from its name.
    """
    bar, parts = Progress(title, len(found), "encoders"), []
    for name, one in found.items():
        missing = isinstance(one, Missing)
        parts.append(empty_results(unmeasured(name)) if missing else evaluate_one(one, name))
        bar.step()
    return joined(parts)


def compare(
    tasks: Sequence[Task],
    found: Mapping[str, Vectors | Missing],
    items: Sequence[str],
    *,
    control: str = "",
    sequences: Mapping[str, np.ndarray] | None = None,
    sequence_epochs: int = 0,
    seeds: Sequence[int] = (0,),
    search_grid: Sequence[Mapping] = (),
    device: torch.device | str = "cpu",
    **changes,
) -> Evaluation:
    """Returns every encoder on every task of a benchmark, on frozen vectors.

    Args:
        found: encoder to the vectors of its scenes, or why there are none, see `scene_vectors`.
        items: the item that each row of the vectors belongs to; an item may have several scenes.
        control: encoder that is measured with permuted labels too, which has to give chance.
        sequences: item to float32 [its frames, d], frame features for a row of the state-space head, trained
            for `sequence_epochs`; none, no row.
        seeds, search_grid, device, changes: as in `evaluate`.

    Returns:
        The rows of chance first, then each encoder's as `evaluate` gives them, whitened baselines behind the
        encoders that they are made of.
    """
    tasks = [t for t in tasks if len(t.items)]
    if not tasks:
        return empty_results()
    how = {"seeds": seeds, "device": device}
    items = [str(i) for i in items]
    train = {i for t in tasks for i in t.items["item"].to_numpy()[t.rows("train")]}
    found = with_whitened(found, np.array([i in train for i in items], bool))

    def one(vectors: Vectors, name: str) -> Evaluation:
        embeddings = by_item(vectors, items)
        same = {"search_grid": search_grid, **how, **changes}
        parts = [evaluate(tasks, embeddings, name, **same)]
        if name == control:
            shuffled = [t.permuted() for t in tasks]
            parts.append(evaluate(shuffled, embeddings, PERMUTED.format(name), **same))
        return joined(parts)

    parts = [empty_results(pd.concat([t.chance_rows() for t in tasks], ignore_index=True))]
    parts.append(
        compare_encoders(f"probes, {tasks[0].benchmark}", found, one, lambda n: unmeasured(tasks, n))
    )
    if sequences and sequence_epochs:
        heads = [_with_head(t, sequence_epochs) for t in tasks]
        parts.append(evaluate(heads, sequences, SEQUENCE_HEAD, **how))
    return joined(parts)


def with_baselines(encoders: Sequence[str | Encoder]) -> list[str | Encoder]:
    """Returns the encoders with the baselines that are always measured behind them."""
    names = [e if isinstance(e, str) else e.name for e in encoders]
    return [*encoders, *(name for name in BASELINES if name not in names)]


def measure(
    tasks: Sequence[Task],
    found: Mapping[str, Vectors | Missing],
    scenes: pd.DataFrame,
    stores: Mapping[str, object],
    encoders: Sequence[str | Encoder],
    sources: Sources,
    *,
    end_to_end_epochs: int = 0,
    **how,
) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Returns results, predictions and probes of `compare`, with a state-space head on E_shot's features.

    Args:
        found: encoder to vectors, a row for each of `scenes`.
        scenes: item, film_id, shot, n_shots. stores: film_id to shot store.
        encoders: where E_shot is, whose features of the scenes' shots the head reads; none, no row.
        end_to_end_epochs: of the head; 0 leaves it out. how: as in `compare`.
    """
    shots = [e for e in encoders if not isinstance(e, str) and e.name == SHOT_MEAN and end_to_end_epochs]
    frames = shot_sequences(shots[0], scenes, stores, sources) if shots else {}
    head = {"sequences": frames, "sequence_epochs": end_to_end_epochs}
    got = compare(tasks, found, scenes["item"], device=sources.device, **head, **how)
    return got.results, got.predictions, got.probes


def evaluate(
    tasks: Sequence[Task],
    embeddings: Mapping[str, np.ndarray],
    encoder: str,
    *,
    seeds: Sequence[int] = (0,),
    search_grid: Sequence[Mapping] = (),
    device: torch.device | str = "cpu",
    **changes,
) -> Evaluation:
    """Trains and measures one encoder on tasks of one benchmark.

    Args:
        embeddings: item to float32 [d], or [windows, d]: every window is a training item with its item's
            label, and an item's score is the mean over its windows (LVU's sum of softmax). For tasks with a
            `StateSpaceConfig` they are frames of one sequence.
        encoder: its name in the tables.
        seeds: one probe each; the rows carry the seed.
        search_grid: changes of the config to choose among by validation score, such as
            `probe_search.SEARCH_GRID`; the same choice for all seeds. Empty: no search.
        changes: of every config, such as epochs=30 or patience=20 for a small run.

    Returns:
        Rows of the measured splits; those of a task without an item to train or to choose by are unmeasured.

    Raises:
        M2SError: embeddings of other items, of two widths or not finite.
    """
    if not embeddings:
        return empty_results(unmeasured(tasks, encoder))
    vectors = _vectors(tasks, embeddings, encoder)
    parts = [{s: _found(t, s, vectors) for s in ("train", "val", "test")} for t in tasks]
    ready = [len(p["train"]) > 0 and len(p["val"]) > 0 for p in parts]
    jobs = [
        (_data(task, part, vectors), search_configs(task.config, seeds, search_grid, changes))
        for task, part, ok in zip(tasks, parts, ready, strict=True)
        if ok
    ]
    trained = iter(train_probe_sets(jobs, device=device))
    out = []
    for task, part, ok in zip(tasks, parts, ready, strict=True):
        if not ok:
            out += [empty_results(task.unmeasured(encoder, len(part["test"]), seed)) for seed in seeds]
            continue
        probes = next(trained)
        chosen = best_setting(probes, len(seeds))
        about = pd.DataFrame(probe_rows(task.name, encoder, probes, chosen))
        for seed, probe in zip(seeds, chosen, strict=True):
            one = _measured(task, part, vectors, probe, encoder, seed)
            out.append(Evaluation(*one, about if seed == seeds[0] else pd.DataFrame()))
    return joined(out)


def unmeasured(tasks: Sequence[Task], encoder: str) -> pd.DataFrame:
    """Returns the rows of an encoder that is not there."""
    return pd.concat([t.unmeasured(encoder) for t in tasks], ignore_index=True)


def with_whitened(found: Mapping[str, Vectors | Missing], train: np.ndarray) -> dict[str, Vectors | Missing]:
    """Returns the vectors with whitened ones behind untrained E_scene and the mean of E_shot.

    Args:
        train: bool [N], rows of the vectors that belong to training items; whitening is fitted on them.
    """
    out = {}
    for name, one in found.items():
        out[name] = one
        if name not in _WHITENED_TOO or isinstance(one, Missing):
            continue
        there = np.isfinite(one.values).all(1)
        if (there & train).any():
            white = whitening(one.values[there & train])(one.values[there])
            values = np.full((len(one.values), white.shape[1]), np.nan, np.float32)
            values[there] = white
            out[WHITENED.format(name)] = Vectors(WHITENED.format(name), values, one.missing)
    return out


def whitened_films(
    found: Mapping[str, Mapping[str, np.ndarray] | Missing], train: Sequence[str]
) -> dict[str, Mapping[str, np.ndarray] | Missing]:
    """Returns the same of shot embeddings, encoder to film_id to [n_shots, d], fitted on the shots of the
    films `train`."""
    out = {}
    for name, films in found.items():
        out[name] = films
        if name not in _WHITENED_TOO or isinstance(films, Missing):
            continue
        if there := [films[f] for f in train if f in films]:
            white = whitening(np.concatenate(there))
            out[WHITENED.format(name)] = {f: white(x) for f, x in films.items()}
    return out


def summary(results: pd.DataFrame, metrics: Sequence[str], split: str = "test") -> pd.DataFrame:
    """Returns results of one split as one row an encoder and one column a task, means over seeds."""
    rows = results[(results["split"] == split) & results["metric"].isin(metrics)]
    wide = rows.pivot_table(
        index="encoder", columns="task", values="value", aggfunc="mean", sort=False, dropna=False
    )
    return wide.reindex(index=pd.unique(rows["encoder"]), columns=pd.unique(rows["task"]))


def _with_head(task: Task, epochs: int) -> Task:
    """The task with a state-space head in the place of its probe."""
    choose = task.config.choose
    return dataclasses.replace(
        task, config=StateSpaceConfig(loss=task.config.loss, choose=choose, epochs=epochs)
    )


def _vectors(tasks: Sequence[Task], embeddings: Mapping[str, np.ndarray], encoder: str) -> ItemVectors:
    listed = {str(i) for t in tasks for i in t.items["item"]}
    if not isinstance(tasks[0].config, StateSpaceConfig):
        vectors = ItemVectors(embeddings, listed, encoder)
    else:
        frames = max(len(np.atleast_2d(x)) for x in embeddings.values())
        vectors = ItemSequences(embeddings, listed, encoder, frames)
    if vectors.extra:
        _log.info("%s: %d embeddings are of no listed item and not used", encoder, vectors.extra)
    return vectors


def _found(task: Task, split: str, vectors: ItemVectors) -> np.ndarray:
    rows = task.rows(split)
    return rows[vectors.found(task.items["item"].iloc[rows])]


def _data(task: Task, parts: Mapping[str, np.ndarray], vectors: ItemVectors) -> ProbeData:
    (x, owners), (x_val, val_owners) = (
        vectors.rows(task.items["item"].iloc[parts[s]]) for s in ("train", "val")
    )
    y, y_val = task.y[parts["train"]][owners], task.y[parts["val"]][val_owners]
    groups = None if len(val_owners) == len(parts["val"]) else val_owners
    return ProbeData(x, y, x_val, y_val, task.outputs, groups, task.name)


def _measured(task, parts, vectors, probe, encoder: str, seed: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Results and predictions of one probe."""
    results, predictions = [], []
    for split in ("val", "test"):
        rows, scores = parts[split], np.zeros((0, task.outputs))
        if len(rows):
            x, owners = vectors.rows(task.items["item"].iloc[rows])
            scores = mean_by_owner(probe.predict(x), owners)
        if split in task.measured:
            results.append(task.result_rows(encoder, split, task.measure(rows, scores), len(rows), seed))
        predictions.append(task.prediction_rows(encoder, split, rows, scores, seed))
    return pd.concat(results, ignore_index=True), pd.concat(predictions, ignore_index=True)
