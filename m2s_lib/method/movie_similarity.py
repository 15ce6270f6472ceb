"""Movie similarity learning (§3.1.2, supp. 1.1b): how E_movie is trained, and what it is measured by.

The loop is in notebook 02; `training.movie_training` gives it its batches, `movie_encoder` is the model.
"""

from dataclasses import dataclass, field

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F

from m2s_lib.errors import M2SError
from m2s_lib.method.movie_corpus import MovieCorpus
from m2s_lib.method.movie_encoder import MoviePairModel
from m2s_lib.method.movie_pooling import Pooling

_START_V = 64.0  # |V|^2 at the start: SGD at lr 0.1 diverges from about 200 on, learns slowly below 30
_SCORED = 512  # film pairs scored at once: 0.25 MB a film at the paper's size


@dataclass(frozen=True)
class MovieTrainConfig:
    """How E_movie is trained; the defaults are the paper's (§4.1.2, supp. 1.1b) unless they say "ours"."""

    pooling: Pooling = field(default_factory=Pooling)
    hidden: int = 512  # width of both FC layers
    dropout: float = 0.5
    epochs: int = 100  # passes over the similar pairs
    batch: int = 256  # film pairs a step, half of them similar
    lr: float = 0.1
    momentum: float = 0.0  # the paper says SGD and no more
    clip: float = 1.0  # ours: largest norm of a step's gradients; without, some seeds never leave chance
    held_out: float = 0.1  # ours: share of the similar pairs kept for the ROC curve
    whiten: bool = False  # ours: train on whitened features; FC1 takes that in
    precision: str = "float32"  # "bfloat16" halves corpus and matmuls on a GPU; weights stay float32
    part: int = 64  # ours: film pairs in memory at once; a larger batch adds up its parts' gradients
    seed: int = 0  # split, dissimilar pairs, initial weights, dropout

    def __post_init__(self):
        for name in ("hidden", "epochs", "part"):
            if getattr(self, name) < 1:
                raise M2SError(f"{name} is {getattr(self, name)}: it must be at least 1")
        if self.batch < 2 or self.batch % 2:
            raise M2SError(f"batch is {self.batch}: it must be even, one half similar, the other not")
        if not 0 <= self.held_out < 1:
            raise M2SError(f"held_out is {self.held_out}: it is a share, at least 0 and below 1")
        if self.precision not in ("float32", "bfloat16"):
            raise M2SError(f"precision is {self.precision!r}: choose 'float32' or 'bfloat16'")


@torch.no_grad()
def start_length(model: MoviePairModel, corpus: MovieCorpus) -> float:
    """Feature length at which the untrained model's |V|^2 is near `_START_V`, by bisection on a few films."""
    films = torch.arange(min(8, len(corpus.films)), device=corpus.device)
    x, lengths = corpus.take(films, model.pooling.shots_read)

    def size(length: float) -> float:
        p = model.eval().pooled(x.float() * length, lengths)
        v = F.max_pool2d((p @ p.roll(1, 0).mT)[:, None], model.pooling.max_kernel, model.pooling.max_stride)
        return float(v.square().sum((1, 2, 3)).mean())

    low, high = 0.1, 1000.0
    goal = max(_START_V, 2 * size(low))  # the bias alone gives V some size
    for _ in range(12):
        middle = (low * high) ** 0.5
        low, high = (middle, high) if size(middle) < goal else (low, middle)
    return low


def similarity_scores(model: MoviePairModel, corpus: MovieCorpus, codes: np.ndarray) -> np.ndarray:
    """Scores film pairs: float64 [pairs], above 0 means similar; the mean over both orders of a pair.

    Args:
        model: in eval mode. corpus: the films, as the model takes them.
        codes: numbers of the film pairs (`MovieCorpus.pair_codes`).
    """
    parts = np.split(codes, range(_SCORED, len(codes), _SCORED))
    return np.concatenate([_scores(model, corpus, part) for part in parts if len(part)] or [np.empty(0)])


@torch.no_grad()
def _scores(model: MoviePairModel, corpus: MovieCorpus, codes: np.ndarray) -> np.ndarray:
    """The same of pairs whose films' halves fit in memory together; each is computed once."""
    films, index = np.unique(corpus.films_of(codes), return_inverse=True)
    halves = []
    for part in torch.from_numpy(films).to(corpus.device).split(16):
        x, lengths = corpus.take(part, model.pooling.shots_read)
        halves.append(model.pooled(x.to(model.output.weight.dtype), lengths))
    halves = torch.cat(halves)  # [films, rows, hidden]
    a, b = torch.from_numpy(index.reshape(2, -1)).to(corpus.device)
    scores = []
    for i, j in zip(a.split(256), b.split(256), strict=True):
        logits = model.compare(halves[i], halves[j]) + model.compare(halves[j], halves[i])  # [b, 2]
        scores.append((logits[:, 1] - logits[:, 0]) / 2)
    return torch.cat(scores).double().cpu().numpy()


def measure_held_out(
    model: MoviePairModel, corpus: MovieCorpus, held: np.ndarray, others: np.ndarray
) -> tuple[dict, pd.DataFrame, pd.DataFrame]:
    """Tells held-out similar film pairs from held-out dissimilar ones.

    Args:
        model, corpus: as in `similarity_scores`.
        held, others: numbers of similar and of dissimilar film pairs.

    Returns:
        accuracy, auc (area under the ROC curve), n (pairs) and chance (accuracy of one fixed answer);
        the pairs: film_a, film_b, similar, score; the ROC curve: fpr, tpr, threshold. Without pairs the
        measures are NaN and the tables empty.
    """
    from sklearn.metrics import roc_auc_score, roc_curve

    codes = np.concatenate([held, others])
    similar = np.repeat([True, False], [len(held), len(others)])
    score = similarity_scores(model, corpus, codes)
    film_a, film_b = np.array(corpus.films, dtype=object)[corpus.films_of(codes)]
    table = pd.DataFrame({"film_a": film_a, "film_b": film_b, "similar": similar, "score": score})
    if not len(codes):
        nothing = {"accuracy": float("nan"), "auc": float("nan"), "n": 0, "chance": float("nan")}
        return nothing, table, pd.DataFrame({"fpr": [], "tpr": [], "threshold": []})
    measures = {
        "accuracy": float(((score > 0) == similar).mean()),
        "auc": float(roc_auc_score(similar, score)),
        "n": len(codes),
        "chance": float(max(similar.mean(), 1 - similar.mean())),
    }
    roc = dict(zip(("fpr", "tpr", "threshold"), roc_curve(similar, score), strict=True))
    return measures, table, pd.DataFrame(roc)
