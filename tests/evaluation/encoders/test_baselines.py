import subprocess
import sys
import warnings

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import save_file
from torchvision.models import resnet50

from m2s_lib.errors import M2SError
from m2s_lib.evaluation.encoders import baselines as baselines_module
from m2s_lib.evaluation.encoders.baselines import (
    ELSEWHERE,
    NAMES,
    VideoEncoder,
    baseline,
    baselines,
    encoder_table,
    slug,
)
from m2s_lib.evaluation.encoders.encoders import embed_scenes
from m2s_lib.evaluation.encoders.video_nets import X3D, SlowFast
from m2s_lib.evaluation.encoders.weight_files import Missing
from m2s_lib.method.scene_encoder import SceneEncoder, SceneEncoderConfig
from m2s_lib.method.weights import save_encoder
from tests.evaluation.encoders.test_encoders import noise_store
from tests.evaluation.encoders.test_video_nets import weights_by_name

TINY = SceneEncoderConfig.preset("test")
SCENES = pd.DataFrame({"film_id": "a", "shot": [0, 1], "n_shots": 2})


@pytest.fixture(autouse=True)
def nothing_cached(monkeypatch, tmp_path):
    """Whatever this machine's hub cache holds, these tests see an empty one."""
    import huggingface_hub.constants as hub

    monkeypatch.setattr(hub, "HF_HUB_CACHE", str(tmp_path / "no_cache"))


def test_absent_weights_give_rows_and_the_run_goes_on(tmp_path):
    found = baselines([*NAMES, *ELSEWHERE], tmp_path, scene_config=TINY)
    table = encoder_table(found).set_index("name")
    assert table["status"].to_dict() == {
        n: "ready" if n in ("random init", "pixels", "colour") else "missing" for n in (*NAMES, *ELSEWHERE)
    }
    assert table.loc["X3D-L", "reason"] == f"weights not found: put them at {tmp_path / 'X3D_L.pyth'}"
    assert "put them at" in table.loc["CLIP ViT-B/16", "reason"]
    assert "not trained yet" in table.loc["MoCo", "reason"]
    assert "computed elsewhere" in table.loc["BaSSL", "reason"]
    assert table.loc["colour", "dim"] == 64
    assert str(found[-1]).startswith("BaSSL: computed elsewhere")
    with pytest.raises(M2SError, match="encoder 'ResNet' is unknown"):
        baseline("ResNet")


def test_places365_in_its_authors_layout(tmp_path):
    torch.manual_seed(0)
    net = resnet50(num_classes=365)
    state = {f"module.{n}": v for n, v in net.state_dict().items() if "num_batches" not in n}  # as in 2017
    torch.save({"epoch": 90, "arch": "resnet50", "state_dict": state, "best_prec1": 54.7},
               tmp_path / "resnet50_places365.pth.tar")  # fmt: skip
    encoder = baseline("Places365 ResNet-50", tmp_path)
    store = noise_store(1, 3)
    found = embed_scenes(encoder, {"a": store}, SCENES)
    net.fc = torch.nn.Identity()
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    frames = torch.from_numpy(store.scene(0, 2).copy()).flatten(0, 1).movedim(-1, 1).float() / 255
    images = torch.nn.functional.interpolate(frames, (224, 224), mode="bilinear", antialias=True)
    with torch.inference_mode():
        expected = net.eval()((images - mean) / std).mean(0)
    np.testing.assert_allclose(found[0], expected.numpy(), rtol=1e-3, atol=1e-4)
    assert encoder.dim == found.shape[1] == 2048


def test_a_file_with_other_classes_is_a_row_with_the_reason(tmp_path):
    with torch.device("meta"):
        state = resnet50(num_classes=7).state_dict()
    save_file(
        {n: torch.zeros(v.shape, dtype=v.dtype) for n, v in state.items()}, tmp_path / "resnet50.safetensors"
    )
    found = baseline("ImageNet ResNet-50", tmp_path)
    assert isinstance(found, Missing)
    assert "fc.bias [7] instead of [1000]" in found.reason


