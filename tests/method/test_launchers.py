"""Several processes train together: the losses, queue and weights of one process; killed, and gone on."""

import dataclasses
import os
import shutil
import signal

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file

from m2s_lib.errors import M2SError
from m2s_lib.evaluation.trained_comparators import train_comparator, train_single_shots
from m2s_lib.files import read_json
from m2s_lib.films.shot_store import StorePaths
from m2s_lib.method import training
from m2s_lib.method.distributed import Ranks
from m2s_lib.method.launchers import LocalLauncher, RayLauncher, launcher
from m2s_lib.method.scene_encoder import SceneEncoderConfig
from m2s_lib.method.scene_training import scene_encoder_for, train_scene_encoder
from m2s_lib.method.shot_encoder import ShotEncoderConfig
from m2s_lib.method.shot_training import shot_encoder_for, train_shot_encoder
from m2s_lib.method.training import ContrastiveConfig
from tests.method.fake_films import LearnableStore
from tests.method.test_scene_training import table
from tests.method.test_shot_training import Stop, stop_at

SHOT, SCENE = ShotEncoderConfig.preset("test"), SceneEncoderConfig.preset("test")
CONFIG = ContrastiveConfig(
    epochs=2, batch=8, warmup_epochs=1, queue=20, momentum=0.9, lr=1e-3, temperature=0.2, checkpoint_every_s=0
)
TWO = LocalLauncher(2, timeout_s=60)


def stores():
    return {f"f{i}": LearnableStore(i, 8) for i in range(4)}


def shots(config=CONFIG):
    return {"stores": stores(), "config": SHOT, "training": config, "share": 1.0}


def scenes(config):
    pairs = pd.concat([table(step=1), table(step=2)])
    return {"scene_pairs": pairs, "stores": stores(), "config": SCENE, "training": config, "weights": ""}


AUGMENTED = dataclasses.replace(CONFIG, flip=True, crop=0.5, jitter=0.3, queue_filled_only=True)
JOBS = {
    "shots": (train_shot_encoder, shots()),
    "scenes": (train_scene_encoder, scenes(AUGMENTED)),
    "simclr": (train_single_shots, {"name": "SimCLR", **shots(), "config": SCENE}),
}


