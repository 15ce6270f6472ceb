"""Times, themes and readings over settings, against hand-worked ones."""

import io

import numpy as np
import pandas as pd
import pytest

from m2s_lib.display.figures.precision_by_share import themes_figure, worth_figure
from m2s_lib.errors import M2SError
from m2s_lib.evaluation.metrics import wilson
from m2s_lib.evaluation.paper.ablation import (
    OTHER_READING,
    hyper_parameters,
    readings_compared,
    setting_encoders,
    setting_times,
    themes_by_metadata,
    worth_of_pairs,
)
from m2s_lib.evaluation.paper.tables import table1
from tests.helpers.result_rows import rows


def lines(setting, repeat, seconds, status="done", reason=""):
    stages = ["03_scene_mining", "04_moco_training"]
    table = pd.DataFrame({"stage": stages, "compute_s": seconds, "status": status, "reason": reason})
    return table.assign(setting=setting, repeat=repeat, folder=f"{setting}-{repeat}".replace(" ", "_"))


def test_times_are_means_over_repeats_relative_to_the_first_row():
    table = pd.concat(
        [
            lines("row 1", "a", [10.0, 30.0]),
            lines("row 1", "b", [10.0, 10.0]),
            lines("row 9", "a", [10.0, 60.0]),
            lines("row 2", "a", [10.0, np.nan], "failed", "no pairs"),
            lines("row 1, above median", "a", [10.0, 20.0]),
        ]
    )
    found = setting_times(table).set_index("setting")
    assert found["training"].tolist() == pytest.approx([1, 3, np.nan, 1], nan_ok=True)
    assert found.loc["row 9", "all_stages"] == pytest.approx(70 / 30)
    assert found["time_published"].tolist() == pytest.approx([1, 3, 0.5, np.nan], nan_ok=True)
    assert found.loc["row 2", ["status", "reason"]].tolist() == ["failed", "no pairs"]
    assert np.isnan(found.loc["row 2", "all_stages"])
    assert found.loc["row 9", "frames"] == 3


def test_times_of_one_setting_without_seconds():
    """A run of one setting does not know its seconds by stage."""
    table = lines("row 1", "", np.nan).assign(compute_s=None)
    found = setting_times(table).iloc[0]
    assert np.isnan(found[["training", "all_stages"]].astype(float)).all()
    assert found["status"] == "done"


def test_no_stage_has_no_times():
    found = setting_times(lines("row 1", "", [1, 1])[:0])
    assert found.empty
    assert {"setting", "training", "all_stages", "status", "reason"} <= set(found.columns)


def of(setting, table, repeat=""):
    """A table of a setting, as `stage_tables` gives it."""
    return {"setting": setting, "repeat": repeat}, table


THEMES = pd.DataFrame(
    {"encoder": ["cowatch", "cowatch", "colour"], "theme": ["duel", "heist", "duel"],
     "n_pairs": [4, 6, 5], "n_same": [3, 3, 5], "precision": [0.75, 0.5, 1.0]}
)  # fmt: skip
PRECISION = pd.DataFrame({"encoder": ["cowatch", "chance"], "mean": [0.6, 0.25]})


def test_themes_are_those_of_the_settings_own_metadata():
    found = themes_by_metadata([of("row 1", THEMES)], [of("row 1", PRECISION), of("row 10", PRECISION)])
    assert found["setting"].unique().tolist() == ["row 1"]
    assert found["metadata"].unique().tolist() == ["cowatch"]
    by_theme = found.set_index("theme")
    assert by_theme["precision"].to_dict() == {"all": 0.6, "duel": 0.75, "heist": 0.5}
    assert by_theme["n_pairs"].to_dict() == {"all": 10, "duel": 4, "heist": 6}
    assert by_theme.loc["all", "chance"] == 0.25
    assert (by_theme["ci_low"] < by_theme["precision"]).all()
    fig = themes_figure(found)
    fig.savefig(io.BytesIO(), dpi=60)
    assert [t.get_text() for t in fig.axes[0].get_yticklabels()] == ["heist", "duel"]  # the best on top
    assert "highest 0.75 for duel by co-watch" in fig.m2s_alt


def test_themes_without_a_chance_level():
    found = themes_by_metadata([of("row 1", THEMES)], []).set_index("theme")
    assert found.loc["all", "precision"] == 0.6
    assert np.isnan(found.loc["all", "chance"])


