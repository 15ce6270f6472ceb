"""The method's hot paths over film pairs: movie-pair training, scene mining, the greedy choice."""

import itertools
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.setting import NONE, Benchmark, Setting, agree, film_like
from benchmarks.timing import Work
from m2s_lib.method.greedy import greedy_batch, greedy_pairs
from m2s_lib.method.movie_encoder import MoviePairModel
from m2s_lib.mining.miner import MiningConfig, PairMiner, strict_float32

N_SHOTS = 9


def movie_pairs(setting: Setting) -> Work:
    """One training step of E_movie: forward and backward over film pairs of 1,024 shots.

    On CUDA 256 pairs in bf16 under autocast, features resident; the two sides are compared in float32, on a
    few of the pairs. The floor is FC1's two products over the shots that are read.
    """
    pairs, device = setting.size(8, 1, gpu=256), setting.device
    kind = torch.bfloat16 if setting.gpu else torch.float32
    torch.manual_seed(0)
    model = MoviePairModel().to(device).train()
    shots = model.pooling.shots
    x1, x2 = (torch.randn(pairs, shots, 512, device=device).to(kind) for _ in range(2))
    lengths = torch.full((pairs,), shots, device=device)
    target = torch.arange(pairs, device=device) % 2

    def literal(x1: Tensor, x2: Tensor) -> Tensor:
        a, pooling = model.encoder(x1) @ model.encoder(x2).mT, model.pooling  # [b, u, v]
        b = F.avg_pool2d(a[:, None], pooling.avg_kernel, pooling.avg_stride)
        v = F.max_pool2d(b, pooling.max_kernel, pooling.max_stride)
        return model.output(v.flatten(1))

    def ours(x1: Tensor, x2: Tensor) -> Tensor:
        return model(x1, lengths[: len(x1)], x2, lengths[: len(x2)])

    def step(logits, x1: Tensor, x2: Tensor, bf16: bool = True) -> tuple[Tensor, Tensor]:
        model.zero_grad(set_to_none=True)
        with setting.bf16(bf16):
            out = logits(x1, x2)
        F.cross_entropy(out.float(), target[: len(x1)]).backward()
        return out.detach().float(), model.encoder.fc1.weight.grad

    _same_steps(model, step, ours, literal, x1[:8].float(), x2[:8].float(), setting)
    read = model.pooling.shots_read
    x = torch.cat([x1[:, :read], x2[:, :read]]).flatten(0, 1)
    weight, h = model.encoder.fc1.weight.detach().to(kind), torch.randn_like(x)

    def gemms() -> tuple[Tensor, Tensor]:
        return x @ weight.T, h.T @ x

    return Work(lambda: step(literal, x1, x2), lambda: step(ours, x1, x2), gemms, per=pairs)


def _same_steps(model, step, ours, literal, x1: Tensor, x2: Tensor, setting: Setting) -> None:
    """Without dropout both sides give the same logits and gradients in float32, and nearly so in bf16."""
    model.eval()
    logits, gradient = (t.clone() for t in step(literal, x1, x2, False))
    for found, expected in zip(step(ours, x1, x2, False), (logits, gradient), strict=True):
        agree("movie pair step", found, expected, 1e-4)
    if setting.gpu:
        for side in (ours, literal):
            apart = (step(side, x1, x2)[0] - logits).abs().max() / logits.abs().max()
            agree("movie pair step in bf16", apart, 0.0, 0.1)
    model.train()


def mining(setting: Setting) -> Work:
    """Film pairs of 1,000 shots to scene pairs: 120 pairs of 16 films, whose pooled features are at hand.

    The script does one pair a call. The floor is the faster of the bare products by all cores together and by
    one core each, side by side. On CUDA see `_mining_on_gpu`.
    """
    if setting.gpu:
        return _mining_on_gpu(setting)
    features, config = _films(setting.size(16, 3), setting), MiningConfig(N_SHOTS, ratio=1.0)
    pairs = list(itertools.combinations(features, 2))
    miner = PairMiner(features, config)

    def script(pair: tuple[str, str] = pairs[0]) -> list[tuple[int, int]]:
        return _sort_and_walk(*(torch.from_numpy(features[film]) for film in pair))

    ours = miner.mine(pairs)
    for a, b in pairs[:2]:
        of_pair = ours[(ours["film_a"] == a) & (ours["film_b"] == b)]
        agree("scene mining", of_pair[["shot_a", "shot_b"]].to_numpy(), np.array(script((a, b))), 0)
    scenes = [miner.scenes(film) for film in features]
    floors = _bare_products(list(itertools.combinations(scenes, 2)))
    return Work(script, lambda: miner.mine(pairs), floors, per=len(pairs), base_per=1)


def _films(count: int, setting: Setting) -> dict[str, np.ndarray]:
    rng, shots = np.random.default_rng(0), setting.size(1000, 120)
    return {f"film {i:04d}": film_like(rng, shots) for i in range(count)}


def _sort_and_walk(x1: Tensor, x2: Tensor) -> list[tuple[int, int]]:
    """What a script does: A, its averages over 9 x 9, all windows sorted, and a walk down the list."""
    b = F.avg_pool2d((x1 @ x2.T)[None], N_SHOTS, 1)[0]
    if not b.is_cuda:
        return _walk(b.numpy())
    return _walk_down(b.flatten().argsort(descending=True, stable=True).cpu().numpy(), *b.shape)


