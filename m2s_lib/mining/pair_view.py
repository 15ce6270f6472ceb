"""One film pair at a time, for looking: B and the whole choice, as mining sees them (§3.2)."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
import torch

from m2s_lib.errors import M2SError
from m2s_lib.method.movie_encoder import MovieEncoder
from m2s_lib.mining.miner import PairMiner
from m2s_lib.mining.similar_scenes import MiningConfig


class PairView:
    """What one encoder sees in any two films; calling it gives B and the choice.

    Args:
        features: film_id -> shot features [n_shots, d].
        config, encoder, device: as in `mine_pairs`; what is computed for a film stays.
    """

    def __init__(
        self,
        features: Mapping[str, np.ndarray],
        config: MiningConfig | None = None,
        *,
        encoder: MovieEncoder | None = None,
        device: str | torch.device = "cpu",
    ):
        self._miner = PairMiner(features, config or MiningConfig(), encoder, device)

    def __call__(self, film_a: str, film_b: str) -> tuple[np.ndarray, pd.DataFrame]:
        """B float32 [u - n + 1, v - n + 1] and all that the choice takes, best first.

        Returns:
            B, and a table shot_a, shot_b, score, rank (from 1), kept (whether `mine_pairs` keeps it).

        Raises:
            M2SError: a film without features, or features that are not finite.
        """
        miner = self._miner
        for film in (film_a, film_b):
            if film not in miner.features:
                raise M2SError(f"film {film} has no shot features among the {len(miner.features)} given")
        b, config = miner.similarity(film_a, film_b), miner.config
        i, j, score = config.choose(b)
        mined = list(zip(*(x.tolist() for x in config.choose(b, config.floor(b))[:2]), strict=True))
        kept = set(mined[: config.count(len(mined))])
        picks = {"shot_a": i, "shot_b": j, "score": score, "rank": np.arange(1, len(i) + 1)}
        marks = np.array([pick in kept for pick in zip(i.tolist(), j.tolist(), strict=True)], dtype=bool)
        return b, pd.DataFrame({**picks, "kept": marks})
