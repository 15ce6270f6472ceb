"""Copies of a film in a collection: the same cuts and the same pictures, in another file."""

from collections.abc import Mapping

import numpy as np
import pandas as pd

SAME_CUTS, SAME_PICTURES = 0.9, 0.9  # share of the cuts; mean cosine of the shots between them
_APART_S = 0.15  # seconds between two cuts that count as one: other frame rates, another encoder
_LEAST_SHOTS = 3
_LENGTHS = 0.02  # by which the beginnings of two copies' last shots may differ


def find_copies(starts: Mapping[str, np.ndarray], features: Mapping[str, np.ndarray]) -> pd.DataFrame:
    """Films that are copies of one before them, so that no film is paired with itself.

    Args:
        starts: when each shot of a film begins, seconds [n_shots], by film id. NaN where nobody knows: such
            a film is no copy, and neither is one of fewer than 3 shots.
        features: of the same films and shots, float32 [n_shots, d], of unit length.

    Returns:
        A row a copy: film_id, copy_of (the first film with these shots).
    """
    found: dict[str, str] = {}
    known = [f for f, t in starts.items() if len(t) >= _LEAST_SHOTS and np.isfinite(t).all()]
    last = np.array([starts[f][-1] for f in known])
    for number, film in enumerate(known):
        as_long = np.abs(last[:number] - last[number]) <= _LENGTHS * last[number]
        for other in (known[i] for i in np.flatnonzero(as_long)):
            if other not in found and _is_copy(starts, features, film, other):
                found[film] = other
                break
    return pd.DataFrame(list(found.items()), columns=["film_id", "copy_of"])


def _is_copy(starts: Mapping, features: Mapping, film: str, other: str) -> bool:
    a, b = starts[film], starts[other]
    if min(len(a), len(b)) < SAME_CUTS * max(len(a), len(b)):
        return False
    nearest = np.abs(a[:, None] - b).argmin(1)  # [shots of a], the shot of b that begins nearest
    same = np.abs(a - b[nearest]) <= _APART_S
    if same.mean() < SAME_CUTS:
        return False
    pictures = (features[film][same] * features[other][nearest[same]]).sum(1)
    return float(pictures.mean()) >= SAME_PICTURES
