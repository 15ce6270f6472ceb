"""Checkpoints: what is continued to the last bit, what is begun anew, and what is damaged."""

import shutil

import numpy as np
import pandas as pd
import pytest
import torch

from m2s_lib.errors import M2SError
from m2s_lib.method.scene_encoder import ScenePairs
from m2s_lib.method.shot_encoder import ShotEncoder, ShotEncoderConfig, ShotPairs
from m2s_lib.training import checkpoint
from m2s_lib.training.checkpoint import damaged_file
from m2s_lib.training.training import Training
from tests.helpers.fake_films import LearnableStore
from tests.helpers.training_loops import Stop, execute, loop_of, stops_at, train
from tests.training.test_training import SMALL, config, scene_encoder, scene_pairs


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
            raise Stop
        return self.pairs.batch(indices, generator, part)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"flip": True, "crop": 0.5, "jitter": 0.2},
        {"queue_filled_only": True},
        {"queue": 13},
        {"steps": 10},
        {"precision": "bf16"},
    ],
)
@pytest.mark.parametrize("batches", [4, 7])
def test_a_resumed_run_gives_the_same_losses_to_the_last_bit(tmp_path, changes, batches):
    cfg, whole = config(checkpoint_every_s=0, **changes), scene_encoder()
    expected = train(whole, scene_pairs(), cfg)
    with pytest.raises(Stop):
        train(scene_encoder(), Interrupted(scene_pairs(), batches), cfg, checkpoint=tmp_path)
    resumed = scene_encoder()
    log = train(resumed, scene_pairs(), cfg, checkpoint=tmp_path)
    kept = ["step", "epoch", "loss", "accuracy", "lr", "alignment", "uniformity"]
    pd.testing.assert_frame_equal(log[kept], expected[kept], check_exact=True)
    assert all(torch.equal(a, b) for a, b in zip(resumed.parameters(), whole.parameters(), strict=True))


def test_a_finished_run_is_not_repeated_and_leaves_plain_files(tmp_path):
    expected = train(scene_encoder(), scene_pairs(), SMALL, checkpoint=tmp_path)
    names = sorted(p.name for p in tmp_path.iterdir())
    assert names == ["checkpoint.json", "log-12.parquet", "optimizer-12.pt", "weights-12.safetensors"]
    log = train(scene_encoder(), Interrupted(scene_pairs(), 0), SMALL, checkpoint=tmp_path)
    pd.testing.assert_frame_equal(log, expected)
    again = train(scene_encoder(), scene_pairs(), config(lr=2e-3), checkpoint=tmp_path)
    assert not np.allclose(again["loss"], expected["loss"])  # another configuration starts anew


