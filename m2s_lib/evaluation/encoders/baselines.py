"""The baselines of Tables 2-5 (section 4.2-4.4, supp. 1.4) as encoders, from weights that lie in a folder.

Every name gives an encoder, or a `Missing` that says which file to put where; nothing waits for a network.
Scenes hold keyframes: what a video model was made for (64 neighbouring frames) is not in them, so its frames
are the keyframes, repeated evenly. Features computed from the videos themselves are in `computed_features`.
"""

import os
import re
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pandas as pd
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor, nn

from m2s_lib.errors import M2SError
from m2s_lib.evaluation.encoders.encoders import (
    ColourEncoder,
    Encoder,
    PixelEncoder,
    RandomInit,
    SceneEncoderPerShot,
    ShotwiseEncoder,
)
from m2s_lib.evaluation.encoders.video_nets import KINETICS_CLASSES, X3D, SlowFast
from m2s_lib.evaluation.encoders.weight_files import Missing, find_weights, load_into, read_weights, zoo_names
from m2s_lib.method.frame_encoder import IMAGENET_MEAN, IMAGENET_STD
from m2s_lib.method.scene_encoder import SceneEncoderConfig
from m2s_lib.method.shot_encoder import ShotEncoder, ShotEncoderConfig
from m2s_lib.method.weights import load_backbone

VIDEO_MEAN, VIDEO_STD = (0.45,) * 3, (0.225,) * 3  # of the Kinetics models
ELSEWHERE = (
    "Merlot Reserve", "BridgeFormer", "VideoBERT", "OT", "Hierarchical OT",
    "TSN", "I3D", "LGSS", "SCRL", "BaSSL",
)  # fmt: skip
_CLIP = {"image_size": 224, "out_dim": 512, "resize": True}  # ViT-B/16 as published
_FREE = ("random init", "pixels", "colour")  # need no file
TRAINED_HERE = ("SimCLR", "MoCo", "ShotCoL")


class FrameMean(ShotwiseEncoder):
    """An image model; a shot is the mean of its frames, a scene the mean of its shots (supp. 1.4 for CLIP).

    Args:
        model: images float [f, c, size, size], normalised, to [f, dim].
    """

    def __init__(self, name: str, model: nn.Module, dim: int, size: int = 224):
        self.name, self.model, self.dim, self.size = name, model.eval(), dim, size

    def embed_shots(self, shots: Tensor) -> Tensor:
        images = _images(shots.flatten(0, 1), self.size, IMAGENET_MEAN, IMAGENET_STD)  # [b k, c, s, s]
        return _float32(self.model, images).unflatten(0, shots.shape[:2]).mean(1)  # [b, d]


class ClipEncoder(ShotwiseEncoder):
    """CLIP's image encoder ViT-B/16: 512 numbers a frame, averaged (supp. 1.4)."""

    name, dim = "CLIP ViT-B/16", 512

    def __init__(self, model: ShotEncoder):
        self.model = model.eval()

    def embed_shots(self, shots: Tensor) -> Tensor:
        frames = shots.flatten(0, 1)[:, None]  # [b k, 1, h, w, c], a frame as a shot of its own
        return _float32(self.model, frames).unflatten(0, shots.shape[:2]).mean(1)  # [b, 512]


class VideoEncoder(Encoder):
    """A video model; the frames of a scene are its video, evenly repeated or left out to `frames` of them.

    Args:
        model: video float [b, c, t, size, size], normalised, to [b, dim].
        frames: t. size: height and width in pixels.
    """

    def __init__(self, name: str, model: nn.Module, dim: int, frames: int, size: int):
        self.name, self.model, self.dim, self.frames, self.size = name, model.eval(), dim, frames, size

    def embed(self, scenes: Tensor) -> Tensor:
        video = scenes.flatten(1, 2)  # [b, f, h, w, c]
        at = ((torch.arange(self.frames) + 0.5) * video.shape[1] / self.frames).long()
        out = []
        for one in video:  # 32 frames of 256 x 256 are a large batch already
            images = _images(one, self.size, VIDEO_MEAN, VIDEO_STD)[at.to(one.device)]  # [t, c, s, s]
            out.append(_float32(self.model, images.movedim(0, 1)[None]))  # [1, d]
        return torch.cat(out)


def _images(frames: Tensor, size: int, mean: Sequence[float], std: Sequence[float]) -> Tensor:
    """uint8 [f, h, w, c] to normalised float32 [f, c, size, size], bilinear and anti-aliased."""
    x = frames.movedim(-1, 1).float() / 255
    if x.shape[-2:] != (size, size):
        x = F.interpolate(x, size=(size, size), mode="bilinear", antialias=True)
    mean, std = (torch.tensor(v, device=x.device).view(1, 3, 1, 1) for v in (mean, std))
    return (x - mean) / std


def _float32(model: nn.Module, x: Tensor) -> Tensor:
    with torch.autocast(x.device.type, torch.bfloat16, enabled=x.device.type == "cuda"):
        return model(x).float()


def _resnet(name: str, path: Path, classes: int) -> Encoder:
    from torchvision.models import resnet50

    model = load_into(resnet50(num_classes=classes), read_weights(path), path)
    model.fc = nn.Identity()
    return FrameMean(name, model, 2048)


