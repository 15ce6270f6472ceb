"""SlowFast R50/R101 8x8 and X3D-L, with the module names of the authors' published checkpoints.

Only what it takes to load those weights and to read the features before the classifier (supp. 1.4). Names
(blocks.1.multipathway_blocks.0.res_blocks.0.branch2.conv_a, ...) are those of PyTorchVideo's model zoo, so a
checkpoint loads as it is; PyTorchVideo itself is not needed.

Feichtenhofer et al., SlowFast Networks for Video Recognition, 2019; Feichtenhofer, X3D, 2020.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

KINETICS_CLASSES = 400
_DEPTHS = {50: (3, 4, 6, 3), 101: (3, 4, 23, 3)}
_FUSION_KERNEL = {50: 7, 101: 5}  # over time, of the published 8x8 models
_BETA = 8  # channels of the slow pathway for each of the fast one
ALPHA = 4  # frames of the fast pathway for each of the slow one


class Stem(nn.Module):
    """First convolution, norm, ReLU, and a max pool for SlowFast."""

    def __init__(self, conv: nn.Module, width: int, pool: bool):
        super().__init__()
        self.conv, self.norm, self.pool = conv, nn.BatchNorm3d(width), pool

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.norm(self.conv(x)))
        return F.max_pool3d(x, (1, 3, 3), (1, 2, 2), (0, 1, 1)) if self.pool else x


class Bottleneck(nn.Module):
    """1x1x1 (or 3x1x1), then spatial (or 3x3x3 depthwise), then 1x1x1 convolution."""

    def __init__(self, wide_in: int, inner: int, wide_out: int, a: int, stride: int, x3d: bool, squeeze: int):
        super().__init__()
        self.conv_a = nn.Conv3d(wide_in, inner, (a, 1, 1), padding=(a // 2, 0, 0), bias=False)
        self.norm_a = nn.BatchNorm3d(inner)
        t = 3 if x3d else 1
        self.conv_b = nn.Conv3d(
            inner,
            inner,
            (t, 3, 3),
            (1, stride, stride),
            (t // 2, 1, 1),
            groups=inner if x3d else 1,
            bias=False,
        )
        norm = nn.BatchNorm3d(inner)
        gate = SqueezeExcitation(inner, squeeze) if squeeze else nn.Identity()
        self.norm_b = nn.Sequential(norm, gate) if x3d else norm
        self.act_b = F.silu if x3d else F.relu
        self.conv_c = nn.Conv3d(inner, wide_out, 1, bias=False)
        self.norm_c = nn.BatchNorm3d(wide_out)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.norm_a(self.conv_a(x)))
        x = self.act_b(self.norm_b(self.conv_b(x)))
        return self.norm_c(self.conv_c(x))


class SqueezeExcitation(nn.Module):
    """Channels weighed by what all of them are on average."""

    def __init__(self, width: int, inner: int):
        super().__init__()
        self.block = nn.Sequential(
            nn.Conv3d(width, inner, 1), nn.ReLU(), nn.Conv3d(inner, width, 1), nn.Sigmoid()
        )

    def forward(self, x: Tensor) -> Tensor:
        return x * self.block(x.mean((2, 3, 4), keepdim=True))


class ResBlock(nn.Module):
    """A bottleneck around which the input goes, through a convolution where the shape changes."""

    def __init__(self, wide_in: int, inner: int, wide_out: int, a: int, stride: int, x3d: bool, squeeze: int):
        super().__init__()
        if wide_in != wide_out or stride > 1:
            self.branch1_conv = nn.Conv3d(wide_in, wide_out, 1, (1, stride, stride), bias=False)
            # X3D leaves the norm out where only the size changes
            self.branch1_norm = nn.BatchNorm3d(wide_out) if wide_in != wide_out or not x3d else nn.Identity()
        else:
            self.branch1_conv = self.branch1_norm = nn.Identity()
        self.branch2 = Bottleneck(wide_in, inner, wide_out, a, stride, x3d, squeeze)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.branch1_norm(self.branch1_conv(x)) + self.branch2(x))


class ResStage(nn.Module):
    """Blocks of one width; the first changes width and size. X3D gates every other block."""

    def __init__(
        self,
        depth: int,
        wide_in: int,
        inner: int,
        wide_out: int,
        a: int,
        stride: int,
        squeeze: int | None = None,
    ):
        super().__init__()
        x3d = squeeze is not None
        blocks = [
            ResBlock(
                wide_out if i else wide_in,
                inner,
                wide_out,
                a,
                1 if i else stride,
                x3d,
                squeeze if x3d and i % 2 == 0 else 0,
            )
            for i in range(depth)
        ]
        self.res_blocks = nn.ModuleList(blocks)

    def forward(self, x: Tensor) -> Tensor:
        for block in self.res_blocks:
            x = block(x)
        return x


class FastToSlow(nn.Module):
    """What the fast pathway saw, brought to the slow one's frame rate and put beside its channels."""

    def __init__(self, width: int, kernel: int):
        super().__init__()
        self.conv_fast_to_slow = nn.Conv3d(
            width, 2 * width, (kernel, 1, 1), (ALPHA, 1, 1), (kernel // 2, 0, 0), bias=False
        )
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


class Head(nn.Module):
    """The classifier, kept so that checkpoints load whole; features are taken before it."""

    def __init__(self, width: int, classes: int, pool: nn.Module | None = None):
        super().__init__()
        if pool is not None:
            self.pool = pool
        self.proj = nn.Linear(width, classes)


class SlowFast(nn.Module):
    """SlowFast 8x8: blocks 0 stems, 1..4 stages, 5 pooling (nothing to learn), 6 the classifier."""

    out_dim = 2304

    def __init__(self, depth: int = 50, classes: int = KINETICS_CLASSES):
        super().__init__()
        stems = [
            Stem(nn.Conv3d(3, width, (t, 7, 7), (1, 2, 2), (t // 2, 3, 3), bias=False), width, pool=True)
            for width, t in ((64, 1), (64 // _BETA, 5))
        ]
        blocks = [TwoPaths(*stems, FastToSlow(64 // _BETA, _FUSION_KERNEL[depth]))]
        wide = 64
        for stage, count in enumerate(_DEPTHS[depth]):
            out, stride = 256 << stage, 2 if stage else 1
            slow = ResStage(count, wide + 2 * wide // _BETA, out // 4, out, 1 if stage < 2 else 3, stride)
            fast = ResStage(count, wide // _BETA, out // 4 // _BETA, out // _BETA, 3, stride)
            last = stage == 3
            fusion = nn.Identity() if last else FastToSlow(out // _BETA, _FUSION_KERNEL[depth])
            blocks.append(TwoPaths(slow, fast, fusion))
            wide = out
        self.blocks = nn.ModuleList([*blocks, nn.Identity(), Head(self.out_dim, classes)])

    def forward(self, video: Tensor) -> Tensor:
        """Features before the classifier: video [b, c, t, h, w], t a multiple of 4, to [b, 2304]."""
        slow = torch.linspace(0, video.shape[2] - 1, video.shape[2] // ALPHA).long()  # as the authors pack
        paths = [video[:, :, slow.to(video.device)], video]
        for block in self.blocks[:5]:
            paths = block(paths)
        return torch.cat([path.mean((2, 3, 4)) for path in paths], 1)  # [b, 2048 + 256]


class ConvPair(nn.Module):
    """X3D's first convolutions: over space, then over time; the authors' names say it the other way round."""

    def __init__(self, width: int):
        super().__init__()
        self.conv_t = nn.Conv3d(3, width, (1, 3, 3), (1, 2, 2), (0, 1, 1), bias=False)
        self.conv_xy = nn.Conv3d(width, width, (5, 1, 1), padding=(2, 0, 0), groups=width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv_xy(self.conv_t(x))


class ProjectedPool(nn.Module):
    """X3D's last layers before the classifier; the wide one comes after pooling, which makes it cheap."""

    def __init__(self, wide: int, inner: int, out: int):
        super().__init__()
        self.pre_conv = nn.Conv3d(wide, inner, 1, bias=False)
        self.pre_norm = nn.BatchNorm3d(inner)
        self.post_conv = nn.Conv3d(inner, out, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.pre_norm(self.pre_conv(x))).mean((2, 3, 4), keepdim=True)
        return F.relu(self.post_conv(x)).flatten(1)


class X3D(nn.Module):
    """X3D-L: width factor 2, depth factor 5; blocks 0 stem, 1..4 stages, 5 head."""

    out_dim = 2048

    def __init__(self, classes: int = KINETICS_CLASSES, depth_factor: float = 5.0):
        super().__init__()
        widths = [24, 48, 96, 192]
        inner = [int(2.25 * w) for w in widths]
        blocks: list[nn.Module] = [Stem(ConvPair(24), 24, pool=False)]
        wide = 24
        for w, n, count in zip(widths, inner, (1, 2, 5, 3), strict=True):
            depth = math.ceil(depth_factor * count)
            blocks.append(ResStage(depth, wide, n, w, 1, 2, squeeze=_rounded(n * 0.0625)))
            wide = w
        pool = ProjectedPool(widths[-1], inner[-1], self.out_dim)
        self.blocks = nn.ModuleList([*blocks, Head(self.out_dim, classes, pool)])

    def forward(self, video: Tensor) -> Tensor:
        """Features before the classifier: video [b, c, t, h, w] to [b, 2048]."""
        for block in self.blocks[:5]:
            video = block(video)
        return self.blocks[5].pool(video)


def _rounded(width: float) -> int:
    """The authors' rounding of widths: the nearest multiple of 8, not below 8 nor a tenth below the width."""
    out = max(8, int(width + 4) // 8 * 8)
    return out + 8 if out < 0.9 * width else out
