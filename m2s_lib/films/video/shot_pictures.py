"""What else is made of keyframes while a film is decoded: previews for people, features of an encoder.

The frame is scaled to each size that is wanted while it is at hand, so a film is decoded once.
"""

import io
from collections.abc import Sequence
from typing import Protocol

import numpy as np

_QUALITY = 80  # of preview JPEGs
_BATCH = 32  # pictures encoded at once: memory does not grow with the film


class Encode(Protocol):
    """An encoder as decoding sees it: `size` px squares, uint8 [b, size, size, 3] to float32 [b, d].

    `identity` names encoder and weights: features of another identity are others.
    """

    size: int
    identity: str

    def __call__(self, pictures: np.ndarray) -> np.ndarray: ...


def preview_size(width: int, height: int, aspect: float, most: int) -> tuple[int, int]:
    """Pixels (width, height) of a film's previews: its shown shape, at most `most` wide, never enlarged."""
    shown = min(most, max(width, round(height * aspect)))
    return max(shown, 1), max(round(shown / aspect), 1)


class ShotPictures:
    """Previews and features of keyframes, slot by slot (a slot is a keyframe: shot * k + its number).

    Args:
        preview: (width, height) in px, None for no previews. encode: None for no features.

    Attributes:
        sizes: (width, height) of the pictures that `add` takes.
    """

    def __init__(self, preview: tuple[int, int] | None, encode: Encode | None):
        self._preview, self._encode = preview, encode
        squares = [(encode.size, encode.size)] if encode else []
        self.sizes: list[tuple[int, int]] = ([preview] if preview else []) + squares
        self._previews: dict[int, bytes] = {}
        self._waiting: dict[int, np.ndarray] = {}
        self._features: dict[int, np.ndarray] = {}

    def add(self, slot: int, pictures: Sequence[np.ndarray]) -> None:
        """Take a keyframe, uint8 [h, w, c] RGB in each of `sizes`."""
        if self._preview:
            self._previews[slot] = encode_jpeg(pictures[0], _QUALITY)
        if self._encode:
            self._waiting[slot] = pictures[-1]
            if len(self._waiting) >= _BATCH:
                self._encode_waiting()

    def _encode_waiting(self) -> None:
        if self._waiting:
            features = self._encode(np.stack(list(self._waiting.values())))
            self._features.update(zip(self._waiting, features, strict=True))
            self._waiting = {}

    def previews(self, k: int) -> list[bytes] | None:
        """One preview a shot: its middle keyframe's, of k."""
        slots = sorted(self._previews)
        return [self._previews[s] for s in slots[k // 2 :: k]] if self._preview else None

    def features(self, k: int) -> np.ndarray | None:
        """float32 [n_shots, d], the mean over a shot's k keyframes."""
        if not self._encode:
            return None
        self._encode_waiting()
        rows = np.stack([self._features[s] for s in sorted(self._features)])  # [n_shots * k, d]
        return rows.reshape(-1, k, rows.shape[1]).mean(1).astype(np.float32)


def encode_jpeg(picture: np.ndarray, quality: int) -> bytes:
    """A picture (uint8 [h, w, c] RGB) as JPEG bytes, chroma not subsampled: small pictures show it."""
    from PIL import Image

    out = io.BytesIO()
    Image.fromarray(picture).save(out, "JPEG", quality=quality, subsampling=0)
    return out.getvalue()
