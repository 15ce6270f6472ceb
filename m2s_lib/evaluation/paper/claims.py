"""What the paper claims, as differences that our own runs can show or not (sections 4.2.1, 4.2.2, 4.5).

A claim compares two things that were measured alike: settings of a run, or encoders of one setting. Its
effect is the difference, paired over repeats. These claims are exploratory: they are judged by the 95 %
interval of the mean, without a correction for how many there are. The six that were fixed beforehand are in
`primaries`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import pandas as pd

from m2s_lib.evaluation.lvu.evaluate import RETRIEVAL
from m2s_lib.evaluation.paper.published import is_ours
from m2s_lib.evaluation.paper.repeats import FIRST
from m2s_lib.evaluation.paper.statistics import LEVEL, MARGIN, as_good_p, exploratory_verdict, paired_test
from m2s_lib.evaluation.results import EMBEDDED_FILMS

OURS = "ours"  # any encoder of ours, whatever its metadata
NOT_MEASURABLE, AS_GOOD = "not measurable here", "as good, within 5 points"
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
    """One side should do better than the other, or as well: (setting, encoder) each."""

    text: str
    section: str
    better: tuple[str, str]
    worse: tuple[str, str]
    measures: tuple[Measure, ...] = MEASURES
    as_good: bool = False  # whether it claims that the first does as well as the second, not better


def _rows(text: str, section: str, better: int, *worse: int) -> list[Claim]:
    return [Claim(text, section, (f"row {better}", OURS), (f"row {w}", OURS)) for w in worse]


def _encoders(text: str, section: str, *worse: str, measures: Sequence[Measure] = MEASURES) -> list[Claim]:
    return [Claim(text, section, (FIRST, OURS), (FIRST, w), tuple(measures)) for w in worse]


def _as_good(claims: Sequence[Claim]) -> list[Claim]:
    return [replace(claim, as_good=True) for claim in claims]


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
    *_as_good(_rows("random initial weights do as well as CLIP's (difference from CLIP)", "4.2.1d", 1, 14)),
    *_rows("at 3,000 films MViTv2-S beats ViT-B/16", "4.2.1e", 15, 4),
    Claim(
        "an encoder of nine shots serves four", "3.2.1", (FOUR_SHOTS, OURS), (FOUR_SHOTS, "random init")
    ),
    Claim(
        "an encoder of nine shots does as well on four as one of four (difference)",
        "3.2.1", (FOUR_SHOTS, OURS), ("row 7", OURS), as_good=True,
    ),
    *(
        Claim(
            "mined pairs are about themes, not looks", "3.1, supp. 2.1", (FIRST, "cowatch"),
            (FIRST, other), (PAIRS,),
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
    """Every claim by every measure that it has: the effect, and what it says.

    Args:
        measured: result rows with the columns setting and repeat.
        claims: what to compare.
        encoders: of `ablation.setting_encoders`, what each setting's E_scene was; named where two settings
            differ in it, since a small run has others than the paper.

    Returns:
        `COLUMNS`: compared says which two; effect, ci_low and ci_high are in the measure's unit (0..1),
        paired over repeats; verdict is one of `statistics` ('shown', 'opposite', 'smaller than 3 points',
        'undecided'), of a claim that one does as well as the other 'as good, within 5 points', or 'not
        measurable here', and `why` says why not. A claim of which nothing was measured is one line.
    """
    lines = []
    for claim in claims:
        both = [_side(measured, *side) for side in (claim.better, claim.worse)]
        compared = " against ".join(_names(claim, encoders or {}))
        about = {"claim": claim.text, "section": claim.section, "compared": compared}
        lacking = [name for name, rows in zip(_names(claim, {}), both, strict=True) if rows.empty]
        if lacking:
            why = f"not measured in this run: {', '.join(lacking)}"
            lines.append(about | _effect(pd.DataFrame({0: [], 1: []}), claim, why) | {"measure": "all"})
            continue
        for measure in claim.measures:
            pair = pd.concat([measure.of(rows) for rows in both], axis=1, join="inner")
            if len(pair):
                lines.append(about | _effect(pair, claim) | {"measure": measure.name})
    return pd.DataFrame(lines, columns=list(COLUMNS))


def _side(measured: pd.DataFrame, setting: str, encoder: str) -> pd.DataFrame:
    mine = measured[measured["setting"] == setting].dropna(subset=["value"])
    return mine[is_ours(mine["encoder"]) if encoder == OURS else mine["encoder"] == encoder]


def _names(claim: Claim, encoders: Mapping[str, str]) -> list[str]:
    """What the two sides are called: settings where both are ours, encoders otherwise."""
    sides = (claim.better, claim.worse)
    settings = all(encoder == OURS for _, encoder in sides)
    names = [setting if settings else encoder for setting, encoder in sides]
    of_settings = [encoders.get(setting, "") for setting, _ in sides]
    if settings and all(of_settings) and of_settings[0] != of_settings[1]:
        return [f"{name} ({encoder})" for name, encoder in zip(names, of_settings, strict=True)]
    if not settings and claim.worse[0] != FIRST:
        names[1] += f", {claim.worse[0]}"
    return names


def _effect(pair: pd.DataFrame, claim: Claim, why: str = "") -> dict:
    """Effect, interval and verdict of a claim from both sides' values, a row for each repeat."""
    test = paired_test(pair.iloc[:, 0], pair.iloc[:, 1])
    low, high, n = test["ci_low"], test["ci_high"], test["worlds"]
    numbers = {"effect": test["difference"], "ci_low": low, "ci_high": high, "repeats": n}
    if n < 2:
        return numbers | {"verdict": NOT_MEASURABLE, "why": why or ONE_REPEAT}
    if claim.as_good and as_good_p(pair.iloc[:, 0] - pair.iloc[:, 1], MARGIN) < LEVEL:
        return numbers | {"verdict": AS_GOOD, "why": ""}
    return numbers | {"verdict": exploratory_verdict(low, high), "why": ""}
