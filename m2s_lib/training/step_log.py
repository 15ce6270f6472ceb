"""The log of a training: fetched from the device in groups, so that steps do not wait for it."""

import math
import time

import torch
from torch import Tensor

from m2s_lib.errors import M2SError
from m2s_lib.method.moco import alignment, uniformity

COLUMNS = ["step", "epoch", "loss", "accuracy", "lr", "pairs_per_s", "alignment", "uniformity"]


class StepLog:
    """Collects what the steps of a `Training` note, and watches the clock for its checkpoints."""

    def __init__(self, run):
        self.run, self.text = run, ""
        self.group = 1 if run.device.type == "cpu" else 20
        self.pending: list[tuple] = []

    def begin(self, batch: int) -> None:
        """Starts the clock; a step has `batch` pairs."""
        self.batch = batch
        self.start = self.written = time.monotonic()

    def at(self, epoch: int, lr: float, *, ends: bool) -> None:
        """Which step is next; `ends`: the last of its epoch."""
        self.epoch, self.lr, self.ends = epoch, lr, ends

    def note(self, loss: Tensor, accuracy: Tensor, q: Tensor, k: Tensor) -> None:
        """Keeps the step's numbers, of all processes together."""
        ranks, q, k = self.run.ranks, q.detach(), k.detach()
        both = torch.stack([loss.detach(), accuracy.detach().to(loss.dtype)])
        if ranks.size > 1:
            both = ranks.gather(both[None]).mean(dim=0)
            q, k = (ranks.gather(x) if self.ends else x for x in (q, k))
        measures = (alignment(q, k), uniformity(q)) if self.ends and len(q) > 1 else (math.nan, math.nan)
        self.pending.append((self.run.step, self.epoch, *both.unbind(), self.lr, *measures))
        if self.ends or len(self.pending) >= self.group:
            self.flush()

    def due(self) -> bool:
        """Whether a checkpoint is to be written now."""
        if time.monotonic() - self.written < self.run.config.checkpoint_every_s:
            return False
        self.written = time.monotonic()
        return True

    def flush(self) -> None:
        """Moves what is pending into the log; a loss that is not finite ends the run."""
        fetched = [tuple(float(x) if isinstance(x, Tensor) else x for x in row) for row in self.pending]
        now = time.monotonic()
        rate = len(fetched) * self.batch / max(now - self.start, 1e-9)
        self.pending, self.start = [], now
        for step, epoch, loss, accuracy, lr, align, uniform in fetched:
            if not math.isfinite(loss):
                raise M2SError(
                    f"the loss is {loss} at step {step} (epoch {epoch}, learning rate {lr:.3g}): lower lr, "
                    "raise warmup_epochs or the temperature; the last checkpoint is from before"
                )
            row = (step, epoch, loss, accuracy, lr, rate, align, uniform)
            self.run.rows.append(dict(zip(COLUMNS, row, strict=True)))
            self.text = f"loss {loss:.3f}, accuracy {accuracy:.2f}"
