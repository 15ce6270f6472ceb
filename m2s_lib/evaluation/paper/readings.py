"""What notebooks 02 and 03 read off their tables, in sentences; where a table is empty, why."""

import numpy as np
import pandas as pd

from m2s_lib.evaluation.metrics import wilson
from m2s_lib.evaluation.paper.mining_comparison import NOT_MEASURED
from m2s_lib.words import encoder_words, plain_words


def read_film_pairs(pairs: pd.DataFrame, n_films: int) -> str:
    """How many film pairs there are, and of what in the metadata they come."""
    counts = pairs.attrs.get("counts", {}).items()
    counted = ", ".join(f"{name.replace('_', ' ')} {n:,}" for name, n in counts)
    source, partners = pairs["source"].iloc[0], 2 * len(pairs) / max(n_films, 1)
    return f"Similar by {plain_words(source)}: {len(pairs):,} film pairs, {partners:.1f} partners a film ({counted})."


def read_losses(losses: pd.Series) -> str:
    """How E_movie's loss went down: mean loss by epoch, nats; empty where there was nothing to train on."""
    if not len(losses):
        return (
            "All pairs of the films are similar and none is left to tell them from: E_movie stays as it was "
            "drawn. More films, or fewer 02.neighbours, would change that."
        )
    return (
        f"Loss {losses.iloc[0]:.3f} in the first epoch, {losses.iloc[-1]:.3f} in the last (a coin has 0.693)."
    )


def read_held_out(held: pd.DataFrame, source: str) -> str:
    """How well held-out film pairs of one source are told from random ones.

    Args:
        held: source, seed, accuracy, auc, n; NaN where none were held out.
        source: the kind of metadata.
    """
    own = held[held["source"] == source]
    n = int(own["n"].max()) if len(own) else 0
    if not n:
        return (
            "No film pairs were held out, so E_movie is not measured: set 02.movie_held_out above 0, or give "
            "more films."
        )
    first = own.iloc[0]
    low, high = wilson(round(first["accuracy"] * n), n)
    return (
        f"E_movie tells held-out {plain_words(source)} pairs from random ones with an area under the curve of "
        f"{own['auc'].mean():.2f} (seeds {own['seed'].tolist()}, chance 0.50); the first seed is right on "
        f"{first['accuracy']:.0%} of {n} pairs ({low:.0%} to {high:.0%}, 95 % interval)."
    )


def read_precision(precision: pd.DataFrame, source: str) -> str:
    """Which share of the mined scene pairs has one theme, by E_movie, by raw E_shot, and by chance.

    Args:
        precision: of `compare_mining`. source: the kind of metadata behind the main E_movie.
    """
    rows = precision.set_index("encoder")
    if source not in rows.index or not np.isfinite(rows.at[source, "mean"]):
        return (
            NOT_MEASURED if not len(rows) else "No scene pairs were mined: their themes cannot be compared."
        )
    own = rows.loc[source]
    rest = [f"{encoder_words(name)} {row['mean']:.0%}" for name, row in rows.drop(index=source).iterrows()]
    return (
        f"{own['mean']:.0%} of the scene pairs of E_movie ({plain_words(source)}) share a theme "
        f"({own['ci_low']:.0%} to {own['ci_high']:.0%}, 95 % interval over "
        f"{own['film_pairs']:.0f} film pairs and {own['seeds']:.0f} seeds); {', '.join(rest)}."
    )


def read_shares(by_share: pd.DataFrame) -> str:
    """What the best and what all of the selected scene pairs are worth; of `precision_by_score`."""
    if not len(by_share):
        return "Nothing to measure by share: no scene pairs, or themes that are not known."
    first, last = by_share.iloc[0], by_share.iloc[-1]
    return (
        f"Of each film pair's best {first['ratio']:.0%} {first['precision']:.0%} share a theme, of all that "
        f"are selected {last['precision']:.0%}."
    )


def read_themes(by_theme: pd.DataFrame, encoder: str) -> str:
    """The theme that an encoder finds best and the one it finds worst; of `precision_by_theme`."""
    own = by_theme[by_theme["encoder"] == encoder].sort_values("precision")
    if not len(own):
        return "No theme to count by: no scene pairs, or themes that are not known."
    best, worst = own.iloc[-1], own.iloc[0]
    return (
        f"E_movie ({plain_words(encoder)}) finds {best['theme']} best ({best['n_same']} of "
        f"{best['n_pairs']} pairs) and {worst['theme']} worst ({worst['n_same']} of {worst['n_pairs']})."
    )