def test_what_each_settings_encoder_was():
    encoders = setting_encoders(
        {
            "row 1": {"scene_encoder": "tiny", "scene_weights": ""},
            "row 10": {"scene_encoder": "mvitv2_test", "scene_weights": "weights/clip.safetensors"},
        }
    )
    assert encoders == {"row 1": "tiny", "row 10": "mvitv2_test, from clip.safetensors"}
    table = table1(rows(0.4).assign(split="val"), encoders)
    assert "row 1: tiny" in set(table["encoder"])


def test_themes_that_are_not_known_are_no_lines():
    found = themes_by_metadata([], [])
    assert list(found.columns)[:3] == ["setting", "metadata", "theme"]
    assert found.empty
    with pytest.raises(M2SError, match="no theme to draw"):
        themes_figure(found)


def test_what_the_other_reading_changes():
    both = pd.concat([rows(0.4, task="genre"), rows(0.3, setting=OTHER_READING), rows(0.9, encoder="colour")])
    found = readings_compared(both)
    assert found[["task", "best_half", "above_median"]].values.tolist() == [["genre", 0.4, 0.3]]
    assert found["difference"].item() == pytest.approx(-0.1)
    assert readings_compared(rows(0.4)).empty


def test_supplementary_table_1_beside_what_was_trained():
    probe = {
        "encoder": "ours (co-watch)",
        "chosen": True,
        "lr": 0.1,
        "batch": 128,
        "epochs": 60,
        "dropout": 0.1,
    }
    others = [
        {"task": "scene", "encoder": "ours (co-watch) (permuted labels)", "lr": 9.0},
        {"task": "scene", "encoder": "colour", "lr": 8.0},
    ]
    probes = pd.DataFrame([{**probe, **o} for o in [*others, {"task": "scene"}]])
    found = hyper_parameters(probes).set_index(["task", "setting"])
    assert len(found) == 36
    assert found.loc[("place", "learning rate")].tolist() == [0.1, 0.1]
    assert found.loc[("place", "epochs")].tolist() == [400, 60]
    assert np.isnan(found.loc[("genre", "epochs"), "here"])
    assert hyper_parameters(pd.DataFrame())["here"].isna().all()


def worth(*precisions):
    """worth_of_pairs of a run whose repeats keep 4 or 8 pairs, with these precisions."""
    tables = []
    for i, values in enumerate([*precisions, [0.0, 0.0]]):
        table = pd.DataFrame({"ratio": [0.5, 1.0], "lowest_score": [2.0 + i, 1.0], "n_pairs": [4, 8]})
        same = (table["n_pairs"] * values).round().astype(int)
        name = ("row 1", str(i)) if i < len(precisions) else ("row 10", "0")
        tables.append(of(name[0], table.assign(n_same=same, precision=values), name[1]))
    return worth_of_pairs(tables)


def test_worth_is_a_mean_over_repeats_of_the_first_setting():
    found = worth([0.75, 0.5], [1.0, 0.25], [0.5, 0.75])
    assert found["ratio"].tolist() == [0.5, 1.0]
    assert found["precision"].tolist() == [0.75, 0.5]
    assert found["lowest_score"].tolist() == [3.0, 1.0]
    assert found[["n_pairs", "n_same", "repeats"]].values.tolist() == [[12, 9, 3], [24, 12, 3]]
    half = 4.302653 * 0.25 / 3**0.5  # Student's t of two degrees of freedom
    assert found.loc[0, ["ci_low", "ci_high"]].tolist() == pytest.approx([0.75 - half, 0.75 + half])


def test_worth_of_one_repeat_has_an_interval_over_its_pairs():
    found = worth([0.75, 0.5])
    assert found.loc[0, ["ci_low", "ci_high"]].tolist() == pytest.approx(wilson(3, 4))
    assert found["repeats"].tolist() == [1, 1]


def test_worth_is_drawn_against_share_and_score():
    table = worth([0.8, 0.5], [0.9, 0.4])
    fig = worth_figure(table, chance=0.3)
    fig.savefig(io.BytesIO(), dpi=60)
    left, right = fig.axes
    assert left.lines[0].get_xdata().tolist() == [0.5, 1.0]
    assert right.lines[0].get_ydata().tolist() == pytest.approx([0.85, 0.45])
    ends = [[y for _, y in segment] for segment in left.collections[0].get_segments()]
    assert ends == [pytest.approx(row) for row in table[["ci_low", "ci_high"]].clip(0, 1).to_numpy()]
    assert "0.85 when 50% of each film pair's are kept, 0.45 when 100% are" in fig.m2s_alt
    with pytest.raises(M2SError, match="no precision to draw"):
        worth_figure(table[:0])


def test_worth_of_unknown_themes_has_no_line():
    assert worth_of_pairs([]).empty
