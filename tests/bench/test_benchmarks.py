"""The benchmarks at small size: each agrees with its baseline, and what is written has its columns.

Nothing here looks at how long anything takes.
"""

import math

import numpy as np
import pytest
import torch

from m2s_lib.bench import __main__ as bench
from m2s_lib.bench.setting import Setting, agree
from m2s_lib.bench.timing import Result, Work, readable, take_turns
from m2s_lib.errors import M2SError
from m2s_lib.files import read_json

COLUMNS = {"name", "t_base", "t_ours", "ratio", "t_floor", "over_floor", "target"}


@pytest.mark.parametrize("benchmark_of", bench.BENCHMARKS, ids=lambda b: b.name)
def test_both_sides_agree_and_run(benchmark_of, tmp_path):
    if benchmark_of.name == "MoCo step":
        pytest.importorskip("lightly", reason="needs the bench extra")
    work = benchmark_of.make(Setting(tmp_path, torch.device("cpu"), small=True))
    for side in (work.baseline, work.ours, work.floor):
        if side is not None:
            side()
    assert work.per >= 1


def test_results_are_written_with_their_columns(tmp_path, capsys):
    assert bench.main(["--small", "--rounds", "1", "--only", "greedy choice", "--out", str(tmp_path)]) == 0
    written = read_json(tmp_path / "bench.json")
    assert [r["name"] for r in written] == ["greedy choice", "greedy choice, adversarial"]
    for r in written:
        assert set(r) >= COLUMNS
        assert r["ratio"] == pytest.approx(r["t_base"] / r["t_ours"], rel=1e-6)
        assert r["over_floor"] == pytest.approx(r["t_ours"] / r["t_floor"], rel=1e-6)
    assert "greedy choice" in capsys.readouterr().out


def test_an_unknown_path_and_a_device_that_is_not_there_are_said(capsys):
    assert bench.main(["--only", "no such path"]) == 1
    assert "nothing fits" in capsys.readouterr().err
    if not torch.cuda.is_available():
        assert bench.main(["--device", "cuda"]) == 1
        assert "no CUDA device" in capsys.readouterr().err


def test_results_that_differ_are_not_timed():
    agree("x", np.array([1.0, 2.0]), torch.tensor([1.0, 2.0]))
    with pytest.raises(M2SError, match="benchmark x: results differ by 0.5, allowed 0.1: not timed"):
        agree("x", np.array([1.0]), np.array([1.5]), 0.1)
    with pytest.raises(M2SError, match="differ by nan"):
        agree("x", np.array([np.nan]), np.array([1.0]))
    with pytest.raises(M2SError, match=r"shape \(2,\), the baseline's \(1,\)"):
        agree("x", np.zeros(2), np.zeros(1))


def test_turns_alternate_and_time_is_counted_per_item():
    calls = []
    work = Work(lambda: calls.append("base"), lambda: calls.append("ours"), None, per=10)
    base, ours, floor = take_turns(work, rounds=3, least_s=0)
    assert calls == ["base", "ours"] + ["base", "ours"] * 3  # once to warm up
    assert 0 < base < 1
    assert 0 < ours < 1
    assert math.isnan(floor)


def test_what_was_not_reached_is_said():
    made = dict(baseline="b", item="i", t_base=2.0, t_ours=1.0, t_floor=0.5, over_floor=2.0, device="cpu")
    good = Result("good", ratio=2.0, target=1.5, most_over_floor=math.nan, **made)
    slow = Result("slow", ratio=2.0, target=3.0, most_over_floor=math.nan, **made)
    high = Result("high", ratio=2.0, target=math.nan, most_over_floor=1.5, **made)
    assert [r.reached for r in (good, slow, high)] == [True, False, False]
    assert [line.endswith("not reached") for line in readable([good, slow, high]).splitlines()[1:]] == [
        False, True, True
    ]  # fmt: skip
