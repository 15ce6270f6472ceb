"""What stage 08 wrote, read back for the gallery: scenes, their vectors by every encoder, exact search.

Nothing is computed here but what a question needs: opening a collection reads tables and maps vectors into
memory, so a page that shows a finished run opens without running its stage again.
"""

import contextlib
import os
import re
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from m2s_lib.errors import M2SError
from m2s_lib.evaluation.paper.mining_precision import scene_theme
from m2s_lib.evaluation.retrieval.index import load_index, open_index, search
from m2s_lib.evaluation.retrieval.query import QueryEncoders
from m2s_lib.films.store.shot_store import ShotStore, open_stores
from m2s_lib.films.video.decoding import ScanConfig
from m2s_lib.films.world.files import true_labels
from m2s_lib.io import atomic_path, read_json, read_parquet, reserve, write_json
from m2s_lib.runs.record import located

LABELS = {"theme": "theme", "place": "place"}  # column of scenes.parquet -> what is known of every true shot
_STAGE = "08_retrieval_gallery"
_INDEXES = 6  # kept, one for each encoder and choice of scenes
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
    known = {film for film in scenes["film_id"].unique() if _truth(folder, film).is_file()}
    if not known:
        return scenes
    columns = {name: np.full(len(scenes), "", dtype=object) for name in LABELS}
    for film, rows in scenes.reset_index(drop=True).groupby("film_id", sort=False).indices.items():
        if film not in known:
            continue
        parts = scenes.iloc[rows]
        for name, of_shots in _shot_labels(folder, film, stores[film]).items():
            found = [scene_theme(of_shots, s, n) for s, n in zip(parts.shot, parts.n_shots, strict=True)]
            columns[name][rows] = found
    return scenes.assign(**columns)


def _truth(folder: str | os.PathLike, film: str) -> Path:
    return Path(folder) / "truth" / f"{film}.parquet"


def _shot_labels(folder: str | os.PathLike, film: str, store: ShotStore) -> dict[str, list]:
    """Label of every shot of a film, by column of `LABELS`."""
    start, end = store.shots["start_frame"], store.shots["end_frame"]
    return {name: true_labels(folder, film, start, end, of) for name, of in LABELS.items()}


class EmbeddingFiles:
    """Embeddings by encoder as files of a stage's folder, filled where they lie: they need not fit in memory.

    The first is embeddings.npy, the others lie beside it. encoders.json says which file is whose:
    {"E_scene": "embeddings.npy", "colour": "encoders/1_colour.npy"}.

    Args:
        folder: of stage 08. n: scenes.
    """

    def __init__(self, folder: str | os.PathLike, n: int):
        self.folder, self.n = Path(folder), n
        self._names: dict[str, str] = {}
        self._open = contextlib.ExitStack()

    def __call__(self, name: str, dim: int) -> np.ndarray:
        """An encoder's float32 [n, dim] to fill."""
        slug = re.sub(r"\W+", "_", name).strip("_").lower()
        self._names[name] = f"encoders/{len(self._names)}_{slug}.npy" if self._names else "embeddings.npy"
        path = self.folder / self._names[name]
        temporary = self._open.enter_context(atomic_path(path))
        try:
            values = np.lib.format.open_memmap(temporary, "w+", np.float32, (self.n, dim))
            reserve(temporary, path)
        except (M2SError, OSError) as error:
            self._open.__exit__(type(error), error, error.__traceback__)  # the files begun go away
            raise
        return values

    def finish(self) -> dict[str, np.ndarray]:
        """Give the files their names; what they hold, mapped into memory to be read."""
        self._open.close()
        write_json(self.folder / "encoders.json", self._names)
        return {name: _mapped(self.folder, file, self.n) for name, file in self._names.items()}


