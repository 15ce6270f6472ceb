"""The nets against PyTorchVideo 0.1.5: names and shapes of all weights, and features from given weights.

The numbers come from PyTorchVideo itself (hub.slowfast_r50, slowfast_r101, x3d_l with the weights below, the
blocks before the classifier, averaged over time and space).
"""

import hashlib
import zlib

import pytest
import torch

from m2s_lib.evaluation.encoders.video_nets import X3D, SlowFast

REFERENCE = {
    "slowfast_r50": (
        (1, 3, 8, 64, 64), 662, "555841f32f8ad777",
        [4.080161, 0.653199, 1.35249, 1.109738, 1.010105, 0.668424, 0.573507],
    ),
    "slowfast_r101": (
        (1, 3, 8, 64, 64), 1274, "9f0361170d89380b",
        [13.233309, 0.457615, 4.434484, 5.768923, 21.941914, 4.961093, 1.939982],
    ),
    "x3d_l": (
        (1, 3, 4, 64, 64), 1141, "0c4697765377bf39",
        [40.643135, 90.849854, 21.871977, 0.0, 136.992081, 0.0, 49.757126],
    ),
}  # fmt: skip
BUILD = {"slowfast_r50": lambda: SlowFast(50), "slowfast_r101": lambda: SlowFast(101), "x3d_l": X3D}


def weights_by_name(state):
    """Weights that depend on their names only, so that any implementation gets the same."""
    out = {}
    for name, value in state.items():
        generator = torch.Generator().manual_seed(zlib.crc32(name.encode()))
        if not value.is_floating_point():
            out[name] = value.clone()
        elif name.endswith("running_var"):
            out[name] = torch.rand(value.shape, generator=generator) + 0.5
        elif value.ndim > 1:
            out[name] = torch.randn(value.shape, generator=generator) * (2 / value[0].numel()) ** 0.5
        elif name.endswith("weight"):
            out[name] = torch.rand(value.shape, generator=generator) * 0.5 + 0.5
        else:
            out[name] = torch.randn(value.shape, generator=generator) * 0.1
    return out


@pytest.mark.parametrize("name", REFERENCE)
def test_nets_equal_pytorchvideo(name):
    shape, count, digest, expected = REFERENCE[name]
    net = BUILD[name]().eval()
    state = net.state_dict()
    layout = "\n".join(f"{n} {list(v.shape)}" for n, v in sorted(state.items()))
    assert len(state) == count
    assert hashlib.sha256(layout.encode()).hexdigest()[:16] == digest
    net.load_state_dict(weights_by_name(state))
    video = torch.randn(shape, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        out = net(video)
    assert out.shape == (1, net.out_dim)
    torch.testing.assert_close(out[0, ::300][:7], torch.tensor(expected), rtol=1e-3, atol=1e-3)
