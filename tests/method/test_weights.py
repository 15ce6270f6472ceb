import pytest
import safetensors.torch
import torch
from timm.models.vision_transformer import VisionTransformer

from m2s_lib.errors import M2SError
from m2s_lib.method.scene_encoder import SceneEncoder, SceneEncoderConfig
from m2s_lib.method.shot_encoder import ShotEncoder, ShotEncoderConfig
from m2s_lib.method.weights import load_backbone, load_encoder, save_encoder


def frames(side=32):
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (2, 3, side, side, 3), dtype=torch.uint8, generator=generator)


@pytest.mark.parametrize("preset", ["test", "mvitv2_test"])
@pytest.mark.parametrize("kind", [(ShotEncoder, ShotEncoderConfig), (SceneEncoder, SceneEncoderConfig)])
def test_an_encoder_comes_back_as_it_was(tmp_path, preset, kind):
    cls, config = kind
    encoder = cls(config.preset(preset, mean=(0.4, 0.5, 0.6)), seed=5).eval()
    save_encoder(tmp_path / "e.safetensors", encoder)
    again = load_encoder(tmp_path / "e.safetensors")
    assert type(again) is cls
    assert again.config == encoder.config
    assert not again.training
    assert torch.equal(again(frames()), encoder(frames()))
    assert [p.name for p in tmp_path.iterdir()] == ["e.safetensors"]


def test_files_that_are_not_encoders_are_named(tmp_path):
    with pytest.raises(M2SError, match="weights not found: put them at .*none.safetensors"):
        load_encoder(tmp_path / "none.safetensors")
    (tmp_path / "cut.safetensors").write_bytes(b"\x10\x00\x00\x00\x00\x00\x00\x00{")
    with pytest.raises(M2SError, match="cut.safetensors is not a whole safetensors file"):
        load_encoder(tmp_path / "cut.safetensors")
    safetensors.torch.save_file({"x": torch.ones(1)}, tmp_path / "other.safetensors")
    with pytest.raises(M2SError, match="no encoder configuration.*load_backbone"):
        load_encoder(tmp_path / "other.safetensors")


def openai_clip(width=32, depth=2, patch=8, grid=7, out=16):
    """A CLIP visual tower with the names that OpenAI gave its weights."""
    generator = torch.Generator().manual_seed(1)

    def r(*shape):
        return torch.randn(*shape, generator=generator) * 0.1

    state = {
        "visual.class_embedding": r(width),
        "visual.positional_embedding": r(grid * grid + 1, width),
        "visual.proj": r(width, out),
        "visual.conv1.weight": r(width, 3, patch, patch),
        "logit_scale": r(1),
    }
    for name in ("ln_pre", "ln_post"):
        state |= {f"visual.{name}.weight": 1 + r(width), f"visual.{name}.bias": r(width)}
    for i in range(depth):
        block = f"visual.transformer.resblocks.{i}."
        state |= {
            f"{block}attn.in_proj_weight": r(3 * width, width),
            f"{block}attn.in_proj_bias": r(3 * width),
        }
        for name, o, n in (
            ("attn.out_proj", width, width),
            ("mlp.c_fc", 4 * width, width),
            ("mlp.c_proj", width, 4 * width),
        ):
            state |= {f"{block}{name}.weight": r(o, n), f"{block}{name}.bias": r(o)}
        for name in ("ln_1", "ln_2"):
            state |= {f"{block}{name}.weight": 1 + r(width), f"{block}{name}.bias": r(width)}
    return state


def clip_forward(state, x, patch=8, heads=2):
    """OpenAI's own forward for one square image [b, c, h, w] of the size that the positions are for."""

    def norm(x, n):
        return torch.nn.functional.layer_norm(x, x.shape[-1:], state[f"{n}.weight"], state[f"{n}.bias"])

    x = torch.nn.functional.conv2d(x, state["visual.conv1.weight"], stride=patch).flatten(2).transpose(1, 2)
    x = (
        torch.cat([state["visual.class_embedding"].expand(len(x), 1, -1), x], 1)
        + state["visual.positional_embedding"]
    )
    x = norm(x, "visual.ln_pre")
    for i in range(2):
        block = f"visual.transformer.resblocks.{i}."
        y = norm(x, block + "ln_1")
        w = [
            state[block + n]
            for n in (
                "attn.in_proj_weight",
                "attn.in_proj_bias",
                "attn.out_proj.weight",
                "attn.out_proj.bias",
            )
        ]
        q, k, v = (y @ w[0].T + w[1]).unflatten(-1, (3, heads, -1)).permute(2, 0, 3, 1, 4)
        a = (q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5).softmax(-1) @ v
        x = x + a.transpose(1, 2).flatten(2) @ w[2].T + w[3]
        y = norm(x, block + "ln_2") @ state[block + "mlp.c_fc.weight"].T + state[block + "mlp.c_fc.bias"]
        y = y * torch.sigmoid(1.702 * y)
        x = x + y @ state[block + "mlp.c_proj.weight"].T + state[block + "mlp.c_proj.bias"]
    return norm(x[:, 0], "visual.ln_post") @ state["visual.proj"]