class SceneCollection:
    """Scenes that can be searched; `read_collection` makes one.

    Attributes:
        run_dir: the run. scenes: scenes.parquet, one row a scene.
        encoders: names, the main one first.
        titles, media: film_id -> title, path of its file. stores: film_id -> shot store.
        scan: how the run's films became shots; files given as queries are read like that.
    """

    def __init__(self, run_dir, scenes, films, stores, vectors, encoders, scan, truth):
        self.run_dir, self.scenes, self.stores, self.scan = Path(run_dir), scenes, stores, scan
        self.titles = dict(zip(films["film_id"], films["title"].astype(str), strict=True))
        self.media = dict(zip(films["film_id"], films["path"].astype(str), strict=True))
        self._vectors, self._encoders, self._truth = vectors, encoders, truth
        self._code, known = pd.factorize(scenes["film_id"])  # numbers: a name for each scene takes memory
        self._codes = {str(film): code for code, film in enumerate(known)}
        self._shot, self._length = (scenes[c].to_numpy(np.int64) for c in ("shot", "n_shots"))
        self._indexes, self._asked, self._labels = OrderedDict(), OrderedDict(), {}

    @property
    def encoders(self) -> tuple[str, ...]:
        return tuple(self._vectors)

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
            store, shot, n_shots: the scene asked for; one of the collection is found by its film_id.
            keep: bool [N], scenes that may be found; None: all.
            own_film: whether scenes of the query's own film may be found; the query itself never is.

        Returns:
            distances float32 [at most k] (L2, exact; ties in the table's order) and rows int64 of `scenes`.
        """
        inside = self._is_ours(store)
        own = self._rows_of(store.film_id) if inside else np.zeros(0, np.int64)
        if own_film and inside:
            own = own[own == self._row(store, shot, n_shots)]
        rows, vectors, index = self._part(encoder, keep)
        if not len(rows):
            return np.zeros(0, np.float32), np.zeros(0, np.int64)
        query = self.vector(encoder, store, shot, n_shots)
        distance, found = search(index, vectors, query[None], min(k + len(own), len(rows)))
        found = rows[found[0]]
        kept = ~np.isin(found, own)
        return distance[0][kept][:k], found[kept][:k]

    def vector(self, encoder: str, store: ShotStore, shot: int, n_shots: int) -> np.ndarray:
        """A scene's vector, float32 [d]: read where the collection has it, else computed and kept."""
        inside, row = self._is_ours(store), self._row(store, shot, n_shots)
        if row >= 0:
            return np.asarray(self._vectors[encoder][row], np.float32)
        key = (encoder, str(store.path), shot, n_shots)
        if key not in self._asked:
            self._asked[key] = self._encoders.embed(encoder, store, shot, n_shots, indexed=inside)
            if len(self._asked) > _QUERIES:
                self._asked.popitem(last=False)
        self._asked.move_to_end(key)
        return self._asked[key]

    def labels(self, store: ShotStore, shot: int, n_shots: int) -> dict[str, str]:
        """What is known of any scene: {"theme": ..., "place": ...}; {} where nothing is."""
        columns = [c for c in LABELS if c in self.scenes]
        row = self._row(store, shot, n_shots)
        if row >= 0:
            return {c: str(self.scenes[c].iat[row]) for c in columns}
        if not (columns and self._is_ours(store) and _truth(self._truth, store.film_id).is_file()):
            return {}
        if store.film_id not in self._labels:
            self._labels[store.film_id] = _shot_labels(self._truth, store.film_id, store)
        of_shots = self._labels[store.film_id]
        return {c: str(scene_theme(of_shots[c], shot, n_shots)) for c in columns}

    def _rows_of(self, film_id: str) -> np.ndarray:
        """Rows of `scenes` that are the film's, ascending."""
        return np.flatnonzero(self._code == self._codes.get(film_id, -1))

    def _row(self, store: ShotStore, shot: int, n_shots: int) -> int:
        """Row of `scenes` that is this scene, the last of several; -1 where there is none."""
        rows = self._rows_of(store.film_id) if self._is_ours(store) else np.zeros(0, np.int64)
        rows = rows[(self._shot[rows] == shot) & (self._length[rows] == n_shots)]
        return int(rows[-1]) if len(rows) else -1

    def _is_ours(self, store: ShotStore) -> bool:
        return store.film_id in self.stores and self.stores[store.film_id].path == store.path

    def _part(self, encoder: str, keep: np.ndarray | None) -> tuple:
        """Rows that may be found, their vectors, and an index of these."""
        if encoder not in self._vectors:
            raise M2SError(f"there is no encoder {encoder!r} here: {', '.join(self._vectors)}")
        key = (encoder, None if keep is None else np.packbits(keep).tobytes())
        if key not in self._indexes:
            vectors = self._vectors[encoder]
            rows = np.arange(len(vectors)) if keep is None else np.flatnonzero(keep)
            part = vectors if keep is None else np.ascontiguousarray(vectors[rows])
            self._indexes[key] = (rows, part, self._index(encoder, part, keep is None) if len(rows) else None)
            if len(self._indexes) > _INDEXES:
                self._indexes.popitem(last=False)
        self._indexes.move_to_end(key)
        return self._indexes[key]

    def _index(self, encoder: str, vectors: np.ndarray, whole: bool):
        stored = self.run_dir / _STAGE / "index.faiss"
        if whole and encoder == self.encoders[0] and stored.is_file():
            index = load_index(stored)
            if (index.ntotal, index.d) == vectors.shape:
                return index
        return open_index(vectors)


def read_collection(run_dir: str | os.PathLike) -> SceneCollection:
    """The scenes of a run whose stage 08 has finished; reads only.

    Raises M2SError when 08 has not run there, or its files do not belong together.
    """
    run_dir = Path(run_dir)
    first, folder = run_dir / "01_shot_encoding", run_dir / _STAGE
    if not (folder / "encoders.json").is_file():
        raise M2SError(
            f"{run_dir} has no gallery yet: make it with `m2s run demo` (the demo's, in runs/demo), or with "
            "`m2s run films -p 01.films_dir=...` for films of your own"
        )
    scenes = read_parquet(folder / "scenes.parquet", ["film_id", "shot", "n_shots", "start_s", "end_s"])
    names = read_json(folder / "encoders.json")
    vectors = {name: _mapped(folder, file, len(scenes)) for name, file in names.items()}
    films = read_parquet(first / "films.parquet", ["film_id", "title", "path"])
    films["path"] = located(films["path"], run_dir)
    scan = _scan_config(read_json(first / "run.json")["parameters"])
    stores = open_stores(first / "shots")
    return SceneCollection(
        run_dir, scenes, films, stores, vectors, QueryEncoders(run_dir), scan, first / "embedded"
    )


def _mapped(folder: Path, file: str, n: int) -> np.ndarray:
    """One encoder's vectors, float32 [n, d], mapped into memory."""
    place = folder / file
    if place.resolve().parent not in (folder.resolve(), folder.resolve() / "encoders"):
        raise M2SError(f"{folder / 'encoders.json'} names {file!r}, which is not in its folder: run 08 again")
    try:
        vectors = np.load(place, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise M2SError(f"{place} cannot be read ({error}): run stage 08 again") from error
    if vectors.ndim != 2 or len(vectors) != n or vectors.dtype != np.float32:
        raise M2SError(
            f"{place} is {vectors.dtype} {vectors.shape}, expected float32 rows for {n} scenes: run stage 08 "
            "again"
        )
    return vectors


def _scan_config(parameters: Mapping) -> ScanConfig:
    """Stage 01's parameters as `ScanConfig`."""
    return ScanConfig(
        frame_size=parameters["frame_size"],
        frames_per_shot=parameters["frames_per_shot"],
        detector=parameters["detector"],
        threshold=parameters["detector_threshold"],
        min_shot_s=parameters["min_shot_s"],
        reader=parameters["reader"],
    )
