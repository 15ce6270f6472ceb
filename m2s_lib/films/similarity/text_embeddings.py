"""Embeddings of synopses: TF-IDF, which needs no download, or a sentence-transformers model (§4.1.1)."""

import contextlib
import os
from pathlib import Path

import numpy as np
from scipy import sparse

from m2s_lib.errors import M2SError
from m2s_lib.films.similarity.watch_log import NoFilmPairs


def embed_texts(texts: list[str], model: str = "tfidf") -> np.ndarray | sparse.csr_array:
    """Embeddings [len(texts), d] of length one, so that their dot product is their cosine.

    Args:
        texts: synopses.
        model: "tfidf" (words and pairs of words, English stop words left out, sparse), or the name or folder
            of a sentence-transformers model (dense float32). The paper names a pre-trained language model
            only.

    Raises:
        M2SError: sentence-transformers is not installed, or the model cannot be had.
    """
    if model == "tfidf":
        return _tfidf(texts)
    encoder = _sentence_model(model)
    return np.asarray(encoder.encode(texts, normalize_embeddings=True, show_progress_bar=False), np.float32)


def _tfidf(texts: list[str]) -> sparse.csr_array:
    from sklearn.feature_extraction.text import TfidfVectorizer

    vectorizer = TfidfVectorizer(
        stop_words="english", sublinear_tf=True, ngram_range=(1, 2), dtype=np.float32
    )
    try:
        return sparse.csr_array(vectorizer.fit_transform(texts))
    except ValueError as error:  # no word is left after the stop words
        raise NoFilmPairs(
            f"the {len(texts):,} synopses have no words in them ({error}): check the column"
        ) from error


def _sentence_model(model: str):
    """Load a model from a folder, this machine's cache or, when it answers at once, the model hub."""
    try:
        from sentence_transformers import SentenceTransformer
    except ImportError as error:
        raise M2SError(
            f"synopsis model {model!r} needs sentence-transformers: pip install 'm2s_lib[text]', or take "
            "model='tfidf'"
        ) from error
    folder = Path(model).expanduser().is_dir()
    try:
        return SentenceTransformer(model, local_files_only=folder or not _hub_has(model))
    except Exception as error:  # the library raises a dozen kinds for absent or damaged models
        if folder:
            raise M2SError(
                f"folder {model} holds no readable sentence-transformers model ({error})"
            ) from error
        raise M2SError(
            f"text model {model!r} is neither a folder nor in the cache of this machine, and the model hub "
            "cannot be "
            "reached or does not have it: give the folder of a downloaded model, or take model='tfidf'"
        ) from error


def _hub_has(model: str) -> bool:
    """Whether the model hub knows the name and answers within five seconds; its client would retry for most
    of a minute before it gave up. HF_HUB_OFFLINE=1 means no, without asking."""
    if os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE"):
        return False
    for name in [model] if "/" in model else [f"sentence-transformers/{model}", model]:
        # not installed, offline, unknown or not allowed: all mean that it cannot be had by name
        with contextlib.suppress(Exception):
            from huggingface_hub import HfApi

            HfApi().model_info(name, timeout=5)
            return True
    return False
