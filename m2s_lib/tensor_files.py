"""Weights of ours on disk: safetensors whose header says what they are, with a checksum over all of it."""

import json
import os
import zlib
from collections.abc import Mapping

import safetensors.torch
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from m2s_lib.errors import M2SError
from m2s_lib.io import atomic_path

_CRC = "crc32"


def save_tensors(path: str | os.PathLike, tensors: Mapping[str, Tensor], key: str, about: dict) -> None:
    """Write tensors, and `about` as JSON under `key` of the header, atomically.

    One key, because safetensors does not order several, and equal weights are to give equal bytes.
    """
    state = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
    sealed = json.dumps({**about, _CRC: _checksum(state, about)})
    with atomic_path(path) as temporary:
        safetensors.torch.save_file(state, temporary, {key: sealed})


def read_tensors(path: str | os.PathLike) -> tuple[dict[str, Tensor], dict[str, dict]]:
    """Tensors of any safetensors file, and what `save_tensors` wrote about them: key -> about.

    Raises:
        M2SError: absent, cut short, or with a checksum that does not fit.
    """
    try:
        with safe_open(path, framework="pt") as f:
            state, metadata = {name: f.get_tensor(name) for name in f.keys()}, f.metadata() or {}
    except FileNotFoundError as error:
        raise M2SError(f"weights not found: put them at {path}") from error
    except (SafetensorError, OSError) as error:
        raise M2SError(
            f"{path} is not a whole safetensors file ({error}): write or fetch it again"
        ) from error
    found = {}
    for key, text in metadata.items():
        try:
            about = json.loads(text)
        except ValueError:
            continue  # somebody else's words
        if not isinstance(about, dict):
            continue
        crc = about.pop(_CRC, None)
        if crc is not None and crc != _checksum(state, about):
            raise M2SError(
                f"{path} is damaged (its weights do not match their checksum): "
                "delete it and run its stage again"
            )
        found[key] = about
    return state, found


def _checksum(state: Mapping[str, Tensor], about: dict) -> int:
    """CRC-32 of `about` and of names, shapes, types and bytes of the tensors, in the order of their names."""
    crc = zlib.crc32(json.dumps(about, sort_keys=True).encode())
    for name in sorted(state):
        value = state[name]
        crc = zlib.crc32(f"{name} {tuple(value.shape)} {value.dtype}".encode(), crc)
        crc = zlib.crc32(value.flatten().view(torch.uint8).numpy(), crc)
    return crc
