"""What a training run is made of: its state, its log, and checkpoints that are whole and its own."""

import copy
import dataclasses
import hashlib
import json
import logging
import math
import os
import time
import zlib
from pathlib import Path
from typing import NamedTuple

import pandas as pd
import safetensors.torch
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from m2s_lib.errors import M2SError
from m2s_lib.io import (
    atomic_path,
    checksum,
    json_ready,
    read_json,
    read_parquet,
    write_json,
    write_parquet,
)
from m2s_lib.method.moco import KeyQueue, alignment, uniformity
from m2s_lib.training.distributed import Ranks

log = logging.getLogger(__name__)
FREE = ("compile", "checkpoint_every_s")  # fields that may differ between a run and its continuation


class Step(NamedTuple):
    """What one forward pass gives; b are this process's rows of the batch, after `of_all_ranks` all rows."""

    loss: Tensor  # []
    accuracy: Tensor  # [], 0..1
    q: Tensor  # [b, d] queries of unit length
    k: Tensor  # [b, d] chosen keys of unit length


def of_all_ranks(ranks: Ranks, out: Step) -> Step:
    """The step of the whole batch: loss and accuracy are means, queries and keys stand in the batch's order.

    One collective, after the backward pass; nothing with one process.
    """
    if ranks.size == 1:
        return out
    b, d = out.q.shape
    parts = [out.q, out.k.detach(), out.loss.detach().expand(b, 1), out.accuracy.expand(b, 1)]
    q, k, loss, accuracy = ranks.gather(torch.cat(parts, dim=1)).split([d, d, 1, 1], dim=1)
    return Step(loss.mean(), accuracy.mean(), q, k)


class Run:
    """What training changes: encoder, key encoder, queue, optimizer, step and log."""

    def __init__(self, model: nn.Module, config, device: torch.device):
        self.config, self.device, self.step = config, device, 0
        self.ranks = Ranks.here()
        self.model = model.to(device).train()
        averaging = self.ranks.averaging(self.model)  # first: it makes all ranks' weights the same
        self.key_model = copy.deepcopy(self.model).requires_grad_(False)
        width = model.out_dim
        self.queue = KeyQueue(config.queue, width, filled_only=config.queue_filled_only, seed=config.seed).to(
            device
        )
        self.optimizer = torch.optim.AdamW(
            self.model.parameters(), lr=config.lr, weight_decay=config.weight_decay, fused=True
        )
        self.identity: dict = {}  # see `identity`; set before the first step
        self.rows: list[dict] = []  # the log, one dict a step
        compiled = config.compile and device.type == "cuda"
        self.encoders = [torch.compile(m) if compiled else m for m in (averaging, self.key_model)]

    def encode(self, frames: Tensor, *, keys: bool = False) -> Tensor:
        """Unit vectors [b, d] in fp32; the encoder computes in bf16 on CUDA, and on the CPU when asked to."""
        bf16 = self.device.type == "cuda" or self.config.bf16_on_cpu
        with torch.autocast(self.device.type, torch.bfloat16, enabled=bf16):
            out = self.encoders[keys](frames)
        return F.normalize(out.float(), dim=-1)


class StepLog:
    """Fetches losses from the device in groups, so that steps do not wait for them, and watches the clock."""

    def __init__(self, run: Run, batch: int):
        self.run, self.batch, self.said = run, batch, ""
        self.group = 1 if run.device.type == "cpu" else 20
        self.pending: list[tuple] = []
        self.start = self.written = time.monotonic()

    def note(self, epoch: int, lr: float, out: Step, *, ends: bool) -> None:
        measures = (
            (alignment(out.q, out.k), uniformity(out.q)) if ends and len(out.q) > 1 else (math.nan, math.nan)
        )
        self.pending.append((self.run.step, epoch, out.loss.detach(), out.accuracy, lr, *measures))
        if ends or len(self.pending) >= self.group:
            self.flush()

    def due(self) -> bool:
        """Whether a checkpoint is to be written now."""
        if time.monotonic() - self.written < self.run.config.checkpoint_every_s:
            return False
        self.written = time.monotonic()
        return True

    def flush(self) -> None:
        """Move what is pending into the log; a loss that is not finite ends the run."""
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
            self.run.rows.append(
                {
                    "step": step,
                    "epoch": epoch,
                    "loss": loss,
                    "accuracy": accuracy,
                    "lr": lr,
                    "pairs_per_s": rate,
                }
                | {"alignment": align, "uniformity": uniform}
            )
            self.said = f"loss {loss:.3f}, accuracy {accuracy:.2f}"


