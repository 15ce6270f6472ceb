"""Scene boundary detection (section 4.3b, supp. 1.3b): does the scene change after this shot?

Four shots around the boundary are encoded one by one and put side by side; a small network on frozen features
answers. Where films and labels come from is in `files` and `ovsd`, the windows are in `shot_windows`.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch

from m2s_lib.errors import M2SError
from m2s_lib.evaluation.boundary_metrics import (
    FilmScores,
    best_f1_threshold,
    film_aps,
    film_mean,
    film_miou,
    film_recall,
    pooled,
    random_ap,
)
from m2s_lib.evaluation.metrics import UNMEASURED, Measured
from m2s_lib.evaluation.movienet.shot_windows import LabelledFilm, ShotWindows, match_embeddings
from m2s_lib.evaluation.probes.probe_training import side_by_side
from m2s_lib.evaluation.probes.probes import ProbeConfig, ProbeData, train_probes
from m2s_lib.evaluation.results import Evaluation, prediction_table, result_row, result_table
from m2s_lib.evaluation.tasks import RANDOM
from m2s_lib.progress import Progress

TASK = "scene boundaries"
LEFT_OUT = "leave one film out"
ALL_FILMS = "all films"
UNTRAINED = "{}, untrained"
METRICS = ("pooled AP", "mean per-film AP", "mIoU", "recall@3s")
SBD_PROBE = ProbeConfig(loss="bce", lr=0.03, dropout=0.8, epochs=800, batch=4096)  # supp. 1.3b


@dataclass(frozen=True)
class Scored:
    """Boundaries of films with their scores, and the threshold that makes a prediction of a film's scores."""

    films: list[FilmScores]
    cuts: list[float]

    def __add__(self, other: "Scored") -> "Scored":
        return Scored(self.films + other.films, self.cuts + other.cuts)


@dataclass(frozen=True)
class About:
    """What the result rows of one measurement have in common."""

    benchmark: str
    encoder: str
    split: str = "test"
    task: str = TASK
    seed: int = 0

    def row(self, metric: str, measured: Measured, n_found: int, n_listed: int) -> dict:
        about = (self.benchmark, self.task, self.split, self.encoder, metric, measured)
        return result_row(*about, n_found=n_found, n_listed=n_listed, seed=self.seed)


def evaluate_boundaries(
    films: Sequence[LabelledFilm],
    embeddings: Mapping[str, np.ndarray],
    split: Mapping[str, str],
    about: About,
    *,
    config: ProbeConfig = SBD_PROBE,
    seeds: Sequence[int] = (0,),
    threshold: float | str = 0.5,
    device: torch.device | str = "cpu",
) -> Evaluation:
    """Trains on the training films, chooses on the validation films, measures once on the test films.

    Args:
        films: labelled films; `match_embeddings` is applied to them.
        embeddings: film_id to float32 [n_shots, d], each shot encoded by itself.
        split: film_id to 'train', 'val' or 'test'; other films are not used.
        about: of the rows; the seed is that of each probe.
        threshold: of a predicted boundary, for mIoU and recall@3s: 0.5 as in the field, or 'val' for the one
            with the best F1 on the validation films.

    Returns:
        Rows `METRICS` in 0..1; n counts boundaries for the first and films for the others, n_found and
        n_listed boundaries. Not measured where a split has no film, or training films only one kind of
        boundary.
    """
    used, rows, report = match_embeddings(films, embeddings)
    parts = {s: [f for f in used if split.get(f.film_id) == s] for s in ("train", "val", "test")}
    listed = report.loc[np.array([split.get(f) == "test" for f in report["film_id"]], bool)]
    by_seed = _scores_by_seed(parts, rows, config, seeds, threshold, device)
    return _evaluation(by_seed, about, listed, seeds)


