"""The paper's numbers: counts, sums that the paper itself prints, and the side-by-side table."""

import numpy as np
import pandas as pd
import pytest

from m2s_lib.errors import M2SError
from m2s_lib.evaluation.lvu.files import SUPP_TABLE_1, TASKS
from m2s_lib.evaluation.metrics import Measured
from m2s_lib.evaluation.paper.published import (
    FILES,
    LATER,
    LATER_FILE,
    PAPER_DIR,
    beside_measured,
    is_ours,
    read_later,
    read_published,
    read_settings,
)
from m2s_lib.evaluation.paper.styled import DASH, side_by_side, side_by_side_text
from m2s_lib.evaluation.results import result_row, result_table


def wide(table, metric=None):
    """Numbers of a table as model x column."""
    rows = read_published([table])
    rows = rows if metric is None else rows[rows["metric"] == metric]
    return rows.pivot(index="model", columns="column", values="value")


@pytest.mark.parametrize(
    ("table", "numbers", "models", "columns"),
    [
        ("Table 1", 15 * 9, 15, 9),
        ("Table 2", 11 * 9, 11, 9),  # ten models, and the differences of the last line
        ("Table 3", 6, 6, 1),
        ("Table 4", 9, 9, 1),
        ("Table 5", 5 * 4, 5, 4),
        ("Supp. Table 1", 4 * 9, 1, 9),
        ("Supp. Table 2", 7 * 9, 3, 7),
        ("Supp. Table 3", 4 * 4, 4, 4),
    ],
)
def test_every_cell_of_every_table_is_there_once(table, numbers, models, columns):
    rows = read_published([table])
    assert len(rows) == numbers
    assert rows["value"].notna().all()
    assert rows["model"].nunique() == models
    assert rows["column"].nunique() == columns
    assert not rows.duplicated(["model", "column", "metric"]).any()
    assert rows["reference"].str.contains("section").all()
    assert rows["unit"].isin(["%", ""]).all()


def test_all_tables_together():
    assert len(read_published()) == 135 + 99 + 6 + 9 + 20 + 36 + 63 + 16
    files = sorted(p.name for p in PAPER_DIR.glob("*.csv") if "settings" not in p.name)
    assert files == sorted([*FILES.values(), LATER_FILE])


def test_spot_checks():
    """Cells read off the paper by eye."""
    one = read_published(["Table 1"]).set_index(["row", "column"])["value"]
    assert one.loc[[(1, "place"), (5, "view"), (9, "like"), (13, "genre"), (15, "director")]].tolist() == [
        63.2, 4.55, 0.159, 56.7, 51.2,
    ]  # fmt: skip
    assert wide("Table 2").loc["ViS4mer", ["place", "writer", "view"]].tolist() == [67.4, 48.8, 3.63]
    assert wide("Table 3").loc[["Places", "Ours"], "place tagging"].tolist() == [8.76, 12.17]
    assert wide("Table 4").loc[["BaSSL", "Ours"], "scene boundaries"].tolist() == [57.40, 55.03]
    places = wide("Supp. Table 2", "P@5")
    assert places.loc["Ours", ["school", "all queries"]].tolist() == [49.04, 39.29]
    assert places.loc["SlowFast R101", "prison"] == 40


def test_the_differences_printed_under_table_2_follow_from_it():
    """Ours against the best of the others; accuracy rises, error falls."""
    table = wide("Table 2")
    others = table.drop(index=["Ours", "Ours against the best other"])
    for column in table.columns:
        best = others[column].min() if column in ("view", "like") else others[column].max()
        printed = table.loc["Ours against the best other", column]
        assert table.loc["Ours", column] - best == pytest.approx(printed, abs=1e-9)


def test_the_abstracts_average_improvements_follow_from_table_2():
    """7.9 % on seven classification tasks, 9.7 % on two regression tasks, relative to the best other."""
    table = wide("Table 2")
    gain = table.loc["Ours against the best other"]
    relative = 100 * gain.abs() / (table.loc["Ours"] - gain)
    numbers = ["view", "like"]
    assert relative.drop(numbers).mean() == pytest.approx(7.9, abs=0.05)
    assert relative[numbers].mean() == pytest.approx(9.7, abs=0.05)


