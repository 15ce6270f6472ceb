"""Do mined scene pairs share a theme? The paper could not tell: it takes the true theme of each shot.

Themes of a corpus are a dict film_id -> one label per shot (ints or strings). The theme of a scene is the
label of most of its shots.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from m2s_lib.errors import M2SError

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
    both = pair_themes(scene_pairs, themes)
    return (both["theme_a"] == both["theme_b"]).to_numpy(dtype=bool)


def precision_by_theme(mined: Mapping[str, pd.DataFrame], themes: Themes) -> pd.DataFrame:
    """Which themes are found: for each theme, the pairs whose scene of film_a has it, and how many of them
    have it on both sides.

    Args:
        mined: encoder -> scene pairs, as in `count_same_theme`.
        themes: film_id -> label per shot; {} where they are not known.

    Returns:
        encoder, theme, n_pairs, n_same, precision (0..1); a row for each theme of an encoder's pairs, in
        alphabetical order. No row where no theme is known.
    """
    columns = ["encoder", "theme", "n_pairs", "n_same", "precision"]
    parts = []
    for encoder, pairs in mined.items() if themes else ():
        both = pair_themes(pairs, themes)
        same = (both["theme_a"] == both["theme_b"]).astype(int)
        table = pd.DataFrame({"theme": both["theme_a"], "n_pairs": 1, "n_same": same})
        parts.append(table.groupby("theme", as_index=False).sum().assign(encoder=encoder))
    table = pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=columns)
    kinds = {"encoder": "str", "theme": "str", "n_pairs": np.int64, "n_same": np.int64, "precision": float}
    return table.assign(precision=table["n_same"] / table["n_pairs"])[columns].astype(kinds)


def pair_themes(scene_pairs: pd.DataFrame, themes: Themes) -> pd.DataFrame:
    """The scene pairs with the theme of each scene: columns theme_a and theme_b added.

    Args:
        scene_pairs, themes: as in `count_same_theme`; without any themes the columns hold "".
    """
    if not themes:
        return scene_pairs.assign(theme_a="", theme_b="")
    both: dict[str, np.ndarray] = {}
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
        both[f"theme_{side}"] = labels
    return scene_pairs.assign(**both)


def _of(themes: Themes, film: str) -> np.ndarray:
    """A film's themes, one known label per shot."""
    if film not in themes:
        raise M2SError(f"film {film!r} has no themes: precision needs the theme of each of its shots")
    labels = np.asarray(themes[film])
    if (missing := pd.isna(labels)).any():
        raise M2SError(f"film {film!r}, shot {int(np.flatnonzero(missing)[0])}: the theme is missing")
    return labels


def chance_precisions(film_pairs: pd.DataFrame, themes: Themes, n: int) -> np.ndarray:
    """The precision of random scene pairs of each film pair, exactly: the share over all window pairs.

    Args:
        film_pairs: film_a, film_b.
        themes: film_id -> label per shot.
        n: shots in a scene.

    Returns:
        [film pairs]; NaN where a film is too short for a scene.
    """
    shares: dict[str, pd.Series] = {}
    for film in pd.unique(film_pairs[["film_a", "film_b"]].to_numpy().ravel()):
        shares[film] = pd.Series(scene_themes(_of(themes, film), n)).value_counts(normalize=True)
    values = np.full(len(film_pairs), np.nan)
    for row, (a, b) in enumerate(zip(film_pairs["film_a"], film_pairs["film_b"], strict=True)):
        if len(shares[a]) and len(shares[b]):
            values[row] = shares[a].mul(shares[b], fill_value=0).sum()
    return values


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
        themes: film_id -> label per shot; {} where they are not known.
        ratios: shares to keep, above 0 and at most 1.

    Returns:
        ratio, lowest_score (of what is kept), n_pairs, n_same, precision. No row without pairs or themes.
    """
    from m2s_lib.mining.similar_scenes import keep_count  # with PyTorch, which labels of scenes do not need

    if wrong := [ratio for ratio in ratios if not 0 < ratio <= 1]:
        raise M2SError(f"ratio is {wrong[0]}: it is a share, above 0 and at most 1")
    rows = []
    if themes and len(scene_pairs):
        same, rank = same_theme(scene_pairs, themes), scene_pairs["rank"].to_numpy()
        total = scene_pairs.groupby(["film_a", "film_b"])["rank"].transform("size").to_numpy()
        for ratio in ratios:
            kept = rank <= [keep_count(count, ratio) for count in total]
            lowest = float(scene_pairs["score"][kept].min())
            rows.append((float(ratio), lowest, int(kept.sum()), int(same[kept].sum()), same[kept].mean()))
    kinds = {
        "ratio": float,
        "lowest_score": float,
        "n_pairs": np.int64,
        "n_same": np.int64,
        "precision": float,
    }
    return pd.DataFrame(rows, columns=list(kinds)).astype(kinds)
