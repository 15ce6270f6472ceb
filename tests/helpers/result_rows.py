"""Hand-made result rows of settings and repeats, for the tests of what reads them."""

import pandas as pd

from m2s_lib.evaluation.metrics import Measured
from m2s_lib.evaluation.paper.repeats import FIRST
from m2s_lib.evaluation.results import result_row, result_table


def rows(
    *values, encoder="ours (co-watch)", setting=FIRST, task="genre", metric="top-1", **more
) -> pd.DataFrame:
    """One result for each repeat a, b, ..., in LVU's test split."""
    about = {"benchmark": "LVU", "split": "test"} | more
    table = result_table(
        [
            result_row(**about, task=task, encoder=encoder, metric=metric, n_found=9, n_listed=10,
                       measured=Measured(v, v - 0.1, v + 0.1, 9))
            for v in values
        ]
    )  # fmt: skip
    return table.assign(setting=setting, repeat=list("abcdefg"[: len(values)]), stage="05_lvu_evaluation")
