"""A scene as one long image for a vision transformer: functions over timm's models (section 3.2.1).

timm holds the weights, so its checkpoints load; what differs from timm's own forward is exact and cheaper:
patches come straight from uint8 with the normalisation folded into the patch layer, and the last block
computes only the class token.
"""

from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

if TYPE_CHECKING:  # timm takes seconds to import
    from timm.models.mvitv2 import MultiScaleVit
    from timm.models.vision_transformer import Block, VisionTransformer


def patch_embedding(vit: "VisionTransformer", frames: Tensor, mean: Tensor, std: Tensor) -> Tensor:
    """Patch tokens of the frames stacked along the height: timm's patch convolution, normalised.

    Equals the convolution of (x / 255 - mean) / std. A convolution with stride = kernel is one product over
    patches, and a linear layer after an affine normalisation is a linear layer: both folds are exact, and
    pixels stay uint8 (or float 0..255) until then.

    Args:
        vit: timm model; its patch layer has weights [D, c, p, p].
        frames: [b, f, h, w, c], f = n * k, values 0..255; h and w multiples of p.
        mean, std: [c], in units of 0..1.
    Returns:
        [b, f * N, D], frame after frame, each row by row.
    """
    b, f, h, w, c = frames.shape
    p = vit.patch_embed.patch_size[0]
    patches = frames.reshape(b, f * (h // p), p, w // p, p, c).transpose(2, 3)  # [b, f h/p, w/p, p, p, c]
    patches = patches.reshape(b, -1, p * p * c)  # [b, f N, p p c]
    conv = vit.patch_embed.proj
    weight = conv.weight / (255 * std)[:, None, None]  # [D, c, p, p]
    bias = -(conv.weight * (mean / std)[:, None, None]).sum((1, 2, 3))  # [D]
    bias = bias if conv.bias is None else bias + conv.bias
    return F.linear(patches.to(weight.dtype), weight.permute(0, 2, 3, 1).flatten(1), bias)


def position_embedding(vit: "VisionTransformer", f: int) -> Tensor:
    """Positional embeddings of f stacked frames, interpolated in 2-D from (h/p, w/p) to (f h/p, w/p).

    The class token keeps its own; f = 1 gives the embeddings unchanged. Bicubic, as timm does for images of
    any size.

    Returns:
        [1, 1 + f * N, D].
    """
    from timm.layers import resample_abs_pos_embed

    rows, columns = vit.patch_embed.grid_size
    return resample_abs_pos_embed(
        vit.pos_embed, new_size=[f * rows, columns], old_size=[rows, columns], num_prefix_tokens=1
    )


def class_token(vit: "VisionTransformer", frames: Tensor, mean: Tensor, std: Tensor) -> Tensor:
    """The class token after the last block and the final norm: frames [b, f, h, w, c] of 0..255 to [b, D]."""
    x = patch_embedding(vit, frames, mean, std)  # [b, f N, D]
    x = torch.cat([vit.cls_token.expand(len(x), -1, -1), x], dim=1)  # [b, 1 + f N, D]
    x = vit.norm_pre(x + position_embedding(vit, frames.shape[1]))
    for block in vit.blocks[:-1]:
        x = block(x)
    return vit.norm(last_block_class_token(vit.blocks[-1], x))


def last_block_class_token(block: "Block", x: Tensor) -> Tensor:
    """What `block(x)[:, 0]` is, without the other tokens' queries, projections and MLPs.

    After the last block nothing reads the patch tokens, so only the class token needs to ask; all tokens
    still answer.

    Args:
        block: timm's pre-norm block with plain self-attention and no dropout.
        x: [b, T, D], the class token first.
    Returns:
        [b, D].
    """
    attn = block.attn
    b, t, d = x.shape
    y = block.norm1(x)
    w_q, w_kv = attn.qkv.weight.split([d, 2 * d])
    b_q, b_kv = attn.qkv.bias.split([d, 2 * d])
    q = F.linear(y[:, :1], w_q, b_q).view(b, 1, attn.num_heads, -1).transpose(1, 2)  # [b, heads, 1, D/heads]
    kv = F.linear(y, w_kv, b_kv).view(b, t, 2, attn.num_heads, -1)
    k, v = kv.permute(2, 0, 3, 1, 4)  # each [b, heads, T, D/heads]
    out = F.scaled_dot_product_attention(q, k, v).flatten(1)  # [b, D]
    token = x[:, 0] + block.ls1(attn.proj(out))
    return token + block.ls2(block.mlp(block.norm2(token)))


def mosaic(frames: Tensor, side: int) -> Tensor:
    """Frames laid out row by row as a square of side x side frames; empty places stay zero.

    Args:
        frames: [b, f, h, w, c] with f <= side * side.
    Returns:
        [b, c, side * h, side * w].
    """
    b, f, h, w, c = frames.shape
    places = frames.new_zeros(b, side * side, h, w, c)
    places[:, :f] = frames
    return places.view(b, side, side, h, w, c).permute(0, 5, 1, 3, 2, 4).reshape(b, c, side * h, side * w)


def build_mvit(width: int, stages: tuple[int, ...], size: int, out_dim: int) -> "MultiScaleVit":
    """timm's MViTv2 for `size` x `size` pixels: `width` after the last stage, `stages` blocks in each."""
    from timm.models.mvitv2 import MultiScaleVit, MultiScaleVitCfg

    config = MultiScaleVitCfg(depths=tuple(stages), embed_dim=width // 2 ** (len(stages) - 1))
    return MultiScaleVit(config, img_size=size, num_classes=out_dim)


def relative_positions(mvit: "MultiScaleVit", built: int, size: int) -> dict[str, Tensor]:
    """MViTv2's relative position tables for `size` x `size` pixels, interpolated from the `built` size's.

    timm builds the tables for one input size: a larger input indexes outside them and a smaller one reads the
    wrong offsets without an error, so a mosaic of another size needs its own. Both sizes are multiples of 32,
    so every stage's extent e, of a table with 2 e - 1 offsets, grows with the input exactly.

    Returns:
        Parameter name to table, empty when the sizes are the same.
    """
    if size == built:
        return {}
    tables = {}
    for name, table in mvit.named_parameters():
        if "rel_pos" in name:  # [2 e - 1, d]
            extent = (len(table) + 1) // 2 * size // built
            tables[name] = F.interpolate(table.T[None], size=2 * extent - 1, mode="linear")[0].T
    return tables
