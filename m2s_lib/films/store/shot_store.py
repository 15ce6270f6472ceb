"""The shot store: one Arrow file per film with its shots and keyframes, read by memory map.

One record batch, uncompressed, one row per shot. Keyframes are a fixed-size list of k * h * w * c bytes, so
the pixels of consecutive shots are consecutive in the file and a scene is one view of it: nothing is copied
or parsed. A film that came as ready features has no pixels.
"""

import contextlib
import functools
import math
import os
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from m2s_lib.errors import M2SError
from m2s_lib.films.video.shot_pictures import encode_jpeg
from m2s_lib.io import atomic_path

SUFFIX = ".arrow"
_TYPES = {
    "shot": "int64",
    "start_frame": "int64",
    "end_frame": "int64",
    "start_s": "float64",
    "end_s": "float64",
}
_AGAIN = "delete it and run stage 01 again"


def write_shots(
    path: str | os.PathLike,
    shots: pd.DataFrame,
    keyframes: np.ndarray | None,
    *,
    aspect: float,
    fps: float,
    source: str,
    extra: Mapping[str, str] | None = None,
    previews: Sequence[bytes] | None = None,
) -> Path:
    """Write one film's shots, atomically; the film id is the file's name without `.arrow`.

    Args:
        shots: columns shot, start_frame, end_frame, start_s, end_s, one row per shot.
        keyframes: uint8 [n_shots, k, h, w, c], or None for a film without pixels.
        aspect: displayed width / height of the source. fps: its frame rate, NaN where unknown.
        source: where the shots came from ('video', 'movienet', 'features').
        extra: more text for `ShotStore.metadata`.
        previews: a JPEG a shot for people, in the film's own shape; None keeps none.

    Raises:
        M2SError: columns missing, counts that differ, or no space left.
    """
    import pyarrow as pa

    path = Path(path)
    _check_shots(path, shots, keyframes)
    columns = {name: pa.array(shots[name].to_numpy(dtype=kind)) for name, kind in _TYPES.items()}
    shape = (0, 0, 0) if keyframes is None else keyframes.shape[1:4]
    encoding, checksum = "none", 0
    if keyframes is not None:
        flat = np.ascontiguousarray(keyframes, dtype=np.uint8).reshape(-1)
        columns["keyframes"] = pa.FixedSizeListArray.from_arrays(
            pa.array(flat), math.prod(keyframes.shape[1:])
        )
        encoding, checksum = "raw", zlib.crc32(flat)
    if previews is not None:
        columns["preview"] = pa.array(previews, type=pa.large_binary())
        checksum = zlib.crc32(b"".join(previews), checksum)
    metadata = dict(extra or {}) | dict(
        film_id=path.name.removesuffix(SUFFIX), source=source,
        aspect=repr(float(aspect)), fps=repr(float(fps)),
        k=str(shape[0]), h=str(shape[1]), w=str(shape[2]), encoding=encoding, n_shots=str(len(shots)),
        pixels_crc32=str(checksum), shots_crc32=str(_table_checksum(shots)),
    )  # fmt: skip
    batch = pa.record_batch(columns).replace_schema_metadata(metadata)
    with atomic_path(path) as temporary, open(temporary, "wb") as f:
        with pa.ipc.new_file(f, batch.schema) as writer:
            writer.write_batch(batch)
    return path


def _check_shots(path: Path, shots: pd.DataFrame, keyframes: np.ndarray | None) -> None:
    if missing := sorted(set(_TYPES) - set(shots.columns)):
        raise M2SError(
            f"{path.name}: the shot table lacks the columns {missing}; it has {list(shots.columns)}"
        )
    if not len(shots):
        raise M2SError(f"{path.name}: a film needs at least one shot, the table has none")
    if keyframes is None:
        return
    if keyframes.ndim != 5 or keyframes.shape[4] != 3 or keyframes.dtype != np.uint8:
        raise M2SError(
            f"{path.name}: keyframes must be uint8 [n_shots, k, h, w, 3], they are {keyframes.dtype} "
            f"{keyframes.shape}"
        )
    if len(keyframes) != len(shots):
        raise M2SError(f"{path.name}: {len(shots)} shots in the table, keyframes of {len(keyframes)}")


def _table_checksum(shots: pd.DataFrame) -> int:
    checksum = 0
    for name, kind in _TYPES.items():
        checksum = zlib.crc32(np.ascontiguousarray(shots[name].to_numpy(dtype=kind)), checksum)
    return checksum


