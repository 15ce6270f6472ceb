import copy
import math
import shutil
import warnings

import numpy as np
import pandas as pd
import pytest
import torch
import torch.nn.functional as F

from m2s_lib.errors import M2SError
from m2s_lib.method.moco import KeyQueue
from m2s_lib.method.scene_encoder import SceneEncoder, SceneEncoderConfig, ScenePairs
from m2s_lib.method.shot_encoder import ShotEncoder, ShotEncoderConfig, ShotPairs
from m2s_lib.training.checkpoint import damaged_file
from m2s_lib.training.training import ContrastiveConfig, learning_rate, train_contrastive
from tests.helpers.fake_films import LearnableStore

SMALL = ContrastiveConfig(
    epochs=4, batch=8, warmup_epochs=1, queue=16, momentum=0.9, lr=1e-3, temperature=0.2
)


def config(**changes):
    return ContrastiveConfig(**{**vars(SMALL), **changes})


def scene_pairs(films=4, n=2):
    stores = {str(i): LearnableStore(i, 14) for i in range(films)}
    rows = [(str(i), str(i), s, s + 6) for i in range(films) for s in range(6)]
    table = pd.DataFrame(rows, columns=["film_a", "film_b", "shot_a", "shot_b"])
    return ScenePairs(table.assign(n_shots=n), stores)


def shot_pairs(films=6):
    return ShotPairs({str(i): LearnableStore(i, 8) for i in range(films)}, share=1.0)


def scene_encoder(seed=0):
    return SceneEncoder(SceneEncoderConfig.preset("test"), seed=seed)


class LiteralMoCo:
    """facebookresearch/moco's builder, as plainly as it is written there, with AdamW."""

    def __init__(self, encoder, cfg):
        self.q, self.k, self.cfg = encoder, copy.deepcopy(encoder), cfg
        self.queue = KeyQueue(cfg.queue, encoder.out_dim, seed=cfg.seed).keys.T.clone()  # [d, K]
        self.pointer = 0
        self.optimizer = torch.optim.AdamW(
            self.q.parameters(), lr=cfg.lr, weight_decay=cfg.weight_decay, foreach=False
        )

    def step(self, query, key, lr):
        q = F.normalize(self.q(query), dim=1)
        with torch.no_grad():
            for a, b in zip(self.q.parameters(), self.k.parameters(), strict=True):
                b.data = b.data * self.cfg.momentum + a.data * (1 - self.cfg.momentum)
            k = F.normalize(self.k(key), dim=1)
        positive = torch.einsum("nc,nc->n", q, k)[:, None]
        negative = torch.einsum("nc,ck->nk", q, self.queue.clone().detach())
        logits = torch.cat([positive, negative], dim=1) / self.cfg.temperature
        assert self.cfg.queue % len(k) == 0
        self.queue[:, self.pointer : self.pointer + len(k)] = k.T
        self.pointer = (self.pointer + len(k)) % self.cfg.queue
        loss = F.cross_entropy(logits, torch.zeros(len(q), dtype=torch.long))
        self.optimizer.param_groups[0]["lr"] = lr
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        return loss.item()


def test_losses_are_those_of_literal_moco_for_several_steps():
    pairs, cfg = scene_pairs(), config(epochs=3)
    literal, losses = LiteralMoCo(scene_encoder(), cfg), []
    for step in range(9):
        epoch, position = divmod(step, 3)
        order = np.random.default_rng((cfg.seed, epoch)).permutation(len(pairs))
        chosen = order[position * 8 : position * 8 + 8]
        query, keys, _ = pairs.batch(chosen, np.random.default_rng((cfg.seed, epoch, position)))
        losses.append(literal.step(query, keys[:, 0], learning_rate(step, 3, cfg)))
    model = scene_encoder()
    log = train_contrastive(model, pairs, cfg)
    np.testing.assert_allclose(log["loss"], losses, atol=1e-5)
    assert log["loss"].nunique() == 9
    for a, b in zip(model.parameters(), literal.q.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-4)