@pytest.mark.parametrize("archive", [False, True])
def test_clip_in_openais_layout(tmp_path, archive, monkeypatch):
    monkeypatch.setitem(baselines_module._CLIP, "depth", 2)  # the published one has 12 blocks, all alike
    state = openai_clip()
    if archive:  # OpenAI's own files are TorchScript, which may run code: the user converts them
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            torch.jit.script(Holder(state)).save(str(tmp_path / "ViT-B-16.pt"))
        refused = baseline("CLIP ViT-B/16", tmp_path)
        assert isinstance(refused, Missing)
        assert "ViT-B-16.pt cannot be read as plain weights: it is a TorchScript archive" in refused.reason
        code = refused.reason.split('"')[1]
        command = [sys.executable, "-c", code, tmp_path / "ViT-B-16.pt", tmp_path / "ViT-B-16.safetensors"]
        subprocess.run(command, check=True, capture_output=True)
    else:
        torch.save(state, tmp_path / "ViT-B-16.pt")
    encoder = baseline("CLIP ViT-B/16", tmp_path)
    assert not isinstance(encoder, Missing), encoder
    backbone = encoder.model.backbone
    assert torch.equal(backbone.patch_embed.proj.weight, state["visual.conv1.weight"])
    assert torch.equal(encoder.model.fc.weight, state["visual.proj"].T)
    with torch.inference_mode():
        out = encoder.embed(torch.from_numpy(noise_store(1, 2).scene(0, 2).copy())[None])
        one = encoder.embed(torch.from_numpy(noise_store(1, 2).scene(1, 1).copy())[None])
    assert out.shape == (1, 512)
    assert torch.isfinite(out).all()
    assert not torch.allclose(out, one)


def test_clip_without_its_projection_is_refused(tmp_path, monkeypatch):
    monkeypatch.setitem(baselines_module._CLIP, "depth", 2)
    torch.save({n: v for n, v in openai_clip().items() if n != "visual.proj"}, tmp_path / "ViT-B-16.pt")
    found = baseline("CLIP ViT-B/16", tmp_path)
    assert isinstance(found, Missing)
    assert "ViT-B-16.pt" in found.reason


class Holder(torch.nn.Module):
    """Weights under dotted names in a TorchScript module, as OpenAI's archives have them."""

    def __init__(self, state):
        super().__init__()
        children = {}
        for name, value in state.items():
            first, _, rest = name.partition(".")
            if rest:
                children.setdefault(first, {})[rest] = value
            else:
                self.register_parameter(first, torch.nn.Parameter(value, requires_grad=False))
        for name, inner in children.items():
            self.add_module(name, Holder(inner))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x


def openai_clip(width=768, depth=2, patch=16, grid=14, out=512):
    state = {
        "visual.class_embedding": torch.zeros(width),
        "visual.positional_embedding": torch.zeros(grid * grid + 1, width),
        "visual.proj": torch.zeros(width, out),
        "visual.conv1.weight": torch.zeros(width, 3, patch, patch),
        "logit_scale": torch.ones(()),
        "token_embedding.weight": torch.zeros(8, 4),  # of the text encoder, not used
    }
    for name in ("ln_pre", "ln_post"):
        state |= {f"visual.{name}.weight": torch.ones(width), f"visual.{name}.bias": torch.zeros(width)}
    for i in range(depth):
        block = f"visual.transformer.resblocks.{i}."
        for name, shape in (
            ("attn.in_proj_weight", (3 * width, width)), ("attn.in_proj_bias", (3 * width,)),
            ("attn.out_proj.weight", (width, width)), ("attn.out_proj.bias", (width,)),
            ("mlp.c_fc.weight", (4 * width, width)), ("mlp.c_fc.bias", (4 * width,)),
            ("mlp.c_proj.weight", (width, 4 * width)), ("mlp.c_proj.bias", (width,)),
            ("ln_1.weight", (width,)), ("ln_1.bias", (width,)),
            ("ln_2.weight", (width,)), ("ln_2.bias", (width,)),
        ):  # fmt: skip
            state[block + name] = torch.zeros(shape)
    generator = torch.Generator().manual_seed(0)
    return {n: v + 0.02 * torch.randn(v.shape, generator=generator) for n, v in state.items()}


