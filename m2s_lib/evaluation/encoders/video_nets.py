"""SlowFast R50/R101 8x8 and X3D-L, with the module names of the authors' published checkpoints.

Only what it takes to load those weights and to read the features before the classifier (supp. 1.4). Names
(blocks.1.multipathway_blocks.0.res_blocks.0.branch2.conv_a, ...) are those of PyTorchVideo's model zoo, so a
checkpoint loads as it is; PyTorchVideo itself is no longer kept up, and is not needed.

Feichtenhofer et al., SlowFast Networks for Video Recognition, 2019; Feichtenhofer, X3D, 2020.
Shapes: b batch, c channels, t frames, h w pixels.
"""

import math
from collections import OrderedDict

import torch
import torch.nn.functional as F
from torch import Tensor, nn

KINETICS_CLASSES = 400
ALPHA = 4  # frames of the fast pathway for each of the slow one
_BETA = 8  # channels of the slow pathway for each of the fast one
_DEPTHS = {50: (3, 4, 6, 3), 101: (3, 4, 23, 3)}
_FUSION_KERNEL = {50: 7, 101: 5}  # over time, of the published 8x8 models


def _named(**modules: nn.Module) -> nn.Sequential:
    """Modules one after the other, their names as given."""
    return nn.Sequential(OrderedDict(modules))


def _conv(wide_in: int, wide_out: int, kernel: tuple, stride: int = 1, groups: int = 1) -> nn.Conv3d:
    """A convolution over t, h and w without bias that keeps the size at stride 1; strides are of h and w."""
    padding = tuple(k // 2 for k in kernel)
    return nn.Conv3d(wide_in, wide_out, kernel, (1, stride, stride), padding, groups=groups, bias=False)


def _stem(conv: nn.Module, width: int, pool: bool) -> nn.Module:
    last = nn.MaxPool3d((1, 3, 3), (1, 2, 2), (0, 1, 1)) if pool else nn.Identity()
    return _named(conv=conv, norm=nn.BatchNorm3d(width), act=nn.ReLU(), pool=last)


class SqueezeExcitation(nn.Module):
    """Channels weighed by what all of them are on average."""

    def __init__(self, width: int, inner: int):
        super().__init__()
        convs = nn.Conv3d(width, inner, 1), nn.Conv3d(inner, width, 1)
        self.block = nn.Sequential(convs[0], nn.ReLU(), convs[1], nn.Sigmoid())

    def forward(self, x: Tensor) -> Tensor:
        return x * self.block(x.mean((2, 3, 4), keepdim=True))


class ResBlock(nn.Module):
    """A bottleneck around which the input goes, through a convolution where the shape changes.

    Args:
        wide_in, inner, wide_out: channels. a: frames of the first kernel. stride: over h and w.
        squeeze: None of SlowFast; of X3D the width of its gate, 0 without one.
    """

    def __init__(self, wide_in: int, inner: int, wide_out: int, a: int, stride: int, squeeze: int | None):
        super().__init__()
        x3d, changes = squeeze is not None, wide_in != wide_out
        self.branch1_conv = self.branch1_norm = nn.Identity()
        if changes or stride > 1:
            self.branch1_conv = _conv(wide_in, wide_out, (1, 1, 1), stride)
            if changes or not x3d:  # X3D leaves the norm out where only the size changes
                self.branch1_norm = nn.BatchNorm3d(wide_out)
        norm = nn.BatchNorm3d(inner)
        gate = SqueezeExcitation(inner, squeeze) if squeeze else nn.Identity()
        self.branch2 = _named(
            conv_a=_conv(wide_in, inner, (a, 1, 1)),
            norm_a=nn.BatchNorm3d(inner),
            act_a=nn.ReLU(),
            conv_b=_conv(inner, inner, (3 if x3d else 1, 3, 3), stride, groups=inner if x3d else 1),
            norm_b=nn.Sequential(norm, gate) if x3d else norm,
            act_b=nn.SiLU() if x3d else nn.ReLU(),
            conv_c=_conv(inner, wide_out, (1, 1, 1)),
            norm_c=nn.BatchNorm3d(wide_out),
        )

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.branch1_norm(self.branch1_conv(x)) + self.branch2(x))


def _stage(
    depth: int, wide_in: int, inner: int, wide_out: int, a: int, stride: int, squeeze: int | None = None
) -> nn.Module:
    """Blocks of one width; the first changes width and size. X3D gates every other block."""
    wide = [wide_in, *[wide_out] * (depth - 1)]
    strides = [stride, *[1] * (depth - 1)]
    gates = [squeeze if squeeze is None or i % 2 == 0 else 0 for i in range(depth)]
    each = zip(wide, strides, gates, strict=True)
    return _named(res_blocks=nn.Sequential(*(ResBlock(w, inner, wide_out, a, s, g) for w, s, g in each)))


