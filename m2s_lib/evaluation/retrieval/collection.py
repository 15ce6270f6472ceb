"""Scenes that can be searched: their rows, their vectors by every encoder, exact search.

Nothing is computed here but what a question needs: vectors are mapped into memory, so a page that shows a
finished run opens without running its stage again.
"""

import os
import re
from collections.abc import Iterable, Mapping
from functools import cached_property, lru_cache, partial
from pathlib import Path

import numpy as np
import pandas as pd

from m2s_lib.errors import M2SError
from m2s_lib.evaluation.paper.mining_precision import scene_theme
from m2s_lib.evaluation.retrieval.index import search
from m2s_lib.films.store.shot_store import ShotStore
from m2s_lib.films.world.files import true_labels
from m2s_lib.io import read_json, read_npy, write_json, write_npy

LABELS = {"theme": "theme", "place": "place"}  # column of scenes.parquet -> what is known of every true shot
ENCODERS = "encoders.json"  # file of each encoder's vectors
PLANE = "map.npy"  # the main encoder's vectors in two dimensions
_ROWS = 1 << 11  # vectors looked at together: a mapped file may be larger than memory
_QUERIES = 64  # vectors of asked scenes kept


def scene_labels(
    scenes: pd.DataFrame, stores: Mapping[str, ShotStore], folder: str | os.PathLike
) -> pd.DataFrame:
    """What is known of each scene: the label of most of its shots, a column for each of `LABELS`.

    Args:
        scenes: film_id, shot, n_shots.
        folder: of the embedded films; films that are not among them have the label ''.

    Returns:
        The table with the columns; without them where no film is known.
    """
    known = [film for film in scenes["film_id"].unique() if _truth(folder, film).is_file()]
    if not known:
        return scenes
    of_film = {film: _shot_labels(folder, film, stores[film]) for film in known}
    rows = list(scenes[["film_id", "shot", "n_shots"]].itertuples(index=False))
    columns = {
        name: [scene_theme(of_film[f][name], s, n) if f in of_film else "" for f, s, n in rows]
        for name in LABELS
    }
    return scenes.assign(**columns)


def _truth(folder: str | os.PathLike, film: str) -> Path:
    return Path(folder) / "truth" / f"{film}.parquet"


def _shot_labels(folder: str | os.PathLike, film: str, store: ShotStore) -> dict[str, list]:
    """Label of every shot of a film, by column of `LABELS`."""
    start, end = store.shots["start_frame"], store.shots["end_frame"]
    return {name: true_labels(folder, film, start, end, of) for name, of in LABELS.items()}


def write_vectors(
    folder: str | os.PathLike, vectors: Iterable[tuple[str, np.ndarray]]
) -> dict[str, np.ndarray]:
    """Writes vectors by encoder and maps them into memory; one encoder's are in memory at a time.

    The first is embeddings.npy, the others lie beside it. encoders.json says which file is whose:
    {"E_scene": "embeddings.npy", "colour": "encoders/1_colour.npy"}; map.npy is the first in two dimensions.

    Args:
        folder: where to. vectors: name and float32 [scenes, d], the main encoder first.
    """
    folder, names = Path(folder), {}
    for name, values in vectors:
        slug = re.sub(r"\W+", "_", name).strip("_").lower()
        names[name] = f"encoders/{len(names)}_{slug}.npy" if names else "embeddings.npy"
        write_npy(folder / names[name], np.asarray(values, np.float32))
        n = len(values)
        del values  # before the next encoder's are made
    write_json(folder / ENCODERS, names)
    vectors = read_vectors(folder, n)
    write_npy(folder / PLANE, main_plane(next(iter(vectors.values()))))
    return vectors


