"""E_movie in training: the batches of notebook 02's loop, and files from which a killed run goes on.

It trains in one process: at the paper's size there are some 36,000 steps (45,000 similar film pairs, 128 a
step, 100 epochs) of about 0.5 TFLOP, the pooled product being cheap: by that count minutes on one GPU.
"""

import contextlib
import hashlib
import json
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from m2s_lib.code_digest import caller_code
from m2s_lib.errors import M2SError
from m2s_lib.io import read_json, read_parquet, write_json, write_parquet
from m2s_lib.method.movie_corpus import MovieCorpus, draw_dissimilar, split_pairs
from m2s_lib.method.movie_encoder import (
    MovieEncoder,
    MoviePairModel,
    fold_into_first_layer,
    load_movie_encoder,
    save_movie_encoder,
)
from m2s_lib.method.movie_similarity import MovieTrainConfig, measure_held_out, start_length
from m2s_lib.progress import Progress

_LOG = ("step", "epoch", "loss", "accuracy", "lr", "pairs_per_s")


@dataclass
class TrainedMovie:
    """What a training gives.

    Attributes:
        model: the pair model in eval mode, for raw shot features; `.encoder` is E_movie.
        log: step, epoch, loss, accuracy (of the batch, with dropout), lr, pairs_per_s (of the epoch).
        held_out, held_out_pairs, roc: as `measure_held_out` returns them.
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


@dataclass(frozen=True)
class FilmPairs:
    """A batch of film pairs, or the part of one that fits into memory.

    Attributes:
        x: shot features of the films in it [films, shots, d]; a film in several pairs is there once.
        lengths: real shots of each film [films].
        films: row of x of each pair's film 1, then of each pair's film 2 [2 b].
        similar: 1 for similar, 0 for random [b].
        batch: film pairs in the whole batch.
        ends_batch: whether this is its last part: then the optimizer steps.
    """

    x: Tensor
    lengths: Tensor
    films: Tensor
    similar: Tensor
    batch: int
    ends_batch: bool


class MovieTraining:
    """The training of one E_movie; iterate over it for its batches, then `finish` it.

    Readings where the paper is silent:
        - its pairs have no order but the flattened V has one: each step turns a random half of them around;
        - dissimilar pairs are drawn anew each epoch, never one that is similar or held out;
        - a film that is in several pairs of a batch is encoded once, with one dropout mask for all of them;
        - where all pairs of the films are similar there is nothing to tell them from, and no batch;
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
        source: the kind of metadata behind the pairs.
        base: its files are named like this, with endings; None writes none.
        stamp: files that bear the same stamp are read back: then there are no batches.

    Attributes:
        source, seed: of its film pairs, of its random numbers.
        model: MoviePairModel, in train mode while batches are drawn.

    Raises:
        M2SError: too few films or pairs, films without features, bad features, a loss that is not finite.
    """

    def __init__(
        self,
        features: Mapping[str, np.ndarray],
        pairs: pd.DataFrame,
        config: MovieTrainConfig,
        device: str | torch.device = "cpu",
        *,
        source: str = "",
        base: Path | None = None,
        stamp: str = "",
    ):
        if len(features) < 2 or not len(pairs):
            raise M2SError(
                f"{len(features)} films and {len(pairs)} similar pairs: training needs 2 films and 1 pair"
            )
        self.config, self.source, self.seed = config, source, config.seed
        self._base, self._stamp, self._log = base, stamp, []
        self._kept = _read(base, stamp, device) if base else None
        if self._kept:
            self.model = self._kept.model
        else:
            self._prepare(features, pairs, torch.device(device))

    def _prepare(self, features: Mapping[str, np.ndarray], pairs: pd.DataFrame, device: torch.device) -> None:
        """The corpus, the split into training and held-out pairs, and the untrained model."""
        config, precision = self.config, getattr(torch, self.config.precision)
        limit = config.pooling.shots_read
        self._corpus = MovieCorpus(features, limit, True, device, precision, whiten=config.whiten)
        self._rng = np.random.default_rng(config.seed)
        similar = np.unique(self._corpus.pair_codes(pairs))
        self._pairs, *self._held = split_pairs(self._rng, len(features), similar, config.held_out)
        self._taken = np.union1d(similar, self._held[1])
        if len(similar) == len(features) * (len(features) - 1) // 2:
            self._pairs = similar[:0]  # none is left to tell them from: the model stays as it is drawn
        with torch.random.fork_rng([device] if device.type == "cuda" else []):
            torch.manual_seed(config.seed)
            model = MoviePairModel(config.pooling, self._corpus.width, config.hidden, config.dropout)
            self.model = model.to(device)
            self._length = start_length(self.model, self._corpus)
            self._random = torch.random.get_rng_state()  # training goes on from there
        self._corpus.multiply(self._length)

    def __iter__(self) -> Iterator[FilmPairs]:
        """The batches of all epochs; an epoch passes over the similar pairs once, with as many random ones.

        Inside the loop torch draws from this training's own random numbers.
        """
        if self._kept or not len(self._pairs):
            return
        config, half, device = self.config, self.config.batch // 2, self._corpus.device
        bar = Progress("movie similarity", -(-len(self._pairs) // half) * config.epochs, "steps")
        self.model.train()
        with torch.random.fork_rng([device] if device.type == "cuda" else []):
            torch.manual_seed(config.seed)
            torch.random.set_rng_state(self._random)
            for epoch in range(config.epochs):
                start, self._seen = time.perf_counter(), []
                positive = self._rng.permutation(self._pairs)
                negative = draw_dissimilar(self._rng, len(self._corpus.films), self._taken, len(positive))
                for at in range(0, len(positive), half):
                    codes = np.concatenate([positive[at : at + half], negative[at : at + half]])
                    yield from self._parts(codes)
                    bar.step()
                self._keep_log(epoch, 2 * len(positive) / (time.perf_counter() - start))

    def _parts(self, codes: np.ndarray) -> Iterator[FilmPairs]:
        """One batch, similar pairs first, in parts of at most `part` pairs where it has many films."""
        ab = self._corpus.films_of(codes)  # [2, b]
        ab = np.where(self._rng.random(len(codes)) < 0.5, ab, ab[::-1])
        device, size, shots = self._corpus.device, self.config.part, self.config.pooling.shots_read
        size = len(codes) if len(np.unique(ab)) <= 2 * size else size
        films = torch.from_numpy(ab).to(device)
        similar = torch.from_numpy(np.repeat([1, 0], len(codes) // 2)).to(device)  # [b]
        self._seen.append(torch.zeros(2, device=device))
        for at in range(0, len(codes), size):
            once, rows = films[:, at : at + size].flatten().unique(return_inverse=True)
            x, lengths = self._corpus.take(once, shots)
            last = at + size >= len(codes)
            yield FilmPairs(x, lengths, rows, similar[at : at + size], len(codes), last)

    def record(self, part: FilmPairs, loss: Tensor, logits: Tensor) -> None:
        """Adds a part's share of the batch's loss and hits to the log; nothing waits for the device.

        Args:
            loss: scalar, already divided by the batch's film pairs. logits: [b, 2].
        """
        hits = (logits.argmax(1) == part.similar).sum() / part.batch
        self._seen[-1] += torch.stack([loss.detach(), hits])

    def _keep_log(self, epoch: int, rate: float) -> None:
        values = torch.stack(self._seen).double().cpu().numpy()  # [steps, 2]; the only wait for the device
        if not np.isfinite(values).all():
            raise M2SError(f"the loss is not finite in epoch {epoch}: lower lr (now {self.config.lr})")
        at = len(self._log)
        self._log += [(at + i, epoch, *value, self.config.lr, rate) for i, value in enumerate(values)]

    def finish(self) -> TrainedMovie:
        """Measures the model on the held-out pairs, makes it one for raw shot features, writes its files."""
        if self._kept:
            return self._kept
        model, corpus = self.model.eval(), self._corpus
        measures = measure_held_out(model, corpus, *self._held)
        fold_into_first_layer(model.encoder, corpus.mean, self._length / corpus.length, corpus.whitening)
        trained = TrainedMovie(model, pd.DataFrame(self._log, columns=list(_LOG)), *measures)
        if self._base:
            _write(self._base, self._stamp, trained)
        return trained


def movie_trainings(
    features: Mapping[str, np.ndarray],
    pairs: Mapping[str, pd.DataFrame],
    config: MovieTrainConfig,
    seeds: Sequence[int],
    folder: str | os.PathLike,
    device: str | torch.device = "cpu",
) -> Iterator[MovieTraining]:
    """One training for each source and seed; those that are done and unchanged have no batches.

    What counts as unchanged: features, film pairs, configuration, and the code of the cell (or function)
    that calls this, so that a loop with another loss is not taken for the old one.

    Args:
        features: film_id -> [n_shots, d]. pairs: source -> film_pairs table.
        config: its seed is replaced by each of `seeds`.
        folder: gets <source>-seed<n>.safetensors and beside each its log and held-out pairs.
        device: where corpus and models live.
    """
    content = _content(features) + caller_code()
    jobs = [(source, replace(config, seed=seed)) for source in pairs for seed in seeds]
    return (
        MovieTraining(
            features, pairs[source], own, device, source=source, stamp=_stamp(content, pairs[source], own),
            base=Path(folder) / f"{source}-seed{own.seed}",
        )
        for source, own in jobs
    )  # fmt: skip


def _file(base: Path, suffix: str) -> Path:
    return base.with_name(f"{base.name}.{suffix}")


def _read(base: Path, stamp: str, device) -> TrainedMovie | None:
    """What an equal training wrote; None where something of it is missing, damaged or of another stamp."""
    with contextlib.suppress(M2SError, KeyError):
        if (kept := read_json(_file(base, "json")))["stamp"] == stamp:
            log, held, roc = (read_parquet(_file(base, f"{p}.parquet")) for p in ("log", "pairs", "roc"))
            model = load_movie_encoder(_file(base, "safetensors"), device)
            return TrainedMovie(model, log, kept["held_out"], held, roc)
    return None


def _write(base: Path, stamp: str, trained: TrainedMovie) -> None:
    """Weights, tables and, last, the stamp: where it is, all is there."""
    save_movie_encoder(_file(base, "safetensors"), trained.model)
    for part, table in (("log", trained.log), ("pairs", trained.held_out_pairs), ("roc", trained.roc)):
        write_parquet(table, _file(base, f"{part}.parquet"))
    write_json(_file(base, "json"), {"stamp": stamp, "held_out": trained.held_out})


def _content(features: Mapping[str, np.ndarray]) -> bytes:
    """Hash of every film's features, read once however many encoders are trained on them."""
    digest = hashlib.blake2b(digest_size=16)
    for film in sorted(features):
        digest.update(film.encode() + np.ascontiguousarray(features[film]).tobytes())
    return digest.digest()


def _stamp(content: bytes, table: pd.DataFrame, config: MovieTrainConfig) -> str:
    """Hash of what shapes the result: configuration, pairs, and features and loop by their hash."""
    digest = hashlib.blake2b(json.dumps(asdict(config)).encode(), digest_size=16)
    digest.update(table[["film_a", "film_b"]].to_csv(index=False).encode() + content)
    return digest.hexdigest()
