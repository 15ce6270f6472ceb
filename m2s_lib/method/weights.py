"""Encoders on disk: safetensors with their configuration, and backbones from other people's checkpoints."""

import dataclasses
import os

import torch
from torch import Tensor

from m2s_lib.errors import M2SError
from m2s_lib.method.frame_encoder import FrameEncoder
from m2s_lib.method.scene_encoder import SceneEncoder, SceneEncoderConfig
from m2s_lib.method.shot_encoder import ShotEncoder, ShotEncoderConfig
from m2s_lib.method.shot_tokens import ShotTokenEncoder, ShotTokensConfig
from m2s_lib.tensor_files import read_tensors, save_tensors

_OURS = "backbone."  # of names in files of save_encoder
FILES = (".safetensors", ".pt", ".pth", ".bin")
KINDS = {
    "shot": (ShotEncoder, ShotEncoderConfig),
    "scene": (SceneEncoder, SceneEncoderConfig),
    "shot tokens": (ShotTokenEncoder, ShotTokensConfig),
}


def save_encoder(path: str | os.PathLike, encoder: ShotEncoder | SceneEncoder | ShotTokenEncoder) -> None:
    """Write an encoder's weights and configuration as one safetensors file with a checksum, atomically."""
    kind = next(k for k, (cls, _) in KINDS.items() if isinstance(encoder, cls))
    about = {"kind": kind, "config": dataclasses.asdict(encoder.config)}
    save_tensors(path, encoder.state_dict(), "encoder", about)


def load_encoder(
    path: str | os.PathLike, device: torch.device | str = "cpu"
) -> ShotEncoder | SceneEncoder | ShotTokenEncoder:
    """Read what `save_encoder` wrote, in evaluation mode.

    Raises:
        M2SError: absent, damaged, or not such a file.
    """
    state, found = read_tensors(path)
    about = found.get("encoder", {})
    if about.get("kind") not in KINDS or "config" not in about:
        raise M2SError(
            f"{path} holds weights but no encoder configuration: for timm's or CLIP's use load_backbone"
        )
    cls, config = KINDS[about["kind"]]
    try:
        encoder = cls(config(**about["config"]))
        encoder.load_state_dict(state)
    except (TypeError, ValueError, RuntimeError) as error:
        raise M2SError(
            f"{path} is no encoder of this version ({str(error)[:200]}): write it again"
        ) from error
    return encoder.to(device).eval()


def load_backbone(encoder: FrameEncoder, source: str | os.PathLike) -> FrameEncoder:
    """Start the backbone from a checkpoint, for instance CLIP's ViT-B/16 (Table 1, row 14); returns it.

    Positional embeddings (and a patch kernel of another size) are resampled to the encoder's grid. A
    projection of the encoder's own out_dim (CLIP's 512 for E_shot) goes into `fc`; any other classifier is
    left out.

    Args:
        encoder: its configuration has to describe the checkpoint's shapes; CLIP needs preset 'clip'.
        source: a local .safetensors, .pt or .pth state dict in the layout of timm, OpenAI CLIP, open_clip or
            of `save_encoder`,
            or the name of a timm model, which the model hub serves when it is online or in its cache.
    Raises:
        M2SError: absent, unreadable, or made for another shape.
    """
    from timm.models import mvitv2, vision_transformer

    if not isinstance(encoder, FrameEncoder):
        raise M2SError(f"{source} holds weights of an encoder of pictures: shot_tokens starts without any")
    source = os.fspath(source)
    state = _read_state(source) if source.endswith(FILES) or os.path.exists(source) else _hub_state(source)
    if any(n.startswith(_OURS) for n in state):  # an encoder of ours; its projections are for contrast only
        state = {n.removeprefix(_OURS): v for n, v in state.items() if n.startswith(_OURS)}
    arch = vision_transformer if encoder.config.arch == "vit" else mvitv2
    state = arch.checkpoint_filter_fn(state, encoder.backbone)
    prefix = "head" if encoder.config.arch == "vit" else "head.fc"
    head = {n: state.pop(f"{prefix}.{n}") for n in ("weight", "bias") if f"{prefix}.{n}" in state}
    expected = encoder.backbone.state_dict()
    wrong = [
        f"{n} {list(v.shape)} instead of {list(expected[n].shape)}"
        for n, v in state.items()
        if n in expected and v.shape != expected[n].shape
    ]
    missing, extra = sorted(set(expected) - set(state)), sorted(set(state) - set(expected))
    if wrong or missing or extra:
        raise M2SError(
            f"{source} does not fit this encoder: missing {missing[:3]} ({len(missing)}), not known "
            f"{extra[:3]} ({len(extra)}), of another shape {wrong[:3]} ({len(wrong)}): choose the preset "
            "that the checkpoint was made with (CLIP: 'clip')"
        )
    encoder.backbone.load_state_dict(state)
    if "weight" in head and head["weight"].shape == encoder.fc.weight.shape:
        encoder.fc.load_state_dict(head)
    return encoder


def _read_state(path: str) -> dict[str, Tensor]:
    """A state dict from a local file, never by unpickling code."""
    if path.endswith(".safetensors"):
        return read_tensors(path)[0]
    if not os.path.exists(path):
        raise M2SError(f"weights not found: put them at {path}")
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises several kinds, for damage and for code inside the file
        raise M2SError(
            f"{path} cannot be read as plain weights ({str(error)[:200]}): save its state_dict as safetensors"
        ) from error
    return dict(state)


def _hub_state(name: str) -> dict[str, Tensor]:
    """Weights of a timm model by name, from the hub or its cache."""
    import timm

    if not timm.is_model(name):
        raise M2SError(
            f"weights not found: put them at {name} (it is no file, and timm has no model of that name)"
        )
    try:
        return timm.create_model(name, pretrained=True).state_dict()
    except Exception as error:  # offline, not in the cache, or a model without published weights
        raise M2SError(
            f"weights not found: {name} is not in the model hub's cache and the hub cannot be reached "
            f"({type(error).__name__}): go online once, or put a file anywhere and pass its path"
        ) from error