def _bare_products(pairs: list[tuple[Tensor, Tensor]]) -> tuple:
    """The products of film pairs into one buffer: each by all cores, or one core each and side by side."""
    threads, size = torch.get_num_threads(), (len(pairs[0][0]), len(pairs[0][1]))
    buffers = [torch.empty(size) for _ in range(threads)]
    own = threading.local()

    def all_cores() -> None:
        for s1, s2 in pairs:
            torch.mm(s1, s2.T, out=buffers[0])

    def one(pair: tuple[Tensor, Tensor]) -> None:
        torch.mm(pair[0], pair[1].T, out=own.buffer)

    def start(free: list[Tensor]) -> None:
        torch.set_num_threads(1)
        own.buffer = free.pop()

    def one_core_each() -> None:
        try:
            with ThreadPoolExecutor(threads, initializer=start, initargs=(list(buffers),)) as pool:
                list(pool.map(one, pairs))
        finally:
            torch.set_num_threads(threads)

    return all_cores, one_core_each


def _mining_on_gpu(setting: Setting) -> Work:
    """Film pairs of 1,000 shots to scene pairs, end to end: features from main memory, pooled on the device,
    B, the choice and the table.

    A sample of 3,000 pairs of 1,000 films stands for the paper's 91,000 pairs of 30,340 films: there too each
    film is in six pairs. The script takes one pair a call, with A, its averages and the sort on the device.
    The floor is the products in strict float32 alone, in batches.
    """
    features, config = _films(setting.size(1000, 8), setting), MiningConfig(N_SHOTS, ratio=1.0)
    films, device = list(features), setting.device
    pairs = [(films[i], films[(i + step) % len(films)]) for i in range(len(films)) for step in (1, 2, 3)]

    def ours():
        return PairMiner(features, config, device=device).mine(pairs)

    def script() -> list[tuple[int, int]]:
        return _sort_and_walk(*(torch.from_numpy(features[film]).to(device) for film in pairs[0]))

    found, miner = ours(), PairMiner(features, config, device=device)
    some = pairs[:4]
    left, right = (torch.stack([miner.scenes(pair[side]) for pair in some]) for side in (0, 1))
    with strict_float32():
        b = left @ right.mT
    for (film_a, film_b), one, picks in zip(some, b.cpu().numpy(), greedy_batch(b, N_SHOTS), strict=True):
        i, j, score = greedy_pairs(one, N_SHOTS)  # the same B: the same list, to the last place
        agree("scene mining, one B", np.stack(picks[:2]), np.stack([i, j]))
        whole = found[(found["film_a"] == film_a) & (found["film_b"] == film_b)]["score"]
        agree("scene mining, mean score", whole.mean(), score.mean(), 1e-4)  # its own B may swap near ties
    times = -(-len(pairs) // 60)
    left, right = (x.repeat(15, 1, 1) for x in (left, right))  # 60 pairs, the size of a batch
    buffer = left.new_empty(len(left), left.shape[1], right.shape[1])

    def products() -> None:
        for _ in range(times):
            torch.bmm(left, right.mT, out=buffer)

    return Work(script, ours, products, per=len(pairs), base_per=1)


def greedy(setting: Setting) -> Work:
    """The greedy choice alone, on B of two made-up films of 1,000 shots."""
    shots = setting.size(1000, 120)
    rng = np.random.default_rng(1)
    b = film_like(rng, shots) @ film_like(rng, shots).T
    return _greedy_work(b, _walk)


def greedy_adversarial(setting: Setting) -> Work:
    """The greedy choice where every row wants the same columns, against repeated argmax."""
    shots = setting.size(1000, 120)
    rng = np.random.default_rng(2)
    b = (np.sort(rng.standard_normal(shots))[None] + 1e-3 * rng.standard_normal((shots, shots))).astype(
        np.float32
    )
    return _greedy_work(b, _repeated_argmax)


def _greedy_work(b: np.ndarray, baseline) -> Work:
    ours = np.stack(greedy_pairs(b, N_SHOTS)[:2], 1)
    agree("greedy choice", ours, np.array(baseline(b)), 0)
    return Work(lambda: baseline(b), lambda: greedy_pairs(b, N_SHOTS), lambda: b.argmax(axis=1))


def _walk(b: np.ndarray) -> list[tuple[int, int]]:
    return _walk_down(np.argsort(-b, axis=None, kind="stable"), *b.shape)


def _walk_down(order: np.ndarray, m: int, n: int) -> list[tuple[int, int]]:
    rows, columns, found = np.ones(m, bool), np.ones(n, bool), []
    for at in order:
        i, j = divmod(int(at), n)
        if rows[i] and columns[j]:
            found.append((i, j))
            rows[max(i - N_SHOTS + 1, 0) : i + N_SHOTS] = False
            columns[max(j - N_SHOTS + 1, 0) : j + N_SHOTS] = False
    return found


def _repeated_argmax(b: np.ndarray) -> list[tuple[int, int]]:
    b, found = b.copy(), []
    while True:
        i, j = divmod(int(b.argmax()), b.shape[1])
        if b[i, j] == -np.inf:
            return found
        found.append((i, j))
        b[max(i - N_SHOTS + 1, 0) : i + N_SHOTS] = -np.inf
        b[:, max(j - N_SHOTS + 1, 0) : j + N_SHOTS] = -np.inf


BENCHMARKS = [
    Benchmark("movie pair step", "film pair", "A, avg_pool2d, max_pool2d", movie_pairs,
              (3, 1.8), (4, NONE, 2.5e-3 / 256)),
    Benchmark("scene mining", "film pair", "A, avg_pool2d, argsort, walk", mining,
              (40, 1.3), (40, NONE, 60 / 91_000)),
    Benchmark("greedy choice", "film pair", "argsort, walk", greedy, (40,)),
    Benchmark("greedy choice, adversarial", "film pair", "repeated argmax", greedy_adversarial, (0.67,)),
]  # fmt: skip
