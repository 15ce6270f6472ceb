"""Sentences of notebook 09: the numbers that they are formatted from, and what they say without numbers."""

import numpy as np
import pandas as pd

from m2s_lib.evaluation.paper import ablation, sentences
from m2s_lib.evaluation.paper.claims import measure_claims
from m2s_lib.evaluation.paper.primaries import HELD_OUT, measure_primaries
from m2s_lib.evaluation.paper.repeats import over_repeats
from m2s_lib.evaluation.paper.tables import paper_tables
from m2s_lib.evaluation.results import EMBEDDED_FILMS
from tests.helpers.result_rows import rows


def three(measured: pd.DataFrame) -> list[str]:
    return sentences.three_sentences(measured, measure_claims(measured), measure_primaries(measured))


def retrieval(*values, **more) -> pd.DataFrame:
    about = {"benchmark": EMBEDDED_FILMS, "task": "scene retrieval", "metric": "P@1"}
    return rows(*values, **about | {"split": "all"} | more)


def test_one_world_says_what_the_nearest_scene_shares():
    others = [retrieval(0.9, encoder="E_movie mean"), retrieval(0.1, split=HELD_OUT)]
    seen, sure, not_said = three(pd.concat([retrieval(0.64), *others]))
    assert (
        "the query's theme for 64% of scenes by ours (co-watch); film model (E_movie) mean, the best of"
        in seen
    )
    assert seen.endswith(" the others, has 90%, 26 points more.")
    assert three(retrieval(0.64))[0].endswith("64% of scenes by ours (co-watch).")
    assert "1 world, 1 setting; one repeat has no interval" in sure
    assert "drawn films" in not_said


def test_several_worlds_say_the_verdicts():
    ours = np.linspace(0.6, 0.66, 7)
    both = [retrieval(*ours, split=HELD_OUT), retrieval(*(ours - 0.3), split=HELD_OUT, setting="row 10")]
    seen, sure, _ = three(pd.concat(both))
    assert seen == "Seen: of the 6 primary claims, undecided: metadata helps E_scene."  # 7 worlds: p is 0.09
    assert sure.startswith("How sure: 7 worlds, 2 settings; intervals are over worlds")


def test_exploratory_differences_where_no_primary_claim_was_measured():
    seen, *_ = three(pd.concat([rows(0.5, 0.6, 0.7), rows(0.1, 0.21, 0.3, encoder="MoCo")]))
    assert seen == "Seen: among the exploratory claims, shown: ours against MoCo."


def test_nothing_measured():
    seen, *_ = three(rows(0.5)[:0])
    assert "nothing, no stage of this run has measured anything yet" in seen


def test_tables_count_what_stands_beside_the_papers_numbers():
    tables = paper_tables(pd.concat([rows(0.5), rows(0.4, encoder="a baseline")]))
    assert sentences.table_sentence(tables["table2"], "Table 2") == (
        "Table 2: one of this run's numbers stands beside 1 of the paper's 111; 1 number without a published "
        "one."
    )


def test_times_settings_and_numbers():
    times = pd.DataFrame(
        {"setting": ["row 1", "row 9", "row 2"], "all_stages": [1.0, 2.5, np.nan],
         "status": ["done", "done", "failed"], "reason": ["", "", "no pairs"]}
    )  # fmt: skip
    assert sentences.times_sentence(times) == (
        "row 9 computed most, 2.5 times as much as row 1. row 2 is failed: no pairs."
    )
    assert sentences.times_sentence(times[:1]) == "1 setting with a time: nothing to compare."
    settings = ablation.hyper_parameters(pd.DataFrame())
    assert "No probe of our features was trained" in sentences.settings_sentence(settings)
    same = settings.assign(here=settings["published"].where(settings["task"] == "place"))
    assert sentences.settings_sentence(same) == "4 of 4 settings are the paper's."
    numbers = over_repeats(rows(0.4, 0.5, 0.6), by=["setting"])
    assert sentences.numbers_sentence(numbers).startswith("1 number of several repeats; their 95 % intervals")
    assert "of one repeat each" in sentences.numbers_sentence(over_repeats(rows(0.4), by=["setting"]))


def test_worth_and_readings():
    worth = pd.DataFrame({"ratio": [0.25, 0.5], "precision": [0.9, 0.7]})
    themes = pd.DataFrame({"chance": [0.31, np.nan]})
    assert sentences.worth_sentence(worth, themes) == (
        "With 50% kept, 70% of the pairs share a theme, against 31% by chance."
    )
    assert "no pair can be scored" in sentences.worth_sentence(worth[:0], themes[:0])
    readings = ablation.readings_compared(
        pd.concat([rows(0.4), rows(0.3, setting=ablation.OTHER_READING), rows(0.9, encoder="colour")])
    )
    assert (
        sentences.readings_sentence(readings) == "The second reading changes 1 number by -0.100 on average."
    )
    assert "one reading only" in sentences.readings_sentence(readings[:0])
