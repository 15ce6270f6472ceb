"""How seconds grow with the size of the work, stage by stage: `python -m m2s_lib.bench.scaling`.

Writes scaling.csv (stage, variable, size, seconds, exponent), a figure of it, and plan.csv: what the measured
curves say about the paper's MovieCL30K.
"""

import argparse
import itertools
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from m2s_lib.bench.evaluation_paths import film_vectors
from m2s_lib.bench.film_paths import made_up_film
from m2s_lib.bench.setting import Setting, film_like
from m2s_lib.display.plot_figures import scaling_figure
from m2s_lib.evaluation.retrieval import build_index, search
from m2s_lib.files import atomic_path
from m2s_lib.films.decoding import ScanConfig, scan_film
from m2s_lib.films.ingest import ingest_films
from m2s_lib.method.moco import info_nce
from m2s_lib.method.movie_similarity import MovieTrainConfig, train_movie_encoder
from m2s_lib.method.pair_miner import MiningConfig, PairMiner
from m2s_lib.method.scene_encoder import SceneEncoder, SceneEncoderConfig

COLUMNS = ["stage", "variable", "size", "seconds", "exponent"]
# the paper's corpus (section 4.1.1, supp. 1.1), and epochs (4.1.2, supp. 1.1)
PAPER = {"films": 30_340, "shots": 33_000_000, "film pairs": 91_000, "scene pairs": 2_500_000}
EPOCHS = {"02": 100, "04": 100}


def measure(setting: Setting) -> pd.DataFrame:
    """Time every stage's work at several sizes; the exponent is the slope of log seconds over log size."""
    rows = []
    for stage, variable, sizes, work in _works(setting):
        seconds = []
        for size in sizes:
            call = work(size)
            call() if not stage.startswith("01") else None  # reading films keeps nothing to warm up
            seconds.append(min(_seconds(call) for _ in range(1 if setting.small else 2)))
        rows += [
            (stage, variable, n, s, exponent(sizes, seconds)) for n, s in zip(sizes, seconds, strict=True)
        ]
        print(f"{stage} by {variable}: exponent {rows[-1][-1]:.2f}", file=sys.stderr, flush=True)
    return pd.DataFrame(rows, columns=COLUMNS)


def exponent(sizes, seconds) -> float:
    """Slope of log(seconds) over log(size): 1 is linear, 2 is quadratic.

    >>> round(exponent([1, 2, 4], [3.0, 6.0, 12.0]), 6)
    1.0
    """
    return float(np.polyfit(np.log(sizes), np.log(seconds), 1)[0])


