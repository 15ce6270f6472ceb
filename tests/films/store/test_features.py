"""Features as they lie on disk, checked against the shots they belong to."""

import pickle

import numpy as np
import pytest

from m2s_lib.errors import M2SError
from m2s_lib.films.store.features import feature_path, read_features
from m2s_lib.io import write_npy
from tests.helpers.display_stores import make_store


@pytest.fixture
def stores(tmp_path):
    return {film: make_store(tmp_path, film, n, pixels=False) for film, n in (("a", 5), ("b", 3))}


def write(folder, **arrays):
    for film, x in arrays.items():
        write_npy(feature_path(folder, film), x)
    return folder


def rows(n, d=4, seed=0):
    return np.random.default_rng(seed).normal(size=(n, d)).astype(np.float32)


def test_features_are_mapped_and_equal_what_was_written(stores, tmp_path):
    arrays = {"a": rows(5), "b": rows(3, seed=1), "not asked for": rows(7, d=9)}
    found = read_features(write(tmp_path / "features", **arrays), stores)
    assert list(found) == ["a", "b"]
    for film, x in found.items():
        assert isinstance(x, np.memmap)
        np.testing.assert_array_equal(x, arrays[film])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"b": rows(4)}, r"film b has 3 shots but features \(4, 4\) at .*b\.npy: delete it and run stage 01"),
        ({"b": rows(3)[0]}, r"film b has 3 shots but features \(4,\)"),
        ({"b": rows(3, d=5)}, "film b has features of width 5, film a 4"),
        ({"b": np.vstack([rows(2), [np.inf] * 4])}, "features of film b are not finite at shot 2"),
        ({"a": np.full((5, 4), np.nan, np.float32)}, "features of film a are not finite at shot 0"),
    ],
)  # fmt: skip
def test_features_that_do_not_fit_name_film_and_numbers(stores, tmp_path, change, message):
    folder = write(tmp_path / "features", **({"a": rows(5), "b": rows(3)} | change))
    with pytest.raises(M2SError, match=message):
        read_features(folder, stores)


def test_features_that_cannot_be_read(stores, tmp_path):
    folder = write(tmp_path / "features", a=rows(5))
    with pytest.raises(M2SError, match=r"film b has no features at .*b\.npy: run stage 01_shot_encoding"):
        read_features(folder, stores)
    for content in (b"", (folder / "a.npy").read_bytes()[:-8], b"text"):
        (folder / "b.npy").write_bytes(content)
        with pytest.raises(
            M2SError, match=r"features of film b at .*b\.npy cannot be read .*delete it and run stage 01"
        ):
            read_features(folder, stores)


def test_nothing_is_unpickled(stores, tmp_path):
    folder = write(tmp_path / "features", a=rows(5))
    np.save(folder / "b.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(M2SError, match="features of film b at .* cannot be read"):
        read_features(folder, stores)


def test_few_are_mapped_at_a_time_and_they_travel_as_a_folder(stores, tmp_path, monkeypatch):
    monkeypatch.setattr("m2s_lib.films.store.features.OPEN", 1)
    found = read_features(write(tmp_path / "features", a=rows(5), b=rows(3)), stores)
    assert [len(found[film]) for film in ("a", "b", "a")] == [5, 3, 5]
    assert found._open.cache_info().currsize == 1
    with pytest.raises(KeyError):
        found["c"]
    assert "c" not in found
    other = pickle.loads(pickle.dumps(found))
    np.testing.assert_array_equal(other["b"], found["b"])
