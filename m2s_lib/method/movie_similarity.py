"""Movie similarity learning (§3.1.2, supp. 1.1b): train E_movie to tell similar film pairs from random ones.

The shot features of the whole corpus stay on the device while it has room for them, so that a batch is one
index_select and no step copies them from the host (`movie_corpus`). `movie_encoder` holds the model; its
names can be imported from here too.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from torch import Tensor

from m2s_lib.errors import M2SError
from m2s_lib.method.movie_corpus import MovieCorpus, draw_dissimilar, split_pairs
from m2s_lib.method.movie_encoder import (
    MovieEncoder,
    MoviePairModel,
    Pooling,
    figure2_matrices,
    literal_similarity,
    load_movie_encoder,
    save_movie_encoder,
)
from m2s_lib.progress import Progress

__all__ = [
    "MovieEncoder",
    "MoviePairModel",
    "MovieTrainConfig",
    "MovieTraining",
    "Pooling",
    "figure2_matrices",
    "literal_similarity",
    "load_movie_encoder",
    "pair_scores",
    "save_movie_encoder",
    "train_movie_encoder",
]

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
    weight_decay: float = 0.0
    clip: float = 1.0  # ours: largest norm of a step's gradients; without, some seeds never leave chance
    feature_length: float = 0.0  # ours: length of the centred features in training; 0 lets the start decide
    held_out: float = 0.1  # ours: share of the similar pairs kept for the ROC curve
    crop: str = "first"  # ours: long films give their first shots; "random" draws a run of shots each step
    precision: str = "float32"  # "bfloat16" halves corpus and matmuls on a GPU; weights stay float32
    part: int = 64  # ours: film pairs in memory at once; a larger batch adds up its parts' gradients
    seed: int = 0  # split, dissimilar pairs, initial weights, dropout, crops

    def __post_init__(self):
        for name in ("hidden", "epochs", "part"):
            if getattr(self, name) < 1:
                raise M2SError(f"{name} is {getattr(self, name)}: it must be at least 1")
        if self.batch < 2 or self.batch % 2:
            raise M2SError(f"batch is {self.batch}: it must be even, one half similar, the other not")
        if not 0 <= self.held_out < 1:
            raise M2SError(f"held_out is {self.held_out}: it is a share, at least 0 and below 1")
        for name, allowed in (("crop", ("first", "random")), ("precision", ("float32", "bfloat16"))):
            if getattr(self, name) not in allowed:
                raise M2SError(f"{name} is {getattr(self, name)!r}: choose one of {list(allowed)}")


@dataclass
class MovieTraining:
    """What training gives back.

    Attributes:
        model: the trained pair model in eval mode, for raw shot features; `.encoder` is E_movie.
        log: step, epoch, loss, accuracy (of the batch, with dropout), lr, pairs_per_s (of the epoch).
        held_out: accuracy, auc (area under the ROC curve), n (pairs), chance (accuracy of one fixed answer).
        held_out_pairs: film_a, film_b, similar (bool), score (logit; above 0 means similar).
        roc: fpr, tpr, threshold of the held-out pairs; empty when none were held out.
    """

    model: MoviePairModel
    log: pd.DataFrame
    held_out: dict
    held_out_pairs: pd.DataFrame
    roc: pd.DataFrame

    @property
    def encoder(self) -> MovieEncoder:
        """E_movie."""
        return self.model.encoder


def train_movie_encoder(
    features: Mapping[str, np.ndarray],
    pairs: pd.DataFrame,
    config: MovieTrainConfig | None = None,
    device: str | torch.device = "cpu",
) -> MovieTraining:
    """Train E_movie and L_output on similar film pairs against as many random ones (§3.1.2, supp. 1.1b).

    Readings where the paper is silent:
        - its pairs have no order but the flattened V has one: each step turns a random half of them around;
        - dissimilar pairs are drawn anew each epoch, never one that is similar or held out;
        - a film that is in several pairs of a batch is encoded once, with one dropout mask for all of them;
        - pairs are held out as pairs, so their films are seen in training within other pairs;
        - SGD at lr 0.1 stalls or diverges with the scale of the shot features: they are centred and brought
          to one length at which |V|^2 starts near 64. FC1 absorbs this affine map in the end, so E_movie
          takes raw features.

    On the CPU the same seed gives the same weights.

    Args:
        features: film_id -> shot features [n_shots, d], float.
        pairs: similar films, columns film_a and film_b; order and repeats do not matter.
        config: see MovieTrainConfig.
        device: where corpus and model live.

    Raises:
        M2SError: too few films or pairs, films without features, bad features, a loss that is not finite.
    """
    config, device = config or MovieTrainConfig(), torch.device(device)
    if len(features) < 2 or not len(pairs):
        raise M2SError(
            f"{len(features)} films and {len(pairs)} similar pairs: training needs 2 films and 1 pair"
        )
    limit = config.pooling.shots_read if config.crop == "first" else None
    corpus = MovieCorpus(features, limit, True, device, getattr(torch, config.precision))
    rng = np.random.default_rng(config.seed)
    similar = np.unique(corpus.pair_codes(pairs))
    train, held, others = split_pairs(rng, len(features), similar, config.held_out)
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        torch.manual_seed(config.seed)
        model = MoviePairModel(config.pooling, corpus.width, config.hidden, config.dropout).to(device)
        length = config.feature_length or _start_length(model, corpus)
        corpus.multiply(length)
        log = _train(model.train(), corpus, train, np.union1d(similar, others), config, rng)
    measures = _evaluate(model.eval(), corpus, held, others)
    _fold(model.encoder.fc1, corpus.mean, length / corpus.length)
    return MovieTraining(model, log, *measures)


@torch.no_grad()
def _start_length(model: MoviePairModel, corpus: MovieCorpus) -> float:
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


@torch.no_grad()
def _fold(fc1: torch.nn.Linear, mean: np.ndarray, scale: float) -> None:
    """Change FC1 so that it gives for x what it gave for (x - mean) * scale."""
    weight = fc1.weight.double() * scale
    fc1.bias.copy_(fc1.bias.double() - weight @ torch.from_numpy(mean).to(weight.device))
    fc1.weight.copy_(weight)


def _train(model, corpus, similar, taken, config: MovieTrainConfig, rng) -> pd.DataFrame:
    """The loop: an epoch passes over the similar pairs once, beside as many new dissimilar ones."""
    optimizer = torch.optim.SGD(
        model.parameters(), lr=config.lr, momentum=config.momentum, weight_decay=config.weight_decay
    )
    half, log = config.batch // 2, []
    steps = -(-len(similar) // half)
    bar = Progress("movie similarity", steps * config.epochs, "steps")
    for epoch in range(config.epochs):
        start, seen = time.perf_counter(), []
        positive = rng.permutation(similar)
        negative = draw_dissimilar(rng, len(corpus.films), taken, len(positive))
        for at in range(0, len(positive), half):
            codes = np.concatenate([positive[at : at + half], negative[at : at + half]])
            optimizer.zero_grad(set_to_none=True)
            seen.append(_gradients(model, corpus, codes, config, rng))
            torch.nn.utils.clip_grad_norm_(model.parameters(), config.clip)
            optimizer.step()
            bar.step()
        values = torch.stack(seen).double().cpu().numpy()  # [steps, 2]; the only wait for the device
        rate = 2 * len(positive) / (time.perf_counter() - start)
        if not np.isfinite(values).all():
            raise M2SError(f"the loss is not finite in epoch {epoch}: lower lr (now {config.lr})")
        log += [(epoch * steps + i, epoch, *value, config.lr, rate) for i, value in enumerate(values)]
    return pd.DataFrame(log, columns=["step", "epoch", "loss", "accuracy", "lr", "pairs_per_s"])


def _gradients(model, corpus, codes: np.ndarray, config: MovieTrainConfig, rng) -> Tensor:
    """Add up the gradients of one batch, similar pairs first; return (loss, accuracy) on the device."""
    ab = corpus.films_of(codes)  # [2, b]
    ab = np.where(rng.random(len(codes)) < 0.5, ab, ab[::-1])
    device, pooling = corpus.device, config.pooling
    films = torch.from_numpy(ab).to(device)
    target = torch.from_numpy(np.repeat([1, 0], len(codes) // 2)).to(device)  # [b]
    offsets = torch.zeros_like(films)
    if config.crop == "random":  # a run of `shots` shots, the length the paper gives a film
        room = (corpus.counts[films] - pooling.shots).clamp(min=0).cpu().numpy()
        offsets = torch.from_numpy(rng.integers(0, room + 1)).to(device)
    total = torch.zeros(2, device=device)
    for part in torch.arange(len(codes), device=device).split(_part_size(ab, config)):
        slots = torch.stack([films[:, part].flatten(), offsets[:, part].flatten()])  # [2, 2 pairs]
        once, place = slots.unique(dim=1, return_inverse=True)  # a film in several pairs is encoded once
        x, lengths = corpus.take(once[0], pooling.shots_read, once[1])
        with torch.autocast(device.type, torch.bfloat16, enabled=config.precision == "bfloat16"):
            # index_select adds up the gradients of a film's pairs in one order, indexing by threads in any
            p1, p2 = model.pooled(x, lengths).index_select(0, place).chunk(2)  # [b, rows, hidden] each
            logits = model.compare(p1, p2).float()  # [b, 2]
        loss = F.cross_entropy(logits, target[part], reduction="sum") / len(codes)
        loss.backward()
        hits = (logits.argmax(1) == target[part]).sum() / len(codes)
        total += torch.stack([loss.detach(), hits])
    return total


def _part_size(ab: np.ndarray, config: MovieTrainConfig) -> int:
    """Film pairs at once: the whole batch when its distinct films are no more than `part` pairs have."""
    return len(ab[0]) if len(np.unique(ab)) <= 2 * config.part else config.part


def _scores(model: MoviePairModel, corpus: MovieCorpus, codes: np.ndarray) -> np.ndarray:
    """Similarity logit of film pairs, the mean over both orders; so many pairs at a time."""
    parts = np.split(codes, range(_SCORED, len(codes), _SCORED))
    return np.concatenate([_scores_of(model, corpus, part) for part in parts])


@torch.no_grad()
def _scores_of(model: MoviePairModel, corpus: MovieCorpus, codes: np.ndarray) -> np.ndarray:
    """The same of pairs whose films' halves fit in memory together; each is computed once."""
    films, place = np.unique(corpus.films_of(codes), return_inverse=True)
    device = corpus.device
    kept = []
    for part in torch.from_numpy(films).to(device).split(16):
        x, lengths = corpus.take(part, model.pooling.shots_read)
        kept.append(model.pooled(x.to(model.output.weight.dtype), lengths))
    kept = torch.cat(kept)  # [films, rows, hidden]
    a, b = torch.from_numpy(place.reshape(2, -1)).to(device)
    scores = []
    for i, j in zip(a.split(256), b.split(256), strict=True):
        logits = model.compare(kept[i], kept[j]) + model.compare(kept[j], kept[i])  # [b, 2]
        scores.append((logits[:, 1] - logits[:, 0]) / 2)
    return torch.cat(scores).double().cpu().numpy()