CLIP = {"image_size": 56, "patch": 8, "width": 32, "depth": 2, "heads": 2}


@pytest.mark.parametrize("suffix", ["safetensors", "pt"])
def test_clip_weights_give_clips_own_output(tmp_path, suffix):
    state, path = openai_clip(), tmp_path / f"clip.{suffix}"
    safetensors.torch.save_file(state, path) if suffix == "safetensors" else torch.save(state, path)
    encoder = ShotEncoder(ShotEncoderConfig.preset("clip", out_dim=16, **CLIP)).eval()
    load_backbone(encoder, path)
    x = frames(56)[:, :1]
    pixels = ((x[:, 0] / 255 - encoder.mean) / encoder.std).permute(0, 3, 1, 2)
    torch.testing.assert_close(encoder(x), clip_forward(state, pixels), rtol=1e-4, atol=1e-5)


def test_positions_of_another_grid_are_resampled_and_other_heads_left_out(tmp_path):
    torch.save(openai_clip(), tmp_path / "clip.pt")
    encoder = SceneEncoder(SceneEncoderConfig.preset("clip", **{**CLIP, "image_size": 32}))
    head = encoder.fc.weight.clone()
    load_backbone(encoder, tmp_path / "clip.pt")
    assert encoder.backbone.pos_embed.shape == (1, 17, 32)
    assert torch.equal(encoder.fc.weight, head)
    assert torch.equal(encoder.backbone.patch_embed.proj.weight, openai_clip()["visual.conv1.weight"])


def test_a_timm_state_dict_loads(tmp_path):
    with torch.random.fork_rng():
        vit = VisionTransformer(img_size=32, patch_size=8, embed_dim=32, depth=2, num_heads=2, num_classes=10)
    safetensors.torch.save_file(vit.state_dict(), tmp_path / "vit.safetensors")
    encoder = load_backbone(SceneEncoder(SceneEncoderConfig.preset("test")), tmp_path / "vit.safetensors")
    assert all(torch.equal(v, vit.state_dict()[n]) for n, v in encoder.backbone.state_dict().items())


def test_an_mvit_state_dict_loads_with_its_tables_interpolated(tmp_path):
    big, small = (SceneEncoder(SceneEncoderConfig.preset("mvitv2_test", mosaic=m)) for m in (3, 2))
    safetensors.torch.save_file(big.backbone.state_dict(), tmp_path / "mvit.safetensors")
    load_backbone(small, tmp_path / "mvit.safetensors")
    same = [
        n for n, v in small.backbone.state_dict().items() if v.shape == big.backbone.state_dict()[n].shape
    ]
    assert all(torch.equal(small.backbone.state_dict()[n], big.backbone.state_dict()[n]) for n in same)
    assert len(same) < len(small.backbone.state_dict())


def test_checkpoints_that_do_not_fit_say_why(tmp_path):
    encoder = SceneEncoder(SceneEncoderConfig.preset("test"))
    torch.save(openai_clip(), tmp_path / "clip.pt")
    with pytest.raises(M2SError, match=r"clip.pt does not fit .*norm_pre.*CLIP: 'clip'"):
        load_backbone(encoder, tmp_path / "clip.pt")
    torch.save(encoder, tmp_path / "pickled.pt")
    with pytest.raises(M2SError, match="pickled.pt cannot be read as plain weights"):
        load_backbone(encoder, tmp_path / "pickled.pt")
    for missing in ("gone.pt", "gone.safetensors"):
        with pytest.raises(M2SError, match=f"weights not found: put them at .*{missing}"):
            load_backbone(encoder, tmp_path / missing)
    with pytest.raises(M2SError, match="put them at no_such_model .*timm has no model"):
        load_backbone(encoder, "no_such_model")


def test_a_hub_name_offline_is_an_error_with_a_way_out(monkeypatch):
    import timm

    def refuse(*args, **kwargs):
        raise OSError("offline")

    monkeypatch.setattr(timm, "create_model", refuse)
    with pytest.raises(
        M2SError, match="vit_base_patch16_clip_quickgelu_224.openai is not in the model hub's cache"
    ):
        load_backbone(
            SceneEncoder(SceneEncoderConfig.preset("test")), "vit_base_patch16_clip_quickgelu_224.openai"
        )


def test_an_encoder_of_ours_gives_its_backbone(tmp_path):
    """E_scene may start from E_shot's weights (Table 1, row 14); the projections stay what they were."""
    first = SceneEncoder(SceneEncoderConfig.preset("test"))
    save_encoder(tmp_path / "first.safetensors", first)
    second = SceneEncoder(SceneEncoderConfig.preset("test"), seed=1)
    projection = second.fc.weight.clone()
    load_backbone(second, tmp_path / "first.safetensors")
    for name, value in second.backbone.state_dict().items():
        assert torch.equal(value, first.backbone.state_dict()[name]), name
    assert torch.equal(second.fc.weight, projection)
