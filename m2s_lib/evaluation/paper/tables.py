"""The paper's tables, published beside measured, from the results of one setting of a run or of several."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import pandas as pd

from m2s_lib.evaluation.lvu import evaluate as lvu_evaluation
from m2s_lib.evaluation.moderation import files as mcd
from m2s_lib.evaluation.movienet import files as movienet
from m2s_lib.evaluation.movienet import place_tagging
from m2s_lib.evaluation.paper.published import (
    beside_measured,
    is_ours,
    read_later,
    read_published,
    read_settings,
)
from m2s_lib.evaluation.paper.repeats import FIRST, over_repeats

_OURS = {"ours (co-watch)": "Ours", "CLIP ViT-B/16": "CLIP"}
_NETS = {"ImageNet ResNet-50": "ImageNet", "Places365 ResNet-50": "Places"}


@dataclass(frozen=True)
class PaperTable:
    """Which measured rows a table of the paper is about, and what its models are called here."""

    name: str
    file: str
    benchmark: str
    split: str = "test"
    same: Mapping[str, str] = field(default_factory=dict)
    only: str = ""  # measured tasks that begin with it
    named_only: bool = False  # no measured encoder but those that the table names


TABLES = (
    PaperTable("Table 2", "table2", lvu_evaluation.BENCHMARK, same=_OURS | {"ViS4mer-style": "ViS4mer"}),
    PaperTable("Supp. Table 2", "supp_table2", lvu_evaluation.BENCHMARK, "val", _OURS, "place retrieval"),
    PaperTable("Table 3", "table3", movienet.BENCHMARK, same=_OURS | _NETS, only=place_tagging.TASK),
    PaperTable(
        "Table 4", "table4", movienet.BENCHMARK, only="scene boundaries",
        same=_OURS | _NETS | {"ShotCoL": "ShotCoL (same-domain)"},
    ),
    PaperTable("Table 5", "table5", mcd.BENCHMARK, same=_OURS),
    PaperTable("Supp. Table 3", "supp_table3", mcd.BENCHMARK, same=_OURS, named_only=True),
)  # fmt: skip


def paper_tables(
    measured: pd.DataFrame, encoders: Mapping[str, str] | None = None
) -> dict[str, pd.DataFrame]:
    """Tables 1 to 5 and supplementary 2 and 3 as `beside_measured` gives them, by file name.

    Args:
        measured: result rows with the columns setting and repeat; the base case (`FIRST`) fills all but
            Table 1.
        encoders: of `ablation.setting_encoders`: what each setting's encoder was, shown in Table 1.
    """
    plain = measured[~measured["encoder"].str.contains("permuted labels", regex=False)]
    base = over_repeats(plain[plain["setting"] == FIRST])
    return {"table1": table1(plain, encoders)} | {t.file: _table(t, base) for t in TABLES}


def table1(measured: pd.DataFrame, encoders: Mapping[str, str] | None = None) -> pd.DataFrame:
    """Table 1: our encoder on LVU's validation split in every setting that was run, see `beside_measured`."""
    ours = is_ours(measured["encoder"]) & (measured["benchmark"] == lvu_evaluation.BENCHMARK)
    rows = over_repeats(measured[ours], by=["setting"])
    published = read_published(["Table 1"])
    models = published.drop_duplicates("row").set_index("row")["model"]
    models = {f"row {n}": models[n] for n in read_settings("Table 1")["row"]}
    of_setting = {s: f"{s}: {encoders[s]}" if encoders and s in encoders else s for s in models}
    rows = rows[rows["setting"].isin(of_setting)]
    rows = rows.assign(encoder=rows["setting"].map(of_setting))
    same = {of_setting[setting]: model for setting, model in models.items()}
    table = beside_measured(published, rows, same=same, split="val")
    order = {model: i for i, model in enumerate(models.values())}
    return table.sort_values("model", key=lambda m: m.map(order), kind="stable")


def _table(table: PaperTable, base: pd.DataFrame) -> pd.DataFrame:
    published = pd.concat([read_published([table.name]), read_later(table.name)], ignore_index=True)
    rows = base[(base["benchmark"] == table.benchmark) & base["task"].str.startswith(table.only)]
    if table.named_only:
        rows = rows[rows["encoder"].replace(dict(table.same)).isin(published["model"])]
    return beside_measured(published, rows, same=table.same, split=table.split)
