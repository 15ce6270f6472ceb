"""Which features find the shots of the same scene: `python -m benchmarks.same_scene FILM_ID SCENES RUN [RUN ...]`.

Each RUN has read the film (`m2s open`, or `m2s run films --only 01`) with an encoder of its own; SCENES is the
film's true scenes in OVSD's layout. For every shot the others of its film are ranked by cosine, its three
neighbours on either side left out, since they look alike whatever the scene; printed is the mean over shots of the
average precision of its scene's shots, for the features of each run, for colour and for random scores.
"""

import argparse
import sys
from pathlib import Path

import numpy as np

from m2s_lib.evaluation.encoders.encoders import colour_features
from m2s_lib.evaluation.metrics import average_precision
from m2s_lib.evaluation.movienet.ovsd import label_store
from m2s_lib.films.store.features import read_features
from m2s_lib.films.store.shot_store import open_stores
from m2s_lib.io import read_json
from m2s_lib.stages import paths

NEIGHBOURS = 3  # shots on either side that do not count


def same_scene(similarity: np.ndarray, scene: np.ndarray) -> float:
    """Mean average precision of the shots of the same scene.

    Args:
        similarity: [n_shots, n_shots]. scene: int [n_shots], number of each shot's scene.
    """
    shots = np.arange(len(scene))
    values = []
    for t in shots:
        asked = np.abs(shots - t) > NEIGHBOURS
        values.append(average_precision(scene[asked] == scene[t], similarity[t, asked]))
    return float(np.nanmean(values))  # a shot without another far enough in its scene has none


def measure(film_id: str, scenes: Path, runs: list[Path]) -> dict[str, float]:
    """Name of the features -> mean average precision."""
    measured = {}
    for run in runs:
        store = open_stores(run / paths.SHOTS)[film_id]
        labels = label_store(store, scenes)[0].labels
        scene = np.r_[0, np.cumsum(labels[:-1] == 1)]
        x = read_features(run / paths.FEATURES, {film_id: store})[film_id]
        name = read_json(run / "01_shot_encoding" / "run.json")["metrics"]["encoder"]
        measured[f"{name} ({run.name})"] = same_scene(x @ x.T, scene)
    colour = colour_features(store)
    measured["colour"] = same_scene(colour @ colour.T, scene)
    rng = np.random.default_rng(0)
    drawn = [same_scene(rng.random((len(scene), len(scene))), scene) for _ in range(20)]
    return measured | {"random": float(np.mean(drawn))}


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.same_scene", description=__doc__.partition("\n")[0]
    )
    parser.add_argument("film_id")
    parser.add_argument("scenes", type=Path, help="scenes.txt of OVSD")
    parser.add_argument("runs", type=Path, nargs="+", metavar="RUN")
    options = parser.parse_args(arguments)
    for name, value in measure(options.film_id, options.scenes, options.runs).items():
        print(f"{name:<40} {value:.3f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
