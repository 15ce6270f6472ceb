import copy
import math
import warnings

import numpy as np
import pandas as pd
import pytest
import torch
import torch.nn.functional as F

from m2s_lib.errors import M2SError
from m2s_lib.evaluation.encoders import trained_baselines
from m2s_lib.method.moco import KeyQueue
from m2s_lib.method.scene_encoder import SceneEncoder, SceneEncoderConfig, ScenePairs
from m2s_lib.method.shot_encoder import ShotEncoder, ShotEncoderConfig, ShotPairs
from m2s_lib.training.config import ContrastiveConfig, learning_rate
from m2s_lib.training.training import Training
from tests.helpers.fake_films import LearnableStore
from tests.helpers.training_loops import execute, loop_of, train

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
        query, key, _ = pairs.batch(chosen, np.random.default_rng((cfg.seed, epoch, position)))
        losses.append(literal.step(query, key, learning_rate(step, 3, cfg)))
    model = scene_encoder()
    log = train(model, pairs, cfg)
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


def train_simclr(model, pairs, cfg, checkpoint=None):
    run = Training(model, pairs, cfg, checkpoint)
    trained_baselines._simclr(run)
    return run.log


@pytest.mark.parametrize("kind", ["shots", "scenes", "simclr"])
def test_a_little_training_lowers_the_loss_and_finds_the_pairs(kind):
    if kind == "scenes":
        model, pairs = scene_encoder(), scene_pairs(films=6)
    else:
        model, pairs = ShotEncoder(ShotEncoderConfig.preset("test", out_dim=32)), shot_pairs()
    cfg = config(epochs=12, queue=8)
    before = separation(model)
    log = train_simclr(model, pairs, cfg) if kind == "simclr" else train(model, pairs, cfg)
    first, last = log[log["epoch"] < 2], log[log["epoch"] >= 10]
    assert last["loss"].mean() < 0.85 * first["loss"].mean()
    assert separation(model) > before + 0.2
    assert all(p.dtype == torch.float32 for p in model.parameters())


def test_the_log_has_its_columns_and_measures_at_the_end_of_epochs():
    log = train(scene_encoder(), scene_pairs(), SMALL)
    assert list(log)[:6] == ["step", "epoch", "loss", "accuracy", "lr", "pairs_per_s"]
    assert log["step"].tolist() == list(range(12))
    assert log["epoch"].tolist() == [e for e in range(4) for _ in range(3)]
    for measure in ("alignment", "uniformity"):
        assert log[measure].notna().tolist() == [s % 3 == 2 for s in range(12)]
    assert log["alignment"].dropna().between(0, 4).all()
    assert (log["uniformity"].dropna() <= 0).all()
    assert (log["pairs_per_s"] > 0).all()


def test_the_key_encoder_gets_no_gradient_and_the_queue_the_chosen_keys():
    pairs, chosen = shot_pairs(), []
    run = Training(ShotEncoder(ShotEncoderConfig.preset("test")), pairs, config(epochs=2, queue=11))
    note = run.note
    run.note = lambda loss, accuracy, q, k: (chosen.append(k.clone()), note(loss, accuracy, q, k))
    execute(loop_of("shot"), run, "shot")
    assert all(p.grad is None and not p.requires_grad for p in run.key_encoder.parameters())
    assert all(p.grad is not None for p in run.encoder.parameters())
    newest = torch.cat(chosen)[-11:]
    assert sorted(map(tuple, run.queue.keys.tolist())) == sorted(map(tuple, newest.tolist()))
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


def test_a_fixed_number_of_steps_has_the_same_schedule_and_ends_where_it_says():
    cfg = config(steps=40)
    rates = [learning_rate(step, 3, cfg) for step in range(40)]
    assert rates[9] == pytest.approx(cfg.lr)  # a quarter of the epochs is warm-up, so are the steps
    assert rates[39] == pytest.approx(cfg.lr * 0.5 * (1 + math.cos(math.pi * 29 / 30)))
    log = train(scene_encoder(), scene_pairs(), config(steps=7))  # an epoch has three
    assert log["step"].tolist() == list(range(7))
    assert log["epoch"].tolist() == [0, 0, 0, 1, 1, 1, 2]
    assert log["alignment"].notna().tolist() == [False, False, True, False, False, True, True]
    by_epochs = train(scene_encoder(), scene_pairs(), SMALL)
    pd.testing.assert_frame_equal(
        train(scene_encoder(), scene_pairs(), config(steps=12)).drop(columns="pairs_per_s"),
        by_epochs.drop(columns="pairs_per_s"),
    )


