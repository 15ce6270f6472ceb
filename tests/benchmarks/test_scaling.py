"""Scaling curves: the fitted exponent, the plan made of them, and that all of it runs at small size."""

import io

import numpy as np
import pandas as pd
import pytest

from benchmarks import memory, plan, scaling
from m2s_lib.errors import M2SError
from m2s_lib.io import write_json


def test_the_exponent_is_the_slope_in_logarithms_with_its_interval():
    assert scaling.exponent([10, 20, 40], [1.0, 4.0, 16.0]) == pytest.approx((2, 2, 2))
    assert scaling.exponent([1, 2, 3], [5.0, 5.0, 5.0])[0] == pytest.approx(0, abs=1e-9)
    slope, low, high = scaling.exponent([1, 2, 4, 8], [1.0, 2.2, 3.8, 8.1])
    x, y = np.log([1, 2, 4, 8]), np.log([1.0, 2.2, 3.8, 8.1])
    (found, _), covariance = np.polyfit(x, y, 1, cov="unscaled")
    error = np.sqrt(covariance[0, 0] * ((y - np.polyval(np.polyfit(x, y, 1), x)) ** 2).sum() / 2)
    assert slope == pytest.approx(found)
    assert (low, high) == pytest.approx((found - 4.302653 * error, found + 4.302653 * error))
    assert np.isnan(scaling.exponent([1, 2], [1.0, 2.0])[1])  # two points always lie on a line


def test_scaling_curves_have_a_panel_for_each_thing_that_grows():
    rows = [
        ("03 mining", "shots", 10, 1.0, 2.0),
        ("03 mining", "shots", 20, 4.0, 2.0),
        ("search", "scenes", 5, 1.0, 1.0),
    ]
    fig = scaling.scaling_figure(
        pd.DataFrame(rows, columns=["stage", "variable", "size", "seconds", "exponent"])
    )
    fig.savefig(io.BytesIO(), dpi=60)
    assert [axes.get_xlabel() for axes in fig.axes] == ["shots", "scenes"]
    assert fig.axes[0].lines[0].get_xydata().tolist() == [[10, 1], [20, 4]]
    assert "03 mining by shots to the power 2.00" in fig.m2s_alt


def made_up_curves():
    """Every curve of the plan at one second an item; mining of three pairs takes three at 544 shots."""
    rows = []
    for task in plan.tasks(plan.Machine()):
        of_shots = task.variable == "shots of a film"
        size, power = (544, 2.0) if of_shots else (10, 1.0)
        for turn in (0, 1):
            seconds = 3.0 if of_shots else 10.0 + turn
            rows.append((task.stage, task.variable, size, turn, seconds, power, power, power))
    return pd.DataFrame(rows, columns=scaling.COLUMNS)


def test_cpu_work_takes_the_measured_rate_and_is_shared_by_the_cores():
    planned = plan.plan(made_up_curves(), plan.Machine(cores=10, minutes=100)).set_index("stage")
    decode = planned.loc["01 decode"]
    assert decode["amount"] == 30_340 * 100 * 60 * 24
    assert decode["cpu_rate"] == 1  # the faster turn
    assert decode["core_hours"] == pytest.approx(decode["amount"] / 3600)
    assert (decode["hours_1"], decode["hours_8"]) == pytest.approx(
        (decode["core_hours"] / 10, decode["core_hours"] / 80)
    )
    assert decode["source"] == "CPU, measured"
    assert planned.loc["03 mining", "cpu_rate"] == pytest.approx((544 * 30_340 / 33e6) ** 2)


def test_gpu_work_is_an_estimate_until_a_gpu_has_measured_it(tmp_path):
    machine = plan.Machine(tflops=100, share=0.5, efficiency=0.8)
    step = plan.plan(made_up_curves(), machine).set_index("stage").loc["04 step"]
    assert step["gpu_rate"] == pytest.approx(50e12 / (4 * plan.vit_flops(577)))
    assert step["hours_8"] == pytest.approx(step["hours_1"] / 8 / 0.8)
    assert step["source"] == "estimate: 444 GFLOP at 50% of 100 TFLOP/s"
    assert np.isnan(step["cost"])
    path = tmp_path / "bench.json"
    not_run = {"name": "nearest scenes", "not_run": "No module named 'faiss'"}
    write_json(path, [{"name": "MoCo step", "t_ours": 0.128, "device": "cuda"}, not_run])
    measured = plan.gpu_rates(path)
    priced = plan.Machine(gpu_price=2.0, core_price=0.1)
    table = plan.plan(made_up_curves(), priced, measured).set_index("stage")
    assert table.loc["04 step", "gpu_rate"] == pytest.approx(1000)
    assert table.loc["04 step", "source"] == "measured: 'MoCo step' of bench.json"
    assert table.loc["04 step", "cost"] == pytest.approx(2 * 250e6 / 1000 / 3600)
    assert table.loc["01 encode", "source"].startswith("estimate")


def test_what_is_no_gpus_bench_is_refused(tmp_path):
    path = tmp_path / "bench.json"
    write_json(path, [{"name": "MoCo step", "t_ours": 0.128, "device": "cpu"}])
    with pytest.raises(M2SError, match="holds no GPU's times: run `make bench-gpu`"):
        plan.gpu_rates(path)
    write_json(path, {"rows": []})
    with pytest.raises(M2SError, match="is no bench.json"):
        plan.gpu_rates(path)
    with pytest.raises(M2SError, match="the curves lack '01 decode' by 'frames'"):
        plan.plan(made_up_curves().query("stage != '01 decode'"), plan.Machine())


@pytest.mark.slow
def test_curves_are_measured_drawn_and_kept(tmp_path, capsys):
    assert scaling.main(["--small", "--out", str(tmp_path)]) == 0
    curves = pd.read_csv(tmp_path / "scaling.csv")
    assert list(curves.columns) == scaling.COLUMNS
    assert set(curves["stage"]) >= {t.stage for t in plan.tasks(plan.Machine())} | {"08 search"}
    assert (curves["seconds"] > 0).all()
    assert (tmp_path / "scaling.png").stat().st_size > 10_000
    again = tmp_path / "again"
    assert scaling.main(["--curves", str(tmp_path / "scaling.csv"), "--out", str(again)]) == 0
    pd.testing.assert_frame_equal(pd.read_csv(again / "plan.csv"), pd.read_csv(tmp_path / "plan.csv"))


def test_memory_is_measured_in_a_process_of_its_own(tmp_path):
    path = memory.long_film(tmp_path, seconds=40, shots=4)
    read = memory.measure("scan", str(path))
    assert read["shots"] == 8  # the four shots, twice, are eight: 32 s of the 40 are whole turns
    assert 20 < read["peak_mb"] < 1000
