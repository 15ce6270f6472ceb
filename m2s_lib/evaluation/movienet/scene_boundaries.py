"""Scene boundary detection (section 4.3b, supp. 1.3b): does the scene change after this shot?

Four shots around the boundary are encoded one by one and put side by side; a small network on frozen features
answers. Where films and labels come from is in `movienet` and `ovsd`, the windows are in `shot_windows`.
"""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import pandas as pd

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
from m2s_lib.evaluation.metrics import Measured
from m2s_lib.evaluation.movienet.shot_windows import LabelledFilm, ShotWindows, match_embeddings
from m2s_lib.evaluation.results import prediction_table, result_row, result_table
from m2s_lib.progress import Progress

TASK = "scene boundaries"
RANDOM = "random scores"
LEFT_OUT = "leave one film out"
Predictor = Callable[[ShotWindows], np.ndarray]
Fit = Callable[[ShotWindows, np.ndarray, ShotWindows, np.ndarray, int], Predictor]


def evaluate_sbd(
    films: Sequence[LabelledFilm],
    embeddings: Mapping[str, np.ndarray],
    split: Mapping[str, str],
    fit: Fit,
    *,
    encoder: str,
    benchmark: str = "MovieNet",
    task: str = TASK,
    seed: int = 0,
    threshold: float | str = 0.5,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Train on the training films, choose on the validation films, measure once on the test films.

    Args:
        films: labelled films; `match_embeddings` is applied to them.
        embeddings: film_id to float32 [n_shots, d], each shot encoded by itself.
        split: film_id to 'train', 'val' or 'test'; other films are not used.
        fit: (x_train, y_train, x_val, y_val, seed) to a function from windows to scores [N] in 0..1.
        threshold: of a predicted boundary, for mIoU and recall@3s: 0.5 as in the field, or 'val' for the one
            with the best F1 on the validation films.

    Returns:
        results: rows "pooled AP", "mean per-film AP", "mIoU", "recall@3s" of split 'test', values in 0..1; n
            counts boundaries for the first and films for the others, n_found and n_listed boundaries.
        predictions: rows as in `predictions`.

    Raises:
        M2SError: no films in a split, or none with a boundary to train on.
    """
    used, rows, report = match_embeddings(films, embeddings)
    parts = {s: [f for f in used if split.get(f.film_id) == s] for s in ("train", "val", "test")}
    if empty := [s for s, p in parts.items() if not p]:
        raise M2SError(
            f"{benchmark}, {task}: no film with embeddings in {empty}; there are {len(films)} labelled "
            f"films, {len(used)} of them with embeddings"
        )
    windows = {s: ShotWindows(p, rows) for s, p in parts.items()}
    scores = _fit_and_score(windows, fit, seed, f"{benchmark}, {task}, {encoder}")
    cut = _threshold(threshold, scores["val"])
    listed = report[report["film_id"].map(lambda f: split.get(f) == "test")]
    about = {"benchmark": benchmark, "task": task, "split": "test", "encoder": encoder, "seed": seed}
    cuts = [cut] * len(scores["test"])
    return measure(scores["test"], cuts, about, listed), predictions(scores["test"], cuts, about)


def leave_one_film_out(
    films: Sequence[LabelledFilm],
    embeddings: Mapping[str, np.ndarray],
    fit: Fit,
    *,
    encoder: str,
    benchmark: str = "OVSD",
    task: str = TASK,
    seed: int = 0,
    val_films: int = 2,
    threshold: float | str = 0.5,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Every film is the test film once; the next `val_films` films choose, the others train.

    Arguments and what comes back as in `evaluate_sbd`; the pooled AP is over the scores of all folds, whose
    networks differ, so a shift between their scores costs it and does not cost the per-film AP.
    """
    used, rows, report = match_embeddings(films, embeddings)
    if len(used) < val_films + 2:
        raise M2SError(
            f"{benchmark}: leaving one film out with {val_films} for validation needs {val_films + 2} films, "
            f"{len(used)} of {len(films)} have embeddings"
        )
    tested, order = [], np.arange(len(used))
    bar = Progress(f"{benchmark}, leave one film out", len(used), "films")
    for number in range(len(used)):
        turned = [used[i] for i in np.roll(order, -number)]
        parts = {"test": turned[:1], "val": turned[1 : 1 + val_films], "train": turned[1 + val_films :]}
        windows = {s: ShotWindows(p, rows) for s, p in parts.items()}
        what = f"{benchmark}, {encoder}, test film {turned[0].film_id}"
        scores = _fit_and_score(windows, fit, seed + number, what)
        cut = _threshold(threshold, scores["val"])
        tested += [(film, cut) for film in scores["test"]]
        bar.step()
    about = {"benchmark": benchmark, "task": task, "split": LEFT_OUT, "encoder": encoder, "seed": seed}
    scored, cuts = [film for film, _ in tested], [cut for _, cut in tested]
    return measure(scored, cuts, about, report), predictions(scored, cuts, about)


def evaluate_untrained(
    films: Sequence[LabelledFilm],
    embeddings: Mapping[str, np.ndarray],
    *,
    encoder: str,
    benchmark: str,
    task: str = TASK,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Score every film by `look_change`: what the embeddings say without any training, even on one film.

    Returns:
        results and predictions as in `evaluate_sbd`, of split "all films" and encoder "<encoder>, untrained".
        Without validation films nothing chooses a threshold, so there are the two APs only, and predictions
        are the scores rounded at 0.5.
    """
    used, rows, report = match_embeddings(films, embeddings)
    if not used:
        raise M2SError(f"{benchmark}: none of {len(films)} films has embeddings by {encoder}")
    windows = ShotWindows(used, rows)
    scored = film_scores(windows, look_change(windows))
    about = {"benchmark": benchmark, "task": task, "split": "all films"}
    about |= {"encoder": f"{encoder}, untrained", "seed": 0}
    table = measure(scored, [0.5] * len(scored), about, report)
    return table[table["metric"].str.endswith("AP")].reset_index(drop=True), predictions(
        scored, [0.5] * len(scored), about
    )


def look_change(windows: ShotWindows) -> np.ndarray:
    """How much the look changes at each boundary: 1 - the largest cosine between a shot before and one after.

    A scene goes on when one of its set-ups comes back; that is all this knows. Returns [N], 0..2.
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


def _fit_and_score(windows: Mapping[str, ShotWindows], fit: Fit, seed: int, what: str):
    """Scores of the validation and test windows, film by film."""
    train, val = windows["train"], windows["val"]
    if len(np.unique(train.labels)) < 2:
        raise M2SError(
            f"{what}: the training films have {len(train)} labelled boundaries of one kind only; "
            "both are needed"
        )
    predict = fit(train, train.labels, val, val.labels, seed)
    return {s: film_scores(windows[s], predict(windows[s])) for s in ("val", "test")}


def _threshold(threshold: float | str, val: Sequence[FilmScores]) -> float:
    if threshold == "val":
        return best_f1_threshold(val)
    if isinstance(threshold, str):
        raise M2SError(f"threshold {threshold!r} is unknown: use a number in 0..1 or 'val'")
    return float(threshold)


def film_scores(windows: ShotWindows, scores: np.ndarray) -> list[FilmScores]:
    """Scores [N] of all windows as one FilmScores a film, films without a labelled boundary left out."""
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


def measure(
    films: Sequence[FilmScores], thresholds: Sequence[float], about: Mapping, report: pd.DataFrame
) -> pd.DataFrame:
    """Result rows of scored films: the four metrics with bootstrap intervals over films.

    Args:
        thresholds: of a predicted boundary, one for each film.
        about: benchmark, task, split, encoder, seed.
        report: of `match_embeddings`, the films that were to be tested.
    """
    cuts = list(zip(films, thresholds, strict=True))
    measured = {
        "pooled AP": pooled(films),
        "mean per-film AP": film_mean(film_aps(films)),
        "mIoU": film_mean({f.film_id: film_miou(f, cut) for f, cut in cuts}),
        "recall@3s": film_mean({f.film_id: film_recall(f, cut) for f, cut in cuts}),
    }
    counts = {c: int(report[c].sum()) for c in ("n_found", "n_listed")}
    return result_table([result_row(**about, metric=m, measured=v, **counts) for m, v in measured.items()])


def predictions(films: Sequence[FilmScores], thresholds: Sequence[float], about: Mapping) -> pd.DataFrame:
    """Prediction rows; item is "film:shot", the shot before the boundary; label and prediction are 0 or 1."""
    parts = [np.zeros(0, np.float32), *(f.score for f in films)]
    return prediction_table(
        **about,
        items=[f"{f.film_id}:{shot:04d}" for f in films for shot in f.shot],
        labels=[int(x) for f in films for x in f.label],
        predictions=[int(x > cut) for f, cut in zip(films, thresholds, strict=True) for x in f.score],
        scores=np.concatenate(parts)[:, None],
    )


def chance_rows(
    films: Sequence[LabelledFilm], *, benchmark: str, split: str = "test", task: str = TASK
) -> pd.DataFrame:
    """What random scores would get on these films, exactly, as result rows of the encoder "random scores".

    "positive rate" is the share of boundaries where the scene changes, which the field quotes as random AP;
    the expected AP of random scores is a little above it, clearly so for films of a hundred shots.
    """
    labels = [f.labels[f.asked] for f in films]
    counts = [(len(x), int((x > 0).sum())) for x in labels]
    n, positives = (sum(c) for c in zip(*counts, strict=True)) if counts else (0, 0)
    each = [random_ap(*c) for c in counts if c[1]]
    values = {
        "positive rate": (positives / n if n else np.nan, n),
        "pooled AP": (random_ap(n, positives), n),
        "mean per-film AP": (float(np.mean(each)) if each else np.nan, len(each)),
    }
    about = {"benchmark": benchmark, "task": task, "split": split, "encoder": RANDOM}
    exact = {m: Measured(value, np.nan, np.nan, count) for m, (value, count) in values.items()}
    return result_table(
        [result_row(**about, metric=m, measured=v, n_found=n, n_listed=n) for m, v in exact.items()]
    )
