"""The paper's tables from results of one setting and of several."""

import pandas as pd
import pytest

from m2s_lib.evaluation.paper.tables import TABLES, paper_tables, table1
from tests.helpers.result_rows import rows


def cell(table: pd.DataFrame, model: str, column: str, metric: str = "top-1") -> pd.Series:
    found = table[(table["model"] == model) & (table["column"] == column) & (table["metric"] == metric)]
    return found.iloc[0]


def test_table_1_has_our_encoder_in_every_setting_that_was_run():
    table = pd.concat([
        rows(0.4, 0.5, split="val", task="scene"),
        rows(0.2, 0.3, split="val", task="scene", setting="row 10"),
        rows(0.9, 0.9, split="val", task="scene", encoder="MoCo"), rows(0.1, 0.1, task="scene"),
        rows(0.3, split="val", task="scene", setting="a setting of one's own"),
    ])  # fmt: skip
    found = table1(table)
    first = cell(found, "30K films, 9-1, co-watch", "place")
    assert first[["published", "measured", "seeds"]].tolist() == pytest.approx([63.2, 45.0, 2])
    measured = found.dropna(subset=["measured"])
    assert len(measured) == 2
    assert measured["model"].iloc[1] == found.loc[found["encoder"] == "row 10", "model"].iloc[0]
    assert found["model"].nunique() == 15


def test_other_tables_are_the_base_case_without_controls():
    table = pd.concat([
        rows(0.5), rows(0.9, setting="row 10", encoder="ours (random)"),
        rows(0.8, encoder="ours (co-watch) (permuted labels)"), rows(0.3, encoder="CLIP ViT-B/16"),
        rows(0.6, benchmark="MCD", task="sex", metric="AP"),
        rows(0.2, benchmark="MCD", task="sex", metric="AP", encoder="colour"),
    ])  # fmt: skip
    tables = paper_tables(table)
    assert set(tables) == {"table1", *(t.file for t in TABLES)}
    assert cell(tables["table2"], "Ours", "genre")["measured"] == pytest.approx(50)
    assert cell(tables["table2"], "CLIP", "genre")["measured"] == pytest.approx(30)
    assert not tables["table2"]["encoder"].str.contains("permuted|random").any()
    assert cell(tables["table5"], "colour", "sex", "AP")["measured"] == pytest.approx(20)
    assert "colour" not in set(tables["supp_table3"]["model"])  # it names its models
    assert tables["table3"]["measured"].isna().all()
    assert (
        cell(tables["table4"], "after the paper: TranS4mer (CVPR 2023)", "scene boundaries", "AP")[
            "published"
        ]
        == 60.8
    )


def test_nothing_measured_leaves_the_papers_numbers():
    tables = paper_tables(rows(0.5)[:0])
    assert all(t["measured"].isna().all() for t in tables.values())
    assert tables["table1"]["published"].notna().sum() == 135
