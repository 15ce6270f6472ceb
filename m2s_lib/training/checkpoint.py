"""Checkpoints of a training that are whole and its own."""

import dataclasses
import hashlib
import json
import logging
import os
import zlib
from pathlib import Path

import pandas as pd
import safetensors.torch
import torch

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

log = logging.getLogger(__name__)
FREE = ("compile", "checkpoint_every_s")  # fields that may differ between a run and its continuation


def save(folder: str | os.PathLike, run, *, finished: bool) -> None:
    """Write weights, running average and queue (safetensors), optimizer (plain torch file) and log (parquet).

    The files carry the step in their names and checkpoint.json, written last, names the step that counts: a
    run that is killed while writing still has the checkpoint before. Of several processes the first writes;
    nothing in the files depends on their number.
    """
    if run.ranks.rank:
        return
    folder = Path(folder)
    state = {f"model.{n}": t for n, t in run.encoder.state_dict().items()}
    state |= {f"key.{n}": t for n, t in run.key_encoder.state_dict().items()}
    state |= {"queue": run.queue.keys, "queue_pairs": run.queue.pairs}
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


def restore(folder: str | os.PathLike, run) -> bool:
    """Bring `run` to the checkpoint in `folder`, if there is one; returns whether that is its end.

    A finished run of another configuration, any run on other pairs, pictures or start weights, and a damaged
    one (a warning names the file) is left alone and will be replaced.

    Raises:
        M2SError: the checkpoint is an unfinished run of another configuration.
    """
    folder = Path(folder)
    if not (folder / "checkpoint.json").exists():
        return False
    if damaged := damaged_file(folder):
        log.warning("%s is damaged or missing: training starts anew", folder / damaged)
        return False
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
            return False
        raise M2SError(
            f"{folder} holds an unfinished run, at step {record['step']}, of another configuration: "
            f"{'; '.join(differ)}. "
            "Run with the old values to finish it, or delete the folder (or pass resume=False) to start anew"
        )
    if record.get("data") != run.identity["data"]:
        log.warning("%s holds a run on other pairs, pictures or start weights: starting anew", folder)
        return False
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
    run.queue.pairs.copy_(state.pop("queue_pairs"))
    run.encoder.load_state_dict({n[6:]: t for n, t in state.items() if n.startswith("model.")})
    run.key_encoder.load_state_dict({n[4:]: t for n, t in state.items() if n.startswith("key.")})
    run.optimizer.load_state_dict(optimizer)
    run.queue.seen, run.step = record["seen"], step
    run.rows = read_parquet(folder / f"log-{step}.parquet").to_dict("records")
    log.info("continuing %s at step %d", folder, step)
    return record["finished"]


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


def identity(run, loop: str) -> dict:
    """What must be the same for a run to continue: configuration, loop, shapes, start weights, pairs and
    pictures.

    Args:
        run: a Training before its first step. loop: hash of its loop.
    """
    config = {n: v for n, v in dataclasses.asdict(run.config).items() if n not in FREE}
    state = run.encoder.state_dict()
    shapes = [(n, tuple(t.shape), str(t.dtype)) for n, t in state.items()]
    data = hashlib.blake2b(repr(len(run.pairs)).encode(), digest_size=16)
    data.update(run.pairs.digest().encode())
    for value in state.values():
        data.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
    return {
        "config": config | {"loop": loop},
        "model": hashlib.blake2b(repr(shapes).encode(), digest_size=8).hexdigest(),
        "data": data.hexdigest(),
    }