def _clip(name: str, path: Path) -> Encoder:
    model = ShotEncoder(ShotEncoderConfig.preset("clip", **_CLIP))
    nn.init.constant_(model.fc.weight, torch.nan)  # stays so when the file has no projection
    state = read_weights(path)
    image = {n: v for n, v in state.items() if n.startswith("visual.")} or state  # not the text encoder
    with tempfile.TemporaryDirectory() as folder:
        plain = Path(folder) / "clip.safetensors"
        save_file({n: v.float().contiguous() for n, v in image.items()}, plain)
        try:
            load_backbone(model, plain)
        except M2SError as error:
            raise M2SError(str(error).replace(str(plain), str(path))) from error
    if torch.isnan(model.fc.weight).any():
        raise M2SError(
            f"{path} has no projection to 512 numbers: use CLIP's ViT-B/16 with its image projection"
        )
    return ClipEncoder(model)


def _video(name: str, path: Path, net: type[SlowFast | X3D], frames: int, size: int, **shape) -> Encoder:
    x3d = net is X3D
    state = zoo_names(read_weights(path), x3d)
    classes = len(state.get(f"blocks.{5 if x3d else 6}.proj.bias", range(KINETICS_CLASSES)))
    return VideoEncoder(
        name, load_into(net(classes=classes, **shape), state, path), net.out_dim, frames, size
    )


@dataclass(frozen=True)
class _FromFile:
    """A baseline whose weights come from a file.

    Attributes:
        load: name and file to encoder. files: names or patterns in the weights folder, the one to ask for
            first. hub: repository and file on the model hub.
    """

    load: Callable[[str, Path], Encoder]
    files: tuple[str, ...]
    hub: tuple[str, str] | None = None


_FILES: dict[str, _FromFile] = {
    "ImageNet ResNet-50": _FromFile(
        partial(_resnet, classes=1000),
        ("resnet50.pth", "resnet50.safetensors", "resnet50-*.pth"),
        ("timm/resnet50.tv_in1k", "model.safetensors"),
    ),
    "Places365 ResNet-50": _FromFile(
        partial(_resnet, classes=365), ("resnet50_places365.pth.tar", "resnet50_places365.*")
    ),
    "CLIP ViT-B/16": _FromFile(
        _clip,
        ("ViT-B-16.safetensors", "ViT-B-16.*", "vit_base_patch16_clip_224*"),
        ("timm/vit_base_patch16_clip_224.openai", "model.safetensors"),
    ),
    "SlowFast R50": _FromFile(
        partial(_video, net=SlowFast, frames=32, size=256, depth=50),
        ("SLOWFAST_8x8_R50.pyth", "SLOWFAST_8x8_R50*"),
    ),
    "SlowFast R101": _FromFile(
        partial(_video, net=SlowFast, frames=32, size=256, depth=101),
        ("SLOWFAST_8x8_R101.pyth", "SLOWFAST_8x8_R101*"),
    ),
    "X3D-L": _FromFile(partial(_video, net=X3D, frames=16, size=312), ("X3D_L.pyth", "X3D_L*", "x3d_l*")),
}
NAMES = (*_FREE, *_FILES, *TRAINED_HERE)


def slug(name: str) -> str:
    """An encoder's name as a file name: 'CLIP ViT-B/16' is clip_vit_b_16."""
    return re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")


def baselines(
    names: Sequence[str], weights_dir: str | os.PathLike = "", **sources
) -> list[Encoder | Missing]:
    """`baseline` for each name."""
    return [baseline(name, weights_dir, **sources) for name in names]


def baseline(
    name: str,
    weights_dir: str | os.PathLike = "",
    *,
    trained_dir: str | os.PathLike = "",
    scene_config: SceneEncoderConfig | None = None,
    seed: int = 0,
    online: bool = False,
) -> Encoder | Missing:
    """The encoder of a name, or why there is none.

    Args:
        name: of NAMES; one of ELSEWHERE gives a Missing that says how to bring its features.
        weights_dir: where other people's weights lie.
        trained_dir: where SimCLR, MoCo and ShotCoL lie that were trained here.
        scene_config, seed: of "random init"; give E_scene's own.
        online: whether the model hub may be asked for ImageNet and CLIP weights.

    Raises:
        M2SError: a name that nobody knows.
    """
    if name in _FREE:
        untrained = partial(RandomInit, scene_config, seed)
        return dict(zip(_FREE, (untrained, PixelEncoder, ColourEncoder), strict=True))[name]()
    if name in ELSEWHERE:
        return Missing(name, "computed elsewhere: bring its features, one file per scene set")
    if name not in NAMES:
        raise M2SError(f"encoder {name!r} is unknown: use one of {[*NAMES, *ELSEWHERE]}")
    try:
        return _trained(name, trained_dir) if name in TRAINED_HERE else _loaded(name, weights_dir, online)
    except M2SError as error:  # a damaged file costs its row, not the run
        return Missing(name, str(error))


def _trained(name: str, folder: str | os.PathLike) -> Encoder | Missing:
    path = Path(folder or ".") / f"{slug(name)}.safetensors"
    return SceneEncoderPerShot(path, name) if path.is_file() else Missing(name, f"not trained yet: no {path}")


def _loaded(name: str, folder: str | os.PathLike, online: bool) -> Encoder | Missing:
    known = _FILES[name]
    path = find_weights(folder, known.files, known.hub, online)
    if path is None:
        return Missing(name, f"weights not found: put them at {Path(folder or '.') / known.files[0]}")
    return known.load(name, path)


def encoder_table(encoders: Sequence[Encoder | Missing]) -> pd.DataFrame:
    """What there is: name, dim (nullable), status ('ready', 'missing'), reason."""
    dims = [pd.NA if isinstance(e, Missing) else e.dim for e in encoders]
    reasons = [e.reason if isinstance(e, Missing) else "" for e in encoders]
    status = ["missing" if isinstance(e, Missing) else "ready" for e in encoders]
    table = {"name": [e.name for e in encoders], "dim": dims, "status": status, "reason": reasons}
    return pd.DataFrame(table).astype({"dim": "Int64"})
