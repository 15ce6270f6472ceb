"""Evaluation: nearest scenes."""

import numpy as np
import torch

from benchmarks.setting import Benchmark, Setting, agree
from benchmarks.timing import Work
from m2s_lib.errors import M2SError
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


BENCHMARKS = [
    Benchmark("nearest scenes", "query", "faiss.IndexFlatL2", nearest, (0.9,), ()),
]
