"""Shot features: E_shot over the shots of every film, on this machine or on a cluster (section 3.1.2)."""

import contextlib
import copy
import dataclasses
import hashlib
import os
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch

from m2s_lib.engine import LocalEngine
from m2s_lib.errors import M2SError
from m2s_lib.films.store.shot_store import ShotStore
from m2s_lib.io import read_json, read_npy, write_json, write_npy
from m2s_lib.method.shot_encoder import ShotEncoder
from m2s_lib.parallel import unseen
from m2s_lib.progress import progress


@torch.inference_mode()
def encode_shots(
    encoder: ShotEncoder, store: object, batch: int = 256, device: torch.device | str | None = None
) -> np.ndarray:
    """Features of all shots of a film: float32 [n_shots, out_dim] of unit length.

    Args:
        store: a shot store (`n_shots`, `keyframes()` uint8 [n_shots, k, h, w, c]).
        batch: shots a forward pass.
        device: where the encoder is moved and run; its own when None. bf16 on CUDA, the weights' type
            elsewhere.
    """
    device = torch.device(device) if device is not None else encoder.mean.device
    encoder = encoder.to(device).eval()
    features = np.empty((store.n_shots, encoder.out_dim), np.float32)
    frames = store.keyframes() if store.n_shots else ()  # [n, k, h, w, c]
    for start in range(0, store.n_shots, batch):
        shots = torch.from_numpy(np.array(frames[start : start + batch])).to(device)
        with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
            features[start : start + batch] = encoder.embed(shots).float().cpu().numpy()
    return features


def encode_films(
    encoder: ShotEncoder,
    stores: Mapping[str, object],
    folder: str | os.PathLike,
    device: torch.device | str | None = None,
    engine=None,
) -> int:
    """Write `folder`/<film_id>.npy, the features of every film; films that this encoder has done stay.

    A stamp in the folder holds a hash of the encoder's weights; with other weights all films are done again.

    Args:
        encoder, device: as in `encode_shots`. engine: of `open_engine`; None is this machine. On a cluster
            each worker has the encoder, on a GPU where there is any.

    Returns:
        How many films were encoded.
    """
    folder = Path(folder)
    digest = hashlib.blake2b(digest_size=16)
    for name, value in encoder.state_dict().items():
        digest.update(name.encode() + value.detach().cpu().float().numpy().tobytes())
    stamp, known = folder / "encoder.json", {}
    with contextlib.suppress(M2SError):
        known = read_json(stamp)
    if known != {"encoder": digest.hexdigest()}:
        for old in folder.glob("*.npy"):
            old.unlink()
        write_json(stamp, {"encoder": digest.hexdigest()})
    todo = [film for film in stores if not _is_whole(folder / f"{film}.npy")]
    items = _Films(todo, stores)
    work = (engine or LocalEngine()).prepared(
        _FilmEncoder(encoder), items, folder, device=device, attach=items.with_content, whole_machine=True
    )
    for _ in progress(work, "shot features", total=len(todo), unit="films"):
        pass
    return len(todo)


def _is_whole(path: Path) -> bool:
    """Whether a film's features are there, their checksum included."""
    try:
        read_npy(path)
    except (ValueError, EOFError, OSError):
        return False
    return True


class _Films(Sequence):
    """The films to encode, for an engine: (film, its store, None), the store opened when asked for."""

    def __init__(self, films: Sequence[str], stores: Mapping[str, object]):
        self.films, self.stores = films, stores

    def __len__(self) -> int:
        return len(self.films)

    def __getitem__(self, index: int) -> tuple[str, object, object]:
        store = self.stores[self.films[index]]
        return self.films[index], _StoreFile(store) if isinstance(store, ShotStore) else store, None

    def with_content(self, item: tuple) -> tuple[str, object, bytes]:
        """The item for a worker that does not see the store's file: with the file's bytes."""
        return item[0], item[1], Path(item[1].path).read_bytes()


class _StoreFile:
    """A store by its path, which a worker may see; its metadata tell it from another of that name."""

    def __init__(self, store: ShotStore):
        self.path, self.metadata = str(store.path), store.metadata

    def open(self, content: bytes | None) -> ShotStore:
        """The store, from `content` when there is any; `Unseen` where the path has no such store."""
        if content is not None:
            with tempfile.TemporaryDirectory(prefix="m2s-") as place:
                path = Path(place) / Path(self.path).name
                path.write_bytes(content)
                return ShotStore(path)  # mapped: it stays readable when its name is gone
        if Path(self.path).is_file() and (store := ShotStore(self.path)).metadata == self.metadata:
            return store
        raise unseen(self.path)


@dataclasses.dataclass
class _FilmEncoder:
    """The encoder as an engine's work; it travels on the CPU."""

    encoder: ShotEncoder

    def __getstate__(self) -> dict:
        return {"encoder": copy.deepcopy(self.encoder).cpu()}

    def __call__(self, device: torch.device | str | None) -> Callable[[tuple, Path], None]:
        def work(item: tuple, folder: Path) -> None:
            film, store, content = item
            store = store.open(content) if isinstance(store, _StoreFile) else store
            write_npy(folder / f"{film}.npy", encode_shots(self.encoder, store, device=device))

        return work
