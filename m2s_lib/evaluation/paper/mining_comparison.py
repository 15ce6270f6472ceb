"""Several encoders mine the same film pairs; where true themes are known, who finds the same theme?"""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from m2s_lib.evaluation.paper.mining_precision import chance_precisions, count_same_theme, precision_interval

COLUMNS = ("encoder", "mean", "ci_low", "ci_high", "seeds", "film_pairs", "n_pairs")
NOT_MEASURED = (
    "Whether two scenes share a theme is not known here: only the embedded films (01.films_dir: embedded) "
    "come with the true theme of each shot."
)


def compare_mining(
    mined: Mapping[str, Mapping[int, pd.DataFrame]],
    film_pairs: pd.DataFrame,
    themes: Mapping[str, Sequence],
    n: int,
) -> pd.DataFrame:
    """Mining precision of each encoder over its seeds, and chance, with 95 % intervals.

    Args:
        mined: encoder -> seed -> scene pairs, all from the same `film_pairs`.
        film_pairs: film_a, film_b.
        themes: film_id -> true theme of every shot; {} where they are not known.
        n: shots in a scene.

    Returns:
        One row an encoder, and one for 'chance': encoder, mean, ci_low, ci_high (0..1), seeds, film_pairs,
        n_pairs. The interval comes from resampling seeds and film pairs; chance is exact for each film pair
        and resampled over film pairs only. No row where no theme is known.
    """
    rows = []
    for encoder, by_seed in mined.items() if themes else ():
        counted = [count_same_theme(pairs, themes).assign(seed=seed) for seed, pairs in by_seed.items()]
        counts = pd.concat(counted, ignore_index=True)
        rows.append(
            (encoder, *(precision_interval(counts) if len(counts) else _nothing(len(by_seed))).values())
        )
    if themes:
        rows.append(("chance", *_chance(film_pairs, themes, n).values()))
    table = pd.DataFrame(rows, columns=list(COLUMNS))
    counts = dict.fromkeys(COLUMNS[4:], np.int64)
    return table.astype({"encoder": "str"} | dict.fromkeys(COLUMNS[1:4], float) | counts)


def _chance(film_pairs: pd.DataFrame, themes: Mapping[str, Sequence], n: int, samples: int = 2000) -> dict:
    shares = chance_precisions(film_pairs, themes, n)
    shares = shares[np.isfinite(shares)]
    if not len(shares):
        return _nothing(1)
    draws = np.random.default_rng(0).choice(shares, (samples, len(shares))).mean(axis=1)
    low, high = np.quantile(draws, [0.025, 0.975])
    measured = {"mean": shares.mean(), "ci_low": low, "ci_high": high}
    return {**measured, "seeds": 1, "film_pairs": len(shares), "n_pairs": 0}


def _nothing(seeds: int) -> dict:
    """A row for an encoder without scene pairs: not measured."""
    measured = dict.fromkeys(("mean", "ci_low", "ci_high"), np.nan)
    return {**measured, "seeds": seeds, "film_pairs": 0, "n_pairs": 0}
