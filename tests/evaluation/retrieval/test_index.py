"""Exact retrieval against brute force, its filters, precision at k, and the index on disk."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from m2s_lib.errors import M2SError
from m2s_lib.evaluation.retrieval import index as retrieval
from m2s_lib.evaluation.retrieval.index import query_precision, search, write_index


def brute_force(embeddings, queries, k, allowed):
    """Slow and obvious: all differences in float64, sorted by (distance, index). allowed: bool [q, N]."""
    distances, found = np.full((len(queries), k), np.inf), np.full((len(queries), k), -1)
    for i, query in enumerate(queries):
        exact = [float(np.sqrt(((e.astype(float) - query.astype(float)) ** 2).sum())) for e in embeddings]
        best = sorted((d, j) for j, d in enumerate(exact) if allowed[i, j])[:k]
        for place, (d, j) in enumerate(best):
            distances[i, place], found[i, place] = d, j
    return distances, found


def check(embeddings, queries, k, keep=None, films=None):
    allowed = np.ones((len(queries), len(embeddings)), bool)
    if keep is not None:
        allowed &= keep
    if films is not None:
        allowed &= np.array([[a != b for b in films[1]] for a in films[0]])
    expected_distances, expected = brute_force(embeddings, queries, k, allowed)
    distances, found = search(embeddings, queries, k, keep=keep, not_same=films)
    np.testing.assert_array_equal(found, expected)
    np.testing.assert_allclose(distances, expected_distances, rtol=1e-6)
    assert distances.dtype == np.float32
    assert found.dtype == np.int64


@pytest.mark.parametrize("shape", [(1, 4), (30, 1), (300, 16)])
@pytest.mark.parametrize("k", [1, 5, 40])
@pytest.mark.parametrize("n_queries", [1, 25])  # FAISS takes another path from 20 queries on
def test_search_equals_brute_force(shape, k, n_queries):
    rng = np.random.default_rng(k)
    embeddings = rng.standard_normal(shape, dtype=np.float32)
    check(embeddings, rng.standard_normal((n_queries, shape[1]), dtype=np.float32), k)


@pytest.mark.parametrize("n_queries", [3, 25])
def test_near_duplicates_far_from_the_origin_are_told_apart(n_queries):
    """Distances of 0.001 between vectors of length 3,000: |x|^2 + |y|^2 - 2xy in float32 cannot see them."""
    rng = np.random.default_rng(0)
    centre = 300 + rng.standard_normal(100).astype(np.float32)
    embeddings = centre + 1e-3 * rng.standard_normal((200, 100)).astype(np.float32)
    check(embeddings.astype(np.float32), np.repeat(centre[None], n_queries, 0), 5)


@pytest.mark.parametrize("n_queries", [2, 25])
def test_equal_distances_come_in_the_order_of_their_index(n_queries):
    embeddings = np.tile(np.eye(4, dtype=np.float32), (60, 1))  # 60 copies of each: more than are fetched
    _, found = search(embeddings, np.repeat(embeddings[:1], n_queries, 0), 6)
    assert found.tolist() == [[0, 4, 8, 12, 16, 20]] * n_queries
    check(embeddings, np.zeros((n_queries, 4), np.float32), 7)


@settings(deadline=None, max_examples=30)
@given(
    n=st.integers(1, 60),
    d=st.integers(1, 5),
    k=st.integers(1, 8),
    q=st.sampled_from([1, 4, 25]),
    seed=st.integers(0, 99),
)
def test_filters_equal_brute_force(n, d, k, q, seed):
    rng = np.random.default_rng(seed)
    embeddings = rng.integers(-2, 3, (n, d)).astype(np.float32)  # many ties
    queries = rng.integers(-2, 3, (q, d)).astype(np.float32)
    films = ([f"f{i}" for i in rng.integers(3, size=q)], [f"f{i}" for i in rng.integers(4, size=n)])
    check(embeddings, queries, k, keep=rng.random(n) < 0.7, films=films)
    check(embeddings, queries, k, films=films)


def test_one_film_may_fill_the_neighbourhood(monkeypatch):
    """The query's own film has more near scenes than are fetched; the answer must still be complete."""
    monkeypatch.setattr(retrieval, "_largest", lambda *_: 0)
    monkeypatch.setattr(retrieval, "_SPARE", 7)
    embeddings = np.arange(50, dtype=np.float32)[:, None]
    films = (["a"], ["a"] * 45 + ["b"] * 5)
    distances, found = search(embeddings, embeddings[:1], 3, not_same=films)
    assert found.tolist() == [[45, 46, 47]]
    assert distances.tolist() == [[45, 46, 47]]