@pytest.mark.parametrize("table", ["Table 5", "Supp. Table 3"])
def test_the_average_of_moderation_is_over_three_classes(table):
    rows = wide(table)
    np.testing.assert_allclose(rows[["sex", "violence", "drug-use"]].mean(axis=1), rows["average"], atol=0.08)


def test_ours_is_the_same_in_both_moderation_tables():
    assert wide("Table 5").loc["Ours"].tolist() == wide("Supp. Table 3").loc["Ours"].tolist()


def test_lvus_defaults_are_supplementary_table_1():
    printed = read_published(["Supp. Table 1"]).set_index(["column", "metric"])["value"]
    for task, config in SUPP_TABLE_1.items():
        column = TASKS[task].paper
        mine = (config.lr, config.batch, config.epochs, config.dropout)
        names = ("learning rate", "batch size", "epochs", "dropout")
        assert mine == tuple(printed[column, name] for name in names)


def test_settings_belong_to_their_rows():
    one, two = read_settings("Table 1"), read_settings("Table 2")
    assert one["row"].tolist() == list(range(1, 16))
    assert one.loc[8, ["shots", "frames", "time"]].tolist() == [9, 3, 3]
    assert one.loc[14, ["backbone", "batch", "resolution"]].tolist() == ["MViTv2-S", 32, 224]
    assert set(two["model"]) < set(read_published(["Table 2"])["model"])
    assert two.set_index("model").loc["ShotCoL", "params_m"] == 1.3
    with pytest.raises(M2SError, match="only Table 1 and Table 2"):
        read_settings("Table 3")


def measured(encoder, value, task="scene", metric="top-1", seed=0, split="test", found=80):
    m = Measured(value, value - 0.1, value + 0.1, found)
    return result_row("LVU", task, split, encoder, metric, m, n_found=found, n_listed=86, seed=seed)


def test_published_and_measured_stand_side_by_side_and_gaps_say_so():
    rows = result_table([
        measured("ours (co-watch)", 0.5), measured("ours (co-watch)", 3.1, "view_count", "MSE", found=86),
        measured("colour", 0.25), measured("CLIP", 0.4), measured("CLIP", 0.9, split="val"),
    ])  # fmt: skip
    table = beside_measured(read_published(["Table 2"]), rows, same={"ours (co-watch)": "Ours"})
    cells = table.set_index(["model", "column"])
    assert cells.loc[("Ours", "place"), ["published", "measured", "ci_low"]].tolist() == pytest.approx(
        [68.2, 50, 40]
    )
    assert cells.loc[("Ours", "view"), ["published", "measured"]].tolist() == pytest.approx([2.79, 3.1])
    assert cells.loc[("CLIP", "place"), "measured"] == pytest.approx(40)
    assert np.isnan(cells.loc[("OT", "place"), "measured"])
    assert np.isnan(cells.loc[("colour", "place"), "published"])
    text = side_by_side_text(table)
    ours = text.loc["Ours (co-watch)"]
    assert ours["published", "place [top-1]"] == "68.2"
    assert ours["measured", "place [top-1]"] == "50.0 [40.0, 60.0] (n = 80, found 80 of 86)"
    assert ours["measured", "view [MSE]"] == "3.100 [3.000, 3.200] (n = 86)"
    assert ours["published", "like [MSE]"] == "0.192"
    assert ours["measured", "genre [top-1]"] == DASH
    assert text.loc["colour"]["published", "place [top-1]"] == DASH
    assert (text.loc["OT"]["measured"] == DASH).all()
    assert list(dict.fromkeys(text.columns.get_level_values(0))) == ["published", "measured"]


