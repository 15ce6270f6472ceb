"""Where to compute."""

import pytest
import torch

from m2s_lib.errors import M2SError
from m2s_lib.method.device import pick_device


@pytest.mark.parametrize(("there", "device"), [(False, "cpu"), (True, "cuda")])
def test_auto_is_cuda_where_there_is_one(monkeypatch, there, device):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: there)
    assert pick_device() == pick_device("auto") == torch.device(device)
    assert pick_device("cpu") == torch.device("cpu")


def test_cuda_without_a_gpu_says_what_to_use(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    for name in ("cuda", "cuda:1"):
        with pytest.raises(
            M2SError, match=f"device '{name}' was asked for, but .* sees no CUDA device: use 'auto' or 'cpu'"
        ):
            pick_device(name)


def test_a_name_that_torch_does_not_know(monkeypatch):
    with pytest.raises(M2SError, match="device 'gpu' .*'auto'"):
        pick_device("gpu")


@pytest.mark.gpu
def test_the_first_gpu():
    assert pick_device().type == "cuda"