def save(folder: str | os.PathLike, run: Run, *, finished: bool) -> None:
    """Write weights, running average and queue (safetensors), optimizer (plain torch file) and log (parquet).

    The files carry the step in their names and checkpoint.json, written last, names the step that counts: a
    run that is killed while writing still has the checkpoint before. Of several processes the first writes;
    nothing in the files depends on their number.
    """
    if run.ranks.rank:
        return
    folder = Path(folder)
    state = {f"model.{n}": t for n, t in run.model.state_dict().items()}
    state |= {f"key.{n}": t for n, t in run.key_model.state_dict().items()}
    state["queue"] = run.queue.keys
    with atomic_path(folder / f"weights-{run.step}.safetensors") as path:
        safetensors.torch.save_file({n: t.detach().cpu().contiguous() for n, t in state.items()}, path)
    with atomic_path(folder / f"optimizer-{run.step}.pt") as path:
        torch.save(run.optimizer.state_dict(), path)
    write_parquet(pd.DataFrame(run.rows), folder / f"log-{run.step}.parquet")
    record = {"step": run.step, "seen": run.queue.seen, "finished": finished} | run.identity
    files = [f"weights-{run.step}.safetensors", f"optimizer-{run.step}.pt", f"log-{run.step}.parquet"]
    sums = {name: checksum(folder / name) for name in files} | {"checkpoint.json": _record_sum(record)}
    write_json(folder / "checkpoint.json", record | {"crc32": sums})
    for old in folder.glob("*-*.*"):
        if old.stem.rpartition("-")[2] != str(run.step) and not old.name.startswith("."):
            old.unlink(missing_ok=True)


def restore(folder: str | os.PathLike, run: Run) -> None:
    """Bring `run` to the checkpoint in `folder`, if there is one.

    A finished run of another configuration, any run on other pairs, pictures or start weights, and a damaged
    one (a warning names the file) is left alone and will be replaced.

    Raises:
        M2SError: the checkpoint is an unfinished run of another configuration.
    """
    folder = Path(folder)
    if not (folder / "checkpoint.json").exists():
        return
    if damaged := damaged_file(folder):
        log.warning("%s is damaged or missing: training starts anew", folder / damaged)
        return
    record = read_json(folder / "checkpoint.json")
    before = {**record["config"], "model": record["model"]}
    now = {**run.identity["config"], "model": run.identity["model"]}
    if differ := [f"{n} {before.get(n)} (now {now[n]})" for n in now if before.get(n) != now[n]]:
        if record["finished"]:
            log.info(
                "%s holds a finished run of another configuration (%s): starting anew",
                folder,
                "; ".join(differ),
            )
            return
        raise M2SError(
            f"{folder} holds an unfinished run, at step {record['step']}, of another configuration: "
            f"{'; '.join(differ)}. "
            "Run with the old values to finish it, or delete the folder (or pass resume=False) to start anew"
        )
    if record.get("data") != run.identity["data"]:
        log.warning("%s holds a run on other pairs, pictures or start weights: starting anew", folder)
        return
    step = record["step"]
    try:
        state = safetensors.torch.load_file(folder / f"weights-{step}.safetensors")
        optimizer = torch.load(folder / f"optimizer-{step}.pt", map_location=run.device, weights_only=True)
    except Exception as error:  # safetensors and torch raise several kinds for a damaged or missing file
        raise M2SError(
            f"the checkpoint in {folder} (step {step}) cannot be read ({str(error)[:200]}): "
            "delete the folder to start anew"
        ) from error
    run.queue.keys.copy_(state.pop("queue"))
    run.model.load_state_dict({n[6:]: t for n, t in state.items() if n.startswith("model.")})
    run.key_model.load_state_dict({n[4:]: t for n, t in state.items() if n.startswith("key.")})
    run.optimizer.load_state_dict(optimizer)
    run.queue.seen, run.step = record["seen"], step
    run.rows = read_parquet(folder / f"log-{step}.parquet").to_dict("records")
    log.info("continuing %s at step %d", folder, step)


def finished_log(folder: str | os.PathLike) -> pd.DataFrame:
    """The log of the training whose checkpoint lies in `folder`."""
    step = read_json(Path(folder) / "checkpoint.json")["step"]
    return read_parquet(Path(folder) / f"log-{step}.parquet")


def damaged_file(folder: Path) -> str:
    """The first file of a checkpoint that is not what was written, '' when all are whole."""
    try:
        record = read_json(folder / "checkpoint.json")
        sums = record.pop("crc32")
        if sums.pop("checkpoint.json") != _record_sum(record):
            return "checkpoint.json"
        for name, crc in sums.items():
            if not (folder / name).is_file() or checksum(folder / name) != crc:
                return name
    except (M2SError, AttributeError, KeyError, TypeError):
        return "checkpoint.json"
    return ""


def _record_sum(record: dict) -> int:
    return zlib.crc32(json.dumps(json_ready(record), sort_keys=True).encode())


def discard(folder: str | os.PathLike) -> None:
    """Forget the checkpoint in `folder`, if there is one."""
    (Path(folder) / "checkpoint.json").unlink(missing_ok=True)  # the one file that makes the others count
    for part in Path(folder).glob("*-*.*"):
        part.unlink(missing_ok=True)


def identity(run: Run, pairs) -> dict:
    """What must be the same for a run to continue: configuration, shapes, start weights, pairs and pictures.

    Args:
        run: before its first step. pairs: a pair source; its `digest()`, where it has one, says what it
            holds.
    """
    config = {n: v for n, v in dataclasses.asdict(run.config).items() if n not in FREE}
    state = run.model.state_dict()
    shapes = [(n, tuple(t.shape), str(t.dtype)) for n, t in state.items()]
    data = hashlib.blake2b(repr(len(pairs)).encode(), digest_size=16)
    data.update(pairs.digest().encode() if hasattr(pairs, "digest") else b"")
    for value in state.values():
        data.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
    return {
        "config": config,
        "model": hashlib.blake2b(repr(shapes).encode(), digest_size=8).hexdigest(),
        "data": data.hexdigest(),
    }