def test_the_table_to_look_at_escapes_folds_and_names_its_sources():
    rows = result_table([measured("<b>", 0.5), measured("an encoder without a number", np.nan)])
    published = pd.concat([read_published(["Table 2"]), read_later("Table 2")])
    shown = side_by_side(beside_measured(published, rows))
    assert "an encoder without a number" not in shown.data.index
    page = shown.to_html()
    assert "No number at all, so without a row: an encoder without a number." in page
    assert "<b>" not in page
    assert "&lt;b&gt;" in page
    assert ">50.0<br>[40.0, 60.0]<br>(n = 80, found 80 of 86)</td>" in page
    assert "after the paper: S5 (CVPR 2023): second-hand: in HERMES, ICCV 2025, table of LVU." in page
    assert shown.data.loc["after the paper: HERMES (ICCV 2025)"]["published", "place [top-1]"] == "90"


def test_later_numbers_have_a_source_and_a_column_of_the_tables():
    for table, models in (("Table 2", 3), ("Table 4", 5)):
        later = read_later(table)
        assert later["model"].nunique() == models
        assert later["model"].str.startswith(LATER).all()
        assert (later["reference"].str.len() > 20).all()
        assert not later.duplicated(["model", "column", "metric"]).any()
    assert set(read_later("Table 2")["column"]) < set(read_published(["Table 2"])["column"])
    assert read_later("Table 5").empty


def test_permuted_labels_are_not_ours():
    names = pd.Series(
        ["ours (co-watch)", "ours (random), joined", "ours (co-watch) (permuted labels)", "MoCo"]
    )
    assert is_ours(names).tolist() == [True, True, False, False]


def test_seeds_become_their_mean():
    rows = result_table([measured("Ours", v, seed=s) for s, v in enumerate((0.4, 0.5, 0.6))])
    cell = (
        beside_measured(read_published(["Table 2"]), rows)
        .query("model == 'Ours' and column == 'place'")
        .iloc[0]
    )
    assert cell["measured"] == pytest.approx(50)
    assert cell["seeds"] == 3
    assert cell["seed_sd"] == pytest.approx(10)


def test_columns_of_the_other_tables_find_their_tasks():
    places = result_table([measured("CLIP", 0.3, "place retrieval: office", "P@1", split="val")])
    cell = beside_measured(read_published(["Supp. Table 2"]), places, split="val")
    assert cell.set_index(["model", "column", "metric"]).loc[
        ("CLIP", "office", "P@1"), "measured"
    ] == pytest.approx(30)
    sbd = result_table([measured("MoCo", 0.4, "scene boundaries", "pooled AP"),
                        measured("MoCo", 0.3, "scene boundaries", "mean per-film AP")])  # fmt: skip
    published = read_published(["Table 4"])
    assert beside_measured(published, sbd).set_index("model").loc["MoCo", "measured"] == pytest.approx(40)
    by_film = beside_measured(published, sbd, metrics={("scene boundaries", "AP"): "mean per-film AP"})
    assert by_film.set_index("model").loc["MoCo", "measured"] == pytest.approx(30)


def test_two_encoders_of_one_model_have_rows_of_their_own():
    rows = result_table([measured("ours (co-watch)", 0.5), measured("ours (random)", 0.2)])
    same = {"ours (co-watch)": "Ours", "ours (random)": "Ours"}
    table = beside_measured(read_published(["Table 2"]), rows, same=same)
    ours = table[(table["model"] == "Ours") & (table["column"] == "place") & (table["metric"] == "top-1")]
    assert ours["measured"].tolist() == pytest.approx([50, 20])
    assert len(side_by_side_text(table)) == 10 + 1


def test_bad_input_is_named(tmp_path):
    with pytest.raises(M2SError, match="table 'Table 9' is unknown"):
        read_published(["Table 9"])
    with pytest.raises(M2SError, match="table3.csv cannot be read"):
        read_published(["Table 3"], tmp_path)
    (tmp_path / "table3.csv").write_text("a,b\n1,2\n")
    with pytest.raises(M2SError, match=r"has the columns \['a', 'b'\], expected"):
        read_published(["Table 3"], tmp_path)
    twice = result_table([measured("Ours", 0.5), measured("Ours", 0.6)])
    with pytest.raises(M2SError, match="one result twice"):
        beside_measured(read_published(["Table 2"]), twice)
    with pytest.raises(M2SError, match="a model twice"):
        beside_measured(pd.concat([read_published(["Table 5"])] * 2), result_table([]))
