"""Several processes train together: the losses, queue and weights of one process; killed, and gone on."""

import dataclasses
import os
import shutil
import signal
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file

from m2s_lib.errors import M2SError
from m2s_lib.evaluation.encoders import trained_baselines
from m2s_lib.io import read_json
from m2s_lib.method.scene_encoder import SceneEncoder, SceneEncoderConfig, ScenePairs
from m2s_lib.method.shot_encoder import ShotEncoder, ShotEncoderConfig, ShotPairs
from m2s_lib.training import launchers, reading
from m2s_lib.training.config import ContrastiveConfig
from m2s_lib.training.distributed import Ranks
from m2s_lib.training.launchers import LocalLauncher, RayLauncher, launcher
from m2s_lib.training.training import Training
from tests.helpers.fake_films import LearnableStore
from tests.helpers.training_loops import Stop, execute, loop_of, stops_at

CONFIG = ContrastiveConfig(
    epochs=2, batch=8, warmup_epochs=1, queue=20, momentum=0.9, lr=1e-3, temperature=0.2, checkpoint_every_s=0
)
AUGMENTED = dataclasses.replace(CONFIG, flip=True, crop=0.5, jitter=0.3, queue_filled_only=True)
TWO = LocalLauncher(2, timeout_s=60)


def stores():
    return {f"f{i}": LearnableStore(i, 8) for i in range(4)}


def table():
    rows = [
        (f"f{i}", f"f{(i + j) % 4}", 2 * s, 6 - 2 * s, 2) for j in (1, 2) for i in range(4) for s in range(3)
    ]
    return pd.DataFrame(rows, columns=["film_a", "film_b", "shot_a", "shot_b", "n_shots"])


def training_of(name, folder, config=None, **options):
    """'shots', 'scenes' or 'simclr' in a folder."""
    pairs, known = ShotPairs(stores(), share=1.0), AUGMENTED
    encoder = SceneEncoder(SceneEncoderConfig.preset("test"))
    if name == "shots":
        encoder, known = ShotEncoder(ShotEncoderConfig.preset("test")), CONFIG
    if name == "scenes":
        pairs = ScenePairs(table(), stores(), shift=1)
    return Training(encoder, pairs, config or known, folder / f"{name}.training", **options)


def keep_queue(run, folder):
    """Every process keeps its queue, not only the first."""
    torch.save(run.queue.state_dict(), folder / f"queue-{run.ranks.rank}-of-{run.ranks.size}.pt")


def with_line(kind, line):
    """The notebook's loop with one more line at the end of its body."""
    loop, note = loop_of(kind), "    run.note(loss, accuracy, q, k_0)\n"
    assert loop.count(note) == 1
    return loop.replace(note, f"{note}    {line}\n")


