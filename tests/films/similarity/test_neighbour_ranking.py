"""Ranking neighbours in blocks, against a loop."""

import numpy as np
import pytest
from scipy import sparse

from m2s_lib.films.similarity import neighbour_ranking


@pytest.mark.parametrize("form", [np.asarray, sparse.csr_array])
@pytest.mark.parametrize("seed", range(4))
def test_nearest_by_dot_equals_the_oracle(seed, form, monkeypatch):
    monkeypatch.setattr(neighbour_ranking, "_CELLS", 30)
    x = np.random.default_rng(seed).integers(-2, 3, (11, 3)).astype(np.float32)  # many ties
    film, neighbour, rank, score = neighbour_ranking.nearest_by_dot(form(x), 3)
    expected = []
    for i in range(11):
        found = sorted((-float(x[i] @ x[j]), j) for j in range(11) if j != i and x[i] @ x[j] > 0)[:3]
        expected += [(i, j, r, -s) for r, (s, j) in enumerate(found, start=1)]
    assert list(zip(film, neighbour, rank, score, strict=True)) == expected


def test_one_pair_from_two_directions():
    ids = np.array(["a", "b", "c"], dtype=object)
    pairs = neighbour_ranking.undirected_pairs(
        ids,
        film=[0, 1, 2, 0],
        neighbour=[1, 0, 0, 2],
        rank=[2, 1, 1, 1],
        score=[0.5, 0.7, 0.2, 0.2],
        source="x",
        counts={},
    )
    assert pairs.to_dict("list") == {
        "film_a": ["a", "a"],
        "film_b": ["b", "c"],
        "rank": [1, 1],
        "score": [0.7, 0.2],
        "source": ["x", "x"],
    }
    assert pairs.attrs["counts"] == {"films": 3, "films_with_neighbours": 3, "pairs": 2}
