"""The benchmarks at small size: each agrees with its baseline, and what is written has its columns.

Nothing here looks at how long anything takes.
"""

import math
import time

import numpy as np
import pytest
import torch

from benchmarks import __main__ as bench
from benchmarks.setting import Benchmark, Setting, agree
from benchmarks.timing import Result, Work, readable, take_turns
from m2s_lib.errors import M2SError
from m2s_lib.io import read_json
from m2s_lib.mining.miner import PairMiner

COLUMNS = {"name", "t_base", "t_ours", "ratio", "t_floor", "over_floor", "target"}


CPU = torch.device("cpu")
SAME = ("momentum update", "nearest scenes")  # nothing differs on a GPU but the device
GPU_ROWS = [b for b in bench.BENCHMARKS if b.cuda is not None and b.name not in SAME]


@pytest.mark.parametrize("benchmark_of", bench.BENCHMARKS, ids=lambda b: b.name)
def test_both_sides_agree_and_run(benchmark_of, tmp_path):
    if benchmark_of.name == "MoCo step":
        pytest.importorskip("lightly", reason="needs the bench extra")
    work = benchmark_of.make(Setting(tmp_path, CPU, small=True))
    for side in (work.baseline, work.ours, *work.floors):
        side()
    assert work.per >= (work.base_per or 1) >= 1
    assert work.wait is None or 0 <= work.wait() < 1


@pytest.mark.parametrize("benchmark_of", GPU_ROWS, ids=lambda b: b.name)
def test_the_way_that_a_gpu_takes_agrees_on_the_cpu_too(benchmark_of, tmp_path, monkeypatch):
    monkeypatch.setattr(PairMiner, "_choose", PairMiner._choose_batched)  # what mining does on a GPU
    if benchmark_of.name == "MoCo step":
        pytest.importorskip("lightly", reason="needs the bench extra")
    work = benchmark_of.make(Setting(tmp_path, CPU, small=True, as_gpu=True))  # calls both, to compare them
    for floor in work.floors:
        floor()
    assert work.per >= (work.base_per or 1)


def test_every_path_is_aimed_at_somewhere():
    aims = {b.name: (b.aim(CPU), b.aim(torch.device("cuda"))) for b in bench.BENCHMARKS}
    assert all(any(aim is not None for aim in of) for of in aims.values())
    assert aims["movie pair step"][1].most_s * 256 == pytest.approx(2.5e-3)
    assert aims["scene mining"][1].most_s * 91_000 == pytest.approx(60)
    assert aims["shot encoder"][1].most_s * 30_000 == pytest.approx(1)
    assert aims["greedy choice"][1] is None


def test_results_are_written_with_their_columns(tmp_path, capsys):
    assert bench.main(["--small", "--rounds", "1", "--only", "greedy choice", "--out", str(tmp_path)]) == 0
    written = read_json(tmp_path / "bench.json")
    assert [r["name"] for r in written] == ["greedy choice", "greedy choice, adversarial"]
    for r in written:
        assert set(r) >= COLUMNS
        assert r["ratio"] == pytest.approx(r["t_base"] / r["t_ours"], rel=1e-6)
        assert r["over_floor"] == pytest.approx(r["t_ours"] / r["t_floor"], rel=1e-6)
    assert "greedy choice" in capsys.readouterr().out


def test_a_path_that_fails_leaves_the_others(tmp_path, capsys, monkeypatch):
    def no_room(setting: Setting) -> Work:
        raise torch.OutOfMemoryError("CUDA out of memory.\nTried to allocate 2 GiB")

    def apart(setting: Setting) -> Work:
        raise M2SError("results differ")

    some = [Benchmark("large", "item", "b", no_room), Benchmark("wrong", "item", "b", apart)]
    some.append(Benchmark("good", "item", "b", lambda setting: Work(lambda: 0, lambda: 0)))
    monkeypatch.setattr(bench, "BENCHMARKS", some)
    assert bench.main(["--small", "--rounds", "1", "--out", str(tmp_path)]) == 1
    rows = read_json(tmp_path / "bench.json")
    assert [r["name"] for r in rows] == ["good", "large", "wrong"]
    assert [r.get("not_run") for r in rows] == [
        None, "OutOfMemoryError: CUDA out of memory. Tried to allocate 2 GiB", "results differ"
    ]  # fmt: skip
    said = capsys.readouterr()
    assert "not run: large: OutOfMemoryError" in said.out
    assert "no_room" in said.err  # where it came from


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


def test_a_slow_baseline_does_less_and_the_fastest_floor_counts():
    def nap(seconds: float):
        return lambda: time.sleep(seconds)

    work = Work(nap(0.002), nap(0.002), (nap(0.006), nap(0.001)), per=10, base_per=1)
    base, ours, floor = take_turns(work, rounds=2, least_s=0)
    assert base == pytest.approx(10 * ours, rel=0.8)
    assert base >= 0.002
    assert ours < 0.002
    assert 0.0001 <= floor < 0.0006


def test_what_was_not_reached_is_said():
    made = dict(baseline="b", item="i", t_base=2.0, t_ours=1.0, t_floor=0.5, over_floor=2.0, device="cpu")
    good = Result("good", ratio=2.0, target=1.5, most_over_floor=math.nan, **made)
    slow = Result("slow", ratio=2.0, target=3.0, most_over_floor=math.nan, **made)
    high = Result("high", ratio=2.0, target=math.nan, most_over_floor=1.5, **made)
    long = Result("long", ratio=2.0, target=1.5, most_over_floor=math.nan, most_s=0.5, **made)
    idle = Result("idle", ratio=2.0, target=1.5, most_over_floor=math.nan, wait=0.03, most_wait=0.02, **made)
    assert [r.reached for r in (good, slow, high, long, idle)] == [True, False, False, False, False]
    assert "waits" not in readable([good])  # a column of nothing
    assert readable([idle]).split()[-5:] == ["3.00", "<=", "2.00", "not", "reached"]
    assert [line.endswith("not reached") for line in readable([good, slow, high]).splitlines()[1:]] == [
        False, True, True
    ]  # fmt: skip
