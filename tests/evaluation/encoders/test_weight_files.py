import pytest
import torch

from m2s_lib.errors import M2SError
from m2s_lib.evaluation.encoders.video_nets import X3D, SlowFast
from m2s_lib.evaluation.encoders.weight_files import find_weights, load_into, read_weights, zoo_names


def to_code_base(name):
    """The model zoo's name of a weight as the authors' SlowFast code base has it."""
    parts = name.split(".")
    block, rest = int(parts[1]), ".".join(parts[2:])
    x3d = "multipathway" not in name and block < 5
    if block == 0 and x3d:
        rest = rest.replace("conv.conv_t", "CONV_SPACE").replace("conv.conv_xy", "conv")
        return "s1.pathway0_stem." + rest.replace("CONV_SPACE", "conv_xy").replace("norm.", "bn.")
    if block == 0:
        rest = rest.replace("multipathway_fusion.conv_fast_to_slow", "FUSE.conv_f2s").replace("norm.", "bn.")
        rest = rest.replace("multipathway_fusion.", "FUSE.")
        if rest.startswith("FUSE."):
            return "s1_fuse." + rest.removeprefix("FUSE.")
        return "s1.pathway" + rest.removeprefix("multipathway_blocks.").replace(".", "_stem.", 1)
    if "proj." in rest and "post_conv" not in rest:
        return "head.projection." + rest.split("proj.")[1]
    if rest.startswith("pool."):
        for new, old in (("pre_conv", "conv_5"), ("pre_norm", "conv_5_bn"), ("post_conv", "lin_5")):
            rest = rest.replace(f"pool.{new}.", f"head.{old}.")
        return rest
    if rest.startswith("multipathway_fusion."):
        rest = rest.replace("conv_fast_to_slow", "conv_f2s").replace("norm.", "bn.")
        return f"s{block + 1}_fuse." + rest.removeprefix("multipathway_fusion.")
    path, rest = ("0", rest) if x3d else (rest.split(".")[1], ".".join(rest.split(".")[2:]))
    number, rest = rest.split(".")[1], ".".join(rest.split(".")[2:])
    rest = rest.replace("branch1_conv", "branch1").replace("branch1_norm", "branch1_bn")
    rest = rest.replace("norm_b.1.block.0", "se.fc1").replace("norm_b.1.block.2", "se.fc2")
    rest = rest.replace("norm_b.0", "norm_b") if x3d else rest
    for letter in "abc":
        rest = rest.replace(f"conv_{letter}.", f"{letter}.").replace(f"norm_{letter}.", f"{letter}_bn.")
    return f"s{block + 1}.pathway{path}_res{number}.{rest}"


@pytest.mark.parametrize("net", [SlowFast, X3D])
def test_names_of_the_authors_code_base_are_understood(net):
    with torch.device("meta"):
        names = net().state_dict()
    theirs = {to_code_base(n): v for n, v in names.items()}
    assert any(n.startswith("s1.pathway0_stem.") for n in theirs)
    assert len(theirs) == len(names)
    back = zoo_names(theirs, x3d=net is X3D)
    assert {n: v.shape for n, v in back.items()} == {n: v.shape for n, v in names.items()}
    assert zoo_names(names, x3d=net is X3D) is names


def test_files_that_hold_no_weights_are_named(tmp_path):
    torch.save({"epoch": 3}, tmp_path / "a.pth")
    with pytest.raises(M2SError, match="a.pth holds no weights"):
        read_weights(tmp_path / "a.pth")
    with pytest.raises(M2SError, match="weights not found: put them at .*b.pth"):
        read_weights(tmp_path / "b.pth")
    (tmp_path / "c.safetensors").write_bytes(b"x")
    with pytest.raises(M2SError, match="c.safetensors is not a whole safetensors file"):
        read_weights(tmp_path / "c.safetensors")
    torch.save({"f": len}, tmp_path / "d.pth")
    with pytest.raises(M2SError, match="d.pth cannot be read as plain weights"):
        read_weights(tmp_path / "d.pth")
    with pytest.raises(M2SError, match="missing .*'weight'.* not known .*'w'"):
        load_into(torch.nn.Linear(2, 2), {"w": torch.ones(1)}, "e.pth")


def test_the_hub_is_not_asked_unless_told(tmp_path, monkeypatch):
    import huggingface_hub

    asked = []
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", lambda *a, **k: asked.append(k) or "/cache/x")
    assert str(find_weights(tmp_path, ["x"], ("timm/x", "model.safetensors"))) == "/cache/x"
    assert find_weights(tmp_path, ["x"]) is None
    find_weights(tmp_path, ["x"], ("timm/x", "model.safetensors"), online=True)
    assert asked == [{"local_files_only": True}, {"local_files_only": False}]
    (tmp_path / "x").write_text("")
    assert find_weights(tmp_path, ["x"], ("timm/x", "model.safetensors")) == tmp_path / "x"
    assert len(asked) == 2
