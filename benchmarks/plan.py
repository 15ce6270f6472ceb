"""What measured curves say about the paper's corpus: hours, cores, storage on one GPU and on eight.

CPU work is the measured curves, on cores like the measured one. GPU work is an estimate from its FLOPs, and
says so, until `make bench-gpu` has measured that path on a GPU.
"""

import math
import os
from dataclasses import dataclass
from typing import NamedTuple

import pandas as pd

from m2s_lib.errors import M2SError
from m2s_lib.io import read_json

GPUS = (1, 8)
# the paper's corpus (section 4.1.1, supp. 1.1); pairs have no order. E_shot: supp. 1.1, and 20 epochs, ours
FILMS, SHOTS, FILM_PAIRS, SCENE_PAIRS, EPOCHS = 30_340, 33_000_000, 45_510, 2_500_000, 100
SHOT_EPOCHS, SHOT_SHARE, SCENE, BATCH = 20, 0.3, 9, 128
COLUMNS = ["stage", "work", "amount", "cpu_rate", "gpu_rate", "source", "hours_1", "hours_8", "cores_1",
           "cores_8", "storage_gb", "gpu_hours", "core_hours", "cost"]  # fmt: skip


@dataclass(frozen=True)
class Machine:
    """What the plan assumes of a machine; none of it is measured here."""

    tflops: float = 790.0  # bf16 matrix products of an H200, TFLOP/s
    share: float = 0.4  # of them that a transformer's training reaches; published ones reach 0.3 to 0.45
    cores: float = 16.0  # CPU cores beside each GPU
    efficiency: float = 0.9  # of eight GPUs: their speed over eight times one's
    minutes: float = 110.0  # length of a film
    gpu_price: float = 0.0  # money for a GPU-hour, 0 where nobody has said
    core_price: float = 0.0  # money for a core-hour


class Task(NamedTuple):
    """One kind of work of the corpus."""

    stage: str  # of the curve
    variable: str  # of the curve
    work: str
    amount: float
    flops: float = 0.0  # of one item on a GPU; 0 is CPU work
    path: str = ""  # of bench.json, "" for none
    per: float = 1.0  # seconds of one item over those of one of the path's items
    storage: float = 0.0  # bytes that it leaves
    own: bool = True  # whether it counts in the sum


def vit_flops(tokens: int, width: int = 768, depth: int = 12, patch: int = 16) -> float:
    """Forward FLOPs of a ViT: a multiplication and an addition are two.

    >>> round(vit_flops(577) / 1e9)
    111
    """
    block = 24 * tokens * width**2 + 4 * tokens**2 * width
    return depth * block + 2.0 * (tokens - 1) * 3 * patch**2 * width


def tasks(machine: Machine) -> list[Task]:
    """All work from the films to a searchable collection, in order."""
    frames = FILMS * machine.minutes * 60 * 24
    shot, scene = vit_flops(65), vit_flops(64 * SCENE + 1)
    queries, scenes = SHOTS * SHOT_SHARE * SHOT_EPOCHS, SHOTS // SCENE
    # a forward of the query, one for each key, a backward that is two forwards
    pair = 2 * 2 * 968 * 512 * 512 * 2  # FC1 forward and its weights' gradient, on both films' shots
    return [
        Task("01 decode", "frames", "frames decoded, cuts found", frames, storage=SHOTS * 128 * 128 * 3.0),
        Task("01 keyframes of known shots", "shots", "shots, instead of decoding: your own tables", SHOTS,
             own=False),
        Task("01 E_shot step", "shots", "queries of E_shot", queries, 5 * shot, "shot encoder", 5),
        Task("01 encode", "shots", "shots encoded", SHOTS, shot, "shot encoder", storage=SHOTS * 2048.0),
        Task("02 similar films", "films", "films compared by their viewers", FILMS),
        Task("02 E_movie step", "film pairs", "film pairs x epochs, as many random", 2 * FILM_PAIRS * EPOCHS,
             pair, "movie pair step"),
        Task("03 mining", "shots of a film", "film pairs mined", FILM_PAIRS, 2 * (SHOTS / FILMS) ** 2 * 512,
             "scene mining", storage=SCENE_PAIRS * 60.0),
        Task("04 data", "scene pairs", "scene pairs x epochs read", SCENE_PAIRS * EPOCHS),
        Task("04 step", "scene pairs", "scene pairs x epochs", SCENE_PAIRS * EPOCHS, 4 * scene, "MoCo step",
             1 / BATCH),
        Task("08 embed", "scenes", "scenes embedded", scenes, scene, "MoCo step", 1 / (4 * BATCH),
             storage=scenes * (2 * 768 + 768 + 2 * 512 + 64) * 4.0),
    ]  # fmt: skip


