"""Where to compute."""

import torch

from m2s_lib.errors import M2SError


def pick_device(name: str = "auto") -> torch.device:
    """'auto' is the first CUDA device, or the CPU where there is none; any other name is torch's own.

    Raises M2SError for a CUDA device on a machine that has none.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if name.startswith("cuda") and not torch.cuda.is_available():
        raise M2SError(
            f"device {name!r} was asked for, but torch {torch.__version__} sees no CUDA "
            "device: use 'auto' or 'cpu'"
        )
    try:
        return torch.device(name)
    except RuntimeError as error:
        raise M2SError(f"device {name!r} is unknown: use 'auto', 'cpu', 'cuda' or 'cuda:0'") from error
