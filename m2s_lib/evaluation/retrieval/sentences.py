"""Sentences of notebook 08, each formatted from the numbers that it is about, or what is missing."""

import pandas as pd

from m2s_lib.words import counted


def scenes_sentence(scenes: pd.DataFrame, n_films: int, asked: int) -> str:
    """How many scenes there are.

    Args:
        scenes: of `scene_table`. n_films: that could be read. asked: shots that a scene should have.
    """
    length, films = int(scenes["n_shots"].iloc[0]), scenes["film_id"].nunique()
    text = f"{counted(len(scenes), 'scene')} of {length} shots from {films} of {counted(n_films, 'film')}."
    if length < asked:
        text += f" No film has {asked} shots, so scenes are as long as the longest film."
    if films < 2:
        text += " With one film only there is no other film to look for neighbours in."
    return text


def precision_sentence(precision: pd.DataFrame, chance: float, encoder: str) -> str:
    """How often the nearest scene has the query's theme.

    Args:
        precision: of `compare_retrieval`. chance: its share. encoder: the main one.
    """
    if precision.empty:
        return "P@k is not measured: the themes of these films are not known, or there is one film only."
    first = precision[precision["metric"] == "P@1"].set_index("encoder")
    ours = first.loc[encoder]
    others = first["value"].drop(encoder)
    others = others[~others.index.str.endswith("whitened")]
    listed = "".join(f"{name} {value:.0%}, " for name, value in others.items())
    return (
        f"The nearest scene of another film has the query's theme for {ours['value']:.0%} of {ours['n']:,} "
        f"scenes by {encoder} ({listed}chance {chance:.0%})."
    )


def neighbours_sentence(tables: list[pd.DataFrame]) -> str:
    """How many neighbours the example queries have, and how many of them share their query's theme."""
    n = sum(len(table) for table in tables)
    if not n:
        return "No scene of another film is left to be a neighbour."
    known = [table for table in tables if "label" in table and len(table)]
    if not known:
        return f"{counted(n, 'neighbour')}; their themes are not known."
    same = sum(int((table["label"] == table.attrs["query_label"]).sum()) for table in known)
    return f"{same} of {counted(n, 'neighbour')} have their query's theme."


def three_sentences(
    scenes: pd.DataFrame, precision: pd.DataFrame, held_out: pd.DataFrame, chance: float, encoder: str
) -> list[str]:
    """What was seen, how sure it is, and what it does not say.

    Args:
        scenes: of `scene_table`. precision, held_out: of `compare_retrieval`, with all scenes as queries and
            with those of films that no training saw. chance: the share of all. encoder: the main one.
    """
    films = scenes["film_id"].nunique()
    if precision.empty:
        return [
            f"Seen: {counted(len(scenes), 'scene')} of {counted(films, 'film')} can be searched by {encoder}.",
            "How sure: nothing is counted, since no themes are known here, or there is one film only.",
            f"Not said: whether {encoder} ranks these scenes as a viewer would; look at some of them.",
        ]
    seen = f"Seen: {precision_sentence(precision, chance, encoder)}"
    one = _first(precision, encoder)
    sure = f"How sure: the 95 % interval is {one['ci_low']:.0%} to {one['ci_high']:.0%}, resampling "
    sure += f"{films} films; "
    if held_out.empty:
        return [seen, f"{sure}no film was held out.", "Not said: what films give that no training saw."]
    new = _first(held_out, encoder)
    sure += f"on {new['n']:,} queries from held-out films it is {new['value']:.0%}"
    sure += f" ({new['ci_low']:.0%} to {new['ci_high']:.0%})."
    return [
        seen,
        sure,
        "Not said: what other films and seeds give; one world is one sample (m2s run claims).",
    ]


def _first(precision: pd.DataFrame, encoder: str) -> pd.Series:
    rows = precision[(precision["metric"] == "P@1") & (precision["encoder"] == encoder)]
    return rows.iloc[0]
