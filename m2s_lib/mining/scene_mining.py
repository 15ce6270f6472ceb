"""Scene mining (§3.2, supp. 1.1c and 3a): the most similar, non-overlapping scenes of each similar film pair.

B is defined as the product of pooled features in strict float32: mean over n shots first, product second.
That is the mean over each n x n window of A up to rounding, at a fraction of its work.
"""

import shutil
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from m2s_lib.engine import LocalEngine
from m2s_lib.errors import M2SError
from m2s_lib.io import read_parquet, remove_temporaries
from m2s_lib.method.greedy import greedy_pairs
from m2s_lib.method.movie_encoder import MovieEncoder
from m2s_lib.mining.miner import PairMiner
from m2s_lib.mining.shards import ShardMiner, shard_path, with_features
from m2s_lib.mining.similar_scenes import MiningConfig, keep_count, scene_similarity, score_floor
from m2s_lib.progress import Progress

_SHARD = 500  # film pairs
_COLUMNS = ("film_a", "film_b", "shot_a", "shot_b", "n_shots", "score", "rank")
NO_SCENE_PAIRS = pd.DataFrame({c: [] for c in _COLUMNS})


def mine_pairs(
    features: Mapping[str, np.ndarray],
    film_pairs: pd.DataFrame,
    config: MiningConfig | None = None,
    *,
    encoder: MovieEncoder | None = None,
    device: str | torch.device = "cpu",
    workers: int = 0,
    engine=None,
    shards: str | Path | None = None,
    shard: int = _SHARD,
) -> pd.DataFrame:
    """Mines the similar scene pairs P_scene of all similar film pairs (§3.2).

    With a folder for `shards` a killed run goes on where it was. Shards are named by a hash of everything
    that shaped them, so a run with other features, films or settings does not take them over. The folder goes
    away in the end.

    Args:
        features: film_id -> shot features [n_shots, d], all shots of the film.
        film_pairs: columns film_a and film_b; a pair that comes again, turned around or from another source,
            is left out.
        config: what counts as a similar scene pair; None is the paper's. `keep` "best_half" keeps the best
            `ratio` of what the greedy pass selects in each film pair (§4.1.2), rounded up; "above_median"
            shows the greedy pass only the best `ratio` of all windows (supp. 3a), which drops next to
            nothing, since the pass seldom gets that far down.
        encoder: E_movie; its features before the last FC are compared. None compares `features` themselves.
        device: where features are encoded and compared; the choice runs there too.
        workers: threads that share the film pairs on the CPU; 0 is one a core, at most four. The result does
            not depend on it.
        engine: of `open_engine`; None is this machine. A cluster mines shards of film pairs at once.
        shards: folder for what is done, or None.
        shard: film pairs in a shard.

    Returns:
        film_a, film_b (film_a < film_b), shot_a, shot_b (first shots), n_shots, score (float32), rank (from
        1 within the film pair), film pairs in the order given. `.attrs` tells what gave nothing: too_short
        (list of film, shots, needed) and film_pairs_without (count).

    Raises:
        M2SError: a film without features, features that are not finite, impossible parameters.
    """
    miner = PairMiner(features, config or MiningConfig(), encoder, device, workers)
    pairs, engine = _distinct(film_pairs, features), engine or LocalEngine()
    parts = [pairs[start : start + shard] for start in range(0, len(pairs), shard)]
    folder = None if shards is None else Path(shards)
    if folder is not None and folder.is_dir():
        remove_temporaries(folder)
    named = folder is not None or engine.name != "local"
    digests = [miner.digest(part) if named else "" for part in parts]
    tables = [_done(folder, digest) for digest in digests]
    todo = [index for index, table in enumerate(tables) if table is None]
    resumed = len(pairs) - sum(len(parts[index]) for index in todo)
    bar = Progress("scene mining", len(pairs), "film pairs")
    bar.step(resumed)
    work = ShardMiner(miner, [parts[index] for index in todo])
    items = [(parts[index], digests[index], None) for index in todo]
    attach = with_features(features)
    for at, table in engine.prepared(work, items, folder, device=miner.device, attach=attach):
        tables[todo[at]] = table
        bar.step(len(items[at][0]), f"{resumed:,} from an earlier run" if resumed else "")
    if folder is not None:
        shutil.rmtree(folder, ignore_errors=True)
    return _finish(tables, pairs, miner)


