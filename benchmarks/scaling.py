"""How CPU seconds grow with the size of the work, stage by stage: `python -m benchmarks.scaling`.

Writes scaling.csv (stage, variable, size, turn, seconds, exponent and its interval), scaling.png and
plan.csv: what the curves and a GPU's rates say about the paper's corpus (`bench.plan`).
"""

import argparse
import itertools
import math
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from scipy import stats

from benchmarks.evaluation_paths import film_vectors
from benchmarks.film_paths import SHOT, SIDE, made_up_film
from benchmarks.load_films import watch_log, write_store
from benchmarks.plan import Machine, gpu_rates, plan, readable_plan
from benchmarks.setting import Setting, film_like
from m2s_lib.display.palette import OKABE_ITO
from m2s_lib.display.style import WIDTH, new_figure, safe_text, styled
from m2s_lib.errors import M2SError
from m2s_lib.evaluation.retrieval.index import search
from m2s_lib.films.similarity.similar_films import similar_films
from m2s_lib.films.store.shot_store import open_stores
from m2s_lib.films.video.decoding import ScanConfig, scan_film
from m2s_lib.io import atomic_path
from m2s_lib.method.moco import info_nce
from m2s_lib.method.movie_encoder import MoviePairModel
from m2s_lib.method.scene_encoder import SceneEncoder, SceneEncoderConfig, ScenePairs
from m2s_lib.method.shot_encoder import ShotEncoder, ShotEncoderConfig
from m2s_lib.mining.miner import MiningConfig, PairMiner

COLUMNS = ["stage", "variable", "size", "turn", "seconds", "exponent", "low", "high"]
TURNS = 2  # of each size; all of them go into the fit
N = 9  # shots of a scene


class Curve(NamedTuple):
    """One kind of work at several sizes; `make(size)` prepares it and gives what is timed."""

    stage: str
    variable: str
    sizes: list[int]
    make: Callable[[int], Callable]
    turns: int = TURNS


def measure(setting: Setting) -> pd.DataFrame:
    """Time every stage's work at several sizes, on one core; a row (COLUMNS) a turn."""
    rows, threads = [], torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        for curve in _curves(setting):
            times = []
            for size in curve.sizes:
                call = curve.make(size)
                if len(curve.sizes) > 2:
                    call()  # what is prepared once; the slowest works are not done a third time for it
                times += [(size, turn, _seconds(call)) for turn in range(curve.turns)]
            power = exponent([size for size, _, _ in times], [s for _, _, s in times])
            rows += [(curve.stage, curve.variable, *one, *power) for one in times]
            said = f"{power[0]:.2f} ({power[1]:.2f} to {power[2]:.2f})"
            print(f"{curve.stage} by {curve.variable}: exponent {said}", file=sys.stderr, flush=True)
    finally:
        torch.set_num_threads(threads)
    return pd.DataFrame(rows, columns=COLUMNS)


def exponent(sizes, seconds) -> tuple[float, float, float]:
    """Slope of log seconds over log size (1 is linear, 2 quadratic) and its 95 % interval (Student's t).

    >>> [round(x, 6) for x in exponent([1, 2, 4], [3.0, 6.0, 12.0])]
    [1.0, 1.0, 1.0]
    """
    fit = stats.linregress(np.log(sizes), np.log(seconds))
    half = float(stats.t.ppf(0.975, len(sizes) - 2) * fit.stderr) if len(sizes) > 2 else float("nan")
    return float(fit.slope), float(fit.slope) - half, float(fit.slope) + half


def _seconds(call: Callable) -> float:
    """CPU seconds of this process: work beside it slows the clock on the wall, but hardly this one."""
    start = time.process_time()
    call()
    return time.process_time() - start


def _curves(setting: Setting) -> Iterator[Curve]:
    yield from _film_curves(setting)
    yield from _pair_curves(setting)
    yield from _scene_curves(setting)


