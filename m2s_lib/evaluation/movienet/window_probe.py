"""The paper's network for scene boundaries, trained on windows that stay views of one array (supp. 1.3b).

The windows of 190 films, written out, are four times their shots: gigabytes. Here the trainer of all probes
is given row numbers instead of features, and a batch is gathered from the view when it is used.
"""

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from m2s_lib.evaluation.movienet.scene_boundaries import Fit
from m2s_lib.evaluation.movienet.shot_windows import ShotWindows
from m2s_lib.evaluation.probes.probe_scores import probabilities
from m2s_lib.evaluation.probes.probe_training import MLPStack, StackData, train_stack
from m2s_lib.evaluation.probes.probes import ProbeConfig

SBD_PROBE = ProbeConfig(loss="bce", lr=0.03, dropout=0.8, epochs=800, batch=4096)  # supp. 1.3b
_ROWS = 16_384  # windows that are gathered at once to be predicted


class _WindowStack(MLPStack):
    """An MLPStack whose items are row numbers of windows, int64."""

    def __init__(self, train: Tensor, val: Tensor, config: ProbeConfig, device: torch.device):
        sizes = [train.shape[1], *[config.hidden] * config.layers, 1]
        super().__init__(sizes, [1], [config], device)
        self.train_view, self.val_view = train, val

    def descend(self, x: Tensor, y: Tensor, share: Tensor, masks: list[Tensor] | None) -> None:
        super().descend(self.train_view[x], y, share, masks)

    def outputs(self, x: Tensor, which: Tensor) -> Tensor:
        parts = [super(_WindowStack, self).outputs(self.val_view[rows], which) for rows in x.split(_ROWS)]
        return torch.cat(parts, 1)  # [m, n, 1]


def window_probe(config: ProbeConfig = SBD_PROBE, device: torch.device | str = "cpu") -> Fit:
    """The `fit` of `evaluate_sbd` and `leave_one_film_out`: an MLP chosen by AP on the validation windows.

    With `config.standardize` the features of shots, not of windows, get mean 0 and variance 1 on the training
    films; the seed is that of `fit`.
    """

    def fit(x_train: ShotWindows, y_train: np.ndarray, x_val: ShotWindows, y_val: np.ndarray, seed: int):
        mean, scale = _scaling(x_train.array, config.standardize)
        views = [_view(w, mean, scale, device) for w in (x_train, x_val)]
        seeded = replace(config, seed=seed)
        stack = _WindowStack(*views, seeded, torch.device(device))
        rows, labels = (
            [_on(a, device) for a in pair] for pair in ((x_train.first, x_val.first), (y_train, y_val))
        )
        data = StackData(
            x=rows[0][None],
            y=labels[0][None, :, None].float(),
            n=torch.tensor([len(x_train)], device=device),
            x_val=[rows[1]],
            y_val=[labels[1][:, None].float()],
            groups=[None],
        )
        choose = seeded.choice if np.any(y_val) else "loss"  # without a boundary there is no AP
        state = train_stack(stack, data, [seeded], [0], choose)[0].state
        return lambda windows: _scores(state, windows, mean, scale, device)

    return fit


def _on(values: np.ndarray, device: torch.device | str) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(values)).to(device)


def _view(windows: ShotWindows, mean: np.ndarray, scale: np.ndarray, device: torch.device | str) -> Tensor:
    """All rows' windows [rows - n + 1, n * d] as a strided view of the scaled array, on the device."""
    array = _on((windows.array - mean) / scale, device)  # [rows, d]
    rows, d = array.shape
    return array.as_strided((max(rows - windows.n + 1, 0), windows.n * d), (d, 1))


def _scaling(array: np.ndarray, standardize: bool) -> tuple[np.ndarray, np.ndarray]:
    if not standardize:
        return np.zeros(array.shape[1], np.float32), np.ones(array.shape[1], np.float32)
    mean, scale = array.mean(0, dtype=np.float64), array.std(0, dtype=np.float64)
    return mean.astype(np.float32), np.where(scale <= 1e-7 * (np.abs(mean) + 1), 1, scale).astype(np.float32)


def _scores(state: list[Tensor], windows: ShotWindows, mean, scale, device) -> np.ndarray:
    """Probabilities of a boundary: [N]."""
    view, out = _view(windows, mean, scale, device), []
    for rows in _on(windows.first, device).split(_ROWS):
        h = view[rows]  # [b, n d]
        for i in range(0, len(state) - 2, 2):
            h = torch.addmm(state[i + 1], h, state[i]).relu_()
        out.append(probabilities("bce", torch.addmm(state[-1], h, state[-2]))[:, 0])
    return torch.cat(out).cpu().numpy()
