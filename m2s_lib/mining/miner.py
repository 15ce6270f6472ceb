"""The work of scene mining on single film pairs: B from pooled features, then the greedy choice."""

import contextlib
import hashlib
import json
import math
import threading
import zlib
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from torch import Tensor

from m2s_lib.errors import M2SError
from m2s_lib.method.greedy import Picks, greedy_batch
from m2s_lib.method.movie_encoder import MovieEncoder, check_features
from m2s_lib.mining.similar_scenes import (
    MiningConfig,
    keep_count,
    scene_features,
    scene_similarity,
    strict_float32,
)

# pooled features kept, 2 MB for a film of 1,000 shots; to make them again is half of a product's work on a
# CPU, while on a GPU they come from main memory
_CACHE_BYTES = {"cpu": 64 << 20, "cuda": 4 << 30}
_MOST_THREADS = 4  # the greedy choice holds Python's lock for a tenth of a film pair's time
_BATCH_WINDOWS = 1 << 26  # windows of B in one batch on an accelerator: 0.25 GB of scores, 0.5 GB of keys


class PairMiner:
    """Mines film pairs one after another; what is computed for a film is kept for its next pair.

    Args:
        features: film_id -> [n_shots, d].
        config: see MiningConfig.
        encoder: E_movie or None; moved to `device`.
        device: where to encode, compare and choose.
        workers: CPU threads over film pairs; 0 is one for each core, at most four. The result is the same.
    """

    def __init__(
        self,
        features: Mapping[str, np.ndarray],
        config: MiningConfig,
        encoder: MovieEncoder | None = None,
        device: str | torch.device = "cpu",
        workers: int = 0,
    ):
        if workers < 0:
            raise M2SError(f"workers is {workers}: it must be at least 1, or 0 for one a core")
        self.features, self.config = features, config
        self.workers = workers or min(torch.get_num_threads(), _MOST_THREADS)
        self.device = torch.device(device)
        self.encoder = encoder.to(self.device).eval() if encoder is not None else None
        self._films: OrderedDict[str, Tensor] = OrderedDict()
        self._bytes, self._room = 0, _CACHE_BYTES.get(self.device.type, _CACHE_BYTES["cpu"])
        self._lock = threading.Lock()
        self._making: dict[str, threading.Lock] = {}
        self._buffers: list[Tensor] = []  # for B, of threads that are done with theirs
        self._sums: dict[str, int] = {}

    def mine(self, pairs: list[tuple[str, str]]) -> pd.DataFrame:
        """Scene pairs of some film pairs, as `mine_pairs` returns them."""
        batched = self.device.type != "cpu" and self.config.is_papers
        with strict_float32(), torch.inference_mode():
            picks = self._choose_batched(pairs) if batched else self._choose(pairs)
        return self.table(pairs, [tuple(a[: self.config.count(len(a))] for a in p) for p in picks])

    def table(self, pairs: list[tuple[str, str]], picks: list[Picks]) -> pd.DataFrame:
        """The contract's columns from the picks of each pair."""
        counts = [len(i) for i, _, _ in picks]
        none = np.empty(0, dtype=np.int64)
        films = [pd.array([pair[side] for pair in pairs], dtype="str").repeat(counts) for side in (0, 1)]
        columns = {
            "film_a": films[0],
            "film_b": films[1],
            "shot_a": np.concatenate([none, *(i for i, _, _ in picks)]),
            "shot_b": np.concatenate([none, *(j for _, j, _ in picks)]),
            "n_shots": np.full(sum(counts), self.config.n_shots, dtype=np.int64),
            "score": np.concatenate([np.empty(0, np.float32), *(s for _, _, s in picks)]),
            "rank": np.concatenate([none, *(np.arange(1, count + 1) for count in counts)]),
        }
        return pd.DataFrame(columns)

    def digest(self, pairs: list[tuple[str, str]]) -> str:
        """Hash of all that shapes these pairs' result: configuration, E_movie, film ids and features."""
        digest = hashlib.blake2b(self.config.digest(), digest_size=16)
        for tensor in self.encoder.state_dict().values() if self.encoder is not None else ():
            digest.update(tensor.cpu().numpy().tobytes())
        for film in (film for pair in pairs for film in pair):
            if film not in self._sums:
                self._sums[film] = zlib.crc32(np.ascontiguousarray(self.features[film]))
            digest.update(json.dumps([film, self._sums[film], len(self.features[film])]).encode())
        return digest.hexdigest()

    def scenes(self, film: str) -> Tensor:
        """What of a film is compared, on the device; kept while there is room.

        Returns:
            Pooled features of its scenes [M - n + 1, d]; with a similarity of one's own, its shots' [M, d].
        """
        with self._lock:
            making = self._making.setdefault(film, threading.Lock())
        with making:  # two threads that need one film do not both encode it
            with self._lock:
                if film in self._films:
                    self._films.move_to_end(film)
                    return self._films[film]
            scenes = self._compared(film)
            with self._lock:
                self._films[film] = scenes
                self._bytes += scenes.nbytes
                while self._bytes > self._room and len(self._films) > 1:
                    self._bytes -= self._films.popitem(last=False)[1].nbytes
        return scenes

    def _compared(self, film: str) -> Tensor:
        raw = np.asarray(self.features[film])
        width = raw.shape[-1] if self.encoder is None else self.encoder.fc1.in_features
        x = torch.tensor(check_features(film, raw, width)).to(self.device)
        if self.encoder is not None:
            x = self.encoder.scene_features(x)
        if self.config.normalise:
            x = F.normalize(x, dim=1)
        return scene_features(x, self.config.n_shots) if self.config.similarity is scene_similarity else x

    @torch.inference_mode()
    def similarity(self, film_a: str, film_b: str, buffer: Tensor | None = None) -> np.ndarray:
        """B of one film pair [M - n + 1, N - n + 1], float32.

        Args:
            film_a, film_b: film ids.
            buffer: memory for B, on the CPU; None takes new.
        """
        x1, x2 = self.scenes(film_a), self.scenes(film_b)
        with strict_float32():
            if self.config.similarity is not scene_similarity:
                short = min(len(x1), len(x2)) < self.config.n_shots
                b = x1.new_empty(0, 0) if short else self.config.similarity(x1, x2, self.config.n_shots)
                return np.ascontiguousarray(b.float().cpu().numpy())
            shape = len(x1), len(x2)
            out = None if buffer is None else buffer[: math.prod(shape)].view(shape)
            return torch.mm(x1, x2.T, out=out).cpu().numpy()

    def _choose(self, pairs: list[tuple[str, str]]) -> list[Picks]:
        """Film pairs side by side, each with its share of the cores: a product that all cores share waits for
        the slowest of them, and they would wait for each greedy choice."""
        workers = min(self.workers, len(pairs))
        if workers <= 1:
            return [self._choose_one(pair) for pair in pairs]
        threads = torch.get_num_threads()
        share = max(1, threads // workers)
        try:
            with ThreadPoolExecutor(workers, initializer=torch.set_num_threads, initargs=(share,)) as pool:
                return list(pool.map(self._choose_one, pairs))
        finally:
            torch.set_num_threads(threads)

    @torch.inference_mode()
    def _choose_one(self, pair: tuple[str, str]) -> Picks:
        size = math.prod(max(len(self.features[film]) - self.config.n_shots + 1, 0) for film in pair)
        buffer = None
        if self.device.type == "cpu":
            buffer = self._buffers.pop() if self._buffers else torch.empty(0)
            buffer = buffer if len(buffer) >= size else torch.empty(size)
        with _named(pair):
            b = self.similarity(*pair, buffer)
            picks = self.config.choose(b, self.config.floor(b))
        if buffer is not None:
            self._buffers.append(buffer)
        return picks

    def _choose_batched(self, pairs: list[tuple[str, str]]) -> list[Picks]:
        """The same on an accelerator: film pairs of like size are padded to one size and chosen together."""
        sizes = [max(len(self.features[film]) for film in pair) for pair in pairs]
        picks: dict[int, Picks] = {}
        order = sorted(range(len(pairs)), key=sizes.__getitem__, reverse=True)
        while order:
            count = max(1, _BATCH_WINDOWS // max(sizes[order[0]] ** 2, 1))
            part, order = order[:count], order[count:]
            picks.update(zip(part, self._choose_batch([pairs[k] for k in part]), strict=True))
        return [picks[k] for k in range(len(pairs))]

    def _choose_batch(self, pairs: list[tuple[str, str]]) -> list[Picks]:
        left, right = ([self.scenes(pair[side]) for pair in pairs] for side in (0, 1))
        pad = torch.nn.utils.rnn.pad_sequence
        b = pad(left, batch_first=True) @ pad(right, batch_first=True).mT  # [P, M, N]
        floors = []
        for k, (s1, s2) in enumerate(zip(left, right, strict=True)):
            b[k, len(s1) :] = -math.inf
            b[k, :, len(s2) :] = -math.inf
            if self.config.keep == "above_median" and len(s1) * len(s2):
                windows = b[k, : len(s1), : len(s2)].flatten()
                at = len(windows) - keep_count(len(windows), self.config.ratio)
                floors.append(windows.kthvalue(at + 1).values)
            else:
                floors.append(b.new_tensor(-math.inf))
        with _named(pairs[0]) if len(pairs) == 1 else contextlib.nullcontext():
            return greedy_batch(b, self.config.n_shots, torch.stack(floors))


@contextlib.contextmanager
def _named(pair: tuple[str, str]) -> Iterator[None]:
    """Errors inside say which film pair they are about."""
    try:
        yield
    except M2SError as error:
        raise M2SError(f"films {pair[0]!r} and {pair[1]!r}: {error}") from error
