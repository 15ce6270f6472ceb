"""Pictures that not everyone wants to see: blurred unless asked otherwise (supp. Fig. 9-10 are redacted)."""

import numpy as np

from m2s_lib.errors import M2SError

STRENGTH = 0.04  # of the shorter side: faces and bodies are no longer told apart, how they stand is


def blurred(pictures: np.ndarray, on: bool = True, strength: float = STRENGTH) -> np.ndarray:
    """Pictures without their detail; the originals as they are when `on` is False.

    Args:
        pictures: uint8 [..., h, w, c], one or many.
        on: the parameter that a notebook hands through; blurring is the default.
        strength: standard deviation of the Gaussian, as a part of the shorter side, 0.02..1.

    Returns:
        uint8 of the same shape, a copy when blurred.

    Raises:
        M2SError: pictures of another type, or a strength that hides nothing.
    """
    from scipy.ndimage import gaussian_filter

    pictures = np.asarray(pictures)
    if not on:
        return pictures
    if pictures.dtype != np.uint8 or pictures.ndim < 3 or not pictures.size:
        raise M2SError(
            f"pictures to blur are {pictures.dtype} {pictures.shape}, expected uint8 [..., h, w, c]"
        )
    if not 0.02 <= strength <= 1:
        raise M2SError(f"a blur of {strength} was asked for, expected 0.02..1")
    size = max(1.0, strength * min(pictures.shape[-3:-1]))
    sigma = (0,) * (pictures.ndim - 3) + (size, size, 0)
    smooth = gaussian_filter(pictures.astype(np.float32), sigma=sigma, mode="nearest")
    return np.clip(smooth + 0.5, 0, 255).astype(np.uint8)