def _seconds(call: Callable) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def _works(setting: Setting) -> Iterator[tuple[str, str, list[int], Callable[[int], Callable]]]:
    """Stage, what grows, the sizes, and a function that makes the work of a size."""
    small, folder = setting.small, setting.folder

    def scan_films(n: int) -> Callable:
        film, _ = made_up_film(folder, 4, *((320, 180) if small else (854, 480)))
        table = pd.DataFrame({"film_id": [f"copy{i}" for i in range(n)], "path": film, "status": "pending"})
        for column in ("n_shots", "fps", "duration_s", "reason"):
            table[column] = "" if column == "reason" else np.nan

        def call() -> None:
            out = folder / "ingested"
            shutil.rmtree(out, ignore_errors=True)
            read = ingest_films(table, out, ScanConfig())
            assert set(read["status"]) == {"ok"}

        return call

    def scan_shots(n: int) -> Callable:
        film, _ = made_up_film(folder, n, *((320, 180) if small else (854, 480)))
        return lambda: scan_film(film, ScanConfig())

    def movie_epoch(n: int) -> Callable:
        rng, films = np.random.default_rng(0), 40
        features = {f"film{i:02d}": film_like(rng, 128 if small else 1024) for i in range(films)}
        names = list(itertools.combinations(features, 2))[:n]
        pairs = pd.DataFrame(names, columns=["film_a", "film_b"])
        config = MovieTrainConfig(epochs=1, batch=32, held_out=0)
        return lambda: train_movie_encoder(features, pairs, config)

    def mine(films: int, shots: int) -> Callable:
        rng = np.random.default_rng(0)
        features = {f"film{i}": film_like(rng, shots) for i in range(films)}
        miner = PairMiner(features, MiningConfig(9))
        return lambda: miner.mine(list(itertools.combinations(features, 2)))

    def scene_step(n: int, shots: int = 9) -> Callable:
        encoder = SceneEncoder(SceneEncoderConfig.preset("test" if small else "tiny"))
        size = encoder.config.image_size
        scenes = torch.zeros(n, shots, 1, size, size, 3, dtype=torch.uint8)

        def call() -> None:
            for part in scenes.split(16):
                q = torch.nn.functional.normalize(encoder(part), dim=1)
                with torch.no_grad():
                    k = torch.nn.functional.normalize(encoder(part), dim=1)
                info_nce(q, k[:, None], k.detach()).loss.backward()

        return call

    def nearest(n: int) -> Callable:
        x = film_vectors(np.random.default_rng(0), n)
        index = build_index(x)
        return lambda: search(index, x, x[:100], 10)

    def scaled(sizes: list[int], divide: int = 1) -> list[int]:
        return [max(n // divide, 1) for n in sizes] if small else sizes

    yield "01 shot encoding", "films", scaled([2, 4, 8], 2), scan_films
    yield "01 shot encoding", "shots of a film", scaled([8, 16, 32], 4), scan_shots
    yield "02 movie similarity", "film pairs", scaled([64, 128, 256], 16), movie_epoch
    yield "03 scene mining", "films", scaled([6, 12, 24], 3), lambda n: mine(n, 100 if small else 500)
    yield "03 scene mining", "shots of a film", scaled([500, 1000, 2000], 10), lambda n: mine(3, n)
    yield "04 MoCo training", "scene pairs", scaled([32, 64, 128], 16), scene_step
    yield "04 MoCo training", "shots of a scene", [4, 9, 16], lambda n: scene_step(4 if small else 16, n)
    yield "search", "scenes", scaled([50_000, 100_000, 200_000], 100), nearest


def plan(curves: pd.DataFrame, machines: int = 1) -> pd.DataFrame:
    """Hours that the measured curves give for the paper's corpus on `machines` like the measured one.

    Linear in films, pairs and scene pairs from the largest size measured; the encoders are the measured ones,
    which on a CPU are not the paper's. Columns stage, what, amount, seconds_each, hours.
    """
    last = curves.groupby(["stage", "variable"], sort=False).tail(1).set_index(["stage", "variable"])
    each = last["seconds"] / last["size"]
    amounts = [
        ("01 shot encoding", "shots of a film", "shots", PAPER["shots"]),
        ("02 movie similarity", "film pairs", "film pairs x epochs", PAPER["film pairs"] // 2 * EPOCHS["02"]),
        ("03 scene mining", "shots of a film", "film pairs", PAPER["film pairs"] // 2),
        ("04 MoCo training", "scene pairs", "scene pairs x epochs", PAPER["scene pairs"] * EPOCHS["04"]),
    ]
    rows = []
    for stage, variable, what, amount in amounts:
        seconds = float(each[stage, variable])
        if stage.startswith("03"):  # three pairs of films of 1,088 shots, the cost grows with both films
            size = float(last.loc[(stage, variable), "size"])
            power = float(last.loc[(stage, variable), "exponent"])
            films = PAPER["shots"] / PAPER["films"]
            seconds = float(last.loc[(stage, variable), "seconds"]) / 3 * (films / size) ** power
        rows.append((stage, what, amount, seconds, seconds * amount / 3600 / machines))
    return pd.DataFrame(rows, columns=["stage", "what", "amount", "seconds_each", "hours"])


def main(arguments: list[str] | None = None) -> int:
    """Measure, draw, plan."""
    parser = argparse.ArgumentParser(prog="python -m m2s_lib.bench.scaling", description=__doc__)
    parser.add_argument("--out", default="runs/scaling", help="folder of scaling.csv, scaling.png, plan.csv")
    parser.add_argument("--machines", type=int, default=1, help="machines like this one, for the plan")
    parser.add_argument("--small", action="store_true", help="small sizes, to see that it runs")
    options = parser.parse_args(arguments)
    out = Path(options.out)
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="m2s_scaling") as folder:
        curves = measure(Setting(Path(folder), torch.device("cpu"), options.small))
    with atomic_path(out / "scaling.csv") as temporary:
        curves.to_csv(temporary, index=False)
    planned = plan(curves, options.machines)
    with atomic_path(out / "plan.csv") as temporary:
        planned.to_csv(temporary, index=False)
    scaling_figure(curves).savefig(out / "scaling.png", dpi=150)
    print(curves.to_string(index=False, float_format="%.4g"))
    print(f"\nthe paper's corpus on {options.machines} machine(s) like this one:")
    print(planned.to_string(index=False, float_format="%.4g"))
    return 0


if __name__ == "__main__":
    sys.exit(main())