def train_all(path, device):
    """Every job, in as many processes as call this; each one keeps its queue, not only the first."""
    saved = training.save
    for name, (function, job) in JOBS.items():

        def save(folder, run, *, finished, name=name):
            torch.save(run.queue.keys, path / f"{name}-queue-{run.ranks.rank}-of-{run.ranks.size}.pt")
            saved(folder, run, finished=finished)

        training.save = save
        function(**job, path=path / f"{name}.safetensors", device=device)
    training.save = saved


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Folders of the same three trainings by one process and by two."""
    one, two = (tmp_path_factory.mktemp(n) for n in ("one", "two"))
    train_all(one, torch.device("cpu"))
    TWO.run(train_all, {"path": two, "device": "cpu"})
    return one, two


def same_training(one, two, name):
    """Log, weights, running average and queue of two folders are equal up to rounding."""
    logs, states = [], []
    for path in (one, two):
        checkpoint = path / f"{name}.training"
        step = read_json(checkpoint / "checkpoint.json")["step"]
        logs.append(pd.read_parquet(checkpoint / f"log-{step}.parquet").drop(columns="pairs_per_s"))
        states.append(load_file(checkpoint / f"weights-{step}.safetensors"))
    assert len(logs[0]) >= 6
    pd.testing.assert_frame_equal(*logs, rtol=1e-5)
    for n, value in states[0].items():
        counts = torch.ones(len(value), dtype=torch.bool)
        if n.endswith("attn.qkv.bias"):  # softmax cancels the keys' bias: Adam scales up its rounding errors
            counts = counts.view(3, -1) & torch.tensor([[True], [False], [True]])
        at = counts.flatten()
        torch.testing.assert_close(states[1][n][at], value[at], rtol=1e-3, atol=1e-4, msg=n)


@pytest.mark.parametrize("name", JOBS)
def test_two_processes_give_the_training_of_one(trained, name):
    one, two = trained
    same_training(one, two, name)
    alone, first, second = (
        torch.load(p, weights_only=True)
        for p in (
            one / f"{name}-queue-0-of-1.pt",
            two / f"{name}-queue-0-of-2.pt",
            two / f"{name}-queue-1-of-2.pt",
        )
    )
    assert torch.equal(first, second)
    torch.testing.assert_close(first, alone, rtol=1e-4, atol=1e-5)


def killed_at_step_4(path, **job):
    """The second process dies as it begins a step; the first has noted where the training began."""
    literal, begun = training.moco_step, path.with_name("began.txt")

    def until(run, *batch):
        if run.ranks.rank == 1 and run.step == 4:
            os.kill(os.getpid(), signal.SIGKILL)
        if run.ranks.rank == 0 and not begun.exists():
            begun.write_text(str(run.step))
        return literal(run, *batch)

    training.moco_step = until
    train_scene_encoder(path=path, **job)


def scene_training(folder, train=None):
    job = scenes(AUGMENTED)
    return scene_encoder_for(
        job["scene_pairs"], stores(), SCENE, AUGMENTED, weights="", folder=folder, device="cpu", train=train
    )


@pytest.mark.slow
@pytest.mark.fault
def test_a_killed_process_ends_the_training_which_goes_on_in_any_number_of_processes(tmp_path, monkeypatch):
    whole, cut, again = (tmp_path / n for n in ("whole", "cut", "again"))
    wanted, log = scene_training(whole)
    with monkeypatch.context() as patch:
        stop_at(patch, 2)
        with pytest.raises(Stop):
            scene_training(cut)  # one process begins ...
    job = {**scenes(AUGMENTED), "path": cut / "scene_encoder.safetensors", "device": "cpu"}
    with pytest.raises(M2SError, match=r"process 1 of 2 .* was ended by SIGKILL .* run the same command"):
        TWO.run(killed_at_step_4, job)  # ... two go on ...
    assert (cut / "began.txt").read_text() == "2"
    assert read_json(cut / "scene_encoder.training" / "checkpoint.json")["step"] in (3, 4)
    assert not (cut / "scene_encoder.safetensors").exists()
    shutil.copytree(cut, again)
    for folder, train in ((cut, TWO), (again, None)):  # ... and two or one end it
        encoder, same = scene_training(folder, train)
        same_training(whole, folder, "scene_encoder")
        pd.testing.assert_frame_equal(
            same.drop(columns="pairs_per_s"), log.drop(columns="pairs_per_s"), rtol=1e-5
        )
        torch.testing.assert_close(encoder.fc.weight, wanted.fc.weight, rtol=1e-3, atol=1e-4)
        assert not list(folder.glob("*.pairs.parquet"))


def killed_once(path, **job):
    """The second worker dies as it begins a step, the first time."""
    literal, begun = training.moco_step, path.with_name("killed.txt")

    def until(run, *batch):
        if run.ranks.rank == 1 and run.step == 4 and not begun.exists():
            begun.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return literal(run, *batch)

    training.moco_step = until
    train_shot_encoder(path=path, **job)


@pytest.mark.slow
@pytest.mark.ray
@pytest.mark.fault
@pytest.mark.timeout(600)
def test_ray_trains_the_same_though_a_worker_is_lost(trained, tmp_path):
    pytest.importorskip("ray")
    job = {**shots(), "path": tmp_path / "shots.safetensors", "device": "cpu"}
    RayLauncher(2, use_gpu=False, restarts=1).run(killed_once, job)
    assert (tmp_path / "killed.txt").exists()
    same_training(trained[0], tmp_path, "shots")
    assert not (tmp_path / "shots.ray").exists()