def leave_one_film_out(
    films: Sequence[LabelledFilm],
    embeddings: Mapping[str, np.ndarray],
    about: About,
    *,
    config: ProbeConfig = SBD_PROBE,
    seeds: Sequence[int] = (0,),
    val_films: int = 2,
    threshold: float | str = "val",
    device: torch.device | str = "cpu",
) -> tuple[Evaluation, list[Scored]]:
    """Tests every film once; the next `val_films` films choose, the others train.

    Arguments and rows as in `evaluate_boundaries`; the pooled AP is over the scores of all folds, whose
    networks differ, so a shift between their scores costs it and does not cost the per-film AP.

    Returns:
        The evaluation, not measured with fewer than `val_films` + 2 films; and the scores, by seed.
    """
    used, rows, report = match_embeddings(films, embeddings)
    device, about = torch.device(device), dataclasses.replace(about, split=LEFT_OUT)
    if len(used) < val_films + 2:
        return _evaluation([], about, report, seeds), []
    bar = Progress(f"{about.benchmark}, leave one film out", len(used), "films")

    def fold(number: int) -> list[Scored]:
        turned = [used[i] for i in np.roll(np.arange(len(used)), -number)]
        parts = {"test": turned[:1], "val": turned[1 : 1 + val_films], "train": turned[1 + val_films :]}
        scored = _scores_by_seed(parts, rows, config, [s + number for s in seeds], threshold, device)
        bar.step()
        return scored

    folds = side_by_side(fold, [(i,) for i in range(len(used))], device)
    by_seed = [sum(of_seed, Scored([], [])) for of_seed in zip(*(f for f in folds if f), strict=True)]
    return _evaluation(by_seed, about, report, seeds), by_seed


def evaluate_untrained(
    films: Sequence[LabelledFilm], embeddings: Mapping[str, np.ndarray], about: About
) -> tuple[Evaluation, list[Scored]]:
    """Scores every film by `look_change`: what the embeddings say without any training, even on one film.

    Returns:
        Rows of split "all films" and encoder "<encoder>, untrained". Without validation films nothing chooses
        a threshold, so there are the two APs only, and predictions are the scores rounded at 0.5. And the
        scores.
    """
    used, rows, report = match_embeddings(films, embeddings)
    about = dataclasses.replace(about, split=ALL_FILMS, encoder=UNTRAINED.format(about.encoder))
    windows = ShotWindows(used, rows)
    scored = film_scores(windows, look_change(windows))
    by_seed = [Scored(scored, [0.5] * len(scored))] if scored else []
    out = _evaluation(by_seed, about, report, (0,))
    results = out.results[out.results["metric"].str.endswith("AP")].reset_index(drop=True)
    return dataclasses.replace(out, results=results), by_seed


def look_change(windows: ShotWindows) -> np.ndarray:
    """Returns how much the look changes at each boundary [N], 0..2: 1 - the largest cosine between a shot
    before and one after.

    A scene goes on when one of its set-ups comes back; that is all this knows.
    """
    length = np.linalg.norm(windows.array, axis=1, keepdims=True)
    unit = windows.array / np.maximum(length, 1e-12)  # [rows, d]
    half = windows.n // 2
    best = np.full(len(windows), -1.0)
    for before in range(half):
        for after in range(half, windows.n):
            at = windows.first + before, windows.first + after
            best = np.maximum(best, np.einsum("nd,nd->n", unit[at[0]], unit[at[1]]))
    return 1 - best


def film_scores(windows: ShotWindows, scores: np.ndarray) -> list[FilmScores]:
    """Returns scores [N] of all windows film by film, films without a labelled boundary left out."""
    scores = np.asarray(scores, np.float64).reshape(-1)
    if len(scores) != len(windows) or not np.isfinite(scores).all():
        raise M2SError(f"{len(windows)} windows got {len(scores)} scores, expected one finite score for each")
    out = []
    for number, film in enumerate(windows.films):
        mine = windows.film == number
        if mine.any():
            part = windows.shot[mine], windows.labels[mine], scores[mine]
            out.append(FilmScores(film.film_id, *part, film.bounds, film.fps))
    return out


def measure(scored: Scored, about: About, n_found: int, n_listed: int) -> pd.DataFrame:
    """Returns the rows of scored films: the four metrics with bootstrap intervals over films."""
    cuts = list(zip(scored.films, scored.cuts, strict=True))
    values = (
        pooled(scored.films),
        film_mean(film_aps(scored.films)),
        film_mean({f.film_id: film_miou(f, cut) for f, cut in cuts}),
        film_mean({f.film_id: film_recall(f, cut) for f, cut in cuts}),
    )
    rows = [about.row(m, v, n_found, n_listed) for m, v in zip(METRICS, values, strict=True)]
    return result_table(rows)


