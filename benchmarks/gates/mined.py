"""E_scene over shot tokens without labels: `python -m benchmarks.gates.mined --world 100 --films 288`.

Film pairs from the world's viewers, E_movie by the loop of notebook 02, mined scene pairs, E_scene by the loop of
notebook 04: everything as the library has it, on `imagenet` features of the shots. Does E_scene then find scenes
of the same theme better than the whitened mean of the features that it reads? Labels score, and train nothing.

Without `--controls` one recipe is trained on the co-watch pairs; with it, on what it is compared with, too. Each
row goes to mined.csv; `--recipe steps=1200 shift=2` changes the recipe, and may be given several times.
"""

import argparse
import dataclasses
import functools
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from benchmarks.gates.loops import train_movie, train_scene
from benchmarks.gates.measure import DEVELOPMENT, HELD_OUT_FILMS, whiten
from benchmarks.gates.pretrained import picture_features
from benchmarks.gates.windows import LENGTH, Windows, film_pairs
from m2s_lib.evaluation.paper.mining_precision import same_theme
from m2s_lib.films.stories.plan import StoriesConfig
from m2s_lib.films.world.kinds import plan_world
from m2s_lib.films.world.records import World
from m2s_lib.io import atomic_path
from m2s_lib.method.device import pick_device
from m2s_lib.method.movie_encoder import MovieEncoder
from m2s_lib.method.movie_pooling import Pooling
from m2s_lib.method.movie_similarity import MovieTrainConfig
from m2s_lib.method.scene_encoder import ScenePairs
from m2s_lib.method.shot_tokens import FeatureFilms, ShotTokenEncoder, ShotTokensConfig
from m2s_lib.mining.scene_mining import mine_pairs
from m2s_lib.mining.similar_scenes import MiningConfig
from m2s_lib.training.config import ContrastiveConfig
from m2s_lib.training.training import Training

COMPONENTS = 128  # principal components of the shots' features that E_movie reads
MOST_COMPONENTS = 256  # that E_scene may read
MOVIE = MovieTrainConfig(
    Pooling(64, 8, 4, 4, 2), hidden=256, epochs=30, batch=64, momentum=0.9, whiten=True, seed=1
)
Features = Mapping[str, np.ndarray]  # film_id -> float32 [shots, d]


@dataclasses.dataclass(frozen=True)
class Recipe:
    """How E_scene over shot tokens is trained; the parameters of notebook 04 by their short names."""

    steps: int = 600
    batch: int = 64
    lr: float = 5e-4
    temperature: float = 0.1
    negatives: str = "batch"
    own_pair: bool = False
    queue: int = 0
    momentum: float = 0.99
    shift: int = 1
    components: int = 128
    weight_decay: float = 0.01
    seed: int = 0

    def training(self) -> ContrastiveConfig:
        names = ("steps", "batch", "lr", "temperature", "queue", "momentum", "weight_decay", "seed")
        same = {name: getattr(self, name) for name in names}
        return ContrastiveConfig(epochs=10, warmup_epochs=1, queue_filled_only=True, **same)


