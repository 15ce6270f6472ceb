"""Probes: small MLPs on frozen features, many trained together (section 4.1.2, supp. 1.2-1.4).

>>> probes = train_probes(x, y, x_val, y_val, [ProbeConfig(seed=s) for s in range(3)])
>>> probes[0].predict(x_test)  # the test items are seen here for the first time
"""

import dataclasses
import functools
import math
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from m2s_lib.errors import M2SError
from m2s_lib.evaluation.probes.item_stack import ItemStack
from m2s_lib.evaluation.probes.probe_scores import CHOICES, LOSSES, probabilities
from m2s_lib.evaluation.probes.probe_training import MLPStack, StackData, train_stack
from m2s_lib.evaluation.vectors import checked_rows

_CHOICE = {"cross_entropy": "top-1", "mse": "loss", "bce": "ap"}  # what a task is measured by
_TOGETHER = {
    "cpu": 32,
    "cuda": 256,
}  # models in one stack; fewer and longer steps wait less for Python's lock
_WIDE_ON_CPU = 128  # from this hidden width on, weights leave the CPU's caches and stacking gains nothing


@dataclasses.dataclass(frozen=True)
class ProbeConfig:
    """How one probe is built and trained; the paper's for each task are in `lvu`, `movienet` and `mcd`."""

    loss: str = "cross_entropy"  # 'cross_entropy', 'mse', or 'bce': several labels an item
    hidden: int = 512  # width of each hidden layer (supp. 1.3, 1.4)
    layers: int = 2  # hidden layers (section 4.1.2); 0 is a linear probe
    lr: float = 0.1  # of plain SGD, constant; the paper names no momentum or schedule
    batch: int = 128  # items a step; the last one of an epoch may be smaller
    epochs: int = 400  # supp. Table 1; small runs need fewer
    dropout: float = 0.1  # after each hidden layer
    clip: float = 0.0  # largest norm of a step's gradient, 0 is none; squared errors can run away without
    seed: int = 0  # first weights, order of items and dropout
    standardize: bool = True  # features to mean 0 and variance 1 on the training items, so that one learning
    # rate suits encoders of different scales; the paper does not say whether it did
    choose: str = ""  # validation score that picks the epoch: 'top-1', 'ap' or 'loss'; '' by the loss
    patience: int = 0  # stop after so many epochs without a better one; 0 runs all, as the paper

    def __post_init__(self):
        if self.loss not in LOSSES or self.choose not in ("", *CHOICES):
            raise M2SError(
                f"loss {self.loss!r} and choose {self.choose!r}: expected one of {LOSSES}, and one of "
                f"{CHOICES} or ''"
            )
        if (
            self.choose == "top-1"
            and self.loss != "cross_entropy"
            or self.choose == "ap"
            and self.loss == "mse"
        ):
            raise M2SError(f"an epoch cannot be chosen by {self.choose!r} when the loss is {self.loss!r}")
        for name, low, high in (
            ("hidden", 1, 1 << 16), ("layers", 0, 8), ("lr", 0, 1e6), ("clip", 0, 1e6), ("batch", 1, 1 << 24),
            ("epochs", 1, 1 << 20), ("seed", 0, (1 << 63) - 1), ("patience", 0, 1 << 20),
        ):  # fmt: skip
            if not low <= getattr(self, name) <= high:
                raise M2SError(f"{name} is {getattr(self, name)}, expected {low}..{high}")
        if not 0 <= self.dropout < 1:
            raise M2SError(f"dropout is {self.dropout}, expected 0 or more and below 1")

    @property
    def choice(self) -> str:
        """The validation score that picks the epoch."""
        return self.choose or _CHOICE[self.loss]


@dataclasses.dataclass(frozen=True)
class ProbeData:
    """Training and validation items of one task.

    Labels: class numbers int [n] for 'cross_entropy', numbers [n] or [n, C] for 'mse', 0/1 [n, C] for 'bce'.
    """

    x_train: np.ndarray  # float32 [n, d]
    y_train: np.ndarray
    x_val: np.ndarray
    y_val: np.ndarray
    outputs: int = 0  # C; 0 takes it from the labels. Give it where a class may have no training item
    val_groups: np.ndarray | None = None  # [n_val] windows of one video: their outputs are averaged
    name: str = ""  # in messages


@dataclasses.dataclass(eq=False)
class Probe:
    """A trained probe with the weights of its best epoch on validation."""

    config: ProbeConfig
    weights: list[Tensor]  # W [in, out], b [1, out], layer after layer, on the CPU
    mean: np.ndarray  # float32 [d], taken off the features
    scale: np.ndarray  # float32 [d], then divided by
    best_epoch: int  # 0: no epoch was finite, these are the first weights
    val_score: float  # by config.choice, higher is better
    val_loss: float
    diverged_at: int  # epoch after which the loss was not finite; 0 is never
    history: pd.DataFrame  # epoch, val_loss, val_score

    def predict(self, x: np.ndarray) -> np.ndarray:
        """Probabilities of the classes, or predicted numbers: features float32 [n, d] -> float32 [n, C].

        Raises M2SError for features of another width or that are not finite.
        """
        x = checked_rows(x, "features to predict from", len(self.mean))
        h = torch.from_numpy((x - self.mean) / self.scale)
        for i in range(0, len(self.weights) - 2, 2):
            h = torch.addmm(self.weights[i + 1], h, self.weights[i]).relu_()
        return probabilities(self.config.loss, torch.addmm(self.weights[-1], h, self.weights[-2])).numpy()


