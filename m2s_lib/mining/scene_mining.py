"""Scene mining (§3.2, supp. 1.1c and 3a): the most similar, non-overlapping scenes of each similar film pair.

B is defined as the product of pooled features in strict float32: mean over n shots first, product second.
That is the mean over each n x n window of A up to rounding, at a fraction of its work.
"""

import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from m2s_lib.engine import LocalEngine
from m2s_lib.errors import M2SError
from m2s_lib.io import read_parquet, remove_temporaries, write_parquet
from m2s_lib.method.greedy import greedy_batch, greedy_pairs, greedy_pairs_rounds
from m2s_lib.method.movie_encoder import MovieEncoder
from m2s_lib.mining.miner import (
    MiningConfig,
    PairMiner,
    keep_count,
    scene_features,
    scene_similarity,
    score_floor,
    strict_float32,
)
from m2s_lib.mining.shards import ShardMiner, shard_path, with_features
from m2s_lib.progress import Progress

__all__ = [
    "MiningConfig",
    "greedy_batch",
    "greedy_pairs",
    "greedy_pairs_rounds",
    "keep_count",
    "mine_pairs",
    "mine_to",
    "pair_similarity",
    "paper_count_check",
    "scene_features",
    "scene_similarity",
    "score_floor",
]

_SHARD = 500  # film pairs


def mine_pairs(
    features: Mapping[str, np.ndarray],
    film_pairs: pd.DataFrame,
    n: int = 9,
    *,
    keep: str = "best_half",
    ratio: float = 0.5,
    normalise: bool = False,
    encoder: MovieEncoder | None = None,
    device: str | torch.device = "cpu",
    workers: int = 0,
    engine=None,
) -> pd.DataFrame:
    """Mine the similar scene pairs P_scene of all similar film pairs (§3.2).

    Args:
        features: film_id -> shot features [n_shots, d], all shots of the film.
        film_pairs: columns film_a and film_b; a pair that comes again, turned around or from another source,
            is left out.
        n: shots in a scene.
        keep: "best_half" keeps the best `ratio` of what the greedy pass selects in each film pair (§4.1.2),
            rounded up; "above_median" shows the greedy pass only the best `ratio` of all windows (supp. 3a),
            which drops next to nothing, since the pass seldom gets that far down.
        ratio: see `keep`.
        normalise: compare by cosine instead of the paper's dot product.
        encoder: E_movie; its features before the last FC are compared. None compares `features` themselves.
        device: where features are encoded and compared; the choice runs there too.
        workers: threads that share the film pairs on the CPU; 0 is one a core, at most four. The result does
            not depend on it.
        engine: of `open_engine`; None is this machine. A cluster mines shards of film pairs at once.

    Returns:
        film_a, film_b (film_a < film_b), shot_a, shot_b (first shots), n_shots, score (float32), rank (from
        1 within the film pair), film pairs in the order given. `.attrs` tells what gave nothing: too_short
        (list of film, shots, needed) and film_pairs_without (count).

    Raises:
        M2SError: a film without features, features that are not finite, impossible parameters.
    """
    miner = PairMiner(features, MiningConfig(n, keep, ratio, normalise), encoder, device, workers)
    pairs = _distinct(film_pairs, features)
    shards = list(_shards(pairs, _SHARD))
    bar = Progress("scene mining", len(pairs), "film pairs")
    tables = {}
    for index, table in _mined(engine, miner, shards, None):
        tables[index] = table
        bar.step(len(shards[index]))
    return _finish([tables[index] for index in range(len(shards))], pairs, miner)


def _mined(engine, miner: PairMiner, shards: list, folder: Path | None) -> Iterator[tuple[int, pd.DataFrame]]:
    """Shards by an engine: (index, table), as they end; with a folder they are files in it as well."""
    engine = engine or LocalEngine()
    items = [
        (shard, miner.digest(shard) if folder or engine.name != "local" else "", None) for shard in shards
    ]
    work = ShardMiner(miner, shards)
    attach = with_features(miner.features)
    yield from engine.prepared(work, items, folder, device=miner.device, attach=attach)


def mine_to(
    path: str | Path,
    features: Mapping[str, np.ndarray],
    film_pairs: pd.DataFrame,
    n: int = 9,
    *,
    keep: str = "best_half",
    ratio: float = 0.5,
    normalise: bool = False,
    encoder: MovieEncoder | None = None,
    device: str | torch.device = "cpu",
    workers: int = 0,
    shard: int = _SHARD,
    engine=None,
) -> pd.DataFrame:
    """`mine_pairs` into a parquet file, by way of shards, so that a killed run goes on where it was.

    Shards lie beside the file in `<name>.shards` and are named by a hash of everything that shaped them, so a
    run with other features, films or parameters does not take them over. The folder goes away in the end.

    Args:
        path: the parquet file to write.
        shard: film pairs in a shard.
        features, film_pairs, n, keep, ratio, normalise, encoder, device, workers, engine: as in `mine_pairs`.
    """
    path = Path(path)
    miner = PairMiner(features, MiningConfig(n, keep, ratio, normalise), encoder, device, workers)
    pairs = _distinct(film_pairs, features)
    folder = path.with_name(path.name + ".shards")
    if folder.is_dir():
        remove_temporaries(folder)
    shards = list(_shards(pairs, shard))
    tables = {index: _done(shard_path(folder, miner.digest(part))) for index, part in enumerate(shards)}
    todo = [index for index, table in tables.items() if table is None]
    resumed = len(pairs) - sum(len(shards[index]) for index in todo)
    bar = Progress("scene mining", len(pairs), "film pairs")
    bar.step(resumed)
    for index, table in _mined(engine, miner, [shards[index] for index in todo], folder):
        tables[todo[index]] = table
        note = f"{resumed:,} from an earlier run" if resumed else ""
        bar.step(len(shards[todo[index]]), note)
    tables = [tables[index] for index in range(len(shards))]
    table = _finish(tables, pairs, miner)
    write_parquet(table, path)
    shutil.rmtree(folder, ignore_errors=True)
    return table


def _done(piece: Path) -> pd.DataFrame | None:
    """A finished shard, or None when it is absent or damaged."""
    try:
        return read_parquet(piece) if piece.exists() else None
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


def _shards(pairs: list, size: int) -> Iterator[list]:
    for start in range(0, len(pairs), size):
        yield pairs[start : start + size]


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
        n, ratio: as in `mine_pairs`.
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


def pair_similarity(
    x1: np.ndarray,
    x2: np.ndarray,
    n: int = 9,
    *,
    encoder: MovieEncoder | None = None,
    normalise: bool = False,
) -> np.ndarray:
    """B of one film pair as `mine_pairs` sees it: float32 [u - n + 1, v - n + 1].

    Args:
        x1, x2: shot features [u, d], [v, d]. n, encoder, normalise: as in `mine_pairs`.
    """
    miner = PairMiner({"a": x1, "b": x2}, MiningConfig(n, normalise=normalise), encoder)
    with strict_float32(), torch.inference_mode():
        return (miner.scenes("a") @ miner.scenes("b").T).cpu().numpy()
