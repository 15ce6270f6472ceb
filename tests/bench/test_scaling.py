"""Scaling curves: the fitted exponent, the plan made of them, and that all of it runs at small size."""

import pandas as pd
import pytest

from m2s_lib.bench import memory, scaling


def test_the_exponent_is_the_slope_in_logarithms():
    assert scaling.exponent([10, 20, 40], [1.0, 4.0, 16.0]) == pytest.approx(2)
    assert scaling.exponent([1, 2, 3], [5.0, 5.0, 5.0]) == pytest.approx(0)


def test_the_plan_extrapolates_the_largest_size_of_each_curve():
    rows = [
        ("01 shot encoding", "shots of a film", 10, 1.0, 1.0),
        ("01 shot encoding", "shots of a film", 20, 4.0, 1.0),
        ("02 movie similarity", "film pairs", 100, 10.0, 1.0),
        ("03 scene mining", "shots of a film", 544, 3.0, 2.0),
        ("04 MoCo training", "scene pairs", 50, 5.0, 1.0),
    ]
    curves = pd.DataFrame(rows, columns=scaling.COLUMNS)
    one, four = (scaling.plan(curves, n).set_index("stage") for n in (1, 4))
    assert one.loc["01 shot encoding", "seconds_each"] == pytest.approx(0.2)
    assert one.loc["01 shot encoding", "hours"] == pytest.approx(0.2 * 33e6 / 3600)
    pair = 1.0 * (33e6 / 30_340 / 544) ** 2  # three pairs took three seconds; about four times as long each
    assert one.loc["03 scene mining", "seconds_each"] == pytest.approx(pair)
    assert (one["hours"] / four["hours"]).tolist() == pytest.approx([4.0] * 4)


@pytest.mark.slow
def test_curves_are_measured_drawn_and_kept(tmp_path, capsys):
    assert scaling.main(["--small", "--out", str(tmp_path)]) == 0
    curves = pd.read_csv(tmp_path / "scaling.csv")
    assert list(curves.columns) == scaling.COLUMNS
    assert curves.groupby(["stage", "variable"]).ngroups == 8
    assert (curves["seconds"] > 0).all()
    assert len(pd.read_csv(tmp_path / "plan.csv")) == 4
    assert (tmp_path / "scaling.png").stat().st_size > 10_000


def test_memory_is_measured_in_a_process_of_its_own(tmp_path):
    path = memory.long_film(tmp_path, seconds=40, shots=4)
    read = memory.measure("scan", str(path))
    assert read["shots"] == 8  # the four shots, twice, are eight: 32 s of the 40 are whole turns
    assert 20 < read["peak_mb"] < 1000
