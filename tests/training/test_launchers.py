"""Several processes train together: the losses, queue and weights of one process; killed, and gone on."""

import dataclasses
import os
import pickle
import shutil
import signal
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from m2s_lib.training.local_launcher import LocalLauncher
from m2s_lib.training.ray_launcher import RayLauncher
from m2s_lib.training.scene_training import scene_encoder_for, train_scene_encoder
from m2s_lib.training.shot_training import train_shot_encoder
from safetensors.torch import load_file

from m2s_lib.errors import M2SError
from m2s_lib.evaluation.encoders.trained_baselines import train_single_shots
from m2s_lib.films.store.shot_store import StorePaths
from m2s_lib.io import read_json
from m2s_lib.method.scene_encoder import SceneEncoderConfig, ScenePairs
from m2s_lib.method.shot_encoder import ShotEncoderConfig, ShotPairs
from m2s_lib.training import launchers, ray_launcher, training
from m2s_lib.training.distributed import Ranks
from m2s_lib.training.launchers import launcher
from m2s_lib.training.training import ContrastiveConfig
from tests.helpers.display_stores import make_store
from tests.helpers.fake_films import LearnableStore
from tests.training.test_scene_training import table
from tests.training.test_shot_training import Stop, stop_at

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


def broken(path, device):
    if Ranks.here().rank == 1:
        raise KeyError("a mistake of ours")
    print("the first speaks")
    torch.distributed.barrier()


@pytest.mark.slow
def test_what_happens_in_a_process_is_said_here(tmp_path, capsys):
    job = {**shots(dataclasses.replace(CONFIG, batch=7)), "path": tmp_path / "e.safetensors", "device": "cpu"}
    with pytest.raises(M2SError, match="batch of 7 pairs cannot be dealt out evenly to 2 processes"):
        TWO.run(train_shot_encoder, job)
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(RuntimeError, match="KeyError: 'a mistake of ours'"):
        TWO.run(broken, {"path": tmp_path, "device": "cpu"})
    assert "the first speaks\n" in capsys.readouterr().out


@pytest.mark.parametrize(("batch", "size"), [(8, 1), (8, 2), (12, 4), (128, 8)])
def test_the_parts_are_the_batch_in_order(batch, size):
    rows = [list(range(batch))[Ranks(r, size).part(batch)] for r in range(size)]
    assert sum(rows, []) == list(range(batch))
    assert {len(r) for r in rows} == {batch // size}


def test_a_batch_that_the_processes_do_not_divide_is_refused():
    with pytest.raises(M2SError, match="batch of 130 pairs .* evenly to 8 processes: use a batch of 128"):
        Ranks(3, 8).part(130)
    with pytest.raises(M2SError, match="batch of 3 pairs .* to 8 processes: use train_workers that divide 3"):
        Ranks(0, 8).part(3)


@pytest.mark.parametrize("name", ["shots", "scenes"])
def test_parts_of_a_batch_are_read_and_augmented_as_in_the_batch(name):
    films = stores()
    pairs = (
        ScenePairs(scenes(CONFIG)["scene_pairs"], films) if name == "scenes" else ShotPairs(films, share=1)
    )

    def batch(rank, size):
        generator, part = np.random.default_rng(5), Ranks(rank, size).part(8)
        query, keys, mask = pairs.batch(np.arange(8)[::-1], generator, part)
        return *training._augmented(query, keys, AUGMENTED, generator, part.start, 8), mask

    for whole, *parts in zip(batch(0, 1), batch(0, 2), batch(1, 2), strict=True):
        assert torch.equal(torch.cat(parts), whole)


def test_processes_that_see_different_films_are_told(monkeypatch):
    def gathered(states, state):
        states[:] = [state, {**state, "data": "other"}]

    monkeypatch.setattr(torch.distributed, "all_gather_object", gathered)
    Ranks(0, 1).agree({"step": 0, "data": "same"})
    with pytest.raises(M2SError, match=r"process 1 of 2 starts from .*: data other \(process 0: same\)"):
        Ranks(0, 2).agree({"step": 0, "data": "same"})


def test_which_launcher_trains(monkeypatch):
    assert launcher("local") is None
    assert launcher("ray", workers=1) is None
    assert launcher("local", workers=3, device="cpu") == LocalLauncher(3)
    assert launcher("ray", "auto", 4, "cpu") == RayLauncher(4, "auto", use_gpu=False)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    assert launcher("local", workers=0) == LocalLauncher(4)
    assert launcher("local", workers=0, device="cpu") is None
    with pytest.raises(M2SError, match="engine 'slurm' is unknown: use 'local' or 'ray'"):
        launcher("slurm")
    with pytest.raises(M2SError, match="train_workers is -1"):
        launcher("local", workers=-1)


def test_gpus_that_are_not_there_are_named(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(M2SError, match="2 processes are to train and this machine has 1 GPUs"):
        TWO.run(train_all, {"device": "cuda"})
    with pytest.raises(M2SError, match="'cuda:0' is one GPU and 2 processes are to train"):
        TWO.run(train_all, {"device": "cuda:0"})


def test_without_ray_the_extra_is_named(monkeypatch, tmp_path):
    monkeypatch.setattr(ray_launcher, "find_spec", lambda name: None)
    with pytest.raises(M2SError, match=r"engine 'ray' needs Ray: pip install -e \.\[ray\]"):
        RayLauncher(2).run(train_shot_encoder, {"path": tmp_path / "e.safetensors"})


@pytest.mark.ray
def test_bad_input_is_not_tried_again_by_ray(monkeypatch, tmp_path, capsys):
    trainers, torch_part = pytest.importorskip("ray.train"), pytest.importorskip("ray.train.torch")
    calls = []

    def refused(**job):
        calls.append(job)
        print("heard")
        raise M2SError("no pairs")

    class Trainer:
        """Restarts as Ray does: whatever the worker raises, once more."""

        def __init__(self, worker, *, train_loop_config, run_config, **options):
            self.work, self.most = lambda: worker(train_loop_config), run_config.failure_config.max_failures

        def fit(self):
            for left in reversed(range(self.most + 1)):
                try:
                    self.work()
                except M2SError as error:
                    if not left:
                        raise trainers.TrainingFailedError("a worker failed") from error

    monkeypatch.setattr(torch_part, "TorchTrainer", Trainer)
    monkeypatch.setattr(torch_part, "get_device", lambda: "here")
    monkeypatch.setattr(trainers, "get_context", lambda: SimpleNamespace(get_world_rank=lambda: 0))
    monkeypatch.setattr("ray.is_initialized", lambda: True)
    monkeypatch.setattr("ray.cluster_resources", dict)
    with pytest.raises(M2SError, match="^no pairs$"):
        RayLauncher(2).run(refused, {"path": tmp_path / "e.safetensors", "device": "cpu"})
    assert [job["device"] for job in calls] == ["here"]
    assert "heard" in capsys.readouterr().out  # what the first worker prints is printed here
    assert list(tmp_path.iterdir()) == []


def test_to_other_processes_go_paths_of_stores(tmp_path):
    films = {f"clip {i}": make_store(tmp_path, f"f{i}") for i in range(3)}
    sent = pickle.dumps(launchers._as_paths(films))
    assert len(sent) < 1000
    opened = pickle.loads(sent)
    assert isinstance(opened, StorePaths)
    assert list(opened) == list(films)
    for film, store in films.items():
        np.testing.assert_array_equal(opened[film].keyframes(), store.keyframes())
    assert launchers._as_paths(stores()).keys() == stores().keys()