def unmeasured(about: About, n_listed: int, metrics: Sequence[str] = METRICS) -> pd.DataFrame:
    """Returns the rows of an encoder of which nothing is measured."""
    return result_table([about.row(m, UNMEASURED, 0, n_listed) for m in metrics])


def chance_rows(films: Sequence[LabelledFilm], about: About) -> pd.DataFrame:
    """Returns what random scores would get on these films, exactly.

    "positive rate" is the share of boundaries where the scene changes, which the field quotes as random AP;
    the expected AP of random scores is a little above it, clearly so for films of a hundred shots.
    """
    labels = [f.labels[f.asked] for f in films]
    counts = [(len(x), int((x > 0).sum())) for x in labels]
    n, positives = sum(c[0] for c in counts), sum(c[1] for c in counts)
    each = [random_ap(*c) for c in counts if c[1]]
    values = {
        "positive rate": (positives / n if n else np.nan, n),
        "pooled AP": (random_ap(n, positives), n),
        "mean per-film AP": (float(np.mean(each)) if each else np.nan, len(each)),
    }
    about = dataclasses.replace(about, encoder=RANDOM)
    rows = [about.row(m, Measured(v, np.nan, np.nan, count), n, n) for m, (v, count) in values.items()]
    return result_table(rows)


def _scores_by_seed(parts, rows, config, seeds, threshold, device) -> list[Scored]:
    """The test films' scores by a probe of each seed; [] where there is nothing to train or choose by."""
    windows = {s: ShotWindows(p, rows) for s, p in parts.items()}
    if min(map(len, windows.values())) == 0 or len(np.unique(windows["train"].labels)) < 2:
        return []
    train, val, test = (windows[s] for s in ("train", "val", "test"))
    labels = [w.labels[:, None].astype(np.float32) for w in (train, val)]
    configs = [dataclasses.replace(config, seed=s) for s in seeds]
    out = []
    for probe in train_probes(ProbeData(train, labels[0], val, labels[1]), configs, device=device):
        scored = film_scores(test, probe.predict(test))
        cut = _threshold(threshold, film_scores(val, probe.predict(val)))
        out.append(Scored(scored, [cut] * len(scored)))
    return out


def _threshold(threshold: float | str, val: Sequence[FilmScores]) -> float:
    if threshold == "val":
        return best_f1_threshold(val)
    if isinstance(threshold, str):
        raise M2SError(f"threshold {threshold!r} is unknown: use a number in 0..1 or 'val'")
    return float(threshold)


def _evaluation(
    by_seed: Sequence[Scored], about: About, report: pd.DataFrame, seeds: Sequence[int]
) -> Evaluation:
    """Rows and predictions of each seed; without scores, rows that are not measured."""
    n_found, n_listed = (int(report[c].sum()) for c in ("n_found", "n_listed"))
    abouts = [dataclasses.replace(about, seed=s) for s in seeds]
    if not by_seed:
        results = [unmeasured(a, n_listed) for a in abouts]
        return Evaluation(
            pd.concat(results, ignore_index=True), _predictions(Scored([], []), about), pd.DataFrame()
        )
    pairs = list(zip(by_seed, abouts, strict=True))
    results = [measure(scored, a, n_found, n_listed) for scored, a in pairs]
    predictions = [_predictions(scored, a) for scored, a in pairs]
    return Evaluation(
        pd.concat(results, ignore_index=True), pd.concat(predictions, ignore_index=True), pd.DataFrame()
    )


def _predictions(scored: Scored, about: About) -> pd.DataFrame:
    """Prediction rows; item is "film:shot", the shot before the boundary; label and prediction are 0 or 1."""
    films, cuts = scored.films, scored.cuts
    scores = np.concatenate([np.zeros(0), *(f.score for f in films)])
    return prediction_table(
        about.benchmark,
        about.task,
        about.split,
        about.encoder,
        about.seed,
        items=[f"{f.film_id}:{shot:04d}" for f in films for shot in f.shot],
        labels=[int(x) for f in films for x in f.label],
        predictions=[int(x > cut) for f, cut in zip(films, cuts, strict=True) for x in f.score],
        scores=scores[:, None],
    )