def _film_curves(setting: Setting) -> Iterator[Curve]:
    """01: decoding with cuts and keyframes, keyframes of known shots, E_shot."""
    size = (320, 180) if setting.small else (854, 480)
    shots = [2, 3] if setting.small else [4, 8, 12, 16]
    config = ScanConfig(frame_size=SIDE)

    def scan(films: int, of: int) -> Callable:
        path, _ = made_up_film(setting.folder, of, *size)
        return lambda: [scan_film(path, config) for _ in range(films)]

    def keyframes(of: int) -> Callable:
        path, table = made_up_film(setting.folder, of, *size)
        codec = ScanConfig(frame_size=SIDE, keyframe="codec")
        return lambda: scan_film(path, codec, table)

    encoder = ShotEncoder(ShotEncoderConfig.preset("test") if setting.small else ShotEncoderConfig())
    side = encoder.config.image_size

    def pictures(n: int) -> torch.Tensor:
        return torch.zeros(n, 1, side, side, 3, dtype=torch.uint8)

    def encode(n: int) -> Callable:
        x = pictures(n)

        @torch.inference_mode()
        def call() -> None:
            for part in x.split(16):
                encoder.embed(part)

        return call

    yield Curve("01 decode", "films", [1, 2] if setting.small else [1, 2, 4, 8], lambda n: scan(n, shots[0]))
    yield Curve("01 decode", "frames", [SHOT * n for n in shots], lambda n: scan(1, n // SHOT))
    yield Curve("01 keyframes of known shots", "shots", shots, keyframes)
    yield Curve("01 encode", "shots", [2, 4] if setting.small else [4, 8, 16, 32], encode)
    yield Curve("01 E_shot step", "shots", [2, 4] if setting.small else [2, 4, 8],
                lambda n: _step(encoder, pictures(n), keys=2), 1)  # fmt: skip


def _step(encoder: torch.nn.Module, x: torch.Tensor, keys: int = 1) -> Callable:
    """Query and keys of every item, InfoNCE, backward; the optimiser's part is one of many thousand."""

    def call() -> None:
        for part in x.split(8):
            q = F.normalize(encoder(part).float(), dim=1)
            with torch.no_grad():
                k = torch.stack([F.normalize(encoder(part).float(), dim=1) for _ in range(keys)], 1)
            info_nce(q, k, k[:, 0]).loss.backward()

    return call


def _pair_curves(setting: Setting) -> Iterator[Curve]:
    """02 and 03: similar films of a watch log, E_movie's step, mining."""
    small, rng = setting.small, np.random.default_rng(0)

    def similar(films: int) -> Callable:
        ids = np.array([f"film{i:05d}" for i in range(films)], object)
        path = setting.folder / f"log-{films}.parquet"
        watch_log(ids, 0).to_parquet(path)
        table = pd.DataFrame({"film_id": ids, "imdb_id": ""})
        return lambda: similar_films("cowatch", table, watch_log=path)

    def movie_step(pairs: int) -> Callable:
        model = MoviePairModel().train()
        x = torch.randn(2, 2, 128 if small else model.pooling.shots, 512)
        lengths = torch.full((2,), x.shape[2])

        def call() -> None:
            for _ in range(pairs // 2):
                loss = F.cross_entropy(model(x[0], lengths, x[1], lengths), torch.tensor([0, 1]))
                loss.backward()

        return call

    def mine(films: int, shots: int, pairs: int) -> Callable:
        features = {f"film{i:02d}": film_like(rng, shots) for i in range(films)}
        miner = PairMiner(features, MiningConfig(N))
        return lambda: miner.mine(list(itertools.combinations(features, 2))[:pairs])

    films, pairs = ([100, 200], [2, 4]) if small else ([500, 1000, 2000, 4000], [4, 8, 16, 32])
    yield Curve("02 similar films", "films", films, similar)
    yield Curve("02 E_movie step", "film pairs", pairs, movie_step)
    yield Curve("03 mining", "film pairs", [3, 6] if small else [16, 32, 64, 128],
                lambda n: mine(4 if small else 17, 60 if small else 500, n))  # fmt: skip
    yield Curve("03 mining", "shots of a film", [50, 100] if small else [250, 500, 1000, 2000],
                lambda n: mine(3, n, 3))  # fmt: skip


def _scene_curves(setting: Setting) -> Iterator[Curve]:
    """04 and 08: E_scene's step on small and on the paper's encoder, its data, embedding, search."""
    small = setting.small
    tiny = SceneEncoder(SceneEncoderConfig.preset("test" if small else "tiny"))
    base = SceneEncoder(SceneEncoderConfig.preset("test") if small else SceneEncoderConfig())

    def scenes(encoder: SceneEncoder, n: int, shots: int = N) -> torch.Tensor:
        side = encoder.config.image_size
        return torch.zeros(n, shots, 1, side, side, 3, dtype=torch.uint8)

    def data(n: int) -> Callable:
        rng, shots = np.random.default_rng(0), 120
        for i in range(4):
            write_store(setting.folder / "stores", f"film{i}", shots, SIDE, rng)
        films = rng.integers(0, 4, (2, n))
        table = {f"film_{side}": [f"film{i}" for i in films[row]] for row, side in enumerate("ab")}
        table |= {f"shot_{side}": rng.integers(0, shots - N, n) for side in "ab"}
        source = ScenePairs(pd.DataFrame(table).assign(n_shots=N), open_stores(setting.folder / "stores"))
        return lambda: source.batch(np.arange(n), np.random.default_rng(0))

    def embed(n: int) -> Callable:
        x = scenes(base, n)

        @torch.inference_mode()
        def call() -> None:
            for part in x.split(4):
                base.embed(part)

        return call

    def nearest(n: int) -> Callable:
        x = film_vectors(np.random.default_rng(0), n)
        return lambda: search(x, x[:100], 10)

    yield Curve("04 step, tiny encoder", "scene pairs", [2, 4] if small else [8, 16, 32, 64],
                lambda n: _step(tiny, scenes(tiny, n)))  # fmt: skip
    yield Curve("04 step, tiny encoder", "shots of a scene", [4, 9, 16],
                lambda n: _step(tiny, scenes(tiny, 4 if small else 16, n)))  # fmt: skip
    yield Curve("04 step", "scene pairs", [1, 2], lambda n: _step(base, scenes(base, n)), 1)
    yield Curve("04 data", "scene pairs", [4, 8] if small else [32, 64, 128, 256], data)
    yield Curve("08 embed", "scenes", [1, 2] if small else [1, 2, 4], embed, 1)
    yield Curve("08 search", "scenes", [500, 1000] if small else [50_000, 100_000, 200_000], nearest)


def _parser() -> argparse.ArgumentParser:
    machine = Machine()
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scaling", description=__doc__)
    parser.add_argument("--out", default="runs/scaling", help="folder of scaling.csv, scaling.png, plan.csv")
    parser.add_argument("--small", action="store_true", help="small sizes, to see that it runs")
    parser.add_argument("--curves", help="plan from this scaling.csv instead of measuring")
    parser.add_argument("--gpu-bench", help="bench.json of `make bench-gpu`: measured rates for estimates")
    for name, default, words in (
        ("gpu-tflops", machine.tflops, "TFLOP/s, bf16 matrix products of the GPU of the estimates"),
        ("gpu-share", machine.share, "share of that which training reaches"),
        ("cores", machine.cores, "CPU cores beside each GPU"),
        ("efficiency", machine.efficiency, "of eight GPUs: their speed over eight times one's"),
        ("minutes", machine.minutes, "length of a film"),
        ("gpu-price", machine.gpu_price, "money for a GPU-hour; without it no cost is shown"),
        ("core-price", machine.core_price, "money for a core-hour"),
    ):
        parser.add_argument(f"--{name}", type=float, default=default, help=f"{words} (default {default:g})")
    return parser


@styled
def scaling_figure(curves: pd.DataFrame):
    """Seconds over size, both logarithmic, a panel for each thing that grows.

    The line goes through the fastest turn of each size; the points are all turns.

    Args:
        curves: columns stage, variable, size, seconds, exponent, and its interval low, high where known.
    """
    groups = list(curves.groupby(["stage", "variable"], sort=False))
    columns = 3
    fig = new_figure(WIDTH, 2.2 * math.ceil(len(groups) / columns))
    for i, ((stage, variable), rows) in enumerate(groups):
        axes = fig.add_subplot(math.ceil(len(groups) / columns), columns, i + 1)
        best = rows.groupby("size", as_index=False)["seconds"].min()
        axes.loglog(best["size"], best["seconds"], color=OKABE_ITO[0])
        axes.loglog(rows["size"], rows["seconds"], "o", markersize=4, color=OKABE_ITO[0])
        axes.minorticks_off()
        axes.set_xticks(best["size"], [f"{n:,.0f}" for n in best["size"]])
        axes.set_yticks(best["seconds"], [f"{s:.2g}" for s in best["seconds"]])
        low, high = (float(rows[c].iloc[0]) if c in rows else math.nan for c in ("low", "high"))
        interval = "" if math.isnan(low) else f" ({low:.2f} to {high:.2f})"
        axes.set_title(f"{stage}\nexponent {rows['exponent'].iloc[0]:.2f}{interval}", loc="left", fontsize=8)
        axes.set_xlabel(safe_text(variable), fontsize=8)
        axes.set_ylabel("seconds", fontsize=8)
    fig.set_layout_engine("tight")
    growth = (f"{s} by {v} to the power {rows['exponent'].iloc[0]:.2f}" for (s, v), rows in groups)
    fig.m2s_alt = "Seconds over size: " + "; ".join(growth) + "."
    return fig


def main(arguments: list[str] | None = None) -> int:
    """Measure, draw, plan."""
    options = _parser().parse_args(arguments)
    out = Path(options.out)
    machine = Machine(
        options.gpu_tflops, options.gpu_share, options.cores, options.efficiency, options.minutes,
        options.gpu_price, options.core_price,
    )  # fmt: skip
    try:
        measured = gpu_rates(options.gpu_bench) if options.gpu_bench else {}
        if options.curves:
            curves = pd.read_csv(options.curves)
        else:
            with tempfile.TemporaryDirectory(prefix="m2s_scaling") as folder:
                curves = measure(Setting(Path(folder), torch.device("cpu"), options.small))
        planned = plan(curves, machine, measured)
    except M2SError as error:
        print(f"m2s scaling: {error}", file=sys.stderr)
        return 1
    for name, table in (("scaling", curves), ("plan", planned)):
        with atomic_path(out / f"{name}.csv") as temporary:
            table.to_csv(temporary, index=False)
    scaling_figure(curves).savefig(out / "scaling.png", dpi=150)
    best = curves.groupby(["stage", "variable", "size"], sort=False).min().drop(columns="turn").reset_index()
    print(f"CPU seconds, the best of {TURNS} turns, one thread; exponents with their 95 % interval")
    print(best.to_string(index=False, float_format="%.4g"))
    print("\nthe plan")
    print(readable_plan(planned, machine))
    return 0


if __name__ == "__main__":
    sys.exit(main())