def train_probes(
    x_train: np.ndarray,
    y_train: np.ndarray,
    x_val: np.ndarray,
    y_val: np.ndarray,
    configs: Sequence[ProbeConfig],
    *,
    outputs: int = 0,
    val_groups: np.ndarray | None = None,
    device: torch.device | str = "cpu",
    together: int | None = None,
) -> list[Probe]:
    """Train one probe for each config on the same items; see `ProbeData` and `train_probe_sets`."""
    data = ProbeData(x_train, y_train, x_val, y_val, outputs, val_groups)
    return train_probe_sets([(data, configs)], device=device, together=together)[0]


def train_probe_sets(
    tasks: Sequence[tuple[ProbeData, Sequence[ProbeConfig]]],
    *,
    device: torch.device | str = "cpu",
    together: int | None = None,
) -> list[list[Probe]]:
    """Train the probes of several tasks, stacking those of one shape and batch size.

    A probe is the same whatever it is stacked with, up to rounding. A loss that is no longer finite ends that
    probe, not the others.

    Args:
        tasks: items of each task and the configs to train on them.
        device: where to train.
        together: probes in a stack at most; None: 256 on a GPU, 64 on a CPU, but 1 for wide layers there.

    Returns:
        The probes of each task, in the order of its configs.

    Raises:
        M2SError: features that are not finite or of two widths, labels that do not fit; the task is named.
    """
    checked = [_checked(data, configs) for data, configs in tasks]
    groups: dict[tuple, list[tuple[int, int]]] = {}
    for t, (_, configs) in enumerate(tasks):
        for i, config in enumerate(configs):
            groups.setdefault(_shape(checked[t], config), []).append((t, i))
    probes: list[list] = [[None] * len(configs) for _, configs in tasks]
    device = torch.device(device)
    for shape, jobs in groups.items():
        config = tasks[jobs[0][0]][1][jobs[0][1]]
        size = together or (
            1 if device.type == "cpu" and config.hidden > _WIDE_ON_CPU else _TOGETHER[device.type]
        )
        stacks = [
            [(checked[t], tasks[t][1][i], t) for t, i in jobs[first : first + size]]
            for first in range(0, len(jobs), size)
        ]
        trained = _in_turn_or_beside(functools.partial(_train_group, shape, device=device), stacks, device)
        for (t, i), probe in zip(jobs, (probe for stack in trained for probe in stack), strict=True):
            probes[t][i] = probe
    return probes


def _in_turn_or_beside(train: Callable, stacks: list, device: torch.device) -> list:
    """`train` of each stack. Stacks of several probes run side by side on the CPU, with one core each: the
    products of one step are too small for all cores to share. A probe is the same to the last bit."""
    threads = torch.get_num_threads()
    workers = min(threads, len(stacks))
    if device.type != "cpu" or workers == 1 or len(stacks[0]) == 1:
        return [train(stack) for stack in stacks]
    try:
        with ThreadPoolExecutor(workers, initializer=torch.set_num_threads, initargs=(1,)) as pool:
            return list(pool.map(train, stacks))
    finally:
        torch.set_num_threads(threads)


def _shape(data: ProbeData, c: ProbeConfig) -> tuple:
    """What probes of one stack share. Tasks whose numbers of steps differ by less than two share a stack."""
    steps = math.ceil(len(data.x_train) / c.batch).bit_length()
    outputs = 0 if c.loss == "cross_entropy" else data.outputs  # exclusive classes are padded
    return c.loss, c.choice, c.batch, c.hidden, c.layers, data.x_train.shape[1], outputs, steps


def _train_group(shape: tuple, jobs: list[tuple[ProbeData, ProbeConfig, int]], device) -> list[Probe]:
    """Train one stack; jobs are (items, config, number of the task)."""
    sets: dict[tuple, tuple] = {}
    for data, config, t in jobs:
        if (t, config.standardize) not in sets:
            sets[t, config.standardize] = (data, *_scaling(data.x_train, config.standardize))
    names = list(sets)
    stacked = _stack(list(sets.values()), device)
    configs = [config for _, config, _ in jobs]
    outputs = [data.outputs for data, _, _ in jobs]
    sizes = [shape[5], *[configs[0].hidden] * configs[0].layers, max(outputs)]
    of_data = [names.index((t, config.standardize)) for _, config, t in jobs]
    if ItemStack.suits(stacked, configs):
        stack = ItemStack(sizes, outputs, configs, stacked, of_data)
        stacked = stack.numbered(stacked)
    else:
        stack = MLPStack(sizes, outputs, configs, device)
    trained = train_stack(stack, stacked, configs, of_data, configs[0].choice)
    for e, out in enumerate(trained):
        out.state = stack.weights(e, out.state)
    return [
        _probe(config, out, sets[names[of]][1:], data.outputs)
        for (data, config, _), out, of in zip(jobs, trained, of_data, strict=True)
    ]


