"""Claims as paired differences: shown, undecided, opposite, not measurable, each from hand-made results."""

import numpy as np
import pandas as pd
import pytest

from m2s_lib.display.figures.claims import claims_figure
from m2s_lib.errors import M2SError
from m2s_lib.evaluation.paper.claims import (
    AS_GOOD,
    CLAIMS,
    FOUR_SHOTS,
    NOT_MEASURABLE,
    measure_claims,
)
from m2s_lib.evaluation.paper.published import read_settings
from m2s_lib.evaluation.paper.statistics import OPPOSITE, SHOWN, UNDECIDED
from m2s_lib.runs.parameters.profiles import load_profile
from tests.helpers.result_rows import rows


def verdicts(table: pd.DataFrame) -> dict:
    found = measure_claims(table)
    return {(r.compared, r.measure): r for r in found.itertuples()}


METADATA = ("row 1 against row 10", "LVU top-1, mean of its tasks")


@pytest.mark.parametrize(
    ("other", "verdict"),
    [
        ((0.10, 0.21, 0.30), SHOWN),  # 0.3 better each time, whatever the world
        ((0.70, 0.81, 0.90), OPPOSITE),
        ((0.10, 0.81, 0.50), UNDECIDED),
    ],
)
def test_effects_are_paired(other, verdict):
    table = pd.concat([
        rows(0.4, 0.5, 0.6), rows(*other, setting="row 10", encoder="ours (random)"),
        rows(0.9, 0.9, 0.9, encoder="ours (co-watch) (permuted labels)"),
    ])  # fmt: skip
    found = verdicts(table)[METADATA]
    assert found.verdict == verdict
    assert found.effect == pytest.approx(0.5 - np.mean(other))
    assert found.repeats == 3
    assert found.why == ""


@pytest.mark.parametrize(
    ("other", "verdict"),
    [((0.40, 0.51, 0.60), AS_GOOD), ((0.10, 0.21, 0.30), SHOWN), ((0.10, 0.81, 0.50), UNDECIDED)],
)
def test_as_well_as_is_tested_by_two_one_sided_tests(other, verdict):
    table = pd.concat([rows(0.4, 0.5, 0.6), rows(*other, setting="row 14")])
    found = verdicts(table)["row 1 against row 14", "LVU top-1, mean of its tasks"]
    assert found.verdict == verdict


def test_a_measure_is_the_mean_over_its_tasks():
    ours = pd.concat([rows(0.4, 0.4), rows(0.6, 0.6, task="place")])
    other = pd.concat([rows(0.1, 0.1, encoder="MoCo"), rows(0.1, 0.1, task="place", encoder="MoCo")])
    found = verdicts(pd.concat([ours, other]))["ours against MoCo", "LVU top-1, mean of its tasks"]
    assert found.effect == pytest.approx(0.4)


def test_one_repeat_decides_nothing():
    table = pd.concat([rows(0.9), rows(0.1, encoder="MoCo")])
    found = verdicts(table)["ours against MoCo", "LVU top-1, mean of its tasks"]
    assert found.verdict == NOT_MEASURABLE
    assert found.effect == pytest.approx(0.8)
    assert "m2s run claims" in found.why


def test_what_was_not_measured_is_said_once():
    found = verdicts(rows(0.4, 0.5, 0.6))
    assert found["row 1 against row 2", "all"].verdict == NOT_MEASURABLE
    assert found["row 1 against row 2", "all"].why == "not measured in this run: row 2"
    assert len(found) == len(CLAIMS)


def test_settings_whose_encoders_differ_name_them():
    table = pd.concat([rows(0.4, 0.5), rows(0.1, 0.1, setting="row 14"), rows(0.1, 0.1, setting="row 2")])
    told = {"row 1": "tiny", "row 2": "tiny", "row 14": "tiny, from shot_encoder.safetensors"}
    found = set(measure_claims(table, encoders=told)["compared"])
    assert "row 1 (tiny) against row 14 (tiny, from shot_encoder.safetensors)" in found
    assert {"row 1 against row 2", "row 1 against row 3"} <= found


def test_missing_encoders_are_not_zero():
    table = pd.concat([rows(0.4, 0.5), rows(np.nan, np.nan, encoder="MoCo")])
    assert verdicts(table)["ours against MoCo", "all"].verdict == NOT_MEASURABLE


def test_claims_name_rows_of_table_1():
    numbers = {f"row {n}" for n in read_settings("Table 1")["row"]}
    named = {side[0] for c in CLAIMS for side in (c.better, c.worse)}
    assert named - numbers == {FOUR_SHOTS}
    profile = load_profile("claims")
    assert set(profile.settings) - numbers == {FOUR_SHOTS}
    assert "03" not in profile.settings[FOUR_SHOTS]  # its encoder is that of nine shots


def test_every_row_of_the_claims_profile_is_compared():
    named = {side[0] for c in CLAIMS for side in (c.better, c.worse)}
    assert set(load_profile("claims").settings) <= named


def test_the_figure_draws_what_has_an_effect():
    table = pd.concat([rows(0.4, 0.5, 0.6), rows(0.1, 0.21, 0.3, setting="row 10", encoder="ours (random)")])
    claims = measure_claims(table)
    fig = claims_figure(claims)
    assert "1 differences" in fig.m2s_alt
    assert "1 shown, 0 the opposite" in fig.m2s_alt
    words = " ".join(t.get_text() for t in fig.texts)
    assert "metadata helps: co-watch beats random film pairs" in words
    assert "the base setting against random film pairs: LVU top-1, mean of its tasks" in words
    (drawn,) = claims[claims["effect"].notna()].to_dict("records")
    interval, mean, _ = fig.axes[0].lines
    assert list(interval.get_xdata()) == [100 * drawn["ci_low"], 100 * drawn["ci_high"]]
    assert mean.get_xdata()[0] == 100 * drawn["effect"]
    with pytest.raises(M2SError, match="no claim has an effect to draw"):
        claims_figure(claims[claims["effect"].isna()])
