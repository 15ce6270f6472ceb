"""One scene by a run's encoders, when somebody asks: a window of a film, or a stretch of another file."""

import os
from collections.abc import Callable
from functools import cached_property
from pathlib import Path

import numpy as np
import torch

from m2s_lib.errors import M2SError
from m2s_lib.evaluation.encoders.encoders import (
    ColourEncoder,
    Encoder,
    OurSceneEncoder,
    RandomInit,
    ShotMeanEncoder,
)
from m2s_lib.films.store.features import feature_path
from m2s_lib.films.store.shot_store import ShotStore
from m2s_lib.io import read_npy


class QueryEncoders:
    """The encoders of `scene_search.scene_embeddings`, loaded from a run when first needed, on the CPU.

    A scene given here gets the vector that stage 08 would have given it, to rounding.

    Args:
        run_dir: a run whose stages 01, 02 and, where one was trained, 04 have finished.
    """

    def __init__(self, run_dir: str | os.PathLike):
        self.run_dir = Path(run_dir)

    def embed(self, name: str, store: ShotStore, shot: int, n_shots: int, *, indexed: bool) -> np.ndarray:
        """Shots shot .. shot + n_shots - 1 as one scene: float32 [d].

        Args:
            name: 'E_scene', 'random init', 'E_movie mean', 'E_shot mean' or 'colour'.
            indexed: whether `store` is one of the run's films, whose shot features are on disk.

        Raises:
            M2SError: an unknown name, or a file's scene in a run that has no encoder of pictures.
        """
        of: dict[str, Callable[[], np.ndarray]] = {
            "E_scene": lambda: self._picture(self._scene, store, shot, n_shots),
            "random init": lambda: self._picture(self._untrained, store, shot, n_shots),
            "E_shot mean": lambda: self._features(store, shot, n_shots, indexed).mean(0),
            "E_movie mean": lambda: self._movie(self._features(store, shot, n_shots, indexed)),
            "colour": lambda: self._picture(ColourEncoder(), store, shot, n_shots),
        }
        if name not in of:
            raise M2SError(f"a new scene cannot be encoded by {name!r}: {', '.join(of)} can")
        return np.ascontiguousarray(of[name](), np.float32)

    @cached_property
    def _scene(self) -> Encoder:
        return OurSceneEncoder(self._file("04_moco_training/scene_encoder.safetensors"))

    @cached_property
    def _untrained(self) -> Encoder:
        return RandomInit(self._scene.model.config)

    @cached_property
    def _shot(self) -> ShotMeanEncoder:
        return ShotMeanEncoder(self._file("01_shot_encoding/shot_encoder.safetensors"))

    @cached_property
    def _movie_encoder(self):
        from m2s_lib.method.movie_encoder import load_movie_encoder

        return load_movie_encoder(self._file("02_movie_similarity/movie_encoder.safetensors")).encoder

    def _file(self, name: str) -> Path:
        if not (self.run_dir / name).is_file():
            raise M2SError(
                f"{name} is not in {self.run_dir}: no encoder for a new scene (the films came as "
                "ready features, or the weights are gone); choose one of the scenes in the list"
            )
        return self.run_dir / name

    @torch.inference_mode()
    def _picture(self, encoder: Encoder, store: ShotStore, shot: int, n_shots: int) -> np.ndarray:
        scene = torch.from_numpy(np.array(store.scene(shot, n_shots)))  # [n, k, h, w, c]
        return encoder.embed(scene[None])[0].float().numpy()

    @torch.inference_mode()
    def _features(self, store: ShotStore, shot: int, n_shots: int, indexed: bool) -> np.ndarray:
        """E_shot features of the shots, [n_shots, d]."""
        path = feature_path(self.run_dir / "01_shot_encoding" / "features", store.film_id)
        if indexed and path.is_file():
            return np.array(read_npy(path)[shot : shot + n_shots])
        frames = torch.from_numpy(np.array(store.scene(shot, n_shots)))
        return self._shot.embed_shots(frames).numpy()

    @torch.inference_mode()
    def _movie(self, features: np.ndarray) -> np.ndarray:
        return self._movie_encoder.scene_features(torch.from_numpy(features)).mean(0).numpy()