def plan(curves: pd.DataFrame, machine: Machine, measured: dict[str, float] | None = None) -> pd.DataFrame:
    """Hours, cores and storage of the paper's corpus.

    Args:
        curves: of `scaling.measure`.
        measured: seconds of an item by path, of `gpu_rates`; what it lacks is estimated.

    Returns:
        COLUMNS, a row a task: cpu_rate (items a second on one core, measured), gpu_rate (on one GPU), source
        (where that comes from), hours_1 and hours_8 (on one GPU and on eight, CPU work on the cores
        beside them), cores_1 and cores_8 (that keep up with the GPUs), storage_gb, gpu_hours and core_hours
        (on one GPU), cost (NaN without prices).
    """
    rows = [_row(task, _rate(curves, task), machine, measured or {}) for task in tasks(machine)]
    table = pd.DataFrame(rows, columns=COLUMNS)
    feed = table.loc[table["stage"] == "04 data"].iloc[0]
    step = table["stage"] == "04 step"  # the cores that read its scenes in the time of the steps
    for n in GPUS:
        table.loc[step, f"cores_{n}"] = math.ceil(
            feed["core_hours"] / float(table.loc[step, f"hours_{n}"].iloc[0])
        )
    return table


def _rate(curves: pd.DataFrame, task: Task) -> float:
    """Items a second on one core at the largest size measured; mining is brought to the paper's films by its
    exponent."""
    rows = curves[(curves["stage"] == task.stage) & (curves["variable"] == task.variable)]
    if rows.empty:
        raise M2SError(f"the curves lack {task.stage!r} by {task.variable!r}: measure them again")
    last = rows[rows["size"] == rows["size"].max()]
    size, seconds = float(last["size"].iloc[0]), float(last["seconds"].min())
    if task.variable != "shots of a film":
        return size / seconds
    return 3 / (seconds * (SHOTS / FILMS / size) ** float(last["exponent"].iloc[0]))  # three pairs of films


def _row(task: Task, rate: float, machine: Machine, measured: dict[str, float]) -> tuple:
    speed, source = _gpu(task, machine, measured)
    gpu = task.amount / speed / 3600 if speed else 0.0
    core = 0.0 if speed else task.amount / rate / 3600
    hours = [gpu / (n * (machine.efficiency if n > 1 else 1)) + core / (n * machine.cores) for n in GPUS]
    cores = [0.0 if speed else n * machine.cores for n in GPUS]
    priced = machine.gpu_price or machine.core_price
    cost = gpu * machine.gpu_price + core * machine.core_price if priced else math.nan
    kept = (task.amount, rate, speed or math.nan, source, *hours, *cores, task.storage / 1e9, gpu, core, cost)
    return (task.stage, task.work, *kept)


def _gpu(task: Task, machine: Machine, measured: dict[str, float]) -> tuple[float, str]:
    """Items a second on one GPU and where that comes from; 0 for CPU work."""
    if not task.flops:
        return 0.0, "CPU, measured"
    if task.path in measured:
        whole = "measured" if task.per in (1.0, 1 / BATCH) else "from the measured forward or step"
        return 1 / (measured[task.path] * task.per), f"{whole}: {task.path!r} of bench.json"
    if task.stage == "03 mining":  # strict float32, and the choice, which is no matrix product
        return 1500.0, "estimate: 90,000 pairs a minute; the choice is no matrix product"
    speed = machine.tflops * 1e12 * machine.share / task.flops
    return (
        speed,
        f"estimate: {task.flops / 1e9:.3g} GFLOP at {machine.share:.0%} of {machine.tflops:g} TFLOP/s",
    )


def gpu_rates(path: str | os.PathLike) -> dict[str, float]:
    """Seconds of an item by path, from a bench.json that a GPU wrote.

    Paths that could not be run are left out. Raises M2SError for a file that is no bench.json, or one of a CPU.
    """
    found = read_json(path)
    if not isinstance(found, list) or not all(isinstance(r, dict) and "name" in r for r in found):
        raise M2SError(f"{path} is no bench.json: give the one that `make bench-gpu` writes")
    measured = [r for r in found if "t_ours" in r and r.get("device") == "cuda"]
    on_gpu = {r["name"]: float(r["t_ours"]) for r in measured}
    if not on_gpu:
        raise M2SError(f"{path} holds no GPU's times: run `make bench-gpu` on a machine that has one")
    return on_gpu


def readable_plan(table: pd.DataFrame, machine: Machine) -> str:
    """The plan as text, with its sums and what it assumes."""
    shown = table if table["cost"].notna().any() else table.drop(columns="cost")
    own = table[[task.own for task in tasks(machine)]]
    sums = own[["hours_1", "hours_8", "storage_gb", "gpu_hours", "core_hours", "cost"]].sum()
    lines = [
        shown.to_string(index=False, float_format="%.3g"),
        f"in all, one after the other: {sums['hours_1']:,.0f} hours on one GPU with {machine.cores:g} cores, "
        f"{sums['hours_8']:,.0f} on eight with {8 * machine.cores:g}; {sums['gpu_hours']:,.0f} GPU-hours, "
        f"{sums['core_hours']:,.0f} core-hours; {sums['storage_gb']:,.0f} GB beside the films",
        f"assumed: films of {machine.minutes:g} minutes at 24 frames a second, decoded at 480 lines; eight "
        f"GPUs {machine.efficiency:.0%} as fast as eight times one",
    ]
    return "\n".join(lines)