def pair_scores(model: MoviePairModel, features: Mapping[str, np.ndarray], pairs: pd.DataFrame) -> np.ndarray:
    """Score film pairs with a trained model: float64 [pairs], above 0 means similar, the same in both orders.

    Args:
        model: from `train_movie_encoder` or `load_movie_encoder`; put into eval mode.
        features: film_id -> [n_shots, d]; only the films that `pairs` names are read.
        pairs: columns film_a and film_b.
    """
    if not len(pairs):
        return np.empty(0)
    named = set(pairs["film_a"]) | set(pairs["film_b"])
    known = {film: features[film] for film in named if film in features}
    if not known:
        raise M2SError(
            f"none of the {len(named)} films of the film pairs has shot features: encode them first"
        )
    weight = model.eval().output.weight
    corpus = MovieCorpus(known, model.pooling.shots_read, device=weight.device, dtype=weight.dtype)
    return _scores(model, corpus, corpus.pair_codes(pairs))


def _evaluate(model, corpus: MovieCorpus, held: np.ndarray, others: np.ndarray):
    """Held-out measures, pairs and ROC curve, as MovieTraining describes them."""
    codes = np.concatenate([held, others])
    similar = np.repeat([True, False], [len(held), len(others)])
    score = _scores(model, corpus, codes) if len(codes) else np.empty(0)
    film_a, film_b = np.array(corpus.films, dtype=object)[corpus.films_of(codes)]
    table = pd.DataFrame({"film_a": film_a, "film_b": film_b, "similar": similar, "score": score})
    if not len(codes):
        nothing = {"accuracy": float("nan"), "auc": float("nan"), "n": 0, "chance": float("nan")}
        return nothing, table, pd.DataFrame({"fpr": [], "tpr": [], "threshold": []})
    from sklearn.metrics import roc_auc_score, roc_curve

    fpr, tpr, threshold = roc_curve(similar, score)
    measures = {
        "accuracy": float(((score > 0) == similar).mean()),
        "auc": float(roc_auc_score(similar, score)),
        "n": len(codes),
        "chance": float(max(similar.mean(), 1 - similar.mean())),
    }
    return measures, table, pd.DataFrame({"fpr": fpr, "tpr": tpr, "threshold": threshold})