@torch.no_grad()
def separation(model):
    """How much nearer (in cosine) shots are to others of their film than to those of other films."""
    shots = torch.from_numpy(np.concatenate([LearnableStore(i, 8).keyframes() for i in range(6)]))
    x = F.normalize(model(shots[:, None]), dim=1)
    same = torch.arange(6).repeat_interleave(8)
    same = same[:, None] == same
    cosine = x @ x.T
    return (cosine[same].mean() - cosine[~same].mean()).item()


@pytest.mark.parametrize("what", ["shots", "scenes", "simclr"])
def test_a_little_training_lowers_the_loss_and_finds_the_pairs(what):
    if what == "shots":
        model, pairs = ShotEncoder(ShotEncoderConfig.preset("test", out_dim=32)), shot_pairs()
    else:
        model, pairs = scene_encoder(), scene_pairs(films=6)
    cfg = config(epochs=12, queue=8, method="simclr" if what == "simclr" else "moco")
    before = separation(model)
    log = train_contrastive(model, pairs, cfg)
    first, last = log[log["epoch"] < 2], log[log["epoch"] >= 10]
    assert last["loss"].mean() < 0.85 * first["loss"].mean()
    assert separation(model) > before + 0.2
    assert all(p.dtype == torch.float32 for p in model.parameters())


def test_the_log_has_its_columns_and_measures_at_the_end_of_epochs():
    log = train_contrastive(scene_encoder(), scene_pairs(), SMALL)
    assert list(log)[:6] == ["step", "epoch", "loss", "accuracy", "lr", "pairs_per_s"]
    assert log["step"].tolist() == list(range(12))
    assert log["epoch"].tolist() == [e for e in range(4) for _ in range(3)]
    for measure in ("alignment", "uniformity"):
        assert log[measure].notna().tolist() == [s % 3 == 2 for s in range(12)]
    assert log["alignment"].dropna().between(0, 4).all()
    assert (log["uniformity"].dropna() <= 0).all()
    assert (log["pairs_per_s"] > 0).all()


class Stops(Exception):
    pass


class Interrupted:
    """A pair source that fails after so many batches, as a killed run does."""

    def __init__(self, pairs, batches):
        self.pairs, self.left = pairs, batches

    def digest(self):
        return self.pairs.digest()

    def __len__(self):
        return len(self.pairs)

    def batch(self, indices, generator, part=None):
        self.left -= 1
        if self.left < 0:
            raise Stops
        return self.pairs.batch(indices, generator, part)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"flip": True, "crop": 0.5, "jitter": 0.2},
        {"queue_filled_only": True},
        {"method": "simclr"},
        {"queue": 13},
        {"bf16_on_cpu": True},
    ],
)
@pytest.mark.parametrize("batches", [4, 7])
def test_a_resumed_run_gives_the_same_losses_to_the_last_bit(tmp_path, changes, batches):
    cfg, whole = config(checkpoint_every_s=0, **changes), scene_encoder()
    expected = train_contrastive(whole, scene_pairs(), cfg)
    with pytest.raises(Stops):
        train_contrastive(scene_encoder(), Interrupted(scene_pairs(), batches), cfg, checkpoint=tmp_path)
    resumed = scene_encoder()
    log = train_contrastive(resumed, scene_pairs(), cfg, checkpoint=tmp_path)
    kept = ["step", "epoch", "loss", "accuracy", "lr", "alignment", "uniformity"]
    pd.testing.assert_frame_equal(log[kept], expected[kept], check_exact=True)
    assert all(torch.equal(a, b) for a, b in zip(resumed.parameters(), whole.parameters(), strict=True))


def test_a_finished_run_is_not_repeated_and_leaves_plain_files(tmp_path):
    expected = train_contrastive(scene_encoder(), scene_pairs(), SMALL, checkpoint=tmp_path)
    names = sorted(p.name for p in tmp_path.iterdir())
    assert names == ["checkpoint.json", "log-12.parquet", "optimizer-12.pt", "weights-12.safetensors"]
    log = train_contrastive(scene_encoder(), Interrupted(scene_pairs(), 0), SMALL, checkpoint=tmp_path)
    pd.testing.assert_frame_equal(log, expected)
    again = train_contrastive(scene_encoder(), scene_pairs(), config(lr=2e-3), checkpoint=tmp_path)
    assert not np.allclose(again["loss"], expected["loss"])  # another configuration starts anew


