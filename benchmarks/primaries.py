"""The six primary claims, on worlds that nobody looked at: `python -m benchmarks.primaries`.

`--kind shapes` measures them in the first kind of embedded world, whose themes stand in single frames, `stories` in
the second, whose themes are told across shots.

Each world has 288 films for training and 72 that are held out, each shot is what `imagenet` makes of its middle
frame, and everything else is the library's: E_movie by the loop of notebook 02, mining, E_scene over shot tokens by
the loop of notebook 04. Worlds, recipe and claims were fixed before the reported worlds were drawn. A world that is
done is not computed again, and several calls may work on worlds of their own (`--worlds 200 201`).

Writes measured-<world>.csv (what was measured, in the columns of results.parquet) and primaries.csv (the verdicts).
"""

import argparse
import hashlib
import sys
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import torch
from torch import Tensor, nn

from benchmarks.gates import mined
from benchmarks.gates.measure import DEVELOPMENT, HELD_OUT_FILMS, whiten
from benchmarks.gates.mined import Material, Recipe, train_tokens
from benchmarks.gates.pretrained import picture_features
from m2s_lib.evaluation.encoders.trained_baselines import NEIGHBOURS, momentum_contrast
from m2s_lib.evaluation.paper.mining_precision import same_theme
from m2s_lib.evaluation.paper.primaries import HELD_OUT, measure_primaries
from m2s_lib.evaluation.results import EMBEDDED_FILMS
from m2s_lib.films.world.kinds import KINDS, plan_world
from m2s_lib.io import atomic_path
from m2s_lib.method.device import pick_device
from m2s_lib.method.shot_encoder import ShotPairs
from m2s_lib.method.shot_tokens import FeatureFilms, ShotTokenEncoder
from m2s_lib.mining.scene_mining import mine_pairs
from m2s_lib.mining.similar_scenes import MiningConfig
from m2s_lib.training.config import ContrastiveConfig
from m2s_lib.training.training import Training

REPORTED = range(200, 208)
FILMS = 288
RECIPE = Recipe(steps=300, momentum=0.98, components=32)  # the best of those tried on world 100
OURS = "ours (co-watch)"
QUEUE = 1024  # keys, ShotCoL's negatives


class OneShot(nn.Module):
    """Shot tokens that see one shot at a time: [b, d] to [b, out_dim]."""

    def __init__(self, tokens: ShotTokenEncoder):
        super().__init__()
        self.tokens, self.out_dim = tokens, tokens.out_dim

    def forward(self, shots: Tensor) -> Tensor:
        return self.tokens(shots[:, None])


def measure_world(material: Material, recipe: Recipe) -> pd.DataFrame:
    """All sides of the claims in one world: setting, encoder, task, metric, split and value, as shares."""
    rows = []
    for setting, encoder, task, value in _sides(material, recipe):
        metric, split = ("same theme", "all") if task == "scene mining" else ("P@1", HELD_OUT)
        rows.append((setting, encoder, task, metric, split, value))
        print(f"  {setting:<7} {encoder:<34} {task} {value:.3f}", flush=True)
    columns = ["setting", "encoder", "task", "metric", "split", "value"]
    about = {"benchmark": EMBEDDED_FILMS, "repeat": f"world {material.world.config.seed}"}
    return pd.DataFrame(rows, columns=columns).assign(**about)


def _sides(material: Material, recipe: Recipe) -> Iterator[tuple[str, str, str, float]]:
    pairs, x, themes = material.film_pairs, material.components, material.themes()
    scene_pairs, movie, _ = material.mined("cowatch")
    plain = mine_pairs(x, pairs["cowatch"], MiningConfig(mined.LENGTH), workers=1)
    yield "row 1", "cowatch", "scene mining", same_theme(scene_pairs, themes).mean()
    yield "row 1", "shot_encoder_whitened", "scene mining", same_theme(plain, themes).mean()
    for name, value in _baselines(material, movie):
        yield "row 1", name, "scene retrieval", value
    whole = train_tokens(material, scene_pairs, recipe)
    yield "row 1", OURS, "scene retrieval", p_at_1(material, whole)
    random, _, _ = material.mined("random")
    random = random.sample(min(len(random), len(scene_pairs)), random_state=0)
    control = train_tokens(material, random, recipe)
    yield "row 10", "ours (random)", "scene retrieval", p_at_1(material, control)
    single = mine_pairs(x, pairs["cowatch"], MiningConfig(1), encoder=movie, workers=1)
    single = single.sample(min(len(single), mined.LENGTH * len(scene_pairs)), random_state=0)
    one = train_tokens(material, single, recipe)
    yield "row 6", OURS, "scene retrieval", p_at_1(material, one, shots_at_once=1)
    quarter = material.share(0.25)
    few, _, _ = quarter.mined("cowatch")
    yield "row 3", OURS, "scene retrieval", p_at_1(material, train_tokens(quarter, few, recipe))
    yield "row 1", "ShotCoL", "scene retrieval", p_at_1(material, shotcol(material, recipe), shots_at_once=1)