def main_plane(vectors: np.ndarray) -> np.ndarray:
    """Vectors [N, d] in the two directions in which they differ most (PCA): float32 [N, 2]."""
    parts = [vectors[i : i + _ROWS] for i in range(0, len(vectors), _ROWS)]
    middle = np.mean(vectors, axis=0, dtype=np.float64)
    covariance = sum((x - middle).T @ (x - middle) for x in parts)  # [d, d]
    axes = np.linalg.eigh(covariance)[1][:, :-3:-1]  # [d, 2 or 1], the main one first
    plane = np.concatenate([(x - middle) @ axes for x in parts])
    return np.pad(plane, ((0, 0), (0, 2 - plane.shape[1]))).astype(np.float32)


def read_plane(folder: str | os.PathLike) -> np.ndarray | None:
    """What `write_vectors` kept of the main encoder in two dimensions, float32 [N, 2]; None in older runs."""
    path = Path(folder) / PLANE
    return read_npy(path) if path.is_file() else None


def read_vectors(folder: str | os.PathLike, n: int) -> dict[str, np.ndarray]:
    """What `write_vectors` wrote, mapped into memory: encoder -> float32 [n, d], the main one first."""
    folder = Path(folder)
    return {name: _mapped(folder, file, n) for name, file in read_json(folder / ENCODERS).items()}


def _mapped(folder: Path, file: str, n: int) -> np.ndarray:
    path = folder / file
    if path.resolve().parent not in (folder.resolve(), folder.resolve() / "encoders"):
        raise M2SError(f"{folder / ENCODERS} names {file!r}, which is not in its folder: run 08 again")
    try:
        vectors = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise M2SError(f"{path} cannot be read ({error}): run stage 08 again") from error
    if vectors.ndim != 2 or len(vectors) != n or vectors.dtype != np.float32:
        raise M2SError(
            f"{path} is {vectors.dtype} {vectors.shape}, expected float32 rows for {n} scenes: run stage 08 "
            "again"
        )
    return vectors