def test_an_unfinished_run_of_another_configuration_is_protected(tmp_path):
    cfg = config(checkpoint_every_s=0)
    with pytest.raises(Stops):
        train_contrastive(scene_encoder(), Interrupted(scene_pairs(), 6), cfg, checkpoint=tmp_path)
    with pytest.raises(M2SError, match=r"unfinished run, at step \d+, .*lr 0.001 \(now 0.002\)"):
        train_contrastive(scene_encoder(), scene_pairs(), config(lr=2e-3), checkpoint=tmp_path)
    log = train_contrastive(
        scene_encoder(), scene_pairs(), config(lr=2e-3), checkpoint=tmp_path, resume=False
    )
    assert len(log) == 12


def _flip(path, at: float) -> None:
    """One bit of a file, `at` of the way through it."""
    data = bytearray(path.read_bytes())
    data[int(at * len(data))] ^= 4
    path.write_bytes(data)


@pytest.mark.fault
@pytest.mark.parametrize(
    "part", ["weights-6.safetensors", "optimizer-6.pt", "log-6.parquet", "checkpoint.json"]
)
def test_a_damaged_checkpoint_is_named_and_training_starts_anew(tmp_path, part, caplog):
    cfg = config(checkpoint_every_s=0)
    expected = train_contrastive(scene_encoder(), scene_pairs(), cfg)
    with pytest.raises(Stops):
        train_contrastive(scene_encoder(), Interrupted(scene_pairs(), 6), cfg, checkpoint=tmp_path / "a")
    for number, damage in enumerate(
        (lambda p: _flip(p, 0.6), lambda p: p.write_bytes(p.read_bytes()[:-9]), lambda p: p.write_bytes(b""))
    ):
        folder = shutil.copytree(tmp_path / "a", tmp_path / str(number))
        damage(folder / part)
        caplog.clear()
        log = train_contrastive(scene_encoder(), scene_pairs(), cfg, checkpoint=folder)
        assert f"{folder / part} is damaged or missing: training starts anew" in caplog.text
        assert log["loss"].tolist() == expected["loss"].tolist()


@pytest.mark.fault
def test_every_bit_of_a_checkpoints_record_counts(tmp_path):
    train_contrastive(scene_encoder(), scene_pairs(), SMALL, checkpoint=tmp_path)
    assert damaged_file(tmp_path) == ""
    record = (tmp_path / "checkpoint.json").read_bytes()
    for at in range(0, len(record), 3):
        (tmp_path / "checkpoint.json").write_bytes(record[:at] + bytes([record[at] ^ 2]) + record[at + 1 :])
        if record[at : at + 1].strip():  # white space means nothing
            assert damaged_file(tmp_path), at


@pytest.mark.fault
def test_a_run_killed_while_it_writes_keeps_the_checkpoint_before(tmp_path, monkeypatch):
    import m2s_lib.training.checkpoint as training_run

    cfg, calls = config(checkpoint_every_s=0), []
    write = training_run.write_json

    def killed(*args):
        calls.append(args)
        if len(calls) == 5:
            raise Stops
        write(*args)

    monkeypatch.setattr(training_run, "write_json", killed)
    with pytest.raises(Stops):
        train_contrastive(scene_encoder(), scene_pairs(), cfg, checkpoint=tmp_path)
    monkeypatch.undo()
    log = train_contrastive(scene_encoder(), scene_pairs(), cfg, checkpoint=tmp_path)
    expected = train_contrastive(scene_encoder(), scene_pairs(), cfg)
    assert log["loss"].tolist() == expected["loss"].tolist()