def test_an_unfinished_run_of_another_configuration_is_protected(tmp_path):
    cfg = config(checkpoint_every_s=0)
    with pytest.raises(Stop):
        train(scene_encoder(), Interrupted(scene_pairs(), 6), cfg, checkpoint=tmp_path)
    with pytest.raises(M2SError, match=r"unfinished run, at step \d+, .*lr 0.001 \(now 0.002\)"):
        train(scene_encoder(), scene_pairs(), config(lr=2e-3), checkpoint=tmp_path)
    changed = loop_of("scene").replace("loss.backward()", "(2 * loss).backward()")
    run = Training(scene_encoder(), scene_pairs(), cfg, tmp_path)
    with pytest.raises(M2SError, match=r"unfinished run, at step \d+, of .*: loop \w+ \(now \w+\)"):
        execute(changed, run, "scene")
    log = train(
        scene_encoder(), scene_pairs(), config(lr=2e-3), checkpoint=tmp_path, options={"resume": False}
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
    expected = train(scene_encoder(), scene_pairs(), cfg)
    with pytest.raises(Stop):
        train(scene_encoder(), Interrupted(scene_pairs(), 6), cfg, checkpoint=tmp_path / "a")
    for number, damage in enumerate(
        (lambda p: _flip(p, 0.6), lambda p: p.write_bytes(p.read_bytes()[:-9]), lambda p: p.write_bytes(b""))
    ):
        folder = shutil.copytree(tmp_path / "a", tmp_path / str(number))
        damage(folder / part)
        caplog.clear()
        log = train(scene_encoder(), scene_pairs(), cfg, checkpoint=folder)
        assert f"{folder / part} is damaged or missing: training starts anew" in caplog.text
        assert log["loss"].tolist() == expected["loss"].tolist()


@pytest.mark.fault
def test_every_bit_of_a_checkpoints_record_counts(tmp_path):
    train(scene_encoder(), scene_pairs(), SMALL, checkpoint=tmp_path)
    assert damaged_file(tmp_path) == ""
    record = (tmp_path / "checkpoint.json").read_bytes()
    for at in range(0, len(record), 3):
        (tmp_path / "checkpoint.json").write_bytes(record[:at] + bytes([record[at] ^ 2]) + record[at + 1 :])
        if record[at : at + 1].strip():  # white space means nothing
            assert damaged_file(tmp_path), at


@pytest.mark.fault
def test_a_run_killed_while_it_writes_keeps_the_checkpoint_before(tmp_path, monkeypatch):
    cfg, calls = config(checkpoint_every_s=0), []
    write = checkpoint.write_json

    def killed(*args):
        calls.append(args)
        if len(calls) == 5:
            raise Stop
        write(*args)

    monkeypatch.setattr(checkpoint, "write_json", killed)
    with pytest.raises(Stop):
        train(scene_encoder(), scene_pairs(), cfg, checkpoint=tmp_path)
    monkeypatch.undo()
    log = train(scene_encoder(), scene_pairs(), cfg, checkpoint=tmp_path)
    expected = train(scene_encoder(), scene_pairs(), cfg)
    assert log["loss"].tolist() == expected["loss"].tolist()


def test_a_changed_loop_is_another_training(tmp_path):
    """A finished checkpoint is of the loop that made it; comments and layout are none of it."""
    cell = loop_of("scene")
    logs = []
    for text in (cell, cell.replace("  # Eq. 3", ""), cell.replace("k, tau, counts", "k, 2 * tau, counts")):
        assert logs == [] or text != cell
        run = Training(scene_encoder(), scene_pairs(), SMALL, tmp_path)
        execute(text, run, "scene")
        logs.append(run.log)
    assert logs[1]["pairs_per_s"].tolist() == logs[0]["pairs_per_s"].tolist()  # read back
    assert logs[2]["pairs_per_s"].tolist() != logs[0]["pairs_per_s"].tolist()
    assert not np.allclose(logs[2]["loss"], logs[0]["loss"])


EVERY_STEP = config(checkpoint_every_s=0)
SHAPE = ShotEncoderConfig.preset("test")


def films(count=4, first=0):
    return {f"f{i}": LearnableStore(first + i, 8) for i in range(count)}


def pairs_of(step=1, n=2):
    rows = [(f"f{i}", f"f{(i + step) % 4}", 2 * s, 6 - 2 * s) for i in range(4) for s in range(3)]
    table = pd.DataFrame(rows, columns=["film_a", "film_b", "shot_a", "shot_b"]).assign(n_shots=n)
    return ScenePairs(table, films())


def same(a, b):
    return all(torch.equal(x, y) for x, y in zip(a.parameters(), b.parameters(), strict=True))


def stopped_at(step, encoder, pairs, folder):
    """A training that ended as it began a step."""
    run = Training(encoder, pairs, EVERY_STEP, folder)
    kind = "shot" if isinstance(pairs, ShotPairs) else "scene"
    with pytest.raises(Stop):
        execute(loop_of(kind), run, kind, momentum_update=stops_at(run, step))


@pytest.mark.parametrize("at", [1, 4, 8])
def test_a_stopped_training_goes_on_where_it_was(tmp_path, at):
    whole, steps = ShotEncoder(SHAPE), []
    log = train(whole, ShotPairs(films(), share=1.0), EVERY_STEP)
    stopped_at(at, ShotEncoder(SHAPE), ShotPairs(films(), share=1.0), tmp_path)
    run = Training(ShotEncoder(SHAPE), ShotPairs(films(), share=1.0), EVERY_STEP, tmp_path)
    note = run.note
    run.note = lambda *numbers: (steps.append(run.step), note(*numbers))
    execute(loop_of("shot"), run, "shot")
    assert steps == list(range(at, len(log)))
    assert same(run.encoder, whole)
    pd.testing.assert_frame_equal(run.log.drop(columns="pairs_per_s"), log.drop(columns="pairs_per_s"))


OTHERS = {
    "as many other pictures": lambda: (ShotEncoder(SHAPE), ShotPairs(films(first=50), share=1.0)),
    "a film less": lambda: (ShotEncoder(SHAPE), ShotPairs(films(count=3), share=1.0)),
    "fewer queries": lambda: (ShotEncoder(SHAPE), ShotPairs(films(), share=0.5)),
    "other start weights": lambda: (ShotEncoder(SHAPE, seed=9), ShotPairs(films(), share=1.0)),
    "as many other scene pairs": lambda: (scene_encoder(), pairs_of(step=2)),
    "scenes of another length": lambda: (scene_encoder(), pairs_of(n=1)),
}


@pytest.mark.parametrize("finished", [False, True])
@pytest.mark.parametrize("other", OTHERS)
def test_another_training_is_begun_anew(tmp_path, other, finished):
    encoder, pairs = OTHERS[other]()
    scenes = isinstance(pairs, ScenePairs)
    before = (scene_encoder(), pairs_of()) if scenes else (ShotEncoder(SHAPE), ShotPairs(films(), share=1.0))
    if finished:
        train(*before, EVERY_STEP, tmp_path)
    else:
        stopped_at(3, *before, tmp_path)
    log = train(encoder, pairs, EVERY_STEP, tmp_path)
    fresh, again = OTHERS[other]()
    assert log["loss"].tolist() == train(fresh, again, EVERY_STEP)["loss"].tolist()
    assert same(encoder, fresh)
