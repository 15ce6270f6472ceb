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
from dataclasses import asdict, dataclass

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from torch import Tensor

from m2s_lib.errors import M2SError
from m2s_lib.method.greedy import Picks, greedy_batch, greedy_pairs
from m2s_lib.method.movie_encoder import MovieEncoder, check_features

# pooled features kept, 2 MB for a film of 1,000 shots; to make them again is half of a product's work on a
# CPU, while on a GPU they come from main memory
_CACHE_BYTES = {"cpu": 64 << 20, "cuda": 4 << 30}
_MOST_THREADS = 4  # the greedy choice holds Python's lock for a tenth of a film pair's time
_BATCH_WINDOWS = 1 << 26  # windows of B in one batch on an accelerator: 0.25 GB of scores, 0.5 GB of keys


@dataclass(frozen=True)
class MiningConfig:
    """What counts as a similar scene pair."""

    n_shots: int = 9  # shots in a scene (supp. 1.1c)
    keep: str = "best_half"  # of the greedy picks (§4.1.2); "above_median": of all windows, before (supp. 3a)
    ratio: float = 0.5  # the share that `keep` keeps (§4.1.2)
    normalise: bool = False  # ours: cosine instead of the paper's dot product

    def __post_init__(self):
        if isinstance(self.n_shots, bool) or not isinstance(self.n_shots, int) or self.n_shots < 1:
            raise M2SError(f"a scene of {self.n_shots!r} shots: it needs a whole number, at least 1")
        if self.keep not in ("best_half", "above_median"):
            raise M2SError(f"keep is {self.keep!r}: choose 'best_half' or 'above_median'")
        if not 0 < self.ratio <= 1:
            raise M2SError(f"ratio is {self.ratio}: it is a share, above 0 and at most 1")


def scene_features(x, n: int):
    """Mean of each run of n shots at stride 1, by doubling sums (float32 cumulative sums would cancel).

    Args:
        x: shot features [M, d], numpy or torch.
        n: shots in a scene, at least 1.

    Returns:
        [M - n + 1, d], of x's kind; no rows when the film is shorter than n shots.
    """
    if n < 1:
        raise M2SError(f"a scene of {n} shots: it needs at least 1")
    rows = len(x) - n + 1
    if rows < 1:
        return x[:0]
    total, covered, power, width = None, 0, x, 1  # power[t] is the sum of the `width` shots from t on
    while covered < n:
        if n & width:
            part = power[covered : covered + rows]
            total, covered = part if total is None else total + part, covered + width
        if covered < n:
            power, width = power[:-width] + power[width:], 2 * width
    return total / n


def scene_similarity(x1, x2, n: int):
    """Scene adjacency matrix B over all n x n windows at stride 1 (supp. 1.1c), in strict float32.

    Args:
        x1, x2: shot features [M, d] and [N, d], both numpy or both torch on one device.
        n: shots in a scene.

    Returns:
        B [M - n + 1, N - n + 1]: mean dot product of the shots of scene i of film 1 and scene j of film 2.
    """
    with strict_float32():
        return scene_features(x1, n) @ scene_features(x2, n).T


@contextlib.contextmanager
def strict_float32() -> Iterator[None]:
    """No TF32 inside: its error of 1e-3 would reorder scene pairs."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


def keep_count(n_picks: int, ratio: float) -> int:
    """How many of n picks "the top `ratio`" is: rounded up, so that a single pick stays."""
    return min(n_picks, math.ceil(ratio * n_picks - 1e-9))


def score_floor(b: np.ndarray, ratio: float) -> float:
    """Lowest score among the top `ratio` of all windows of B (its median at 0.5); -inf when B is empty."""
    if not b.size:
        return -math.inf
    at = b.size - keep_count(b.size, ratio)
    return float(np.partition(b, at, axis=None)[at])


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
        self._scenes: OrderedDict[str, Tensor] = OrderedDict()
        self._bytes, self._room = 0, _CACHE_BYTES.get(self.device.type, _CACHE_BYTES["cpu"])
        self._lock = threading.Lock()
        self._making: dict[str, threading.Lock] = {}
        self._buffers: list[Tensor] = []  # for B, of threads that are done with theirs
        self._sums: dict[str, int] = {}

    def mine(self, pairs: list[tuple[str, str]]) -> pd.DataFrame:
        """Scene pairs of some film pairs, as `mine_pairs` returns them."""
        with strict_float32(), torch.inference_mode():
            picks = self._choose(pairs) if self.device.type == "cpu" else self._choose_batched(pairs)
        if self.config.keep == "best_half":
            picks = [tuple(a[: keep_count(len(a), self.config.ratio)] for a in p) for p in picks]
        return self.table(pairs, picks)

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
        """Hash of all that shapes the result for these pairs: parameters, E_movie, film ids and features."""
        digest = hashlib.blake2b(json.dumps(asdict(self.config)).encode(), digest_size=16)
        for tensor in self.encoder.state_dict().values() if self.encoder is not None else ():
            digest.update(tensor.cpu().numpy().tobytes())
        for film in (film for pair in pairs for film in pair):
            if film not in self._sums:
                self._sums[film] = zlib.crc32(np.ascontiguousarray(self.features[film]))
            digest.update(json.dumps([film, self._sums[film], len(self.features[film])]).encode())
        return digest.hexdigest()

    def scenes(self, film: str) -> Tensor:
        """Pooled features of all scenes of a film [M - n + 1, d] on the device; kept while there is room."""
        with self._lock:
            making = self._making.setdefault(film, threading.Lock())
        with making:  # two threads that need one film do not both encode it
            with self._lock:
                if film in self._scenes:
                    self._scenes.move_to_end(film)
                    return self._scenes[film]
            scenes = self._pooled(film)
            with self._lock:
                self._scenes[film] = scenes
                self._bytes += scenes.nbytes
                while self._bytes > self._room and len(self._scenes) > 1:
                    self._bytes -= self._scenes.popitem(last=False)[1].nbytes
        return scenes

    def _pooled(self, film: str) -> Tensor:
        raw = np.asarray(self.features[film])
        width = raw.shape[-1] if self.encoder is None else self.encoder.fc1.in_features
        x = torch.tensor(check_features(film, raw, width)).to(self.device)
        if self.encoder is not None:
            x = self.encoder.scene_features(x)
        if self.config.normalise:
            x = F.normalize(x, dim=1)
        return scene_features(x, self.config.n_shots)

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
        s1, s2 = (self.scenes(film) for film in pair)
        m, n = len(s1), len(s2)
        if not m * n:
            return greedy_pairs(np.empty((m, n), np.float32), self.config.n_shots)
        buffer = self._buffers.pop() if self._buffers else torch.empty(0)
        if len(buffer) < m * n:
            buffer = torch.empty(m * n)
        b = torch.mm(s1, s2.T, out=buffer[: m * n].view(m, n)).numpy()
        floor = score_floor(b, self.config.ratio) if self.config.keep == "above_median" else -math.inf
        with _named(pair):
            picks = greedy_pairs(b, self.config.n_shots, floor)
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
