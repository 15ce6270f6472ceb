"""Other people's weights: found in a folder or a hub's cache, read without unpickling, put into a model."""

import os
import re
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from m2s_lib.errors import M2SError

_INSIDE = ("model_state", "state_dict", "model_state_dict", "model")  # where checkpoints keep their weights
_CONVERT = (  # OpenAI's CLIP files are such archives
    'If you trust it, convert it once: python -c "import sys, torch, safetensors.torch as s; '
    "s.save_file({n: v.clone() for n, v in torch.jit.load(sys.argv[1], 'cpu').state_dict().items()}, "
    'sys.argv[2])" OLD.pt NEW.safetensors'
)
_PREFIX = "module."  # what DataParallel puts before every name


@dataclass(frozen=True)
class Missing:
    """An encoder that cannot be had here: its row in the tables says why, and the run goes on."""

    name: str
    reason: str

    def __str__(self) -> str:
        return f"{self.name}: {self.reason}"


def find_weights(
    folder: str | os.PathLike, files: Sequence[str], hub: tuple[str, str] | None = None, online: bool = False
) -> Path | None:
    """The first file of `folder` that matches, or what the model hub has; None when there is none.

    Args:
        files: names or patterns, best first.
        hub: repository and file on the model hub. Without `online` only the hub's local cache is asked, which
            takes no time; HF_HUB_OFFLINE=1 keeps it so whatever `online` says.
    """
    if str(folder) and Path(folder).is_dir():
        for pattern in files:
            if found := sorted(p for p in Path(folder).glob(pattern) if p.is_file()):
                return found[0]
    if hub is None:
        return None
    from huggingface_hub import hf_hub_download

    try:
        return Path(hf_hub_download(*hub, local_files_only=not online))
    except Exception:  # not in the cache, offline, or a repository that is gone: several kinds
        return None


def read_weights(path: str | os.PathLike) -> dict[str, Tensor]:
    """A state dict from .safetensors or a torch checkpoint.

    Nested checkpoints are opened and the prefix 'module.' is taken off.

    Raises:
        M2SError: absent, damaged, or a file that would have to be unpickled.
    """
    path = Path(path)
    if not path.is_file():
        raise M2SError(f"weights not found: put them at {path}")
    if path.suffix == ".safetensors":
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        try:
            return load_file(path)
        except (SafetensorError, OSError) as error:
            raise M2SError(f"{path} is not a whole safetensors file ({error}): fetch it again") from error
    loaded = _torch_file(path)
    for key in _INSIDE:
        if isinstance(loaded, dict) and isinstance(loaded.get(key), dict):
            loaded = loaded[key]
    state = {n: v for n, v in loaded.items() if isinstance(v, Tensor)} if isinstance(loaded, dict) else {}
    if not state:
        raise M2SError(f"{path} holds no weights: expected names and tensors, or one of {list(_INSIDE)}")
    return {n.removeprefix(_PREFIX): v for n, v in state.items()}


def _torch_file(path: Path) -> object:
    try:
        if _is_torchscript(path):
            raise M2SError(f"it is a TorchScript archive, which may run code when opened. {_CONVERT}")
        return torch.load(path, map_location="cpu", weights_only=True)
    except M2SError as error:
        raise M2SError(f"{path} cannot be read as plain weights: {error}") from error
    except Exception as error:  # torch raises several kinds, for damage and for code inside the file
        raise M2SError(
            f"{path} cannot be read as plain weights ({str(error)[:200]}): fetch it again, or save its "
            "state_dict as safetensors"
        ) from error


def _is_torchscript(path: Path) -> bool:
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return any(name.endswith("/constants.pkl") for name in archive.namelist())


def load_into(model: nn.Module, state: dict[str, Tensor], path: str | os.PathLike) -> nn.Module:
    """Load all of a model's weights; M2SError names what is missing, unknown or of another shape."""
    expected = model.state_dict()
    counters = {n for n in expected if n.endswith("num_batches_tracked")}  # old checkpoints have none
    missing = sorted(set(expected) - set(state) - counters)
    extra = sorted(set(state) - set(expected))
    wrong = [
        f"{n} {list(state[n].shape)} instead of {list(v.shape)}"
        for n, v in expected.items()
        if n in state and state[n].shape != v.shape
    ]
    if missing or extra or wrong:
        raise M2SError(
            f"{path} does not fit {type(model).__name__}: missing {missing[:3]} ({len(missing)}), not known "
            f"{extra[:3]} ({len(extra)}), of another shape {wrong[:3]} ({len(wrong)})"
        )
    model.load_state_dict(state, strict=False)
    return model.eval()


# Names of the authors' own SlowFast code base, as patterns, and what the model zoo calls the same weights.
_NAMES = (
    (r"^(blocks\.\d)\.pathway(\d)_stem\.", r"\1.multipathway_blocks.\2."),
    (r"^(blocks\.\d)\.pathway(\d)_res(\d+)\.", r"\1.multipathway_blocks.\2.res_blocks.\3."),
    (r"^(blocks\.\d)_fuse\.", r"\1.multipathway_fusion."),
    (r"\.conv_f2s\.", ".conv_fast_to_slow."),
    (r"\.branch1\.", ".branch1_conv."),
    (r"\.branch1_bn\.", ".branch1_norm."),
    (r"\.branch2\.([abc])\.", r".branch2.conv_\1."),
    (r"\.branch2\.([abc])_bn\.", r".branch2.norm_\1."),
    (r"\.branch2\.se\.fc1\.", ".branch2.norm_b.1.block.0."),
    (r"\.branch2\.se\.fc2\.", ".branch2.norm_b.1.block.2."),
    (r"(multipathway_blocks\.\d|multipathway_fusion)\.bn\.", r"\1.norm."),
)
_SLOWFAST_NAMES = ((r"^head\.projection\.", "blocks.6.proj."),)
_X3D_NAMES = (  # one pathway, norms beside gates, and a head of its own
    (r"\.multipathway_blocks\.0\.", "."),
    (r"^blocks\.0\.conv\.weight$", "blocks.0.conv.conv_xy.weight"),
    (r"^blocks\.0\.conv_xy\.", "blocks.0.conv.conv_t."),
    (r"\.norm_b\.(?!1\.block)", ".norm_b.0."),
    (r"^head\.conv_5\.", "blocks.5.pool.pre_conv."),
    (r"^head\.conv_5_bn\.", "blocks.5.pool.pre_norm."),
    (r"^head\.lin_5\.", "blocks.5.pool.post_conv."),
    (r"^head\.projection\.", "blocks.5.proj."),
)


def zoo_names(state: dict[str, Tensor], x3d: bool) -> dict[str, Tensor]:
    """Weights of the authors' SlowFast code base (s1.pathway0_stem...) under the model zoo's names.

    Others are returned as they are.
    """
    if not any(name.startswith("s1.") for name in state):
        return state
    out = {}
    for name, value in state.items():
        name = re.sub(r"^s([1-5])", lambda m: f"blocks.{int(m[1]) - 1}", name)
        for pattern, new in (*_NAMES, *(_X3D_NAMES if x3d else _SLOWFAST_NAMES)):
            name = re.sub(pattern, new, name)
        out[name] = value
    return out
