"""Pictures that not everyone wants to see: blurred unless asked otherwise (supp. Fig. 9-10 are redacted)."""

import numpy as np

from m2s_lib.errors import M2SError

STRENGTH = 0.08  # of the shorter side: faces and bodies are no longer told apart, light and colour are


def blurred(
    pictures: np.ndarray, on: bool = True, how: str = "gaussian", strength: float = STRENGTH
) -> np.ndarray:
    """Pictures without their detail; the originals as they are when `on` is False.

    Args:
        pictures: uint8 [..., h, w, c], one or many.
        on: the parameter that a notebook hands through; blurring is the default.
        how: 'gaussian', or 'pixelate' for blocks.
        strength: standard deviation, or side of a block, as a part of the shorter side, 0.02..1.

    Returns:
        uint8 of the same shape, a copy when blurred.

    Raises:
        M2SError: pictures of another type, an unknown way, or a strength that hides nothing.
    """
    pictures = np.asarray(pictures)
    if not on:
        return pictures
    if pictures.dtype != np.uint8 or pictures.ndim < 3 or not pictures.size:
        raise M2SError(
            f"pictures to blur are {pictures.dtype} {pictures.shape}, expected uint8 [..., h, w, c]"
        )
    if how not in ("gaussian", "pixelate") or not 0.02 <= strength <= 1:
        raise M2SError(f"blur {how!r} of {strength}: expected 'gaussian' or 'pixelate', and 0.02..1")
    flat = pictures.reshape(-1, *pictures.shape[-3:])  # [pictures, h, w, c]
    size = max(1.0, strength * min(flat.shape[1:3]))
    one = _gaussian if how == "gaussian" else _pixelated
    return np.stack([one(picture, size) for picture in flat]).reshape(pictures.shape)


def _gaussian(picture: np.ndarray, size: float) -> np.ndarray:
    from scipy.ndimage import gaussian_filter

    smooth = gaussian_filter(picture.astype(np.float32), sigma=(size, size, 0), mode="nearest")
    return np.clip(smooth + 0.5, 0, 255).astype(np.uint8)


def _pixelated(picture: np.ndarray, size: float) -> np.ndarray:
    """Blocks of one colour, their mean; the last row and column of blocks may be smaller."""
    block = max(2, round(size))
    h, w, _ = picture.shape
    rows, columns = np.arange(h) // block, np.arange(w) // block
    starts = np.arange(0, h, block), np.arange(0, w, block)
    sums = np.add.reduceat(np.add.reduceat(picture.astype(np.float64), starts[0], 0), starts[1], 1)
    counts = np.bincount(rows)[:, None] * np.bincount(columns)[None, :]
    return np.round(sums / counts[..., None]).astype(np.uint8)[rows][:, columns]
