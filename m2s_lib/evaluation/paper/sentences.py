"""Sentences of notebook 09, each formatted from the numbers that it is about, or what is missing."""

from collections.abc import Mapping

import numpy as np
import pandas as pd

from m2s_lib.evaluation.paper.claims import NOT_MEASURABLE, ONE_REPEAT
from m2s_lib.evaluation.paper.repeats import FIRST
from m2s_lib.evaluation.results import EMBEDDED_FILMS
from m2s_lib.words import counted


def three_sentences(measured: pd.DataFrame, claims: pd.DataFrame, primaries: pd.DataFrame) -> list[str]:
    """What was seen, how sure it is, and what it does not say.

    Args:
        measured: result rows with setting and repeat. claims: of `measure_claims`.
        primaries: of `measure_primaries`.
    """
    if measured.empty:
        return [
            "Seen: nothing, no stage of this run has measured anything yet (m2s run PROFILE runs them all).",
            "How sure: the numbers below are the paper's own.",
            "Not said: whether this implementation reproduces any of them.",
        ]
    worlds, settings = measured["repeat"].nunique(), measured["setting"].nunique()
    sure = f"How sure: {counted(worlds, 'world')}, {counted(settings, 'setting')}; "
    sure += (
        "intervals are over worlds, and the primary claims are corrected for how many they are."
        if worlds > 1
        else f"{ONE_REPEAT} makes more; intervals here are over items."
    )
    films = "drawn films" if set(measured["benchmark"]) & {EMBEDDED_FILMS} else "its own films"
    return [
        f"Seen: {_seen(measured, claims, primaries)}",
        sure,
        f"Not said: what the paper's 30,000 films would give; this run measured {films}, and what stands "
        "beside the paper's numbers does not compare with them.",
    ]


def _seen(measured: pd.DataFrame, claims: pd.DataFrame, primaries: pd.DataFrame) -> str:
    """The first sentence: verdicts where there are worlds, else the number that themes give."""
    judged = primaries[primaries["worlds"] > 1]
    if len(judged):
        return f"of the {len(primaries)} primary claims, {_by_verdict(judged, 'claim')}."
    judged = claims[claims["verdict"] != NOT_MEASURABLE]
    if len(judged):
        return f"among the exploratory claims, {_by_verdict(judged, 'compared')}."
    first = measured[(measured["metric"] == "P@1") & (measured["setting"] == FIRST)]
    first = first[(first["task"] == "scene retrieval") & (first["split"] == "all")].dropna(subset=["value"])
    if len(first):
        best = first.groupby("encoder")["value"].mean().sort_values()
        ours = best[best.index.str.startswith("ours")]
        name, value = (ours if len(ours) else best).index[-1], (ours if len(ours) else best).iloc[-1]
        return f"the nearest scene of another film has the query's theme for {value:.0%} of scenes by {name}."
    return f"{counted(len(measured), 'result')} of {counted(measured['task'].nunique(), 'task')}."


def _by_verdict(judged: pd.DataFrame, column: str) -> str:
    named = judged.drop_duplicates(["verdict", column]).groupby("verdict", sort=False)[column].agg("; ".join)
    return ". ".join(f"{verdict}: {names}" for verdict, names in named.items())


def table_sentence(table: pd.DataFrame, name: str) -> str:
    """How much of one of the paper's tables this run measured.

    Args:
        table: of `beside_measured`. name: such as "Table 2".
    """
    printed = table[table["published"].notna()]
    both = int(printed["measured"].notna().sum())
    own = int((table["measured"].notna() & table["published"].isna()).sum())
    return (
        f"{name}: one of this run's numbers stands beside {both} of the paper's {len(printed)}; "
        f"{counted(own, 'number')} without a published one."
    )


def times_sentence(times: pd.DataFrame) -> str:
    """Which setting took longest, and what failed."""
    failed = times[times["status"] != "done"]
    text = "".join(f" {r.setting} is {r.status}: {r.reason}." for r in failed.itertuples())
    known = times.dropna(subset=["all_stages"])
    if len(known) < 2:
        return f"{counted(len(known), 'setting')} with a time: nothing to compare.{text}"
    most = known.loc[known["all_stages"].idxmax()]
    return f"{most['setting']} computed most, {most['all_stages']:.1f} times as much as {FIRST}.{text}"


def settings_sentence(settings: pd.DataFrame) -> str:
    """How many of supplementary Table 1's settings the probes here were trained with.

    Args:
        settings: of `hyper_parameters`.
    """
    here = settings.dropna(subset=["here"])
    if here.empty:
        return "No probe of our features was trained in this run: nothing stands beside the paper's settings."
    same = int(np.isclose(here["here"], here["published"]).sum())
    return f"{same} of {len(here)} settings are the paper's."


def numbers_sentence(numbers: pd.DataFrame) -> str:
    """How far films and seeds move the numbers.

    Args:
        numbers: of `over_repeats`.
    """
    several = numbers[(numbers["seeds"] > 1) & (numbers["metric"] != "MSE")]
    if several.empty:
        return f"{counted(len(numbers), 'number')} of one repeat each: their intervals are over items."
    width = (several["ci_high"] - several["ci_low"]).median()
    return (
        f"{counted(len(several), 'number')} of several repeats; their 95 % intervals are {width:.2f} wide at "
        "the median."
    )


def worth_sentence(worth: pd.DataFrame, themes: pd.DataFrame) -> str:
    """What a mined pair is worth when the paper's half is kept, and by chance.

    Args:
        worth: of `worth_of_pairs`. themes: of `themes_by_metadata`.
    """
    if worth.empty:
        return "The themes of these films are not known, or nothing was mined, so no pair can be scored."
    half = worth.loc[(worth["ratio"] - 0.5).abs().idxmin()]
    chance = themes["chance"].dropna()
    against = f", against {chance.iloc[0]:.0%} by chance" if len(chance) else ""
    return f"With {half['ratio']:.0%} kept, {half['precision']:.0%} of the pairs share a theme{against}."


def readings_sentence(readings: pd.DataFrame) -> str:
    """What the other reading of "top 50 %" changes.

    Args:
        readings: of `readings_compared`.
    """
    shares = readings[readings["metric"] != "MSE"]
    if shares.empty:
        return "This run has one reading only (m2s run ablation has both)."
    return (
        f"The second reading changes {counted(len(shares), 'number')} by {shares['difference'].mean():+.3f} "
        "on average."
    )


def claims_sentence(claims: pd.DataFrame, primaries: pd.DataFrame) -> str:
    """How many primary claims were measured, and how many exploratory differences there are."""
    judged = int((primaries["worlds"] > 1).sum())
    effects = int(claims["effect"].notna().sum())
    return (
        f"{judged} of {len(primaries)} primary claims were measured in two worlds or more; "
        f"{counted(effects, 'exploratory difference')} stand below them."
    )


def figures_sentence(figures: pd.DataFrame) -> str:
    """How many of the paper's figures this run drew."""
    drawn = int((figures["drawn"] == "yes").sum())
    return f"{drawn} of the paper's {len(figures)} figures were drawn by this run."


def tables_sentence(tables: Mapping[str, pd.DataFrame]) -> str:
    """`table_sentence` over all tables together."""
    return table_sentence(pd.concat(tables.values(), ignore_index=True), f"All {len(tables)} tables")
