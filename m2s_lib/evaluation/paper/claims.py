"""What the paper claims, as differences that our own runs can show or not (sections 4.2.1, 4.2.2, 4.5).

A claim compares two things that were measured alike: rows of Table 1, or encoders of one row. Its effect is
the difference, paired over repeats; it counts as seen when the 95 % interval of the mean lies above 0.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from m2s_lib.evaluation.lvu.evaluate import RETRIEVAL
from m2s_lib.evaluation.paper.repeats import FIRST_ROW, mean_interval
from m2s_lib.evaluation.results import EMBEDDED_FILMS

OURS = "ours"  # any encoder of ours, whatever its metadata
SEEN, NOT_SEEN, OPPOSITE, NOT_MEASURABLE = "seen", "not seen", "the opposite is seen", "not measurable here"
COLUMNS = (
    *("claim", "section", "compared", "measure", "effect", "ci_low", "ci_high", "repeats", "verdict", "why"),
)
ONE_REPEAT = "one repeat has no interval over films and seeds: m2s run claims"


@dataclass(frozen=True)
class Measure:
    """A number of one encoder: the mean of the result rows that match (all of `task` where it is not '')."""

    name: str
    benchmark: str
    metric: str
    split: str
    task: str = ""

    def of(self, results: pd.DataFrame) -> pd.Series:
        """The measure by repeat, from rows of one encoder: repeat -> value, without what was not measured."""
        mine = results[(results["benchmark"] == self.benchmark) & (results["metric"] == self.metric)]
        mine = mine[(mine["split"] == self.split) & (mine["task"].eq(self.task) | (self.task == ""))]
        return mine.dropna(subset=["value"]).groupby("repeat", sort=False)["value"].mean()


PAIRS = Measure("mined pairs of the same theme", EMBEDDED_FILMS, "same theme", "all")
MEASURES = (
    Measure("LVU top-1, mean of its tasks", "LVU", "top-1", "test"),
    Measure("LVU way of speaking, top-1", "LVU", "top-1", "test", "way_speaking"),
    Measure("LVU place, P@1", "LVU", "P@1", "val", f"{RETRIEVAL}: all queries"),
    Measure("MovieNet places, mAP", "MovieNet", "mAP", "test", "place tagging"),
    Measure("MovieNet boundaries, pooled AP", "MovieNet", "pooled AP", "test", "scene boundaries"),
    Measure("moderation, mean AP", "MCD", "AP", "test", "average"),
    Measure("scenes of the same theme, P@1", EMBEDDED_FILMS, "P@1", "all", "scene retrieval"),
)
LVU_TASKS = MEASURES[:1]


@dataclass(frozen=True)
class Claim:
    """One side should do better than the other: (row, encoder) each, row '' for the base case."""

    text: str
    section: str
    better: tuple[str, str]
    worse: tuple[str, str]
    measures: tuple[Measure, ...] = MEASURES


def _rows(text: str, section: str, better: int, *worse: int) -> list[Claim]:
    return [Claim(text, section, (f"row {better}", OURS), (f"row {w}", OURS)) for w in worse]


def _encoders(text: str, section: str, *worse: str, measures: Sequence[Measure] = MEASURES) -> list[Claim]:
    return [Claim(text, section, (FIRST_ROW, OURS), (FIRST_ROW, w), tuple(measures)) for w in worse]


FOUR_SHOTS = "row 1 at four shots"  # E_scene of nine shots on clips of four, see the claims profile
CLAIMS = (
    *_rows("training scale helps", "4.2.1a", 1, 2, 3, 4, 5),
    *_rows("several shots beat one", "4.2.1b", 1, 6),
    *_rows("nine shots beat four", "4.2.1b", 1, 7),
    *_rows("nine shots beat sixteen", "4.2.1b", 1, 8),
    *_rows("three frames a shot beat one", "4.2.1b", 9, 1),
    *_rows("metadata helps: co-watch beats random film pairs", "4.2.1c", 1, 10),
    *_rows("co-watch beats genre and synopsis", "4.2.1c", 1, 11, 12),
    *_rows("genre and synopsis together beat co-watch", "4.2.1c", 13, 1),
    *_rows("random initial weights do as well as CLIP's (difference from CLIP)", "4.2.1d", 1, 14),
    *_rows("at 3,000 films MViTv2-S beats ViT-B/16", "4.2.1e", 15, 4),
    Claim(
        "an encoder of nine shots serves four", "3.2.1", (FOUR_SHOTS, OURS), (FOUR_SHOTS, "random init")
    ),
    Claim(
        "an encoder of nine shots does as well on four as one of four (difference)",
        "3.2.1", (FOUR_SHOTS, OURS), ("row 7", OURS),
    ),
    *(
        Claim(
            "mined pairs are about themes, not looks", "3.1, supp. 2.1", (FIRST_ROW, "cowatch"),
            (FIRST_ROW, other), (PAIRS,),
        )
        for other in ("random", "shot_encoder", "colour")
    ),
    *_encoders("ours beats other contrastive learning on its films", "4.2.2", "SimCLR", "MoCo", "ShotCoL"),
    *_encoders("ours beats what it started from", "4.2", "random init", "E_shot mean"),
    *_encoders(
        "frozen features with a small MLP beat training on the task", "4.2.2", "ViS4mer-style",
        measures=LVU_TASKS,
    ),
)  # fmt: skip


def measure_claims(
    measured: pd.DataFrame, claims: Sequence[Claim] = CLAIMS, encoders: Mapping[str, str] | None = None
) -> pd.DataFrame:
    """Every claim by every measure that it has: the effect and whether it is seen.

    Args:
        measured: of `repeats.read_measured`.
        claims: what to compare.
        encoders: of `row_tables.row_encoders`, what each row's E_scene was; named where two rows differ in
            it, since a small run has others than the paper.

    Returns:
        `COLUMNS`: compared says which two; effect, ci_low and ci_high are in the measure's unit (0..1),
        paired over repeats; verdict is 'seen' (the interval lies above 0), 'the opposite is seen' (below),
        'not seen' or 'not measurable here', and `why` says why not. A claim of which nothing was measured is
        one line.
    """
    lines = []
    for claim in claims:
        both = [_side(measured, *side) for side in (claim.better, claim.worse)]
        compared = " against ".join(_names(claim, encoders or {}))
        about = {"claim": claim.text, "section": claim.section, "compared": compared}
        lacking = [name for name, rows in zip(_names(claim, {}), both, strict=True) if rows.empty]
        if lacking:
            why = f"not measured in this run: {', '.join(lacking)}"
            lines.append(about | _verdict(np.zeros(0), why) | {"measure": "all"})
            continue
        for measure in claim.measures:
            pair = pd.concat([measure.of(rows) for rows in both], axis=1, join="inner")
            if len(pair):
                difference = pair.iloc[:, 0].to_numpy() - pair.iloc[:, 1].to_numpy()
                lines.append(about | _verdict(difference) | {"measure": measure.name})
    return pd.DataFrame(lines, columns=list(COLUMNS))


def _side(measured: pd.DataFrame, row: str, encoder: str) -> pd.DataFrame:
    mine = measured[measured["row"] == row].dropna(subset=["value"])
    plain = ~mine["encoder"].str.contains("permuted labels")
    named = mine["encoder"].str.startswith("ours") if encoder == OURS else mine["encoder"] == encoder
    return mine[plain & named]


def _names(claim: Claim, told: Mapping[str, str]) -> list[str]:
    """What the two sides are called: rows of Table 1 where both are ours, encoders otherwise."""
    sides = (claim.better, claim.worse)
    rows = all(encoder == OURS for _, encoder in sides)
    names = [row if rows else encoder for row, encoder in sides]
    of_rows = [told.get(row, "") for row, _ in sides]
    if rows and all(of_rows) and of_rows[0] != of_rows[1]:
        return [f"{name} ({encoder})" for name, encoder in zip(names, of_rows, strict=True)]
    if not rows and claim.worse[0] != FIRST_ROW:
        names[1] += f", {claim.worse[0]}"
    return names


def _verdict(differences: np.ndarray, why: str = "") -> dict:
    effect, low, high = mean_interval(differences)
    n = int(np.isfinite(differences).sum())
    if n < 2:
        verdict, why = NOT_MEASURABLE, why or ONE_REPEAT
    elif low > 0:
        verdict = SEEN
    else:
        verdict = OPPOSITE if high < 0 else NOT_SEEN
    return {"effect": effect, "ci_low": low, "ci_high": high, "repeats": n, "verdict": verdict, "why": why}
