"""What E_shot and E_scene share: a backbone over stacked frames, and a last layer (section 3.2.1)."""

import dataclasses
import functools
import math
from typing import Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from m2s_lib.errors import M2SError
from m2s_lib.method.vit import build_mvit, class_token, mosaic, relative_positions

HALF = (0.5, 0.5, 0.5)
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
CLIP_MEAN, CLIP_STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)

PRESETS = {
    "base": {},  # ViT-B/16 at 128 px, the paper's
    "tiny": {"image_size": 64, "width": 128, "depth": 4, "heads": 4},  # two CPU cores, the demo
    "test": {"image_size": 32, "patch": 8, "width": 32, "depth": 2, "heads": 2},  # seconds
    "clip": {"clip": True, "mean": CLIP_MEAN, "std": CLIP_STD},  # Table 1 row 14, weights by load_backbone
    "mvitv2_small": {
        "arch": "mvitv2",
        "image_size": 224,
        "mean": IMAGENET_MEAN,
        "std": IMAGENET_STD,
    },  # row 15
    "mvitv2_test": {"arch": "mvitv2", "image_size": 32, "width": 64, "stages": (1, 1, 1, 1), "mosaic": 2},
}


@dataclasses.dataclass(frozen=True)
class EncoderConfig:
    """Shape of an encoder; `preset` gives the named ones."""

    arch: str = "vit"  # 'vit' or 'mvitv2'
    image_size: int = 128  # pixels, a frame's height and width (section 4.2.1)
    patch: int = 16  # pixels, ViT's patch side
    width: int = 768  # D; for MViTv2 the width after its last stage
    depth: int = 12  # ViT's blocks
    heads: int = 12  # ViT's attention heads
    out_dim: int = 128  # width of the last fully connected layer
    stages: tuple[int, ...] = (1, 2, 11, 2)  # MViTv2's blocks in each stage; these are MViTv2-S
    mosaic: int = 3  # MViTv2: side, in frames, that its position tables are made for; others are interpolated
    clip: bool = False  # OpenAI CLIP's ViT: a norm before the first block, quick GELU, eps 1e-5
    mean: tuple[float, ...] = HALF  # of pixels / 255, per channel; HALF and HALF put pixels into -1..1
    std: tuple[float, ...] = HALF
    resize: bool = (
        False  # frames of another size: False refuses them, True resizes them (bilinear, antialiased)
    )

    def __post_init__(self):
        for name in ("stages", "mean", "std"):  # lists after a round trip through JSON
            object.__setattr__(self, name, tuple(getattr(self, name)))
        unit = self.patch if self.arch == "vit" else 32
        if self.arch not in ("vit", "mvitv2"):
            raise M2SError(f"arch {self.arch!r} is unknown: use 'vit' or 'mvitv2'")
        if self.image_size < unit or self.image_size % unit:
            raise M2SError(
                f"image_size {self.image_size} must be a multiple of {unit} for arch {self.arch!r}"
            )
        if self.arch == "vit" and self.width % self.heads:
            raise M2SError(f"width {self.width} must be a multiple of heads {self.heads}")

    @classmethod
    def preset(cls, name: str, **changes) -> Self:
        """A named configuration with some fields changed; the names are those of PRESETS."""
        if name not in PRESETS:
            raise M2SError(f"encoder preset {name!r} is unknown: use one of {sorted(PRESETS)}")
        known = {f.name for f in dataclasses.fields(cls)}
        if unknown := sorted(set(changes) - known):
            raise M2SError(f"{cls.__name__} has no fields {unknown}; it has {sorted(known)}")
        return cls(**{**PRESETS[name], **changes})


class FrameEncoder(nn.Module):
    """Frames of a shot or scene, stacked along the height, to one vector (section 3.2.1).

    ViT: the class token of the stacked image. MViTv2: the average over a square mosaic of the frames.
    `token` is the representation before `fc`, the last fully connected layer. E_shot and E_scene say what
    they embed.
    """

    def __init__(self, config: EncoderConfig, seed: int = 0):
        super().__init__()
        self.config = config
        with torch.random.fork_rng(devices=[]):  # timm draws from the global generator; the caller's is kept
            torch.default_generator.manual_seed(seed)
            self.backbone = _build(config)
            self.fc = nn.Linear(config.width, config.out_dim)
            nn.init.trunc_normal_(self.fc.weight, std=0.02)
            nn.init.zeros_(self.fc.bias)
        self.register_buffer("mean", torch.tensor(config.mean), persistent=False)
        self.register_buffer("std", torch.tensor(config.std), persistent=False)

    @property
    def out_dim(self) -> int:
        return self.config.out_dim

    def token(self, scenes: Tensor) -> Tensor:
        """Class token (ViT) or average (MViTv2).

        Args:
            scenes: uint8 [b, n, k, h, w, c] or [b, f, h, w, c], any number of shots n and frames k.
        Returns:
            [b, D].
        """
        frames = self._checked(scenes)  # [b, f, h, w, c]
        if self.config.arch == "vit":
            return class_token(self.backbone, frames, self.mean, self.std)
        side = math.isqrt(frames.shape[1] - 1) + 1
        image = mosaic((frames / 255 - self.mean) / self.std, side)  # [b, c, side h, side w]
        built = self.config.mosaic * self.config.image_size
        tables = relative_positions(self.backbone, built, image.shape[-1])
        return torch.func.functional_call(self.backbone, tables, image)

    def _checked(self, scenes: Tensor) -> Tensor:
        """Scenes as frames [b, f, h, w, c] of the configured size."""
        if scenes.dtype != torch.uint8 or scenes.ndim not in (5, 6) or scenes.shape[-1] != 3:
            raise M2SError(
                f"scenes must be uint8 [b, n, k, h, w, 3] or [b, k, h, w, 3], not {scenes.dtype} "
                f"{list(scenes.shape)}"
            )
        frames = scenes.flatten(1, -4)  # [b, f, h, w, c]
        size = self.config.image_size
        if frames.shape[2:4] == (size, size):
            return frames
        if not self.config.resize:
            raise M2SError(
                f"frames are {frames.shape[2]}x{frames.shape[3]} (h x w), this encoder takes {size}x{size}: "
                f"use frames of {size}x{size}, image_size={frames.shape[2]}, or resize=True"
            )
        flat = frames.flatten(0, 1).movedim(-1, 1).float()  # [b f, c, h, w]
        flat = F.interpolate(flat, size=(size, size), mode="bilinear", antialias=True)
        return flat.movedim(1, -1).unflatten(0, frames.shape[:2])  # [b, f, size, size, c], 0..255


def _build(config: EncoderConfig) -> nn.Module:
    """timm's model without its classifier, randomly initialised; timm takes seconds to import."""
    from timm.layers import LayerNorm
    from timm.models.vision_transformer import VisionTransformer

    if config.arch == "mvitv2":
        return build_mvit(config.width, config.stages, config.mosaic * config.image_size, 0)
    clip = {"pre_norm": True, "act_layer": "quick_gelu", "norm_layer": functools.partial(LayerNorm, eps=1e-5)}
    return VisionTransformer(
        img_size=config.image_size,
        patch_size=config.patch,
        embed_dim=config.width,
        depth=config.depth,
        num_heads=config.heads,
        num_classes=0,
        dynamic_img_size=True,
        **(clip if config.clip else {}),
    )
