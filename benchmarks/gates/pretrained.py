"""g2 and g3 with frozen pretrained features: `python -m benchmarks.gates.pretrained --world 100 --films 96`.

Every shot's middle frame is drawn whole, encoded by `imagenet` (trained on photographs, elsewhere), and a small
transformer over the nine shots of a scene is trained with the true themes as labels. It tests the world: can its
themes be learned by an encoder that knows how to see?
"""

import argparse
import sys

import numpy as np
import torch
from PIL import Image

from benchmarks.gates.measure import DEVELOPMENT, HELD_OUT_FILMS, whiten
from benchmarks.gates.training import Budget, ShotTokens, _with_labels
from benchmarks.gates.windows import Windows
from m2s_lib.encoders.pictures import encoder_by_name
from m2s_lib.films.stories.frames import draw_keyframe
from m2s_lib.films.stories.plan import StoriesConfig
from m2s_lib.films.world.kinds import plan_world
from m2s_lib.progress import Progress

COMPONENTS = 128  # principal components of the shots' features that the transformer reads


def picture_features(world) -> np.ndarray:
    """Features of every shot's middle frame, in the films' order: float32 [shots, d]."""
    encoder, features = encoder_by_name("imagenet"), []
    size, bar = (encoder.size, encoder.size), Progress("drawing and encoding", len(world.films), "films")
    for film in world.films:
        drawn = [
            Image.fromarray(draw_keyframe(world.config, film, i, j)).resize(size, Image.Resampling.BICUBIC)
            for i, scene in enumerate(film.scenes)
            for j in range(len(scene.shots))
        ]
        features.append(encoder(np.stack([np.asarray(picture) for picture in drawn])))
        bar.step()
    return np.concatenate(features)


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
    options = parser.parse_args(arguments)
    world = plan_world(StoriesConfig(options.world, options.films, HELD_OUT_FILMS))
    measured = measure(picture_features(world), Windows.of(world), Budget(steps=options.steps))
    for name, value in measured.items():
        print(f"{name:<44} {100 * value:.1f} %")
    return 0


if __name__ == "__main__":
    sys.exit(main())