@dataclasses.dataclass(frozen=True)
class Material:
    """A world's films, their features, and what scores them."""

    world: World
    features: Features
    folder: Path  # keeps each E_movie

    @functools.cached_property
    def windows(self) -> Windows:
        return Windows.of(self.world)

    @functools.cached_property
    def film_pairs(self) -> dict[str, pd.DataFrame]:
        return film_pairs(self.world)

    @property
    def training_films(self) -> list[str]:
        return [film.film_id for film in self.world.films if film.split == "train"]

    def share(self, part: float) -> "Material":
        """The same with a share of the films for training, and all that are held out."""
        rng = np.random.default_rng(0)
        few = set(rng.permutation(self.training_films)[: round(part * len(self.training_films))])
        films = [film for film in self.world.films if film.split != "train" or film.film_id in few]
        return dataclasses.replace(self, world=dataclasses.replace(self.world, films=tuple(films)))

    def themes(self) -> dict[str, np.ndarray]:
        """Theme of every shot by film."""
        return {f.film_id: np.array([f.scenes[i].theme for i, _ in f.shots]) for f in self.world.films}

    def shots(self) -> torch.Tensor:
        """Features of all shots in the windows' numbering: float32 [shots, d]."""
        return torch.from_numpy(np.concatenate([self.features[film.film_id] for film in self.world.films]))

    @functools.cached_property
    def whitening(self) -> ShotTokenEncoder:
        """An encoder whose whitening was found on the films for training."""
        width = next(iter(self.features.values())).shape[1]
        config = ShotTokensConfig(width, components=min(width, MOST_COMPONENTS))
        return ShotTokenEncoder(config).fit(self.features[film] for film in self.training_films)

    @functools.cached_property
    def components(self) -> dict[str, np.ndarray]:
        """The first principal components of the training films' shots at unit variance, by film."""
        mean, axes = self.whitening.mean, self.whitening.axes[:, :COMPONENTS]
        return {film: ((torch.from_numpy(x) - mean) @ axes).numpy() for film, x in self.features.items()}

    def encoder(self, components: int, seed: int = 0) -> ShotTokenEncoder:
        """E_scene before training."""
        return self.whitening.untrained(seed, components)

    def mined(self, source: str) -> tuple[pd.DataFrame, MovieEncoder, float]:
        """Scene pairs of E_movie trained on one kind of film pairs, that E_movie, and its held-out AUC."""
        pairs, x = self.film_pairs[source], self.components
        x = {film: x[film] for film in self.training_films}
        folder = self.folder / f"{source}-{len(x)}"
        movie, auc = train_movie(x, pairs, MOVIE, folder)
        return mine_pairs(x, pairs, MiningConfig(LENGTH), encoder=movie, workers=1), movie, auc


def train_tokens(material: Material, scene_pairs: pd.DataFrame, recipe: Recipe) -> ShotTokenEncoder:
    """E_scene over shot tokens, trained on scene pairs."""
    encoder = material.encoder(recipe.components, recipe.seed)
    pairs = ScenePairs(scene_pairs, FeatureFilms(material.features), shift=recipe.shift)
    run = Training(encoder, pairs, recipe.training(), device=pick_device("auto"), title="E_scene")
    log = train_scene(run, recipe.negatives, recipe.own_pair)
    print(f"loss {log.loss.tail(20).mean():.2f}, accuracy {log.accuracy.tail(20).mean():.2f}", flush=True)
    return encoder.eval().cpu()


@torch.inference_mode()
def scored(material: Material, name: str, encoder: ShotTokenEncoder) -> Iterator[tuple[str, float]]:
    """What is measured of an encoder: its representation, whitened, in contrast space, and within twins."""
    windows, shots = material.windows, material.shots()
    token = torch.cat([encoder.embed(shots[part]) for part in torch.from_numpy(windows.shots()).split(64)])
    yield f"{name}, P@1", windows.neighbours(token.numpy())
    yield f"{name}, whitened, P@1", windows.neighbours(whiten(token.numpy(), windows.held_out))
    yield f"{name}, contrast output, P@1", windows.neighbours(encoder.fc(token).numpy())
    yield f"{name}, P@1 within twins", windows.twins(token.numpy())


def baselines(material: Material, movie: MovieEncoder) -> Iterator[tuple[str, float]]:
    """P@1 of what is not trained by contrast."""
    windows, x, white = material.windows, material.features, material.components
    means = {
        "features, mean": x,
        "features whitened, mean": white,
        "E_movie, mean": {film: _movie_features(movie, y) for film, y in white.items()},
    }
    for name, by_film in means.items():
        mean = windows.mean(np.concatenate([by_film[film.film_id] for film in material.world.films]))
        yield f"{name}, P@1", windows.neighbours(mean)
        yield f"{name}, whitened, P@1", windows.neighbours(whiten(mean, windows.held_out))
    yield from scored(material, "tokens untrained", material.encoder(COMPONENTS))


@torch.inference_mode()
def _movie_features(movie: MovieEncoder, x: np.ndarray) -> np.ndarray:
    return movie.scene_features(torch.from_numpy(x)).numpy()


