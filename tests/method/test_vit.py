import copy

import pytest
import torch
import torch.nn.functional as F
from timm.models.mvitv2 import mvitv2_small

from m2s_lib.method.frame_encoder import EncoderConfig
from m2s_lib.method.scene_encoder import SceneEncoder, SceneEncoderConfig
from m2s_lib.method.vit import (
    build_mvit,
    class_token,
    last_block_class_token,
    mosaic,
    patch_embedding,
    position_embedding,
    relative_positions,
)


def frames_of(b, f, side=32, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (b, f, side, side, 3), dtype=torch.uint8, generator=generator)


def encoder_of(preset="test", **changes):
    encoder = SceneEncoder(SceneEncoderConfig.preset(preset, **changes), seed=1).eval()
    with torch.no_grad():  # timm starts the class token at 1e-6 and biases at 0: make every term count
        generator = torch.Generator().manual_seed(2)
        for p in encoder.parameters():
            p.add_(torch.randn(p.shape, generator=generator) * 0.05)
    return encoder


def stacked(frames, mean, std):
    """The slow way: normalise, then put frame below frame."""
    rows = [(frame.to(mean.dtype) / 255 - mean) / std for frame in frames.unbind(1)]
    return torch.cat(rows, dim=1).permute(0, 3, 1, 2)  # [b, c, f h, w]


@pytest.mark.parametrize("changes", [{}, {"mean": (0.4, 0.5, 0.6), "std": (0.2, 0.3, 0.1)}, {"clip": True}])
@pytest.mark.parametrize("f", [1, 3])
def test_patches_equal_timms_convolution_on_normalised_pixels(changes, f):
    encoder = encoder_of(**changes).double()
    vit, frames = encoder.backbone, frames_of(2, f)
    expected = vit.patch_embed(stacked(frames, encoder.mean, encoder.std)).flatten(1, 2)
    torch.testing.assert_close(patch_embedding(vit, frames, encoder.mean, encoder.std), expected)


def test_positions_of_one_frame_are_the_embeddings_themselves():
    vit = encoder_of().backbone
    assert torch.equal(position_embedding(vit, 1), vit.pos_embed)


@pytest.mark.parametrize("f", [4, 9, 16])
def test_positions_of_many_frames_are_interpolated_in_two_dimensions(f):
    vit = encoder_of().backbone
    grid = vit.pos_embed[:, 1:].reshape(1, 4, 4, 32).permute(0, 3, 1, 2)
    longer = F.interpolate(grid, size=(f * 4, 4), mode="bicubic", antialias=True)
    position = position_embedding(vit, f)
    assert position.shape == (1, 1 + f * 16, 32)
    assert torch.equal(position[:, 0], vit.pos_embed[:, 0])
    torch.testing.assert_close(position[:, 1:].reshape(1, f * 4, 4, 32), longer.permute(0, 2, 3, 1))
    top, bottom = position[0, 1:5], position[0, -4:]  # the ends stay nearest the ends
    assert (top - vit.pos_embed[0, 1:5]).norm() < (top - vit.pos_embed[0, -4:]).norm()
    assert (bottom - vit.pos_embed[0, -4:]).norm() < (bottom - vit.pos_embed[0, 1:5]).norm()


@pytest.mark.parametrize("clip", [False, True])
@pytest.mark.parametrize("f", [1, 4, 9])
def test_class_token_is_timms_on_the_stacked_image(f, clip):
    encoder = encoder_of(clip=clip).double()
    frames = frames_of(2, f)
    expected = encoder.backbone.forward_features(stacked(frames, encoder.mean, encoder.std))[:, 0]
    token = class_token(encoder.backbone, frames, encoder.mean, encoder.std)
    torch.testing.assert_close(token, expected, rtol=0, atol=1e-12)


def test_last_block_for_the_class_token_equals_the_full_block_with_gradients():
    block = encoder_of().double().backbone.blocks[-1]
    full, x = (
        copy.deepcopy(block),
        torch.randn(3, 10, 32, dtype=torch.float64, generator=torch.Generator().manual_seed(0)),
    )
    a, b = x.clone().requires_grad_(), x.clone().requires_grad_()
    weight = torch.linspace(-1, 1, 32, dtype=torch.float64)
    mine, theirs = last_block_class_token(block, a), full(b)[:, 0]
    torch.testing.assert_close(mine, theirs, rtol=0, atol=1e-12)
    (mine * weight).sum().backward()
    (theirs * weight).sum().backward()
    torch.testing.assert_close(a.grad, b.grad, rtol=0, atol=1e-12)
    for (name, p), q in zip(block.named_parameters(), full.parameters(), strict=True):
        torch.testing.assert_close(p.grad, q.grad, rtol=0, atol=1e-12, msg=name)
        assert q.grad.abs().max() > 0, name


@pytest.mark.parametrize(("f", "side"), [(1, 1), (3, 2), (4, 2), (9, 3), (7, 3)])
def test_mosaic_puts_frames_row_by_row_and_leaves_the_rest_zero(f, side):
    frames = torch.randn(2, f, 4, 5, 3, generator=torch.Generator().manual_seed(0))
    picture = mosaic(frames, side)
    assert picture.shape == (2, 3, side * 4, side * 5)
    for i in range(side * side):
        row, column = divmod(i, side)
        cell = picture[:, :, row * 4 : row * 4 + 4, column * 5 : column * 5 + 5].permute(0, 2, 3, 1)
        assert torch.equal(cell, frames[:, i] if i < f else torch.zeros(2, 4, 5, 3))


def test_mvit_tables_stay_for_their_own_size_and_follow_others():
    mvit = build_mvit(64, (1, 1, 1, 1), 64, 0)
    assert relative_positions(mvit, 64, 64) == {}
    tables = relative_positions(mvit, 64, 96)
    own, wanted = dict(mvit.named_parameters()), dict(build_mvit(64, (1, 1, 1, 1), 96, 0).named_parameters())
    assert set(tables) == {n for n in own if "rel_pos" in n}
    assert all(tables[n].shape == wanted[n].shape for n in tables)
    first = next(iter(tables))
    half = len(own[first]) // 2, len(tables[first]) // 2  # no offset stays no offset
    torch.testing.assert_close(tables[first][half[1]], own[first][half[0]])


def test_the_mvit_preset_is_timms_small_model():
    config = EncoderConfig.preset("mvitv2_small")
    with torch.device("meta"):
        ours = build_mvit(config.width, config.stages, 224, 0).state_dict()
        timms = mvitv2_small(num_classes=0).state_dict()
    assert {n: t.shape for n, t in ours.items()} == {n: t.shape for n, t in timms.items()}