class SceneCollection:
    """Scenes that can be searched.

    Args:
        run_dir: the run. scenes: film_id, shot, n_shots, start_s, end_s and labels, one row a scene.
        films: film_id, title, path. stores: film_id -> shot store.
        vectors: encoder -> float32 [scenes, d], the main one first.
        encoders: embeds a scene that is not among them, see `query.QueryEncoders`.
        scan: how the run's films became shots; files given as queries are read like that.
        truth: folder of the embedded films.
        plane: of `read_plane`.

    Attributes:
        titles, media: film_id -> title, path of its file. Those of the arguments' names, too.
        words_encoder: the encoder that knows words, '' where none does.
    """

    def __init__(self, run_dir, scenes, films, stores, vectors, encoders, scan, truth, plane=None):
        self.run_dir, self.scenes, self.stores, self.scan = Path(run_dir), scenes, stores, scan
        self.films, self._plane, self._query_encoders = films, plane, encoders
        named = getattr(encoders, "words_encoder", "")
        self.words_encoder = named if named in vectors else ""
        self.titles = dict(zip(films["film_id"], films["title"].astype(str), strict=True))
        self.media = dict(zip(films["film_id"], films["path"].astype(str), strict=True))
        self._vectors, self._truth = vectors, truth
        self._code, known = pd.factorize(scenes["film_id"])  # numbers: a name for each scene takes memory
        self._codes = {str(film): code for code, film in enumerate(known)}
        self._shot, self._length = (scenes[c].to_numpy(np.int64) for c in ("shot", "n_shots"))
        self._embed = lru_cache(_QUERIES)(lambda *scene, **how: encoders.embed(*scene, **how))
        self._labels_of = lru_cache(None)(partial(_shot_labels, truth))

    @property
    def encoders(self) -> tuple[str, ...]:
        return tuple(self._vectors)

    @cached_property
    def plane(self) -> np.ndarray:
        """All scenes in two dimensions, float32 [N, 2]; of an older run computed once and kept."""
        if self._plane is not None:
            return self._plane
        path = self.run_dir / ".cache" / PLANE
        if not path.is_file():
            write_npy(path, main_plane(self._vectors[self.encoders[0]]))
        return read_npy(path)

    def nearest(
        self,
        encoder: str,
        store: ShotStore,
        shot: int,
        n_shots: int,
        k: int,
        *,
        keep: np.ndarray | None = None,
        own_film: bool = False,
    ) -> tuple[np.ndarray, np.ndarray]:
        """The k scenes nearest to a scene, which need not be one of the collection's.

        Args:
            encoder: one of `encoders`.
            store, shot, n_shots: the scene asked for; one of the collection is known by its film_id.
            keep: bool [N], scenes that may be returned; None: all.
            own_film: whether scenes of the query's own film may be returned; the query itself never is.

        Returns:
            distances float32 [at most k] (L2, exact; ties in the table's order) and rows int64 of `scenes`.
        """
        if encoder not in self._vectors:
            raise M2SError(f"there is no encoder {encoder!r} here: {', '.join(self._vectors)}")
        keep = np.ones(len(self.scenes), bool) if keep is None else keep.copy()
        keep[self._row(store, shot, n_shots) if own_film else self._rows_of(store)] = False
        if not keep.any():
            return np.zeros(0, np.float32), np.zeros(0, np.int64)
        query = self.vector(encoder, store, shot, n_shots)
        distance, rows = search(self._vectors[encoder], query[None], min(k, int(keep.sum())), keep=keep)
        return distance[0], rows[0]

    def nearest_words(
        self, text: str, k: int, *, keep: np.ndarray | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """The k scenes whose pictures are nearest to a text, by cosine.

        Returns: 1 - cosine, float32 [at most k], and rows, as `nearest`.
        Raises: M2SError where no encoder knows words.
        """
        if not self.words_encoder:
            raise M2SError("no encoder of this run knows words: ask for a scene instead")
        vectors = self._vectors[self.words_encoder]
        far = 1 - vectors @ self._query_encoders.embed_words(text) / np.linalg.norm(vectors, axis=1)
        rows = np.arange(len(far)) if keep is None else np.flatnonzero(keep)
        rows = rows[np.argsort(far[rows], kind="stable")[:k]]
        return far[rows].astype(np.float32), rows

    def vector(self, encoder: str, store: ShotStore, shot: int, n_shots: int) -> np.ndarray:
        """A scene's vector, float32 [d]: read where the collection has it, else computed and kept."""
        row = self._row(store, shot, n_shots)
        if len(row):
            return np.asarray(self._vectors[encoder][row[0]], np.float32)
        return self._embed(encoder, store, shot, n_shots, indexed=self._is_ours(store))

    def labels(self, store: ShotStore, shot: int, n_shots: int) -> dict[str, str]:
        """What is known of any scene: {"theme": ..., "place": ...}; {} where nothing is."""
        columns = [c for c in LABELS if c in self.scenes]
        row = self._row(store, shot, n_shots)
        if len(row):
            return {c: str(self.scenes[c].iat[row[0]]) for c in columns}
        if not (columns and self._is_ours(store) and _truth(self._truth, store.film_id).is_file()):
            return {}
        of_shots = self._labels_of(store.film_id, store)
        return {c: str(scene_theme(of_shots[c], shot, n_shots)) for c in columns}

    def _rows_of(self, store: ShotStore) -> np.ndarray:
        """Rows of `scenes` that are of this store's film, ascending."""
        code = self._codes.get(store.film_id, -1) if self._is_ours(store) else -1
        return np.flatnonzero(self._code == code)

    def _row(self, store: ShotStore, shot: int, n_shots: int) -> np.ndarray:
        """Row of `scenes` that is this scene, the last of several, as an array of one or none."""
        rows = self._rows_of(store)
        return rows[(self._shot[rows] == shot) & (self._length[rows] == n_shots)][-1:]

    def _is_ours(self, store: ShotStore) -> bool:
        return store.film_id in self.stores and self.stores[store.film_id].path == store.path