def _probe(config: ProbeConfig, out, scaling: tuple[np.ndarray, np.ndarray], outputs: int) -> Probe:
    weights = [p.cpu() for p in out.state]
    weights[-2:] = [p[:, :outputs].contiguous() for p in weights[-2:]]
    epochs = range(1, len(out.losses) + 1)
    history = pd.DataFrame({"epoch": epochs, "val_loss": out.losses, "val_score": out.scores})
    return Probe(config, weights, *scaling, out.epoch, out.score, out.loss, out.diverged_at, history)


def _stack(sets: list[tuple[ProbeData, np.ndarray, np.ndarray]], device) -> StackData:
    """Items of several tasks as one array, rows padded with zeros that are never drawn."""
    most = max(len(data.x_train) for data, _, _ in sets)

    def padded(values: np.ndarray) -> np.ndarray:
        return np.pad(values, [(0, most - len(values)), *[(0, 0)] * (values.ndim - 1)])

    def on_device(values: np.ndarray) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(values)).to(device)

    return StackData(
        x=on_device(np.stack([padded((data.x_train - m) / s) for data, m, s in sets])),
        y=on_device(np.stack([padded(data.y_train) for data, _, _ in sets])),
        n=torch.tensor([len(data.x_train) for data, _, _ in sets], device=device),
        x_val=[on_device((data.x_val - m) / s) for data, m, s in sets],
        y_val=[on_device(data.y_val) for data, _, _ in sets],
        groups=[None if d.val_groups is None else on_device(d.val_groups) for d, _, _ in sets],
    )


def _scaling(x: np.ndarray, standardize: bool) -> tuple[np.ndarray, np.ndarray]:
    """Mean and scale of each feature on the training items; a constant feature becomes 0."""
    if not standardize:
        return np.zeros(x.shape[1], np.float32), np.ones(x.shape[1], np.float32)
    mean, scale = x.mean(0, dtype=np.float64), x.std(0, dtype=np.float64)
    constant = scale <= 1e-7 * (np.abs(mean) + 1)
    return mean.astype(np.float32), np.where(constant, 1, scale).astype(np.float32)


def _checked(data: ProbeData, configs: Sequence[ProbeConfig]) -> ProbeData:
    """The task with arrays of the right types, or M2SError."""
    losses = {c.loss for c in configs}
    if len(losses) != 1:
        raise M2SError(f"task {data.name!r} needs configs of one loss, got {sorted(losses) or 'no config'}")
    loss = losses.pop()
    x_train = checked_rows(data.x_train, f"training features{_of(data)}")
    x_val = checked_rows(data.x_val, f"validation features{_of(data)}", x_train.shape[1])
    labels = {"training": (data.y_train, len(x_train)), "validation": (data.y_val, len(x_val))}
    train, val = (_labels(*given, loss, f"{part} labels{_of(data)}") for part, given in labels.items())
    outputs = data.outputs or (
        int(max(train.max(), val.max())) + 1 if loss == "cross_entropy" else train.shape[1]
    )
    if loss == "cross_entropy" and max(train.max(), val.max()) >= outputs:
        raise M2SError(f"labels{_of(data)} reach {max(train.max(), val.max())}, expected 0..{outputs - 1}")
    if loss != "cross_entropy" and (train.shape[1], val.shape[1]) != (outputs, outputs):
        raise M2SError(f"labels{_of(data)} are {train.shape} and {val.shape}, expected {outputs} columns")
    groups = None
    if data.val_groups is not None:
        groups = pd.factorize(np.asarray(data.val_groups, dtype=object))[0].astype(np.int64)
        if len(groups) != len(x_val):
            raise M2SError(f"{len(groups)} groups{_of(data)} for {len(x_val)} validation items")
    return dataclasses.replace(
        data, x_train=x_train, y_train=train, x_val=x_val, y_val=val, outputs=outputs, val_groups=groups
    )


def _labels(y: np.ndarray, n: int, loss: str, what: str) -> np.ndarray:
    y = np.asarray(y)
    if len(y) != n:
        raise M2SError(f"{len(y)} {what} for {n} rows of features")
    if loss == "cross_entropy":
        if y.ndim != 1 or not np.issubdtype(y.dtype, np.integer) or y.min() < 0:
            raise M2SError(f"{what} are {y.dtype} {y.shape}, expected class numbers int [{n}] from 0")
        return y.astype(np.int64)
    y = y.astype(np.float32).reshape(n, -1)
    if not np.isfinite(y).all() or (loss == "bce" and not np.isin(y, (0, 1)).all()):
        raise M2SError(f"{what}: expected {'0 or 1' if loss == 'bce' else 'finite numbers'} in every place")
    return y


def _of(data: ProbeData) -> str:
    return f" of {data.name}" if data.name else ""
