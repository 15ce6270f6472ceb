"""Do mined scene pairs share a theme? The paper could not tell: it takes the true theme of each shot.

Themes of a corpus are a dict film_id -> one label per shot (ints or strings). The theme of a scene is the
label of most of its shots.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from m2s_lib.errors import M2SError
from m2s_lib.mining.scene_mining import keep_count

Themes = Mapping[str, Sequence]


def scene_theme(themes: Sequence, start: int, n: int):
    """Theme of most of the n shots from `start` on; of equals the one that comes first in the scene.

    Args:
        themes: label of each shot of a film [n_shots].
        start, n: first shot and number of shots.

    Raises:
        M2SError: the scene reaches beyond the film.
    """
    if start < 0 or n < 1 or start + n > len(themes):
        raise M2SError(f"a scene of {n} shots from shot {start} does not fit a film of {len(themes)} shots")
    window = np.asarray(themes)[start : start + n]
    labels, first, counts = np.unique(window, return_index=True, return_counts=True)
    return labels[np.lexsort((first, -counts))[0]]


def scene_themes(themes: Sequence, n: int) -> np.ndarray:
    """`scene_theme` of every scene of n shots at stride 1: [n_shots - n + 1]; empty for a shorter film."""
    themes = np.asarray(themes)
    rows = len(themes) - n + 1
    if rows < 1:
        return themes[:0]
    windows = np.lib.stride_tricks.sliding_window_view(themes, n)  # [rows, n]
    counts = (windows[:, :, None] == windows[:, None, :]).sum(
        axis=2
    )  # [rows, n] shots that agree with shot s
    return windows[np.arange(rows), counts.argmax(axis=1)]  # the first of equals


def count_same_theme(scene_pairs: pd.DataFrame, themes: Themes) -> pd.DataFrame:
    """How many mined scene pairs of each film pair share their theme.

    Args:
        scene_pairs: film_a, film_b, shot_a, shot_b, n_shots.
        themes: film_id -> label per shot.

    Returns:
        film_a, film_b, n_pairs, n_same: what `precision_interval` takes, once a `seed` column is added.
    """
    table = scene_pairs[["film_a", "film_b"]].assign(
        n_pairs=1, n_same=same_theme(scene_pairs, themes).astype(int)
    )
    return table.groupby(["film_a", "film_b"], sort=False, as_index=False).sum()


def same_theme(scene_pairs: pd.DataFrame, themes: Themes) -> np.ndarray:
    """Whether the two scenes of each pair share their theme: bool [pairs].

    Raises M2SError for a film without themes or a scene beyond its film.
    """
    found = _themes_of_pairs(scene_pairs, themes)
    return found["a"] == found["b"]


def precision_by_theme(scene_pairs: pd.DataFrame, themes: Themes) -> pd.DataFrame:
    """Which themes are found: for each theme, the pairs whose scene of film_a has it, and how many of them
    have it on both sides.

    Args:
        scene_pairs, themes: as in `count_same_theme`.

    Returns:
        theme, n_pairs, n_same, precision (0..1); a row for each theme of a pair, in alphabetical order.
    """
    found = _themes_of_pairs(scene_pairs, themes)
    table = pd.DataFrame(
        {"theme": found["a"], "n_pairs": 1, "n_same": (found["a"] == found["b"]).astype(int)}
    )
    table = table.groupby("theme", as_index=False).sum()
    return table.assign(precision=table["n_same"] / table["n_pairs"])


def _themes_of_pairs(scene_pairs: pd.DataFrame, themes: Themes) -> dict[str, np.ndarray]:
    """Theme of each pair's scenes, by side."""
    found: dict[str, np.ndarray] = {}
    for side in ("a", "b"):
        labels = np.empty(len(scene_pairs), dtype=object)
        shots, lengths = scene_pairs[f"shot_{side}"].to_numpy(), scene_pairs["n_shots"].to_numpy()
        groups = scene_pairs.reset_index(drop=True).groupby([f"film_{side}", "n_shots"], sort=False).indices
        for (film, n), rows in groups.items():
            every = scene_themes(_of(themes, film), int(n))
            if (beyond := (shots[rows] < 0) | (shots[rows] >= len(every))).any():
                row = rows[beyond][0]
                raise M2SError(
                    f"film {film!r}: a scene of {lengths[row]} shots from shot {shots[row]} does not fit its "
                    f"{len(themes[film])} themes"
                )
            labels[rows] = every[shots[rows]]
        found[side] = labels
    return found


def _of(themes: Themes, film: str) -> np.ndarray:
    """A film's themes, one known label per shot."""
    if film not in themes:
        raise M2SError(f"film {film!r} has no themes: precision needs the theme of each of its shots")
    labels = np.asarray(themes[film])
    if (missing := pd.isna(labels)).any():
        raise M2SError(f"film {film!r}, shot {int(np.flatnonzero(missing)[0])}: the theme is missing")
    return labels


def mining_precision(scene_pairs: pd.DataFrame, themes: Themes) -> float:
    """Share of the mined scene pairs whose scenes share a theme; NaN when there are none."""
    return float(same_theme(scene_pairs, themes).mean()) if len(scene_pairs) else float("nan")