class ShotStore:
    """One film's shots, opened by memory map; small to open, safe to open in many processes.

    Attributes:
        film_id, source, encoding ('raw', 'none'), aspect, fps, n_shots, frame_shape (k, h, w, 3),
        metadata (everything the writer noted, as text).

    Raises:
        M2SError: the file is missing, cut short or damaged (named, with the way out).
    """

    def __init__(self, path: str | os.PathLike):
        import pyarrow as pa

        self.path = Path(path)
        if not self.path.is_file():
            raise M2SError(f"{self.path} is missing: run stage 01 first")
        try:
            self._file = pa.memory_map(str(self.path))
            reader = pa.ipc.open_file(self._file)
            self._batch = reader.get_batch(0)
            self._batch.validate()
            self.metadata = {k.decode(): v.decode() for k, v in (reader.schema.metadata or {}).items()}
            self._read_metadata()
        except M2SError:
            raise
        except (pa.ArrowException, OSError, ValueError, KeyError, IndexError) as error:
            raise M2SError(f"{self.path} is damaged or cut short ({error}): {_AGAIN}") from error

    def _read_metadata(self) -> None:
        said = self.metadata
        self.film_id, self.source, self.encoding = said["film_id"], said["source"], said["encoding"]
        self.aspect, self.fps, self.n_shots = float(said["aspect"]), float(said["fps"]), int(said["n_shots"])
        self.frame_shape = (int(said["k"]), int(said["h"]), int(said["w"]), 3)
        self._checksum = int(said["pixels_crc32"])
        self.shots = pd.DataFrame({name: self._batch.column(name).to_numpy() for name in _TYPES})
        if len(self.shots) != self.n_shots or _table_checksum(self.shots) != int(said["shots_crc32"]):
            raise M2SError(f"{self.path} is damaged (its shot table does not match its checksum): {_AGAIN}")
        self._pixels = None
        if self.encoding == "raw":
            column = self._batch.column("keyframes")
            values = column.values.to_numpy(zero_copy_only=True)
            self._pixels = values.reshape(
                self.n_shots, *self.frame_shape
            )  # [n_shots, k, h, w, c], a view of the map

    def __reduce__(self):
        return ShotStore, (str(self.path),)  # to another process goes the path, not the pixels

    def __repr__(self) -> str:
        k, h, w, _ = self.frame_shape
        return f"ShotStore({self.film_id!r}, {self.n_shots} shots, {k} x {h} x {w} px, {self.encoding})"

    def __len__(self) -> int:
        return self.n_shots

    @property
    def has_pixels(self) -> bool:
        return self.encoding != "none"

    @property
    def has_previews(self) -> bool:
        return "preview" in self._batch.schema.names

    def scene(self, start: int, n: int) -> np.ndarray:
        """Keyframes of shots start .. start + n - 1: uint8 [n, k, h, w, c], RGB.

        A read-only view of the file; copy it before writing to it.

        Raises:
            M2SError: shots outside the film, or a film without pixels.
        """
        if n < 1 or start < 0 or start + n > self.n_shots:
            raise M2SError(
                f"film {self.film_id}: shots {start}..{start + n - 1} were asked for ({n} from shot "
                f"{start}), it has {self.n_shots} shots (0..{self.n_shots - 1})"
            )
        if not self.has_pixels:
            raise M2SError(
                f"film {self.film_id} has no pixels: it came as {self.source}, only its shot features exist"
            )
        return self._pixels[start : start + n]

    def keyframes(self) -> np.ndarray:
        """All keyframes: uint8 [n_shots, k, h, w, c]; see `scene`."""
        return self.scene(0, self.n_shots)

    def preview(self, shot: int) -> bytes:
        """A JPEG of a shot for people, in the film's own shape; of its keyframe where none was kept.

        Raises M2SError for a shot outside the film, or a film without pixels.
        """
        if not self.has_previews:
            return encode_jpeg(self.scene(shot, 1)[0, self.frame_shape[0] // 2], 90)
        if not 0 <= shot < self.n_shots:
            raise M2SError(f"film {self.film_id} has no shot {shot}: it has {self.n_shots} (from 0)")
        return self._batch.column("preview")[shot].as_py()

    def verify(self) -> None:
        """Read all pixels and compare them with the checksum; M2SError when they differ."""
        checksum = zlib.crc32(self._pixels.reshape(-1)) if self.has_pixels else 0
        if self.has_previews:
            for preview in self._batch.column("preview"):
                checksum = zlib.crc32(preview.as_buffer(), checksum)
        if checksum != self._checksum:
            raise M2SError(f"{self.path} is damaged (its pixels do not match their checksum): {_AGAIN}")


class StorePaths(Mapping):
    """film_id -> ShotStore of its file; stores open when asked for, the `keep` last used stay open.

    To another process go the paths alone.
    """

    def __init__(self, paths: Mapping[str, str | os.PathLike], keep: int = 256):
        self._paths, self.keep = dict(paths), keep
        self._open = functools.lru_cache(keep)(ShotStore)

    def __reduce__(self):
        return StorePaths, (self._paths, self.keep)

    def __getitem__(self, film_id: str) -> ShotStore:
        return self._open(self._paths[film_id])

    def __iter__(self) -> Iterator[str]:
        return iter(self._paths)

    def __len__(self) -> int:
        return len(self._paths)

    def __contains__(self, film_id: object) -> bool:
        return film_id in self._paths

    def only(self, films: Iterable[str]) -> "StorePaths":
        """These films alone, in this order, opened as lazily: a dict of stores holds a file open for each.

        Raises M2SError for films that have no store here.
        """
        films = list(films)
        if missing := [film for film in films if film not in self._paths]:
            place = next((Path(path).parent for path in self._paths.values()), "an empty folder")
            raise M2SError(
                f"{len(missing)} of {len(films)} films have no shots in {place}, e.g. {missing[0]!r}: "
                "run stage 01 again"
            )
        return StorePaths({film: self._paths[film] for film in films}, self.keep)


def open_stores(folder: str | os.PathLike, keep: int | None = 256) -> StorePaths:
    """The stores of `folder` (01_shot_encoding/shots) by film id, in the order of their names, opened lazily.

    Args:
        keep: how many stay open; None is as many as the system lets a process open, for training, which
            reads from all films in turn.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise M2SError(f"{folder} is missing: run stage 01 first")
    files = [p for p in folder.iterdir() if p.name.endswith(SUFFIX) and not p.name.startswith(".")]
    paths = {p.name.removesuffix(SUFFIX): p for p in sorted(files)}
    return StorePaths(paths, most_open() if keep is None else keep)


def most_open() -> int:
    """How many stores may be open at once: the system's limit of files for a process, raised as far as it
    may be, less 512 for others; at most 60,000, since maps are limited, too."""
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < hard:
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
            soft = hard
    return max(min(soft - 512, 60_000), 256) if soft > 0 else 60_000
