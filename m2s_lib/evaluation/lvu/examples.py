"""Which clips the figures of LVU show: predictions of each task, place queries with what they find."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from m2s_lib.evaluation.lvu.compare import RETRIEVAL


def shown_predictions(
    predictions: pd.DataFrame, scenes: pd.DataFrame, tasks: Sequence[str], encoder: str, n: int
) -> dict[str, pd.DataFrame]:
    """For each task n test clips, right and wrong ones in turn, the surest of either first.

    Args:
        predictions: predictions table with one seed or more (the first is shown).
        scenes: item, film_id, shot, n_shots; a clip's first scene is shown.

    Returns:
        task to film_id, shot, n_shots, label, prediction, score (of the prediction), title (the clip's id).
    """
    where = scenes.drop_duplicates("item").set_index("item")[["film_id", "shot", "n_shots"]]
    out = {}
    for task in tasks:
        mine = predictions[
            (predictions["task"] == task)
            & (predictions["encoder"] == encoder)
            & (predictions["split"] == "test")
        ]
        if not len(mine):
            continue
        mine = mine[mine["seed"] == mine["seed"].iloc[0]]
        mine = mine[mine["item"].isin(where.index)]
        score = [float(np.max(s)) if len(s) > 1 else np.nan for s in mine["scores"]]
        table = mine[["item", "label", "prediction"]].assign(score=score, title=mine["item"])
        table["right"] = table["label"] == table["prediction"]
        table = table.sort_values(["score", "item"], ascending=[False, True], kind="stable")
        table["turn"] = table.groupby("right").cumcount()
        table = table.sort_values(["turn", "right"], ascending=[True, False], kind="stable").head(n)
        out[task] = table.join(where, on="item").drop(columns=["turn", "right"]).reset_index(drop=True)
    return out


def place_finds(
    neighbours: Mapping[str, pd.DataFrame],
    places: pd.DataFrame,
    scenes: pd.DataFrame,
    ours: str,
    *,
    n_queries: int = 4,
    k: int = 3,
) -> list[tuple[dict, dict[str, pd.DataFrame]]]:
    """Queries of different places for `found_by_figure`: ours beside the best other encoder by P@1.

    Queries are taken place after place in the order of the clips, not by who does well on them.
    """
    asked_all = places["task"].str.startswith(RETRIEVAL) & places["task"].str.endswith(": all queries")
    all_queries = places[asked_all & (places["metric"] == "P@1")]
    ranked = all_queries.dropna(subset="value").sort_values("value", ascending=False, kind="stable")[
        "encoder"
    ]
    others = [e for e in ranked if e != ours and e in neighbours]
    names = [n for n in (ours, *others[:1]) if n in neighbours]
    if not names:
        return []
    where = scenes.drop_duplicates("item").set_index("item")[["film_id", "shot", "n_shots"]]
    asked = neighbours[names[0]].drop_duplicates("query")[["query", "query_label"]]
    asked = asked[asked["query"].isin(where.index)]
    turn = asked.groupby("query_label").cumcount()
    asked = asked.assign(turn=turn).sort_values(["turn", "query_label", "query"]).head(n_queries)
    out = []
    for query, label in asked[["query", "query_label"]].itertuples(index=False):
        found = {}
        for name in names:
            table = neighbours[name]
            mine = table[(table["query"] == query) & table["item"].isin(where.index)].head(k)
            found[name] = mine[["query", "rank", "item", "label", "distance"]].join(where, on="item")
        if all(len(t) for t in found.values()):
            out.append((where.loc[query].to_dict() | {"label": label}, found))
    return out
