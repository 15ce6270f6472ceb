"""Tables of moderation clips made up for tests."""

import numpy as np
import pandas as pd

from m2s_lib.evaluation.moderation.files import CLASSES


def clips(n=400, films=60, seed=0, classes=CLASSES):
    """Clips of films with classes about as frequent as the paper's."""
    rng = np.random.default_rng(seed)
    shares = np.array([0.53, 0.10, 0.18, 0.19])[: len(classes)]
    return pd.DataFrame(
        {
            "clip": [f"c{i:04d}" for i in range(n)],
            "film_id": [f"f{i}" for i in rng.integers(films, size=n)],
            "label": rng.choice(classes, size=n, p=shares / shares.sum()),
        }
    )