@pytest.mark.parametrize("n_queries", [2, 25])
def test_nothing_left_to_find(n_queries):
    embeddings, queries = np.eye(3, dtype=np.float32), np.ones((n_queries, 3), np.float32)
    for filters in (
        {"keep": np.zeros(3, bool)},
        {"not_same": (["a"] * n_queries, ["a"] * 3)},
    ):
        distances, found = search(embeddings, queries, 2, **filters)
        assert np.isinf(distances).all()
        assert (found == -1).all()


def test_queries_are_asked_for_in_parts(monkeypatch):
    monkeypatch.setattr(retrieval, "_QUERIES", 3)
    rng = np.random.default_rng(0)
    embeddings = rng.standard_normal((40, 4), dtype=np.float32)
    films = [f"f{i % 7}" for i in range(40)]
    check(embeddings, embeddings[:8], 5, films=(films[:8], films))


def test_a_mapped_file_is_searched_where_it_lies(tmp_path):
    embeddings = np.random.default_rng(0).standard_normal((50, 8), dtype=np.float32)
    np.save(tmp_path / "x.npy", embeddings)
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    for keep in (None, np.arange(50) % 2 == 0):
        check(mapped, embeddings[:2], 4, keep=keep)


def test_search_that_cannot_be():
    embeddings = np.eye(3, dtype=np.float32)
    with pytest.raises(M2SError, match="k is 0, expected 1 or more"):
        search(embeddings, embeddings, 0)
    with pytest.raises(M2SError, match=r"queries have shape \(2, 4\), expected \[at least 1, 3\]"):
        search(embeddings, np.zeros((2, 4), np.float32), 1)
    with pytest.raises(M2SError, match=r"keep is int64 \(3,\), expected bool \(3,\)"):
        search(embeddings, embeddings, 1, keep=np.array([0, 1, 2]))
    with pytest.raises(
        M2SError, match="not_same has 1 and 2 films, expected one for each of 3 queries and 3 scenes"
    ):
        search(embeddings, embeddings, 1, not_same=(["a"], ["a", "b"]))
    with pytest.raises(M2SError, match=r"embeddings have shape \(0, 3\)"):
        search(embeddings[:0], embeddings, 1)
    embeddings[1, 0] = np.nan
    with pytest.raises(M2SError, match="embeddings: 1 of 3 rows are not finite, the first is row 1"):
        search(embeddings, embeddings[:1], 1)


def test_precision_of_queries_by_hand():
    queries = ["office", "school", "office"]
    neighbours = [["office", "school", "office"], ["office", "office", "school"], [None, "office", "office"]]
    assert query_precision(queries, neighbours, 1).tolist() == [1.0, 0.0, 0.0]
    assert query_precision(queries, neighbours, 2).tolist() == [0.5, 0.0, 0.5]


@pytest.mark.parametrize("k", [1, 5, 10])
def test_precision_of_queries_equals_the_oracle(k):
    rng = np.random.default_rng(k)
    queries, neighbours = rng.integers(4, size=20), rng.integers(4, size=(20, 10))
    hits = [sum(n == q for n in row[:k]) / k for q, row in zip(queries, neighbours, strict=True)]
    assert query_precision(queries, neighbours, k).tolist() == hits


def test_precision_that_cannot_be():
    with pytest.raises(M2SError, match="precision at 10 needs 10 neighbours per query, there are 5"):
        query_precision(["a"], [["a"] * 5], 10)
    with pytest.raises(M2SError, match=r"2 query labels and neighbour labels of shape \(1, 5\)"):
        query_precision(["a", "b"], [["a"] * 5], 1)


def test_the_index_on_disk_is_for_faiss(tmp_path):
    import faiss

    embeddings = np.random.default_rng(0).standard_normal((50, 8), dtype=np.float32)
    path = tmp_path / "08" / "index.faiss"
    write_index(embeddings, path)
    assert [p.name for p in path.parent.iterdir()] == ["index.faiss"]
    _, found = faiss.read_index(str(path)).search(embeddings[:3], 4)
    np.testing.assert_array_equal(found, search(embeddings, embeddings[:3], 4)[1])
    with pytest.raises(M2SError, match="1 of 1 rows are not finite"):
        write_index(np.full((1, 2), np.inf), path)


@pytest.mark.gpu
def test_the_gpu_finds_the_same():
    faiss = pytest.importorskip("faiss")
    if not hasattr(faiss, "StandardGpuResources") or faiss.get_num_gpus() == 0:
        pytest.skip("FAISS sees no GPU")
    rng = np.random.default_rng(0)
    embeddings = rng.standard_normal((3000, 64), dtype=np.float32)
    check(embeddings, embeddings[:5] + 0.1, 10)