class FastToSlow(nn.Module):
    """What the fast pathway saw, brought to the slow one's frame rate and put beside its channels."""

    def __init__(self, width: int, kernel: int):
        super().__init__()
        shape = (kernel, 1, 1), (ALPHA, 1, 1), (kernel // 2, 0, 0)
        self.conv_fast_to_slow = nn.Conv3d(width, 2 * width, *shape, bias=False)
        self.norm = nn.BatchNorm3d(2 * width)

    def forward(self, paths: list[Tensor]) -> list[Tensor]:
        slow, fast = paths
        return [torch.cat([slow, F.relu(self.norm(self.conv_fast_to_slow(fast)))], 1), fast]


class TwoPaths(nn.Module):
    """The same stage of both pathways, and what flows from fast to slow after it."""

    def __init__(self, slow: nn.Module, fast: nn.Module, fusion: nn.Module):
        super().__init__()
        self.multipathway_blocks = nn.ModuleList([slow, fast])
        self.multipathway_fusion = fusion

    def forward(self, paths: list[Tensor]) -> list[Tensor]:
        return self.multipathway_fusion([b(x) for b, x in zip(self.multipathway_blocks, paths, strict=True)])


class SlowFast(nn.Module):
    """SlowFast 8x8: blocks 0 stems, 1..4 stages, 5 pooling (nothing to learn), 6 the classifier."""

    out_dim = 2304

    def __init__(self, depth: int = 50, classes: int = KINETICS_CLASSES):
        super().__init__()
        stems = [_stem(_conv(3, w, (t, 7, 7), 2), w, pool=True) for w, t in ((64, 1), (64 // _BETA, 5))]
        blocks: list[nn.Module] = [TwoPaths(*stems, FastToSlow(64 // _BETA, _FUSION_KERNEL[depth]))]
        wide = 64
        for number, count in enumerate(_DEPTHS[depth]):
            out, stride = 256 << number, 2 if number else 1
            slow = _stage(count, wide + 2 * wide // _BETA, out // 4, out, 1 if number < 2 else 3, stride)
            fast = _stage(count, wide // _BETA, out // 4 // _BETA, out // _BETA, 3, stride)
            fusion = FastToSlow(out // _BETA, _FUSION_KERNEL[depth]) if number < 3 else nn.Identity()
            blocks.append(TwoPaths(slow, fast, fusion))
            wide = out
        head = nn.ModuleDict({"proj": nn.Linear(self.out_dim, classes)})
        self.blocks = nn.ModuleList([*blocks, nn.Identity(), head])

    def forward(self, video: Tensor) -> Tensor:
        """Features before the classifier: video [b, c, t, h, w], t a multiple of 4, to [b, 2304]."""
        slow = torch.linspace(0, video.shape[2] - 1, video.shape[2] // ALPHA).long()  # as the authors pack
        paths = [video[:, :, slow.to(video.device)], video]
        for block in self.blocks[:5]:
            paths = block(paths)
        return torch.cat([path.mean((2, 3, 4)) for path in paths], 1)  # [b, 2048 + 256]


class X3D(nn.Module):
    """X3D-L: width factor 2, depth factor 5; blocks 0 stem, 1..4 stages, 5 head."""

    out_dim = 2048

    def __init__(self, classes: int = KINETICS_CLASSES, depth_factor: float = 5.0):
        super().__init__()
        # the first convolutions are over space, then over time; the authors' names say the opposite
        first = _named(conv_t=_conv(3, 24, (1, 3, 3), 2), conv_xy=_conv(24, 24, (5, 1, 1), groups=24))
        blocks: list[nn.Module] = [_stem(first, 24, pool=False)]
        wide = 24
        for width, count in ((24, 1), (48, 2), (96, 5), (192, 3)):
            depth, inner = math.ceil(depth_factor * count), int(2.25 * width)
            blocks.append(_stage(depth, wide, inner, width, 1, 2, squeeze=_rounded(inner * 0.0625)))
            wide = width
        pool = _named(
            pre_conv=_conv(wide, inner, (1, 1, 1)), pre_norm=nn.BatchNorm3d(inner), act=nn.ReLU(),
            mean=nn.AdaptiveAvgPool3d(1),
            post_conv=_conv(inner, self.out_dim, (1, 1, 1)), last=nn.ReLU(), flat=nn.Flatten(),
        )  # fmt: skip
        head = nn.ModuleDict({"pool": pool, "proj": nn.Linear(self.out_dim, classes)})
        self.blocks = nn.ModuleList([*blocks, head])

    def forward(self, video: Tensor) -> Tensor:
        """Features before the classifier: video [b, c, t, h, w] to [b, 2048]."""
        for block in self.blocks[:5]:
            video = block(video)
        return self.blocks[5]["pool"](video)


def _rounded(width: float) -> int:
    """The authors' rounding of widths: the nearest multiple of 8, not below 8 nor a tenth below the width."""
    out = max(8, int(width + 4) // 8 * 8)
    return out + 8 if out < 0.9 * width else out