def test_x3d_from_a_checkpoint(tmp_path):
    net = X3D().eval()
    state = weights_by_name(net.state_dict())
    net.load_state_dict(state)
    torch.save({"model_state": state, "epoch": 1, "cfg": "yaml"}, tmp_path / "X3D_L.pyth")
    encoder = baseline("X3D-L", tmp_path)
    assert (encoder.frames, encoder.size, encoder.dim) == (16, 312, 2048)
    encoder.size = 64  # the same net, less work
    store = noise_store(1, 3)
    found = embed_scenes(encoder, {"a": store}, SCENES)
    frames = torch.from_numpy(store.scene(0, 2).copy()).flatten(0, 1)  # 4 frames
    at = [int((i + 0.5) * 4 / 16) for i in range(16)]
    images = torch.nn.functional.interpolate(frames.movedim(-1, 1).float() / 255, (64, 64), mode="bilinear")
    with torch.inference_mode():
        expected = net(((images[at] - 0.45) / 0.225).movedim(0, 1)[None])
    np.testing.assert_allclose(found[0], expected[0].numpy(), rtol=1e-3, atol=1e-2)


def test_slowfast_from_a_checkpoint_and_a_damaged_one(tmp_path):
    state = weights_by_name(SlowFast(50).state_dict())
    torch.save({"model_state": state}, tmp_path / "SLOWFAST_8x8_R50.pyth")
    encoder = baseline("SlowFast R50", tmp_path)
    assert (encoder.frames, encoder.size, encoder.dim) == (32, 256, 2304)
    (tmp_path / "SLOWFAST_8x8_R101.pyth").write_bytes((tmp_path / "SLOWFAST_8x8_R50.pyth").read_bytes())
    found = baseline("SlowFast R101", tmp_path)
    assert "does not fit SlowFast" in found.reason
    (tmp_path / "SLOWFAST_8x8_R101.pyth").write_bytes(b"cut short")
    assert "cannot be read as plain weights" in baseline("SlowFast R101", tmp_path).reason


def test_what_we_trained_is_found(tmp_path):
    save_encoder(tmp_path / "shotcol.safetensors", SceneEncoder(TINY, seed=2))
    encoder = baseline("ShotCoL", trained_dir=tmp_path)
    assert (encoder.name, encoder.dim) == ("ShotCoL", TINY.width)


def test_a_video_shows_every_frame_equally_often():
    class Count(torch.nn.Module):
        def forward(self, video):  # [1, c, t, s, s] to the mean over space, frame by frame
            return (video.mean((1, 3, 4)) * 0.225 + 0.45) * 255

    encoder = VideoEncoder("count", Count(), 6, frames=6, size=8)
    scene = torch.arange(3, dtype=torch.uint8).view(1, 3, 1, 1, 1, 1).expand(1, 3, 1, 8, 8, 3)
    assert encoder.embed(scene).round().tolist() == [[0, 0, 1, 1, 2, 2]]
    long = torch.arange(12, dtype=torch.uint8).view(1, 12, 1, 1, 1, 1).expand(1, 12, 1, 8, 8, 3)
    assert encoder.embed(long).round().tolist() == [[1, 3, 5, 7, 9, 11]]


def test_slugs_are_file_names_of_their_own():
    slugs = [slug(n) for n in (*NAMES, *ELSEWHERE)]
    assert len(set(slugs)) == len(slugs)
    assert slug("CLIP ViT-B/16") == "clip_vit_b_16"