def best_film_pair(scene_pairs: pd.DataFrame, film_pairs: pd.DataFrame) -> tuple[str, str]:
    """The film pair with the best scene pair; without scene pairs the first film pair."""
    order = ["score", "film_a", "film_b"]
    best = scene_pairs.sort_values(order, ascending=[False, True, True])
    a, b = (best if len(best) else film_pairs)[["film_a", "film_b"]].iloc[0]
    return str(a), str(b)


def _done(folder: Path | None, digest: str) -> pd.DataFrame | None:
    """A finished shard, or None when it is absent or damaged."""
    try:
        return read_parquet(shard_path(folder, digest)) if folder is not None else None
    except M2SError:
        return None


def _distinct(film_pairs: pd.DataFrame, features: Mapping) -> list[tuple[str, str]]:
    """Film pairs as (lower id, higher id), each once, in the order given."""
    pairs = dict.fromkeys(
        (a, b) if a < b else (b, a) for a, b in zip(film_pairs["film_a"], film_pairs["film_b"], strict=True)
    )
    if same := [a for a, b in pairs if a == b]:
        raise M2SError(f"the film pairs hold {same[0]!r} with itself: drop that row")
    if missing := sorted({film for pair in pairs for film in pair if film not in features}):
        raise M2SError(
            f"{len(missing)} films of the film pairs have no shot features, e.g. {missing[0]!r}: "
            "encode them or drop their pairs"
        )
    return list(pairs)


def _finish(tables: list[pd.DataFrame], pairs: list, miner: PairMiner) -> pd.DataFrame:
    """One table of all shards, with what gave nothing in its attrs."""
    table = pd.concat(tables, ignore_index=True) if tables else miner.table([], [])
    needed = miner.config.n_shots
    shots = {film: len(miner.features[film]) for pair in pairs for film in pair}
    short = {film: count for film, count in shots.items() if count < needed}
    table.attrs["too_short"] = [
        {"film": film, "shots": count, "needed": needed} for film, count in sorted(short.items())
    ]
    table.attrs["film_pairs_without"] = sum(a in short or b in short for a, b in pairs)
    return table


def paper_count_check(
    n_shots_per_film: int = 1088,
    n_pairs: int = 45_510,
    n: int = 9,
    ratio: float = 0.5,
    samples: int = 3,
    seed: int = 0,
) -> pd.DataFrame:
    """How many scene pairs each reading of "top 50 %" would give at the paper's size, to set beside its 2.5M.

    The paper has about 33M shots in 30,340 films (1,088 a film) and three similar films for each on average
    (45,510 pairs without order; §4.1.1, §4.1.2, Table 2 row 10). What the greedy pass selects is measured on
    made-up films: scenes of about six shots, each a random centre with random shots around it.

    Args:
        n_shots_per_film, n_pairs: size of the corpus.
        n, ratio: as in `MiningConfig`.
        samples: made-up film pairs to average over.
        seed: of the made-up films.

    Returns:
        keep ("all", "above_median", "best_half"), per_film_pair (mean), scene_pairs (over the corpus).
    """
    rng = np.random.default_rng(seed)
    counts = []
    for _ in range(samples):
        b = scene_similarity(_made_up_film(rng, n_shots_per_film), _made_up_film(rng, n_shots_per_film), n)
        selected = len(greedy_pairs(b, n)[0])
        above = len(greedy_pairs(b, n, score_floor(b, ratio))[0])
        counts.append((selected, above, keep_count(selected, ratio)))
    mean = np.mean(counts, axis=0)
    table = pd.DataFrame({"keep": ["all", "above_median", "best_half"], "per_film_pair": mean})
    return table.assign(scene_pairs=(mean * n_pairs).round().astype(np.int64))


def _made_up_film(rng: np.random.Generator, n_shots: int, d: int = 128) -> np.ndarray:
    """Unit shot features [n_shots, d] with scene structure."""
    starts = rng.random(n_shots) < 1 / 6
    centres = rng.normal(size=(int(starts.sum()) + 1, d))
    x = centres[np.cumsum(starts)] + rng.normal(size=(n_shots, d))
    return (x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float32)