def chance_precision(
    film_pairs: pd.DataFrame, themes: Themes, n: int, weights: Sequence[float] | None = None
) -> float:
    """The precision of random scene pairs from the same film pairs, exactly: the share over all window pairs.

    Args:
        film_pairs: film_a, film_b; film pairs too short for a scene do not count.
        themes: film_id -> label per shot.
        n: shots in a scene.
        weights: of each film pair, e.g. its number of mined scene pairs, for a chance level that weighs film
            pairs as `mining_precision` does; None weighs them alike.
    """
    weights = np.ones(len(film_pairs)) if weights is None else np.asarray(weights, dtype=float)
    shares: dict[str, tuple[np.ndarray, np.ndarray]] = {}
    values = np.full(len(film_pairs), np.nan)
    for row, pair in enumerate(zip(film_pairs["film_a"], film_pairs["film_b"], strict=True)):
        for film in pair:
            if film not in shares:
                labels, counts = np.unique(scene_themes(_of(themes, film), n), return_counts=True)
                shares[film] = labels, counts / max(counts.sum(), 1)
        (labels_a, share_a), (labels_b, share_b) = (shares[film] for film in pair)
        if len(labels_a) and len(labels_b):
            _, at_a, at_b = np.intersect1d(labels_a, labels_b, assume_unique=True, return_indices=True)
            values[row] = share_a[at_a] @ share_b[at_b]
    counted = ~np.isnan(values) & (weights > 0)
    return float(np.average(values[counted], weights=weights[counted])) if counted.any() else float("nan")


def precision_interval(
    results: pd.DataFrame, level: float = 0.95, samples: int = 2000, seed: int = 0
) -> dict:
    """Precision over seeds with a bootstrap interval that respects where its scene pairs come from.

    Scene pairs of one film pair are not independent, nor are those of one training seed. Each sample draws
    seeds with replacement and, apart from that, film pairs with replacement, and keeps the scene pairs of
    both; a film pair is drawn for all seeds at once, since all of them mine the same films. With one seed
    only the film pairs vary; with two or three the seeds' part is still too narrow, which resampling cannot
    mend.

    Args:
        results: seed, film_a, film_b, n_pairs, n_same: one row a seed and film pair.
        level: share that the interval covers.
        samples: bootstrap samples.
        seed: of the bootstrap.

    Returns:
        mean (of all scene pairs), ci_low, ci_high, seeds, film_pairs, n_pairs (counts).
    """
    if not len(results) or not results["n_pairs"].sum():
        raise M2SError("no scene pairs to take a precision of: mine some first")
    pair = results["film_a"].astype(str) + "\0" + results["film_b"].astype(str)
    frame = results.assign(pair=pair).groupby(["seed", "pair"], as_index=False)[["n_pairs", "n_same"]].sum()
    n, same = (
        frame.pivot(index="seed", columns="pair", values=c).fillna(0).to_numpy(float)
        for c in ("n_pairs", "n_same")
    )  # [seeds, film pairs]
    rng = np.random.default_rng(seed)
    seeds, pairs = n.shape
    values = []
    for _ in range(samples):
        seed_weight = np.bincount(rng.integers(0, seeds, seeds), minlength=seeds)
        pair_weight = np.bincount(rng.integers(0, pairs, pairs), minlength=pairs)
        if total := seed_weight @ n @ pair_weight:
            values.append(seed_weight @ same @ pair_weight / total)
    low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
    return {
        "mean": float(same.sum() / n.sum()),
        "ci_low": float(low),
        "ci_high": float(high),
        "seeds": seeds,
        "film_pairs": pairs,
        "n_pairs": int(n.sum()),
    }


def precision_by_score(
    scene_pairs: pd.DataFrame, themes: Themes, ratios: Sequence[float] = tuple(np.arange(1, 11) / 10)
) -> pd.DataFrame:
    """Precision against the share of each film pair's scene pairs that is kept, best ranks first (§4.1.2).

    The paper keeps half because "the scene-pairs can get noisier" beyond; give it pairs mined with ratio 1.

    Args:
        scene_pairs: film_a, film_b, shot_a, shot_b, n_shots, score, rank.
        themes: film_id -> label per shot.
        ratios: shares to keep, above 0 and at most 1.

    Returns:
        ratio, lowest_score (of what is kept), n_pairs, n_same, precision.
    """
    same = same_theme(scene_pairs, themes)
    rank = scene_pairs["rank"].to_numpy()
    total = scene_pairs.groupby(["film_a", "film_b"])["rank"].transform("size").to_numpy()
    score = scene_pairs["score"].to_numpy()
    rows = []
    for ratio in ratios:
        if not 0 < ratio <= 1:
            raise M2SError(f"ratio is {ratio}: it is a share, above 0 and at most 1")
        kept = rank <= [keep_count(count, ratio) for count in total]
        lowest = float(score[kept].min()) if kept.any() else float("nan")
        precision = float(same[kept].mean()) if kept.any() else float("nan")
        rows.append((float(ratio), lowest, int(kept.sum()), int(same[kept].sum()), precision))
    return pd.DataFrame(rows, columns=["ratio", "lowest_score", "n_pairs", "n_same", "precision"])