def train_all(folder, **options):
    for name, kind in (("shots", "shot"), ("scenes", "scene")):
        (folder / name).mkdir()
        run = training_of(name, folder / name, **options)
        loop, names = with_line(kind, "keep_queue(run, folder)"), {"keep_queue": keep_queue}
        if kind == "scene":
            names |= {"scene_negatives": "both", "scene_own_pair": False}
        execute(loop, run, kind, folder=folder / name, **names)
    trained_baselines._simclr(training_of("simclr", folder / "simclr", **options))


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Folders of the same three trainings by one process and by two."""
    one, two = (tmp_path_factory.mktemp(n) for n in ("one", "two"))
    train_all(one)
    train_all(two, launcher=TWO)
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


@pytest.mark.slow
@pytest.mark.parametrize("name", ["shots", "scenes", "simclr"])
def test_two_processes_give_the_training_of_one(trained, name):
    one, two = (folder / name for folder in trained)
    same_training(one, two, name)
    assert not list(two.glob("*.processes"))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["shots", "scenes"])
def test_every_process_has_the_same_queue(trained, name):
    one, two = (folder / name for folder in trained)
    parts = (one / "queue-0-of-1.pt", two / "queue-0-of-2.pt", two / "queue-1-of-2.pt")
    alone, first, second = (torch.load(p, weights_only=True) for p in parts)
    for n, value in first.items():
        assert torch.equal(value, second[n])
        torch.testing.assert_close(value, alone[n], rtol=1e-4, atol=1e-5)
    assert (first["pairs"] >= 0).all() == (name == "scenes")


def die_at(run, step, rank, once=None):
    """SIGKILL to one process as it ends a step; where its training began is noted."""
    began = run.checkpoint.with_name("began.txt")
    if run.ranks.rank == 0 and not began.exists():
        began.write_text(str(run.step))
    if run.ranks.rank == rank and run.step == step and not (once and once.exists()):
        if once:
            once.touch()
        os.kill(os.getpid(), signal.SIGKILL)


def never(*arguments):
    pass


@pytest.mark.slow
@pytest.mark.fault
def test_a_killed_process_ends_the_training_which_goes_on_in_any_number_of_processes(tmp_path):
    whole, cut, again = (tmp_path / n for n in ("whole", "cut", "again"))
    loop, names = with_line("scene", "die_at(run, 4, 1)"), {"die_at": die_at}
    run = training_of("scenes", whole)
    execute(loop_of("scene"), run, "scene")
    begun = training_of("scenes", cut)
    with pytest.raises(Stop):  # one process begins ...
        execute(loop, begun, "scene", momentum_update=stops_at(begun, 2), die_at=never)
    with pytest.raises(M2SError, match=r"process 1 of 2 .* was ended by SIGKILL .* run the same command"):
        execute(loop, training_of("scenes", cut, launcher=TWO), "scene", **names)
    assert (cut / "began.txt").read_text() == "2"  # ... two go on ...
    assert read_json(cut / "scenes.training" / "checkpoint.json")["step"] in (4, 5)
    shutil.copytree(cut, again)
    for folder, two in ((cut, TWO), (again, None)):  # ... and two or one end it
        last = training_of("scenes", folder, launcher=two)
        execute(loop, last, "scene", die_at=never)
        same_training(whole, folder, "scenes")
        pd.testing.assert_frame_equal(
            last.log.drop(columns="pairs_per_s"), run.log.drop(columns="pairs_per_s"), rtol=1e-5
        )
        torch.testing.assert_close(last.encoder.fc.weight, run.encoder.fc.weight, rtol=1e-3, atol=1e-4)


@pytest.mark.slow
@pytest.mark.ray
@pytest.mark.fault
@pytest.mark.timeout(600)
def test_ray_trains_the_same_though_a_worker_is_lost(trained, tmp_path):
    pytest.importorskip("ray")
    run = training_of("shots", tmp_path, launcher=RayLauncher(2, use_gpu=False, restarts=1))
    loop = with_line("shot", "die_at(run, 4, 1, killed)")
    execute(loop, run, "shot", die_at=die_at, killed=tmp_path / "killed.txt")
    assert (tmp_path / "killed.txt").exists()
    same_training(trained[0] / "shots", tmp_path, "shots")
    assert not list(tmp_path.glob("*.processes"))


def broken(run):
    if run.ranks.rank == 1:
        raise KeyError("a mistake of ours")
    print("the first speaks")
    torch.distributed.barrier()


@pytest.mark.slow
def test_what_happens_in_a_process_is_said_here(tmp_path, capsys):
    seven = dataclasses.replace(CONFIG, batch=7)
    with pytest.raises(M2SError, match="batch of 7 pairs cannot be dealt out evenly to 2 processes"):
        execute(loop_of("shot"), training_of("shots", tmp_path, seven, launcher=TWO), "shot")
    assert list(tmp_path.iterdir()) == []
    run = training_of("shots", tmp_path, launcher=TWO)
    with pytest.raises(RuntimeError, match="KeyError: 'a mistake of ours'"):
        execute(with_line("shot", "broken(run)"), run, "shot", broken=broken)
    assert "the first speaks\n" in capsys.readouterr().out


def test_what_cannot_be_sent_to_other_processes_is_refused(tmp_path):
    run = training_of("shots", tmp_path, launcher=TWO)
    with pytest.raises(M2SError, match="names something that other processes cannot be sent .*generator"):
        execute(with_line("shot", "next(numbers)"), run, "shot", numbers=(i for i in range(9)))
    with pytest.raises(M2SError, match="in several processes needs a folder for its checkpoints"):
        execute(loop_of("shot"), Training(run.encoder, run.pairs, CONFIG, launcher=TWO), "shot")


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
    pairs = ScenePairs(table(), films, shift=2) if name == "scenes" else ShotPairs(films, share=1)

    def batch(rank, size):
        generator, part = np.random.default_rng(5), Ranks(rank, size).part(8)
        query, keys, about = pairs.batch(np.arange(8)[::-1], generator, part)
        return *reading._augmented(query, keys, AUGMENTED, generator, part.start, 8), about

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
        TWO._check_device(torch.device("cuda"))
    with pytest.raises(M2SError, match="'cuda:0' is one GPU and 2 processes are to train"):
        TWO._check_device(torch.device("cuda:0"))


def test_without_ray_the_extra_is_named(monkeypatch, tmp_path):
    monkeypatch.setattr(launchers, "find_spec", lambda name: None)
    with pytest.raises(M2SError, match=r"engine 'ray' needs Ray: pip install -e \.\[ray\]"):
        execute(loop_of("shot"), training_of("shots", tmp_path, launcher=RayLauncher(2)), "shot")


@pytest.mark.ray
def test_bad_input_is_not_tried_again_by_ray(monkeypatch, tmp_path, capsys):
    trainers, torch_part = pytest.importorskip("ray.train"), pytest.importorskip("ray.train.torch")
    calls = []

    def refused(packed, device):
        calls.append(device)
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

    monkeypatch.setattr(launchers, "run_packed", refused)
    monkeypatch.setattr(torch_part, "TorchTrainer", Trainer)
    monkeypatch.setattr(torch_part, "get_device", lambda: "here")
    monkeypatch.setattr(trainers, "get_context", lambda: SimpleNamespace(get_world_rank=lambda: 0))
    monkeypatch.setattr("ray.is_initialized", lambda: True)
    monkeypatch.setattr("ray.cluster_resources", dict)
    with pytest.raises(M2SError, match="^no pairs$"):
        execute(loop_of("shot"), training_of("shots", tmp_path, launcher=RayLauncher(2)), "shot")
    assert calls == ["here"]
    assert "heard" in capsys.readouterr().out  # what the first worker prints is printed here
    assert list(tmp_path.iterdir()) == []
