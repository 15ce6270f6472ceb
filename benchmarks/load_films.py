"""A run directory as stage 01 leaves it, of made-up films without video, for `bench.load`."""

from pathlib import Path

import numpy as np
import pandas as pd

from benchmarks.setting import film_like
from m2s_lib.films.store.shot_store import write_shots
from m2s_lib.io import write_json, write_npy, write_parquet

SHOTS = (60, 100)  # of a film, drawn evenly
WIDTH = 512  # of the features
FPS = 24.0
TOGETHER = 24  # films that the same viewers watch
VIEWERS = 2  # a film
# seconds of training, so that what is seen is how the work grows and not how long E_movie learns
PROFILE = """\
description: Made-up films for bench.load.
stages: ["01", "02", "03", "04", "08"]
parameters:
  "01": {{frame_size: {size}, device: cpu}}
  "02": {{watch_log: {log}, control_source: "", movie_seeds: [1], movie_epochs: 1}}
"""


def write_run(
    run_dir: Path, films: int, pixels: int = 16, seed: int = 0, shots: tuple[int, int] = SHOTS
) -> int:
    """Write the folders of stages 01 and 04 and log.parquet; film i is the same however many there are.

    Args:
        films: how many. pixels: side of the keyframes, 0 for films that have features only; with pixels
            there is an E_scene of the smallest kind. shots: of a film, least and most.

    Returns:
        How many shots they have.
    """
    first, rows = run_dir / "01_shot_encoding", []
    for i in range(films):
        rng = np.random.default_rng([seed, i])
        film, n = f"film{i:05d}", int(rng.integers(shots[0], shots[1] + 1))
        write_npy(first / "features" / f"{film}.npy", film_like(rng, n, WIDTH))
        rows.append((film, f"Film {i}", "", n, write_store(first / "shots", film, n, pixels, rng)))
    table = pd.DataFrame(rows, columns=["film_id", "title", "path", "n_shots", "duration_s"])
    text = dict.fromkeys(("imdb_id", "genres", "synopsis", "split", "reason"), "")
    table = table.assign(**text, year=2000, fps=FPS, status="ok")
    write_parquet(table, first / "films.parquet")
    write_parquet(table.head(0)[["film_id"]], first / "excluded_films.parquet")
    write_parquet(watch_log(table["film_id"].to_numpy(object), seed), run_dir / "log.parquet")
    _write_record(first, {"films": films})
    _write_scene_encoder(run_dir / "04_moco_training", pixels)
    return int(table["n_shots"].sum())


def write_store(folder: Path, film: str, n: int, pixels: int, rng: np.random.Generator) -> float:
    """Write one film's shots and keyframes (0 pixels: none); its length in seconds."""
    folder.mkdir(parents=True, exist_ok=True)
    shots = _shots(rng, n)
    keyframes = _keyframes(rng, n, pixels) if pixels else None
    source = "video" if pixels else "features"
    write_shots(folder / f"{film}.arrow", shots, keyframes, aspect=16 / 9, fps=FPS, source=source)
    return float(shots["end_s"].iloc[-1])


def _shots(rng: np.random.Generator, n: int) -> pd.DataFrame:
    """A shot table of n shots of one to six seconds."""
    frames = rng.integers(24, 145, n)
    end = np.cumsum(frames)
    start = end - frames
    times = {"start_s": start / FPS, "end_s": end / FPS}
    return pd.DataFrame({"shot": np.arange(n), "start_frame": start, "end_frame": end - 1, **times})


def _keyframes(rng: np.random.Generator, n: int, side: int) -> np.ndarray:
    """Uint8 [n, 1, side, side, 3]: one colour a shot, and noise."""
    colour = rng.integers(30, 226, (n, 1, 1, 1, 3))
    return (colour + rng.integers(-30, 30, (n, 1, side, side, 3))).astype(np.uint8)


def watch_log(films: np.ndarray, seed: int) -> pd.DataFrame:
    """Views (user, film_id, time): each viewer sees half of TOGETHER films that belong together, and three
    others."""
    rng, parts = np.random.default_rng(seed), []
    for user in range(VIEWERS * len(films)):
        group = films[TOGETHER * int(rng.integers(-(-len(films) // TOGETHER))) :][:TOGETHER]
        seen = np.unique(
            np.concatenate([rng.choice(group, -(-len(group) // 2), False), rng.choice(films, 3)])
        )
        parts.append(pd.DataFrame({"user": user, "film_id": seen, "time": 3600.0 * np.arange(len(seen))}))
    return pd.concat(parts, ignore_index=True)


def _write_record(folder: Path, metrics: dict) -> None:
    """run.json of a finished stage with the notebook's default parameters."""
    from m2s_lib.runs.parameters.parameters import RUN_DIR, read_parameters

    known = read_parameters()[folder.name]
    parameters = {p.name: p.default for p in known.values() if p.name != RUN_DIR}
    if "device" in parameters:
        parameters["device"] = "cpu"
    record = {"stage": folder.name, "status": "done", "parameters": parameters, "metrics": metrics}
    write_json(folder / "run.json", record)


def _write_scene_encoder(folder: Path, pixels: int) -> None:
    """Stage 04's folder: an E_scene that was never trained, or none where there are no pixels."""
    from m2s_lib.method.scene_encoder import SceneEncoder, SceneEncoderConfig
    from m2s_lib.method.weights import save_encoder

    if pixels:
        config = SceneEncoderConfig.preset("test", image_size=pixels)
        save_encoder(folder / "scene_encoder.safetensors", SceneEncoder(config).eval())
    _write_record(folder, {"trained": bool(pixels)})