def test_the_key_encoder_gets_no_gradient_and_the_queue_the_chosen_keys(monkeypatch):
    import m2s_lib.training.training as training

    seen = []

    def spy(run, *batch):
        out = step(run, *batch)
        seen.append((run, out.k.clone()))
        return out

    step = training.moco_step
    monkeypatch.setattr(training, "moco_step", spy)
    train_contrastive(ShotEncoder(ShotEncoderConfig.preset("test")), shot_pairs(), config(epochs=2, queue=11))
    run = seen[0][0]
    assert all(p.grad is None and not p.requires_grad for p in run.key_model.parameters())
    assert all(p.grad is not None for p in run.model.parameters())
    newest = torch.cat([k for _, k in seen])[-11:]
    rows = sorted(map(tuple, newest.tolist()))
    assert sorted(map(tuple, run.queue.keys.tolist())) == rows
    torch.testing.assert_close(newest.norm(dim=1), torch.ones(11))


def test_learning_rate_warms_up_and_falls_as_half_a_cosine():
    cfg = ContrastiveConfig(epochs=100, warmup_epochs=40, lr=1.5e-4)
    rates = [learning_rate(step, 10, cfg) for step in range(1000)]
    assert rates[0] == pytest.approx(1.5e-4 / 400)
    assert rates[399] == pytest.approx(1.5e-4)
    assert rates[400] == pytest.approx(1.5e-4)
    assert rates[700] == pytest.approx(0.75e-4)
    assert 0 < rates[999] < 1e-8
    assert all(a < b for a, b in zip(rates[:399], rates[1:400], strict=True))
    assert all(a > b for a, b in zip(rates[400:], rates[401:], strict=False))
    assert learning_rate(0, 10, config(warmup_epochs=0)) == config().lr


def test_incomplete_batches_are_dropped_and_few_pairs_are_one_batch(caplog):
    log = train_contrastive(scene_encoder(), scene_pairs(), config(batch=10))
    assert len(log) == 4 * 2  # 24 pairs
    log = train_contrastive(scene_encoder(), scene_pairs(), config(batch=100))
    assert len(log) == 4
    assert "only 24 pairs for a batch of 100" in caplog.text


def test_a_queue_longer_than_the_pairs_is_warned_about(caplog):
    train_contrastive(scene_encoder(), scene_pairs(), config(epochs=2, queue=64))
    assert "queue holds 64 keys and there are 24 pairs" in caplog.text
    caplog.clear()
    train_contrastive(scene_encoder(), scene_pairs(), config(epochs=2, queue=24))
    assert caplog.text == ""


def test_a_loss_that_is_not_finite_names_step_and_rate(tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises(M2SError, match=r"the loss is nan at step \d+ \(epoch \d+, learning rate"):
            train_contrastive(scene_encoder(), scene_pairs(), config(lr=1e30), checkpoint=tmp_path)


def test_configurations_that_cannot_work_are_refused():
    with pytest.raises(M2SError, match="warmup_epochs 40 must be below epochs 10"):
        ContrastiveConfig(epochs=10)
    with pytest.raises(M2SError, match="method 'byol' is unknown"):
        config(method="byol")
    with pytest.raises(M2SError, match="momentum 2 must lie in 0..1"):
        config(momentum=2)
    pairs = scene_pairs()
    pairs._films = pairs._films[:0]
    with pytest.raises(M2SError, match="there are no pairs to train on"):
        train_contrastive(scene_encoder(), pairs, SMALL)


def test_the_defaults_are_the_papers():
    cfg = ContrastiveConfig()
    assert (cfg.queue, cfg.momentum, cfg.temperature) == (65_536, 0.999, 0.07)
    assert (cfg.lr, cfg.weight_decay, cfg.warmup_epochs, cfg.batch, cfg.epochs) == (
        1.5e-4,
        0.01,
        40,
        128,
        100,
    )


@pytest.mark.gpu
@pytest.mark.parametrize("compiled", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_training_on_cuda_in_bf16_follows_the_cpu(compiled):
    cpu = train_contrastive(scene_encoder(), scene_pairs(), SMALL)
    model = scene_encoder()
    gpu = train_contrastive(model, scene_pairs(), config(compile=compiled), device="cuda")
    np.testing.assert_allclose(gpu["loss"], cpu["loss"], rtol=0.05)
    assert math.isfinite(gpu["loss"].sum())
    assert all(p.dtype == torch.float32 for p in model.parameters())
