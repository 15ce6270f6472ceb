"""The six primary claims: what is compared, fixed before the reported worlds were looked at.

Everything else (`claims`) is exploratory.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from m2s_lib.evaluation.paper.repeats import FIRST
from m2s_lib.evaluation.paper.statistics import holm, paired_test, verdict
from m2s_lib.evaluation.results import EMBEDDED_FILMS

HELD_OUT = "held-out"  # split: queries from films that no training saw, a gallery of training films
COLUMNS = (
    "claim", "a", "b", "difference", "ci_low", "ci_high",
    "p_sign_flip", "p_holm", "verdict", "worlds", "frozen",
)  # fmt: skip
PAIRS = ("scene mining", "same theme", "all")
THEME = ("scene retrieval", "P@1", HELD_OUT)


@dataclass(frozen=True)
class Side:
    """One side of a comparison.

    Attributes:
        name: as the table shows it. setting: of the run.
        encoder: as results.parquet names it; "ours" is E_scene, whatever its metadata.
    """

    name: str
    setting: str
    encoder: str


@dataclass(frozen=True)
class Primary:
    """A claim: a is better than b by what is measured.

    Attributes:
        measure: task, metric and split in results.parquet.
    """

    claim: str
    a: Side
    b: Side
    measure: tuple[str, str, str] = THEME


OURS = Side("E_scene from co-watch", FIRST, "ours")
PRIMARIES = (
    Primary(
        "metadata finds pairs of one theme",
        Side("E_movie from co-watch", FIRST, "cowatch"),
        Side("whitened E_shot without metadata", FIRST, "shot_encoder_whitened"),
        PAIRS,
    ),
    Primary("metadata helps E_scene", OURS, Side("E_scene from random film pairs", "row 10", "ours")),
    Primary(
        "E_scene is more than its shots",
        OURS,
        Side("whitened mean of E_shot", FIRST, "E_shot mean, whitened"),
    ),
    Primary("nine shots beat one", OURS, Side("E_scene of one shot, mean of nine", "row 6", "ours")),
    Primary("more films help", OURS, Side("E_scene from a quarter of the films", "row 3", "ours")),
    Primary("E_scene beats ShotCoL", OURS, Side("ShotCoL on equally many frames", FIRST, "ShotCoL")),
)


def measure_primaries(
    measured: pd.DataFrame, frozen: str = "", primaries: tuple[Primary, ...] = PRIMARIES
) -> pd.DataFrame:
    """The primary claims, tested over worlds and corrected by Holm for all of them, measured or not.

    Args:
        measured: result rows of the embedded films with the columns setting and repeat (the world).
        frozen: what world, recipe and profile were when they were fixed.

    Returns:
        `COLUMNS`: differences are shares (0.03: 3 points); NaN and 'undecided' where nothing was measured.
    """
    measured = measured[measured["benchmark"] == EMBEDDED_FILMS]
    rows = []
    for p in primaries:
        sides = [_by_world(measured, side, p.measure) for side in (p.a, p.b)]
        both = pd.concat(sides, axis=1, join="inner")
        test = paired_test(both.iloc[:, 0], both.iloc[:, 1])
        rows.append({"claim": p.claim, "a": p.a.name, "b": p.b.name, "frozen": frozen} | test)
    table = pd.DataFrame(rows)
    table["p_holm"] = holm(table["p_sign_flip"])
    numbers = table[["difference", "ci_low", "ci_high", "p_holm"]].itertuples(index=False)
    return table.assign(verdict=[verdict(*row) for row in numbers])[list(COLUMNS)]


def _by_world(measured: pd.DataFrame, side: Side, measure: tuple[str, str, str]) -> pd.Series:
    """A side's value in each world, the mean over its seeds: world -> value."""
    keys = dict(zip(("task", "metric", "split"), measure, strict=True)) | {"setting": side.setting}
    mine = np.logical_and.reduce([measured[column] == value for column, value in keys.items()])
    encoder = measured["encoder"]
    named = encoder.str.startswith("ours (") if side.encoder == "ours" else encoder == side.encoder
    return measured[mine & named].groupby("repeat")["value"].mean()
