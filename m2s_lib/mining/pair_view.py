"""One film pair at a time, for looking: B and the whole greedy choice, as mining sees them (§3.2)."""

import math
from collections.abc import Mapping

import numpy as np
import pandas as pd
import torch

from m2s_lib.errors import M2SError
from m2s_lib.method.greedy import greedy_pairs
from m2s_lib.method.movie_encoder import MovieEncoder
from m2s_lib.mining.miner import (
    MiningConfig,
    PairMiner,
    keep_count,
    score_floor,
    strict_float32,
)


class PairView:
    """What one encoder sees in any two films; calling it gives B and the choice.

    Args:
        features: film_id -> shot features [n_shots, d].
        n, keep, ratio, normalise, encoder, device: as in `mine_pairs`; what is computed for a film stays.
    """

    def __init__(
        self,
        features: Mapping[str, np.ndarray],
        n: int = 9,
        *,
        keep: str = "best_half",
        ratio: float = 0.5,
        normalise: bool = False,
        encoder: MovieEncoder | None = None,
        device: str | torch.device = "cpu",
    ):
        self._miner = PairMiner(features, MiningConfig(n, keep, ratio, normalise), encoder, device)

    def __call__(self, film_a: str, film_b: str) -> tuple[np.ndarray, pd.DataFrame]:
        """B float32 [u - n + 1, v - n + 1] and all that the greedy pass selects, best first.

        Returns:
            B, and a table shot_a, shot_b, score, rank (from 1), kept (whether `mine_pairs` keeps it).

        Raises:
            M2SError: a film without features, or features that are not finite.
        """
        for film in (film_a, film_b):
            if film not in self._miner.features:
                raise M2SError(
                    f"film {film} has no shot features among the {len(self._miner.features)} given"
                )
        config = self._miner.config
        with strict_float32(), torch.inference_mode():
            b = (self._miner.scenes(film_a) @ self._miner.scenes(film_b).T).cpu().numpy()
        i, j, score = greedy_pairs(b, config.n_shots)
        if config.keep == "best_half":
            kept = np.arange(len(i)) < keep_count(len(i), config.ratio)
        else:
            kept = score >= (score_floor(b, config.ratio) if b.size else -math.inf)
        rank = np.arange(1, len(i) + 1)
        return b, pd.DataFrame({"shot_a": i, "shot_b": j, "score": score, "rank": rank, "kept": kept})
