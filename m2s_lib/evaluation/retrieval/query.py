"""One scene by a run's encoders, when somebody asks: a window of a film, or a stretch of another file.

The encoders and PyTorch are imported with the first question, so that a page opens without them.
"""

import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from m2s_lib.errors import M2SError
from m2s_lib.films.store.features import feature_path
from m2s_lib.films.store.shot_store import ShotStore
from m2s_lib.io import read_npy


@dataclass
class QueryEncoders:
    """The encoders of `search.scene_embeddings`, loaded when first needed, on the CPU.

    A scene given here gets the vector that stage 08 would have given it, to rounding.

    Attributes:
        scene_encoder, shot_encoder, movie_encoder: their files, which need not exist.
        features: folder of the run's shot features.
    """

    scene_encoder: str | os.PathLike
    shot_encoder: str | os.PathLike
    movie_encoder: str | os.PathLike
    features: str | os.PathLike
    pretrained: str = ""  # the picture encoder that made the features, '' for E_shot
    weights: str = ""  # of it, '' for its own

    @property
    def words_encoder(self) -> str:
        """Name of the vectors that words can be compared with, '' where the encoder has no text tower."""
        return f"{self.pretrained} mean" if self.pretrained.startswith("open_clip:") else ""

    def embed_words(self, text: str) -> np.ndarray:
        """A text in the space of `words_encoder`, float32 [d], of unit length."""
        from m2s_lib.encoders.pictures import words_vector

        return words_vector(self.pretrained, self.weights, text)

    def embed(self, name: str, store: ShotStore, shot: int, n_shots: int, *, indexed: bool) -> np.ndarray:
        """Shots shot .. shot + n_shots - 1 as one scene: float32 [d].

        Args:
            name: 'E_scene', 'random init', 'E_movie mean', 'E_shot mean' or 'colour'.
            indexed: whether `store` is one of the run's films, whose shot features are on disk.

        Raises:
            M2SError: an unknown name, or a file's scene in a run that has no encoder of pictures.
        """
        import torch

        with torch.inference_mode():
            vector = self._vector(name, store, shot, n_shots, indexed)
        return np.ascontiguousarray(vector, np.float32)

    def _vector(self, name: str, store: ShotStore, shot: int, n_shots: int, indexed: bool) -> np.ndarray:
        import torch

        from m2s_lib.evaluation.encoders.encoders import ColourEncoder

        whole = {
            "E_scene": lambda: self._scene,
            "random init": lambda: self._scene.untrained(),
            "colour": ColourEncoder,
        }
        if name in whole:
            encoder = whole[name]()
            if encoder.reads_features:
                read = self._shot_features(store, shot, n_shots, indexed)
            else:
                read = store.scene(shot, n_shots)
            scene = torch.from_numpy(np.array(read))  # [n, k, h, w, c], or features [n, d]
            return encoder.embed(scene[None])[0].float().numpy()
        if name in ("E_shot mean", f"{self.pretrained} mean"):
            return self._shot_features(store, shot, n_shots, indexed).mean(0)
        if name == "E_movie mean":
            features = torch.from_numpy(self._shot_features(store, shot, n_shots, indexed))
            return self._movie.scene_features(features).mean(0).numpy()
        names = ", ".join(("E_scene", "random init", "E_shot mean", "E_movie mean", "colour"))
        raise M2SError(f"a new scene cannot be encoded by {name!r}: {names} can")

    def _shot_features(self, store: ShotStore, shot: int, n_shots: int, indexed: bool) -> np.ndarray:
        """E_shot features of the shots, [n_shots, d]."""
        path = feature_path(self.features, store.film_id)
        if indexed and path.is_file():
            return np.array(read_npy(path)[shot : shot + n_shots])
        import torch

        frames = torch.from_numpy(np.array(store.scene(shot, n_shots)))  # [n, k, h, w, c]
        if self.pretrained:
            return self._picture_features(frames)
        return self._shot.embed_shots(frames).numpy()

    def _picture_features(self, frames) -> np.ndarray:
        """Features of keyframes [n, k, h, w, c] by the pretrained encoder: [n, d], k averaged."""
        import torch

        from m2s_lib.encoders.pictures import encoder_by_name

        encoder = encoder_by_name(self.pretrained, self.weights)
        n, k = frames.shape[:2]
        x = frames.flatten(0, 1).permute(0, 3, 1, 2).float()  # [n k, c, h, w]
        x = torch.nn.functional.interpolate(x, (encoder.size, encoder.size), mode="bilinear", antialias=True)
        pictures = x.round().clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1).numpy()
        return encoder(pictures).reshape(n, k, -1).mean(1)

    @cached_property
    def _scene(self):
        from m2s_lib.evaluation.encoders.encoders import OurSceneEncoder

        return OurSceneEncoder(_existing(self.scene_encoder))

    @cached_property
    def _shot(self):
        from m2s_lib.evaluation.encoders.encoders import ShotMeanEncoder

        return ShotMeanEncoder(_existing(self.shot_encoder))

    @cached_property
    def _movie(self):
        from m2s_lib.method.movie_encoder import load_movie_encoder

        return load_movie_encoder(_existing(self.movie_encoder)).encoder


def _existing(path: str | os.PathLike) -> Path:
    path = Path(path)
    if not path.is_file():
        raise M2SError(
            f"{path.parent.name}/{path.name} is not in {path.parent.parent}: no encoder for a new scene (the "
            "films came as ready features, or the weights are gone); choose one of the scenes in the list"
        )
    return path
