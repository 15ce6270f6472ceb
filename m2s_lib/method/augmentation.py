"""Light augmentation of scenes on their device. The paper describes none; all of it is off by default."""

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor


def augment(
    scenes: Tensor,
    generator: np.random.Generator,
    *,
    flip: bool = False,
    crop: float = 1.0,
    jitter: float = 0.0,
    first: int = 0,
    whole: int | None = None,
) -> Tensor:
    """Flip, crop and recolour scenes, the same way for all frames of a scene.

    Args:
        scenes: uint8 [b, ..., h, w, c].
        generator: draws one set of numbers a scene, on the CPU, so a run repeats on any device.
        flip: mirror left to right with probability 1/2.
        crop: smallest part of the area that a random crop keeps, 0..1; the crop is scaled back to h x w; 1 is
            off.
        jitter: brightness, contrast and saturation change by factors of 1 - jitter .. 1 + jitter; 0 is off.
        first, whole: `scenes` are rows `first` and later of a batch of `whole`, for which the numbers are
            drawn, so that a part of a batch becomes what it is in the batch; None: they are the batch.
    Returns:
        uint8 of the same shape.
    """
    b, *_, h, w, c = scenes.shape
    n, rows = whole or b, slice(first, first + b)
    side = np.sqrt(generator.uniform(crop, 1.0, n))[rows]
    centre = generator.uniform(-1.0, 1.0, (n, 2))[rows] * (1 - side[:, None])  # in -1..1 of the picture
    mirror = np.where(generator.random(n)[rows] < 0.5, -1.0, 1.0) if flip else np.ones(b)
    factors = generator.uniform(1 - jitter, 1 + jitter, (n, 3))[rows]
    if crop == 1.0 and not jitter:
        mirrored = torch.from_numpy(mirror < 0).to(scenes.device).view(b, *[1] * (scenes.ndim - 1))
        return torch.where(mirrored, scenes.flip(-2), scenes)
    x = scenes.reshape(b, -1, h, w, c).permute(0, 1, 4, 2, 3).float()  # [b, f, c, h, w]
    if crop < 1.0 or flip:
        theta = np.zeros((b, 2, 3), np.float32)
        theta[:, 0, 0], theta[:, 1, 1], theta[:, :, 2] = side * mirror, side, centre
        grid = F.affine_grid(torch.from_numpy(theta).to(x.device), [b, 1, h, w], align_corners=False)
        x = F.grid_sample(x.flatten(1, 2), grid, padding_mode="border", align_corners=False).view_as(x)
    if jitter:
        x = _recolour(x, torch.from_numpy(factors.astype(np.float32)).to(x.device))
    return x.round().clamp(0, 255).to(torch.uint8).permute(0, 1, 3, 4, 2).reshape(scenes.shape)


def _recolour(x: Tensor, factors: Tensor) -> Tensor:
    """Brightness, contrast and saturation of [b, f, c, h, w] by factors [b, 3]."""
    bright, contrast, saturation = factors.view(-1, 3, 1, 1, 1, 1).unbind(1)
    x = x * bright
    mean = x.mean(dim=(1, 2, 3, 4), keepdim=True)
    x = (x - mean) * contrast + mean
    grey = x.mean(dim=2, keepdim=True)
    return (x - grey) * saturation + grey
