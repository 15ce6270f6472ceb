"""Which clips the figures of LVU show: predictions of each task, place queries with what they find."""

from collections.abc import Sequence

import pandas as pd

from m2s_lib.evaluation.examples import best_other, in_turn, surest_first


def shown_predictions(
    predictions: pd.DataFrame, scenes: pd.DataFrame, tasks: Sequence[str], encoder: str, n: int
) -> dict[str, pd.DataFrame]:
    """Returns n test clips for each task that was measured, right and wrong ones in turn; columns as in
    `surest_first`."""
    each = {task: surest_first(predictions, scenes, task, encoder) for task in tasks}
    return {task: in_turn(table, n).reset_index(drop=True) for task, table in each.items() if len(table)}


def place_finds(
    neighbours: pd.DataFrame,
    places: pd.DataFrame,
    scenes: pd.DataFrame,
    ours: str,
    *,
    n_queries: int = 4,
    k: int = 3,
) -> list[tuple[dict, dict[str, pd.DataFrame]]]:
    """Returns queries of different places for `found_by_figure`: ours beside the best other encoder by P@1.

    Queries are taken place after place in the order of the clips, not by who does well on them.

    Args:
        neighbours, places: of `compare_place_retrieval`.
        scenes: item, film_id, shot, n_shots; a clip's first scene is shown.
    """
    tables = dict(list(neighbours.groupby("encoder", sort=False)))
    asked_all = places[places["task"].str.endswith(": all queries") & places["encoder"].isin(tables)]
    task = asked_all["task"].iloc[0] if len(asked_all) else ""
    names = [n for n in (ours, best_other(asked_all, ours, task, "P@1")) if n in tables]
    if not names:
        return []
    where = scenes.drop_duplicates("item").set_index("item")[["film_id", "shot", "n_shots"]]
    asked = tables[names[0]].drop_duplicates("query")[["query", "query_label"]]
    asked = asked[asked["query"].isin(where.index)]
    turn = asked.groupby("query_label").cumcount()
    asked = asked.assign(turn=turn).sort_values(["turn", "query_label", "query"]).head(n_queries)
    out = []
    for query, label in asked[["query", "query_label"]].itertuples(index=False):
        finds = {}
        for name in names:
            table = tables[name]
            mine = table[(table["query"] == query) & table["item"].isin(where.index)].head(k)
            finds[name] = mine[["query", "rank", "item", "label", "distance"]].join(where, on="item")
        if all(len(t) for t in finds.values()):
            out.append((where.loc[query].to_dict() | {"label": label}, finds))
    return out
