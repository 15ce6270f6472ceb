"""What scene boundary detection is measured by: AP, mIoU and recall@3s, as the field's code defines them.

"AP" means two things in the field: over all shots of all films together (LGSS, BaSSL: pooled) and the mean of
the films' own APs (SCRL). They differ by points, so both are computed and both are named. mIoU and recall@3s
follow the code of LGSS and BaSSL, apart from what made that code stop: a film without a predicted boundary, a
scene of one frame, a film without a true boundary.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from m2s_lib.evaluation.metrics import UNMEASURED, Measured, average_precision, average_precisions, mean

NEIGHBOURS = 5  # recall@3s looks this many shots to either side
SECONDS = 3.0  # and counts what is nearer than this


@dataclass(frozen=True)
class FilmScores:
    """What was predicted for the labelled boundaries of one film; boundary i lies after shot i.

    Attributes:
        shot: int64 [m], increasing, the shots with a label.
        label: int8 [m], 1 where the scene changes after the shot.
        score: float [m], the higher the likelier.
        bounds: int64 [n_shots, 2], first and last frame (inclusive) of every shot of the film.
        fps: frames per second of `bounds`.
    """

    film_id: str
    shot: np.ndarray
    label: np.ndarray
    score: np.ndarray
    bounds: np.ndarray
    fps: float


def pooled_ap(films: Sequence[FilmScores]) -> float:
    """Average precision over all boundaries of all films together, 0..1; NaN without a true boundary."""
    label, score = _pool(films)
    return float(average_precision(label > 0, score))


def film_aps(films: Sequence[FilmScores]) -> dict[str, float]:
    """Average precision of each film that has a true boundary, not rounded (LGSS rounds to two places)."""
    return {f.film_id: pooled_ap([f]) for f in films if f.label.any()}


def random_ap(n: int, positives: int) -> float:
    """Expected average precision of random scores for n items: near the positive rate, above it for small n.

    A positive at rank r has precision (1 + (r - 1) (P - 1) / (n - 1)) / r on average; all ranks are alike.
    """
    if not 0 < positives <= n:
        return float("nan")
    harmonic = float((1 / np.arange(1, n + 1)).sum())
    others = (positives - 1) / (n - 1) if n > 1 else 0.0
    return (harmonic + others * (n - harmonic)) / n


def film_miou(film: FilmScores, threshold: float) -> float:
    """mIoU of one film: mean best overlap of true scenes with predicted ones and the reverse, averaged.

    A scene ends at a boundary; what follows the last boundary is no scene. 0 without a predicted boundary,
    NaN without a true one.
    """
    true, found = _scenes(film, film.label > 0), _scenes(film, film.score > threshold)
    if not len(true):
        return float("nan")
    if not len(found):
        return 0.0
    iou = _overlaps(true, found)  # [true, found]
    return float((iou.max(1).mean() + iou.max(0).mean()) / 2)


def film_recall(film: FilmScores, threshold: float, seconds: float = SECONDS) -> float:
    """Share of a film's true boundaries with a predicted one within 5 shots and less than `seconds`.

    Times are the ends of the shots before the boundaries. NaN without a true boundary.
    """
    true, found = film.shot[film.label > 0], film.shot[film.score > threshold]
    if not len(true):
        return float("nan")
    end = film.bounds[:, 1]
    near = np.abs(true[:, None] - found) <= NEIGHBOURS  # [true, found]
    soon = np.abs(end[true][:, None] - end[found]) / film.fps < seconds
    return float((near & soon).any(1).mean())


def best_f1_threshold(films: Sequence[FilmScores]) -> float:
    """Returns the threshold whose predictions (score above it) have the best F1 over all boundaries, midway
    between two scores; 0.5 without a true boundary."""
    from sklearn.metrics import precision_recall_curve

    label, score = _pool(films)
    if not label.any():
        return 0.5
    precision, recall, thresholds = precision_recall_curve(label > 0, score)
    f1 = 2 * precision * recall / np.maximum(precision + recall, 1e-12)
    best = len(thresholds) - 1 - int(f1[:-1][::-1].argmax())  # of equals the highest threshold
    below = thresholds[best - 1] if best else thresholds[0] - 2e-6
    return float((thresholds[best] + below) / 2)


def pooled(films: Sequence[FilmScores]) -> Measured:
    """`pooled_ap` with a bootstrap interval over films: boundaries of one film are not independent."""
    label, score = _pool(films)
    if not label.any():
        return UNMEASURED
    film = np.repeat(np.arange(len(films)), [len(f.label) for f in films])
    hot = (label > 0)[:, None]  # [N, 1]
    _, measured = average_precisions(hot, score[:, None], ["boundary"], groups=film)
    return measured if len(films) > 1 else Measured(measured.value, np.nan, np.nan, measured.n)


def film_mean(values: Mapping[str, float]) -> Measured:
    """Returns the mean over films of what is known (finite), with a bootstrap interval; none for one film."""
    known = [v for v in values.values() if np.isfinite(v)]
    measured = mean(known)
    return measured if len(known) > 1 else Measured(measured.value, np.nan, np.nan, measured.n)


def _pool(films: Sequence[FilmScores]) -> tuple[np.ndarray, np.ndarray]:
    labels, scores = [f.label for f in films], [f.score for f in films]
    return np.concatenate([*labels, np.zeros(0, np.int8)]), np.concatenate([*scores, np.zeros(0)])


def _scenes(film: FilmScores, boundary: np.ndarray) -> np.ndarray:
    """Frames of the scenes that the boundaries [m] close, first and last: int64 [scenes, 2]."""
    last = np.flatnonzero(boundary)
    first = np.r_[0, last[:-1] + 1][: len(last)]
    return np.stack([film.bounds[film.shot[first], 0], film.bounds[film.shot[last], 1]], axis=1)


def _overlaps(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Intersection over union of all intervals, as coded in the field (last minus first frame): [a, b]."""
    a, b = (np.stack([x[:, 0], np.maximum(x[:, 1], x[:, 0] + 1)], axis=1) for x in (a, b))
    low = np.maximum(a[:, None, 0], b[None, :, 0])
    high = np.minimum(a[:, None, 1], b[None, :, 1])
    union = np.maximum(a[:, None, 1], b[None, :, 1]) - np.minimum(a[:, None, 0], b[None, :, 0])
    return np.maximum(high - low, 0) / union