def controls(material: Material, recipe: Recipe) -> Iterator[tuple[str, float]]:
    """What E_scene from co-watch pairs is compared with, at equal steps, and how pure the pairs are."""
    themes = material.themes()
    cowatch, movie, auc = material.mined("cowatch")
    yield "E_movie co-watch, held-out AUC", auc
    yield from baselines(material, movie)
    x = material.components
    pairs = material.film_pairs
    for source in ("cowatch", "random"):
        plain = mine_pairs(x, pairs[source], MiningConfig(LENGTH), workers=1)
        yield f"pairs of one theme, whitened features, {source} films", same_theme(plain, themes).mean()
        shuffled = plain.assign(shot_b=_any_shot(plain, themes))
        yield f"pairs of one theme, any scenes, {source} films", same_theme(shuffled, themes).mean()
    yield "pairs of one theme, E_movie co-watch", same_theme(cowatch, themes).mean()
    random, _, auc = material.mined("random")
    yield "E_movie random, held-out AUC", auc
    yield "pairs of one theme, E_movie random", same_theme(random, themes).mean()
    random = random.sample(min(len(random), len(cowatch)), random_state=0)
    yield from scored(material, "tokens, random film pairs", train_tokens(material, random, recipe))
    quarter = material.share(0.25)
    few, _, _ = quarter.mined("cowatch")
    yield "scene pairs, a quarter of the films", len(few)
    yield from scored(material, "tokens, a quarter of the films", train_tokens(quarter, few, recipe))


def _any_shot(scene_pairs: pd.DataFrame, themes: Mapping[str, np.ndarray]) -> np.ndarray:
    """A first shot drawn anywhere in film_b: int [pairs]."""
    last = scene_pairs["film_b"].map(lambda film: len(themes[film])) - scene_pairs["n_shots"]
    return np.random.default_rng(0).integers(last.to_numpy() + 1)


def measure(material: Material, recipe: Recipe, *, with_controls: bool) -> pd.DataFrame:
    """Every number of a recipe: world, films, the recipe's fields, name, value (shares, but for counts and AUC)."""
    about = {"world": material.world.config.seed, "films": len(material.training_films)}
    about |= dataclasses.asdict(recipe)
    print(*(f"{name} {value}" for name, value in about.items()), sep=", ", flush=True)
    rows = []
    for name, value in _measured(material, recipe, with_controls):
        print(f"  {name:<60} {value:.3f}", flush=True)
        rows.append(about | {"name": name, "value": value})
    return pd.DataFrame(rows)


def _measured(material: Material, recipe: Recipe, with_controls: bool) -> Iterator[tuple[str, float]]:
    if with_controls:
        yield from controls(material, recipe)
    scene_pairs, _, _ = material.mined("cowatch")
    yield "scene pairs", len(scene_pairs)
    yield from scored(material, "tokens, co-watch", train_tokens(material, scene_pairs, recipe))


def main(arguments: list[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    out = Path(options.out)
    world = plan_world(StoriesConfig(options.world, options.films, HELD_OUT_FILMS))
    material = Material(world, picture_features(world, out), out / f"movies-{options.world}")
    for changes in options.recipe or [[]]:
        table = measure(material, _recipe(changes), with_controls=options.controls)
        _append(table, out / "mined.csv")
    return 0


def _recipe(changes: list[str]) -> Recipe:
    """`Recipe` with changes such as "steps=1200"."""
    types = {field.name: type(field.default) for field in dataclasses.fields(Recipe)}
    pairs = [change.split("=", 1) for change in changes]
    values = {name: value == "True" if types[name] is bool else types[name](value) for name, value in pairs}
    return Recipe(**values)


def _append(table: pd.DataFrame, path: Path) -> None:
    before = [pd.read_csv(path)] if path.is_file() else []
    with atomic_path(path) as temporary:
        pd.concat([*before, table]).to_csv(temporary, index=False)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.gates.mined", description=__doc__.partition("\n")[0]
    )
    parser.add_argument("--world", type=int, choices=DEVELOPMENT, default=100, help="seed")
    parser.add_argument("--films", type=int, default=288, help="films for training")
    parser.add_argument("--controls", action="store_true", help="what E_scene is compared with, too")
    parser.add_argument(
        "--recipe", nargs="*", action="append", help="changes, such as steps=1200 shift=2; may be given again"
    )
    parser.add_argument("--out", default="runs/gates", help="folder for features, E_movie and mined.csv")
    return parser


if __name__ == "__main__":
    sys.exit(main())
