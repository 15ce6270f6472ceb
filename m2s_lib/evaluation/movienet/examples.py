"""Which boundaries the figure of scene boundaries shows (supp. Fig. 8)."""

from collections.abc import Mapping, Sequence

import pandas as pd

from m2s_lib.evaluation.examples import first_seed
from m2s_lib.evaluation.movienet.place_tagging import TASK, PlaceScenes


def boundary_examples(
    predictions: pd.DataFrame,
    stores: Mapping[str, object],
    task: str,
    encoder: str,
    places: PlaceScenes | None = None,
    tagging: pd.DataFrame | None = None,
    *,
    n: int = 3,
    around: int = 4,
) -> pd.DataFrame:
    """Returns test boundaries for the figure: the surest right one, the surest that is not there, the
    one most surely missed, and so on in turn, of different films where there are enough.

    Args:
        predictions: of `compare_boundaries`; the first seed of `encoder` is shown. stores: of the films.
        task: `MovieNet.task`.
        places, tagging: of `read_places`, and the predictions of `protocol.compare`, for what lies on both
            sides of a boundary.
        n: how many. around: shots drawn on each side; boundaries nearer to a film's end are not shown.

    Returns:
        film_id, shot (first of the drawn), n_shots, boundary (shots drawn before it), after (the shot before
        it), label, prediction, score, scenes ('' where no place is known).
    """
    mine = first_seed(predictions, task, encoder)
    item = mine["item"].str.rsplit(":", n=1)
    table = mine[["label", "prediction"]].astype(int)
    table = table.assign(film_id=item.str[0], after=item.str[1].astype(int))
    table["score"] = [float(s[0]) for s in mine["scores"]]
    last = table["film_id"].map({f: s.n_shots for f, s in stores.items()}).fillna(0)
    table = table[(table["after"] >= around - 1) & (table["after"] + around < last)]
    surest = table.sort_values("score", ascending=False, kind="stable")
    kinds = [surest[surest["label"] == 1], surest[surest["label"] == 0], surest[surest["label"] == 1][::-1]]
    chosen = _in_turn(kinds, n).assign(boundary=around, n_shots=2 * around)
    chosen["shot"] = chosen["after"] - around + 1
    tags = _tags(tagging, encoder) if tagging is not None else {}
    ends = zip(chosen["film_id"], chosen["after"], strict=True)
    return chosen.assign(scenes=[_sides(places, tags, film, after) for film, after in ends])


def _in_turn(kinds: Sequence[pd.DataFrame], n: int) -> pd.DataFrame:
    """n rows, one of each kind in turn, none twice, of films that were not shown yet where there are any."""
    chosen, films = [], set()
    for turn in range(n):
        kind = kinds[turn % len(kinds)].drop(index=chosen, errors="ignore")
        new = kind[~kind["film_id"].isin(films)]
        for index in (new if len(new) else kind).index[:1]:
            chosen.append(index)
            films.add(kind.at[index, "film_id"])
    return pd.concat(kinds[:2]).loc[chosen].reset_index(drop=True)


def _tags(tagging: pd.DataFrame, encoder: str) -> dict[str, str]:
    """The places that an encoder predicts, by scene."""
    mine = first_seed(tagging, TASK, encoder)
    return dict(zip(mine["item"], mine["prediction"], strict=True))


def _sides(places: PlaceScenes | None, tags: Mapping[str, str], film: str, after: int) -> str:
    """The places of the scenes before and after a boundary, true and predicted."""
    if places is None:
        return ""
    scenes = places.scenes[places.scenes["film_id"] == film].sort_values("start")
    before = scenes[(scenes["start"] <= after) & (after < scenes["end"])].head(1)
    behind = scenes[(scenes["start"] <= after + 1) & (after + 1 < scenes["end"])].tail(1)
    pair = pd.concat([before, behind])
    if len(pair) < 2:
        return ""
    sides = (
        f"{true.replace('|', ', ')} (predicted {tags.get(item, '-').replace('|', ', ')})"
        for item, true in zip(pair["item"], pair["places"], strict=True)
    )
    return "place: " + " | ".join(sides)