@pytest.mark.parametrize("source", ["batch", "both"])
def test_negatives_of_the_batch_give_the_loss_of_the_literal_form(source):
    pairs, cfg, losses = scene_pairs(), config(epochs=2, queue=16 if source == "both" else 0), []
    literal = LiteralMoCo(scene_encoder(), cfg)
    queue = KeyQueue(cfg.queue, literal.q.out_dim, seed=cfg.seed)
    for step in range(6):
        epoch, position = divmod(step, 3)
        order = np.random.default_rng((cfg.seed, epoch)).permutation(len(pairs))
        chosen = order[position * 8 : position * 8 + 8]
        query, key, film_pair = pairs.batch(chosen, np.random.default_rng((cfg.seed, epoch, position)))
        for a, b in zip(literal.q.parameters(), literal.k.parameters(), strict=True):
            b.data = b.data * cfg.momentum + a.data * (1 - cfg.momentum)
        q = F.normalize(literal.q(query), dim=1)
        with torch.no_grad():
            k = F.normalize(literal.k(key), dim=1)
        each = []
        for i in range(8):
            others = [k[j] for j in range(8) if film_pair[j] != film_pair[i]]
            others += [x for x, p in zip(queue.keys, queue.pairs, strict=True) if p != film_pair[i]]
            logits = torch.stack([q[i] @ k[i], *(q[i] @ x for x in others)]) / cfg.temperature
            each.append(F.cross_entropy(logits[None], torch.zeros(1, dtype=torch.long)))
        loss = torch.stack(each).mean()
        literal.optimizer.param_groups[0]["lr"] = learning_rate(step, 3, cfg)
        literal.optimizer.zero_grad()
        loss.backward()
        literal.optimizer.step()
        queue.enqueue(k, film_pair)
        losses.append(loss.item())
    log = train(scene_encoder(), pairs, cfg, scene_negatives=source, scene_own_pair=False)
    np.testing.assert_allclose(log["loss"], losses, atol=1e-5)


def test_nothing_is_trained_without_pairs_or_epochs(tmp_path):
    for pairs, cfg in ((None, SMALL), (scene_pairs(), config(epochs=0, warmup_epochs=0))):
        encoder = scene_encoder()
        assert train(encoder, pairs, cfg, tmp_path).empty
        assert all(
            torch.equal(a, b) for a, b in zip(encoder.parameters(), scene_encoder().parameters(), strict=True)
        )
    assert list(tmp_path.iterdir()) == []


def test_a_training_is_run_once():
    run = Training(scene_encoder(), scene_pairs(), SMALL, title="E_scene")
    execute(loop_of("scene"), run, "scene")
    with pytest.raises(
        M2SError, match="training of E_scene has had 12 steps: run the cell that makes it again"
    ):
        execute(loop_of("scene"), run, "scene")


def test_batches_are_for_a_loop():
    with pytest.raises(M2SError, match="is for a `for` statement in a notebook's cell or in a file"):
        next(Training(scene_encoder(), scene_pairs(), SMALL).batches())


def test_the_comparators_momentum_contrast_is_the_notebooks():
    logs, encoders = [], [scene_encoder(), scene_encoder()]
    logs.append(train(encoders[0], shot_pairs(), SMALL))
    run = Training(encoders[1], shot_pairs(), SMALL)
    trained_baselines.momentum_contrast(run)
    assert run.log["loss"].tolist() == logs[0]["loss"].tolist()
    assert all(torch.equal(a, b) for a, b in zip(*(e.parameters() for e in encoders), strict=True))


def test_incomplete_batches_are_dropped_and_few_pairs_are_one_batch(caplog):
    log = train(scene_encoder(), scene_pairs(), config(batch=10))
    assert len(log) == 4 * 2  # 24 pairs
    log = train(scene_encoder(), scene_pairs(), config(batch=100))
    assert len(log) == 4
    assert "only 24 pairs for a batch of 100" in caplog.text


def test_a_queue_longer_than_the_pairs_is_warned_about(caplog):
    train(scene_encoder(), scene_pairs(), config(epochs=2, queue=64))
    assert "queue holds 64 keys and there are 24 pairs" in caplog.text
    caplog.clear()
    train(scene_encoder(), scene_pairs(), config(epochs=2, queue=24))
    assert caplog.text == ""


def test_a_loss_that_is_not_finite_names_step_and_rate(tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises(M2SError, match=r"the loss is nan at step \d+ \(epoch \d+, learning rate"):
            train(scene_encoder(), scene_pairs(), config(lr=1e30), checkpoint=tmp_path)


def test_configurations_that_cannot_work_are_refused():
    with pytest.raises(M2SError, match="warmup_epochs 40 must be below epochs 10"):
        ContrastiveConfig(epochs=10)
    with pytest.raises(M2SError, match="precision 'int8' is unknown: use one of"):
        config(precision="int8")
    with pytest.raises(M2SError, match="momentum 2 must lie in 0..1"):
        config(momentum=2)
    pairs = scene_pairs()
    pairs._films = pairs._films[:0]
    with pytest.raises(M2SError, match="there are no pairs to train on"):
        train(scene_encoder(), pairs, SMALL)


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
    cpu = train(scene_encoder(), scene_pairs(), SMALL)
    model = scene_encoder()
    gpu = train(model, scene_pairs(), config(compile=compiled), options={"device": "cuda"})
    np.testing.assert_allclose(gpu["loss"], cpu["loss"], rtol=0.05)
    assert math.isfinite(gpu["loss"].sum())
    assert all(p.dtype == torch.float32 for p in model.parameters())
