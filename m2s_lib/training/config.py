"""How a contrastive training goes: its sizes, rates and views (supp. 1.1c)."""

import dataclasses
import math

from m2s_lib.errors import M2SError

PRECISIONS = ("auto", "fp32", "bf16")


@dataclasses.dataclass(frozen=True)
class ContrastiveConfig:
    """How to train; the defaults are the paper's (supp. 1.1c)."""

    epochs: int = 100  # passes over the queries; 0 trains nothing
    steps: int = 0  # a fixed number of steps instead, 0: as the epochs give
    batch: int = 128  # pairs a step
    lr: float = 1.5e-4  # peak learning rate of AdamW
    weight_decay: float = 0.01  # on all parameters, as MoCo v3 does
    warmup_epochs: float = 40  # linear warm-up, then half a cosine down to 0, per step
    momentum: float = 0.999  # of the key encoder
    temperature: float = 0.07  # tau
    queue: int = 65_536  # K, keys; keep it below the number of pairs; 0 keeps none
    queue_filled_only: bool = (
        False  # True: negatives are real keys only, for runs of few steps (see KeyQueue)
    )
    flip: bool = False  # random mirror images; the paper describes no augmentation
    crop: float = 1.0  # smallest area of a random crop, 1 is off
    jitter: float = 0.0  # brightness, contrast, saturation, 0 is off
    seed: int = 0  # order of the pairs and every random draw; the model has its own
    compile: bool = False  # torch.compile on CUDA; worth its minute of start from some thousand steps on
    precision: str = "auto"  # 'bf16' under autocast, 'fp32', or 'auto': bf16 on CUDA, fp32 on the CPU
    checkpoint_every_s: float = 600.0  # seconds between checkpoints; 0 writes one after every step

    def __post_init__(self):
        if self.epochs and not 0 <= self.warmup_epochs < self.epochs:
            raise M2SError(
                f"warmup_epochs {self.warmup_epochs} must be below epochs {self.epochs}, or the rate "
                f"{self.lr} is never reached (the paper: 40 of 100)"
            )
        if self.precision not in PRECISIONS:
            raise M2SError(f"precision {self.precision!r} is unknown: use one of {list(PRECISIONS)}")
        for name, low, high in (
            ("steps", 0, 1 << 40),
            ("batch", 1, 1 << 20),
            ("queue", 0, 1 << 30),
            ("momentum", 0, 1),
            ("temperature", 1e-6, 1e6),
            ("crop", 1e-3, 1),
            ("jitter", 0, 1),
        ):
            if not low <= getattr(self, name) <= high:
                raise M2SError(f"{name} {getattr(self, name)} must lie in {low}..{high}")

    def length(self, per_epoch: int) -> int:
        """Steps in all, when an epoch has `per_epoch`."""
        return (self.steps or self.epochs * per_epoch) if self.epochs else 0


def learning_rate(step: int, per_epoch: int, config: ContrastiveConfig) -> float:
    """Linear warm-up to `lr` over warmup_epochs, then half a cosine to 0 at the end of the last epoch.

    With a fixed number of steps the warm-up has the same share of them.
    """
    total = config.length(per_epoch)
    warm = config.warmup_epochs * per_epoch
    if config.steps:
        warm = total * config.warmup_epochs / config.epochs
    if step < warm:
        return config.lr * (step + 1) / warm if warm >= 1 else config.lr
    return config.lr * 0.5 * (1 + math.cos(math.pi * (step - warm) / (total - warm)))
