"""Probes: small networks on frozen features (section 4.1.2, supp. 1.2-1.4).

>>> probes = train_probes(ProbeData(x, y, x_val, y_val), [ProbeConfig(seed=s) for s in range(3)])
>>> probes[0].predict(x_test)  # the test items are seen here for the first time
"""

import dataclasses
from collections.abc import Sequence

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from m2s_lib.errors import M2SError
from m2s_lib.evaluation.probes.probe_scores import CHOICES, LOSSES, probabilities
from m2s_lib.evaluation.probes.probe_training import (
    Dropout,
    Items,
    Outcome,
    draw_weights,
    outputs,
    side_by_side,
    train,
)
from m2s_lib.evaluation.vectors import checked_rows

_CHOICE = {"cross_entropy": "top-1", "mse": "loss", "bce": "ap"}  # what a task is measured by


class Standardize(nn.Module):
    """Features minus a mean, divided by a scale; both [d]."""

    def __init__(self, mean: Tensor, scale: Tensor):
        super().__init__()
        self.register_buffer("mean", mean)
        self.register_buffer("scale", scale)

    def forward(self, x: Tensor) -> Tensor:
        return (x - self.mean) / self.scale


@dataclasses.dataclass(frozen=True)
class ProbeConfig:
    """How one probe is built and trained; the paper's for each task are with the benchmarks."""

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

    def build(self, x, n_outputs: int, generator: torch.Generator) -> nn.Module:
        """Returns the untrained network for training items x [n, d], which standardises its input by them."""
        array, times = (x.array, x.n) if hasattr(x, "array") else (x, 1)  # windows are shots side by side
        mean, scale = (np.tile(v, times) for v in scaling(array, self.standardize))
        widths = [len(mean), *[self.hidden] * self.layers]
        network = [Standardize(torch.from_numpy(mean), torch.from_numpy(scale))]
        for into, out in zip(widths, widths[1:], strict=False):
            network += [nn.utils.skip_init(nn.Linear, into, out), nn.ReLU(), Dropout(self.dropout, generator)]
        return nn.Sequential(*network, nn.utils.skip_init(nn.Linear, widths[-1], n_outputs))

    def optimizer(self, model: nn.Module) -> torch.optim.Optimizer:
        """Returns plain SGD."""
        return torch.optim.SGD(model.parameters(), lr=self.lr)

    def checked(self, x, name: str, width: int = 0):
        """Returns features float32 [n, d], checked; windows (`ShotWindows`) are, since they were made."""
        return x if hasattr(x, "array") else checked_rows(x, name, width)


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
    """A trained probe with the weights of its best epoch on validation, on the CPU."""

    config: ProbeConfig
    model: nn.Module
    width: int  # d
    outcome: Outcome

    @property
    def history(self) -> pd.DataFrame:
        """epoch, val_loss, val_score."""
        out = self.outcome
        epochs = range(1, len(out.losses) + 1)
        return pd.DataFrame({"epoch": epochs, "val_loss": out.losses, "val_score": out.scores})

    def predict(self, x: np.ndarray) -> np.ndarray:
        """Returns probabilities of the classes, or predicted numbers: features [n, d] -> float32 [n, C].

        Raises M2SError for features of another width or that are not finite.
        """
        values, rows = _tensors(self.config.checked(x, "features to predict from", self.width))
        return probabilities(self.config.loss, outputs(self.model, values, rows)).numpy()


def train_probes(
    data: ProbeData, configs: Sequence[ProbeConfig], *, device: torch.device | str = "cpu"
) -> list[Probe]:
    """Trains one probe for each config on the items of one task; see `train_probe_sets`."""
    return train_probe_sets([(data, configs)], device=device)[0]


def train_probe_sets(
    tasks: Sequence[tuple[ProbeData, Sequence[ProbeConfig]]], *, device: torch.device | str = "cpu"
) -> list[list[Probe]]:
    """Trains one probe for each config of each task.

    Each depends on its config and its task's items only. A loss that is no longer finite ends that probe.

    Args:
        tasks: items of each task, and the configs to train on them, all of one loss.
        device: where to train.

    Raises:
        M2SError: features that are not finite or of two widths, labels that do not fit; the task is named.
    """
    device = torch.device(device)
    checked = [(_checked(data, configs), configs) for data, configs in tasks]
    jobs = [(data, config, device) for data, configs in checked for config in configs]
    probes = iter(side_by_side(_train_one, jobs, device))
    return [[next(probes) for _ in configs] for _, configs in checked]


def _train_one(data: ProbeData, config: ProbeConfig, device: torch.device) -> Probe:
    drop = torch.Generator(device).manual_seed(config.seed)
    model = config.build(data.x_train, data.outputs, drop)
    draw_weights(model, config.seed)  # on the CPU, so that a seed means the same weights on every device
    model.to(device)
    val = _items(data.x_val, data.y_val, data.val_groups, device)
    choose = config.choice
    if choose == "ap" and config.loss == "bce" and not data.y_val.any():
        choose = "loss"  # without a positive there is no AP
    items = _items(data.x_train, data.y_train, None, device)
    outcome = train(model, config.optimizer(model), items, val, config, choose)
    return Probe(config, model.cpu().eval(), data.x_train.shape[-1], outcome)


def _items(x, y: np.ndarray, groups: np.ndarray | None, device: torch.device) -> Items:
    values, rows = _tensors(x, device)
    return Items(values, rows, _on(y, device), None if groups is None else _on(groups, device))


def _on(values: np.ndarray, device: torch.device) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(values)).to(device)


def _tensors(x, device: torch.device | str = "cpu") -> tuple[Tensor, Tensor]:
    """Features and the row of each item. Windows stay a view of their shots: written out, they are large."""
    if not hasattr(x, "array"):
        return _on(x, device), torch.arange(len(x), device=device)
    shots = _on(x.array, device)  # [rows, d]
    rows, d = shots.shape
    return shots.as_strided((max(rows - x.n + 1, 0), x.n * d), (d, 1)), _on(x.first, device)


def scaling(x: np.ndarray, standardize: bool) -> tuple[np.ndarray, np.ndarray]:
    """Returns mean and scale float32 [d] of each feature; a constant feature becomes 0."""
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
    x_train = configs[0].checked(data.x_train, f"training features{_of(data)}")
    x_val = configs[0].checked(data.x_val, f"validation features{_of(data)}", x_train.shape[-1])
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
