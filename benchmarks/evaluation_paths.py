"""Evaluation: nearest scenes, probes."""

import math

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from benchmarks.setting import Benchmark, Setting, agree
from benchmarks.timing import Work
from m2s_lib.errors import M2SError
from m2s_lib.evaluation.probes.hashed_random import ORDER, hash_keys, kept_units, shuffled
from m2s_lib.evaluation.probes.probes import ProbeConfig, train_probes
from m2s_lib.evaluation.retrieval.index import search

K = 10


def nearest(setting: Setting) -> Work:
    """The ten nearest of 200,000 scenes for 500 queries, exactly; the floor is the product of the two.

    On CUDA ours is FAISS's index on the GPU, against the same on the CPU.
    """
    import faiss

    if setting.device.type == "cuda" and not getattr(faiss, "get_num_gpus", lambda: 0)():
        raise M2SError("this FAISS sees no GPU, and search would run on the CPU: install faiss-gpu-cu12")

    n, queries = setting.size(200_000, 2_000), setting.size(500, 20)
    rng = np.random.default_rng(0)
    x = film_vectors(rng, n)
    q = film_vectors(rng, queries)
    flat = faiss.IndexFlatL2(x.shape[1])
    flat.add(x)
    agree("nearest scenes", search(x, q, K)[1], flat.search(q, K)[1])
    table, asked = (torch.from_numpy(v).to(setting.device) for v in (x, q))
    return Work(lambda: flat.search(q, K), lambda: search(x, q, K), lambda: asked @ table.T, per=queries)


def film_vectors(rng: np.random.Generator, n: int, d: int = 512) -> np.ndarray:
    """Made-up embeddings [n, d] float32 of unit length."""
    x = rng.standard_normal((n, d), dtype=np.float32)
    return x / np.linalg.norm(x, axis=1, keepdims=True)


def narrow_probes(setting: Setting) -> Work:
    """64 probes of width 64 (a search over rates and seeds), trained together for 20 of LVU's 400 epochs; the
    loop trains eight of them."""
    config, count, epochs = ProbeConfig(hidden=64, batch=16), setting.size(64, 4), setting.size(20, 2)
    return _probes(setting, config, count, epochs, in_loop=setting.size(8, 2))


def wide_probes(setting: Setting) -> Work:
    """The paper's width of 512: eight probes on the CPU; 64 on CUDA, for 40 of LVU's 400 epochs there."""
    count, epochs = setting.size(8, 2, gpu=64), setting.size(4, 1, gpu=40)
    return _probes(setting, ProbeConfig(hidden=512, batch=128), count, epochs, in_loop=count)


def _probes(setting: Setting, config: ProbeConfig, count: int, epochs: int, in_loop: int) -> Work:
    n, d, device = setting.size(512, 64), 512, setting.device
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((n, d)).astype(np.float32), rng.integers(0, 5, n)
    x_val, y_val = x[: n // 4], y[: n // 4]
    configs = [
        ProbeConfig(hidden=config.hidden, batch=config.batch, epochs=epochs, seed=s, lr=0.02 * (1 + s % 5))
        for s in range(count)
    ]

    def together() -> list:
        return train_probes(x, y, x_val, y_val, configs, outputs=5, device=device)

    def one_by_one(same_draws: bool = False) -> list[float]:
        return [_one(x, y, x_val, y_val, c, device, same_draws) for c in configs[:in_loop]]

    agree("probes", [p.val_loss for p in together()[:in_loop]], one_by_one(same_draws=True), 5e-3)
    return Work(one_by_one, together, per=count, base_per=in_loop)


def _one(x, y, x_val, y_val, c: ProbeConfig, device: torch.device, same_draws: bool) -> float:
    """A probe as one would write it with torch: best validation loss. With `same_draws` the order of items
    and the dropout are drawn as ours are, so that results can be compared; timed is torch's own drawing."""
    mean, std = x.mean(0), x.std(0)
    x, x_val = (torch.from_numpy((v - mean) / std).to(device) for v in (x, x_val))
    y, y_val = (torch.from_numpy(v).to(device) for v in (y, y_val))
    layers = _layers([x.shape[1], c.hidden, c.hidden, 5], c.seed, device)
    sgd = torch.optim.SGD([p for layer in layers for p in layer.parameters()], lr=c.lr)
    best = math.inf
    for epoch in range(1, c.epochs + 1):
        order, masks = torch.randperm(len(x), device=device), None
        if same_draws:
            order, masks = (v.to(device) for v in _our_draws(c, epoch, len(x)))
        for first in range(0, len(x), c.batch):
            rows = slice(first, first + c.batch)
            h = x[order[rows]]
            for i, layer in enumerate(layers[:-1]):
                h = torch.relu(layer(h))
                h = F.dropout(h, c.dropout) if masks is None else h * masks[i, rows]
            sgd.zero_grad()
            F.cross_entropy(layers[-1](h), y[order[rows]]).backward()
            sgd.step()
        with torch.no_grad():
            h = torch.relu(layers[1](torch.relu(layers[0](x_val))))
            best = min(best, float(F.cross_entropy(layers[2](h), y_val)))
    return best


def _our_draws(c: ProbeConfig, epoch: int, n: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Our order of n items [n] and our dropout of both layers [2, n, hidden] in an epoch."""
    seeds, drop = np.array([c.seed], np.uint64), torch.full((1, 1, 1), c.dropout)
    order = shuffled(hash_keys(seeds, epoch, ORDER), torch.tensor([n]))[0]
    masks = [kept_units(hash_keys(seeds, epoch, i + 1), drop, 0, n, c.hidden)[0] for i in (0, 1)]
    return order, torch.stack(masks)


def _layers(sizes: list[int], seed: int, device: torch.device) -> list[nn.Linear]:
    generator = torch.Generator().manual_seed(seed)
    layers = [nn.Linear(a, b) for a, b in zip(sizes, sizes[1:], strict=False)]
    with torch.no_grad():
        for layer in layers:
            bound = layer.in_features**-0.5
            weight = torch.rand(layer.in_features, layer.out_features, generator=generator)
            layer.weight.copy_((2 * weight - 1).T * bound)
            layer.bias.copy_((2 * torch.rand(layer.out_features, generator=generator) - 1) * bound)
    return [layer.to(device) for layer in layers]


LOOP = "a torch loop, one by one"
BENCHMARKS = [
    Benchmark("nearest scenes", "query", "faiss.IndexFlatL2", nearest, (0.9,), ()),
    Benchmark("probes, width 64", "probe", LOOP, narrow_probes, (10,), ()),
    Benchmark("probes, width 512", "probe", LOOP, wide_probes, (0.9,), (30,)),
]
