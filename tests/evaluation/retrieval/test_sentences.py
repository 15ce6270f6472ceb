"""Sentences of notebook 08: the numbers that they are formatted from, and what they say without numbers."""

import re

import pandas as pd

from m2s_lib.evaluation.retrieval import sentences


def scenes(films: int, each: int = 2, n: int = 9) -> pd.DataFrame:
    rows = [(f"f{f}", n * s, n) for f in range(films) for s in range(each)]
    return pd.DataFrame(rows, columns=["film_id", "shot", "n_shots"])


def precision(**values) -> pd.DataFrame:
    rows = [(name, "P@1", value, value - 0.05, value + 0.05, 718) for name, value in values.items()]
    return pd.DataFrame(rows, columns=["encoder", "metric", "value", "ci_low", "ci_high", "n"])


def test_scenes_are_counted():
    assert sentences.scenes_sentence(scenes(3), 4, 9) == "6 scenes of 9 shots from 3 of 4 films."
    assert "No film has 9 shots" in sentences.scenes_sentence(scenes(2, n=4), 2, 9)
    assert "no other film to look for neighbours in" in sentences.scenes_sentence(scenes(1), 1, 9)


def test_the_share_of_themes_and_its_interval():
    measured = precision(E_scene=0.64, colour=0.16, **{"E_scene, whitened": 0.6})
    assert sentences.precision_sentence(measured, 0.08, "E_scene") == (
        "The nearest scene of another film has the query's theme for 64% of 718 scenes by E_scene (colour "
        "16%, chance 8%)."
    )
    three = sentences.three_sentences(scenes(3), measured, precision(E_scene=0.5), 0.08, "E_scene")
    assert three[1] == (
        "How sure: the 95 % interval is 59% to 69%, resampling 3 films; on 718 queries from held-out films "
        "it is 50% (45% to 55%)."
    )
    assert three[2].startswith("Not said: what other films and seeds give")
    alone = sentences.three_sentences(scenes(3), measured, precision(), 0.08, "E_scene")
    assert alone[1].endswith("no film was held out.")


def test_unknown_themes_are_not_measured():
    three = sentences.three_sentences(scenes(1), precision(), precision(), float("nan"), "E_scene")
    assert re.fullmatch(r"Seen: [\d,]+ scenes? of 1 film can be searched by E_scene.", three[0])
    assert "nothing is counted" in three[1]
    assert three[2].startswith("Not said: whether E_scene ranks these scenes as a viewer would")


def test_neighbours_that_share_the_theme():
    table = pd.DataFrame({"film_id": ["a", "b"], "label": ["duel", "feast"]})
    table.attrs["query_label"] = "duel"
    assert sentences.neighbours_sentence([table]) == "1 of 2 neighbours have their query's theme."
    plain = table.drop(columns="label")
    assert sentences.neighbours_sentence([plain]) == "2 neighbours; their themes are not known."
    assert sentences.neighbours_sentence([table[:0]]) == "No scene of another film is left to be a neighbour."
