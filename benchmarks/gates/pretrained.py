"""g2 and g3 with frozen pretrained features: `python -m benchmarks.gates.pretrained --world 100 --films 96`.

Every shot's middle frame is drawn whole, encoded by `imagenet` (trained on photographs, elsewhere), and a small
transformer over the nine shots of a scene is trained with the true themes as labels. It tests the world: can its
themes be learned by an encoder that knows how to see?
"""

import argparse
import hashlib
import os
import sys
from pathlib import Path

import numpy as np
import torch

from benchmarks.gates.measure import DEVELOPMENT, HELD_OUT_FILMS, whiten
from benchmarks.gates.training import Budget, ShotTokens, _with_labels
from benchmarks.gates.windows import Windows, middle_frames
from m2s_lib.encoders.pictures import encoder_by_name
from m2s_lib.films.stories.plan import StoriesConfig
from m2s_lib.films.world.kinds import kind_of, plan_world
from m2s_lib.films.world.records import World
from m2s_lib.io import read_npy, write_npy
from m2s_lib.progress import Progress

COMPONENTS = 128  # principal components of the shots' features that the transformer reads


def picture_features(world: World, folder: str | os.PathLike) -> dict[str, np.ndarray]:
    """Features of every shot's middle frame: film_id -> float32 [shots, d].

    They are kept in `folder`, film by film, under a name of the world and the code that draws it.
    """
    encoder, bar = encoder_by_name("imagenet"), Progress("drawing and encoding", len(world.films), "films")
    kept, features = Path(folder) / f"imagenet-{world.config.seed}-{_digest(world)}", {}
    for film in world.films:
        path = kept / f"{film.film_id}.npy"
        if not path.is_file():
            write_npy(path, encoder(middle_frames(world.config, film, encoder.size)))
        features[film.film_id] = np.array(read_npy(path))
        bar.step()
    return features


def _digest(world: World) -> str:
    """Hash of the world's sizes and of the code that plans and draws it."""
    digest = hashlib.blake2b(repr(world.config).encode(), digest_size=6)
    for source in kind_of(world.config).sources:
        digest.update(source.read_bytes())
    return digest.hexdigest()


def components(x: np.ndarray, train: np.ndarray) -> np.ndarray:
    """The first COMPONENTS principal components of the training shots at unit variance: [shots, COMPONENTS]."""
    mean = x[train].mean(0)
    _, scale, axes = np.linalg.svd(x[train] - mean, full_matrices=False)
    return ((x - mean) @ axes[:COMPONENTS].T / scale[:COMPONENTS] * np.sqrt(train.sum())).astype(np.float32)


def measure(x: np.ndarray, windows: Windows, budget: Budget) -> dict[str, float]:
    """Shares of held-out windows whose theme is found, by name of what finds it."""
    means, train = windows.mean(x), np.zeros(len(x), bool)
    train[windows.shots()[~windows.held_out].ravel()] = True
    torch.manual_seed(0)
    shots = torch.from_numpy(components(x, train))
    vectors, accuracy = _with_labels(ShotTokens(shots.shape[1]), 128, shots, windows, budget)
    return {
        "commonest theme": windows.majority(),
        "one shot, ridge": windows.probe(x[windows.shots()[:, 4]]),
        "mean of nine, ridge": windows.probe(means),
        "whitened mean, P@1": windows.neighbours(whiten(means, windows.held_out)),
        "shot tokens with labels, accuracy": accuracy,
        "shot tokens with labels, P@1": windows.neighbours(vectors),
        "shot tokens with labels, P@1 within twins": windows.twins(vectors),
    }


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.gates.pretrained", description=__doc__.partition("\n")[0]
    )
    parser.add_argument("--world", type=int, choices=DEVELOPMENT, default=100, help="seed")
    parser.add_argument("--films", type=int, default=96, help="films for training")
    parser.add_argument("--steps", type=int, default=Budget.steps)
    parser.add_argument("--out", default="runs/gates", help="folder that keeps the shots' features")
    options = parser.parse_args(arguments)
    world = plan_world(StoriesConfig(options.world, options.films, HELD_OUT_FILMS))
    features = np.concatenate(list(picture_features(world, options.out).values()))
    measured = measure(features, Windows.of(world), Budget(steps=options.steps))
    for name, value in measured.items():
        print(f"{name:<44} {100 * value:.1f} %")
    return 0


if __name__ == "__main__":
    sys.exit(main())