def _baselines(material: Material, movie) -> Iterator[tuple[str, float]]:
    """P@1 without contrast, raw and whitened; the claims' whitened mean is the best of its three kinds."""
    found = dict(mined.baselines(material, movie))
    kinds = ("features, mean, whitened", "features whitened, mean", "features whitened, mean, whitened")
    yield "E_shot mean, whitened", max(found[f"{kind}, P@1"] for kind in kinds)
    yield "E_shot mean", found["features, mean, P@1"]
    yield "E_movie mean", found["E_movie, mean, P@1"]
    yield "random init", found["tokens untrained, P@1"]


@torch.inference_mode()
def p_at_1(material: Material, encoder: ShotTokenEncoder, shots_at_once: int = mined.LENGTH) -> float:
    """P@1 of themes for held-out queries, the better of the representation and its whitening.

    Args:
        shots_at_once: 9, or 1: then a scene is the mean of what its shots give one by one.
    """
    windows, shots = material.windows, material.shots()
    parts = torch.from_numpy(windows.shots()).split(64)
    if shots_at_once == 1:
        each = torch.cat([encoder.embed(part[:, None]) for part in shots.split(512)])
        vectors = torch.cat([each[part].mean(1) for part in parts])
    else:
        vectors = torch.cat([encoder.embed(shots[part]) for part in parts])
    vectors = vectors.numpy()
    return max(windows.neighbours(vectors), windows.neighbours(whiten(vectors, windows.held_out)))


def shotcol(material: Material, recipe: Recipe) -> ShotTokenEncoder:
    """ShotCoL on the same features, encoder, steps and frames: the nearest of a shot's neighbours is its key."""
    films = FeatureFilms({film: material.features[film] for film in material.training_films})
    tokens = material.encoder(recipe.components, recipe.seed)
    config = ContrastiveConfig(
        epochs=10, steps=recipe.steps, batch=recipe.batch, lr=recipe.lr, weight_decay=recipe.weight_decay,
        warmup_epochs=0.1, temperature=recipe.temperature, momentum=recipe.momentum, queue=QUEUE,
        queue_filled_only=True, seed=recipe.seed,
    )  # fmt: skip
    pairs = ShotPairs(films, share=1.0, offsets=NEIGHBOURS, seed=recipe.seed)
    momentum_contrast(Training(OneShot(tokens), pairs, config, device=pick_device("auto"), title="ShotCoL"))
    return tokens.eval().cpu()


def frozen(kind: str) -> str:
    """Hash of the claims, the recipe, and the code that draws the worlds of a kind and measures."""
    root, digest = Path(__file__).parents[1], hashlib.blake2b(digest_size=8)
    measured = sorted((root / "benchmarks/gates").glob("*.py"))
    for source in (
        *KINDS[kind].sources,
        *measured,
        Path(__file__),
        root / "m2s_lib/evaluation/paper/primaries.py",
    ):
        digest.update(source.read_bytes())
    return digest.hexdigest()


def verdicts(out: Path, kind: str) -> pd.DataFrame:
    """primaries.csv from all worlds that are done."""
    done = sorted(out.glob("measured-*.csv"))
    table = measure_primaries(
        pd.concat([pd.read_csv(path) for path in done], ignore_index=True), frozen(kind)
    )
    _write(out / "primaries.csv", table)
    return table


def _write(path: Path, table: pd.DataFrame) -> None:
    with atomic_path(path) as temporary:
        table.to_csv(temporary, index=False)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.primaries", description=__doc__.partition("\n")[0]
    )
    known = [*DEVELOPMENT, *REPORTED]
    parser.add_argument("--worlds", type=int, nargs="+", choices=known, default=list(REPORTED), help="seeds")
    parser.add_argument("--kind", choices=list(KINDS), default="stories", help="of the worlds")
    parser.add_argument("--films", type=int, default=FILMS, help="films for training; fewer is for trying it")
    parser.add_argument("--out", default="runs/primaries", help="folder of features and tables")
    options = parser.parse_args(arguments)
    out = Path(options.out) / options.kind
    for seed in options.worlds:
        path = out / f"measured-{seed}.csv"
        if not path.is_file():
            print(f"world {seed}", flush=True)
            world = plan_world(KINDS[options.kind].config(seed, options.films, HELD_OUT_FILMS))
            material = Material(world, picture_features(world, out), out / f"movies-{seed}")
            _write(path, measure_world(material, RECIPE))
    print(verdicts(out, options.kind).to_string(index=False, float_format="%.3f"))
    return 0


if __name__ == "__main__":
    sys.exit(main())
