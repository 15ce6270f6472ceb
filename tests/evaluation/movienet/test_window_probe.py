from dataclasses import replace

import numpy as np
import pytest

from m2s_lib.evaluation.movienet.scene_boundaries import evaluate_sbd, leave_one_film_out
from m2s_lib.evaluation.movienet.shot_windows import ShotWindows
from m2s_lib.evaluation.movienet.window_probe import SBD_PROBE, window_probe
from m2s_lib.evaluation.probes.probes import ProbeConfig, train_probes
from tests.evaluation.movienet.test_scene_boundaries import value, world

QUICK = ProbeConfig(loss="bce", hidden=16, lr=0.3, batch=32, epochs=12, dropout=0.2)


def parts():
    films, embeddings, split = world()
    return {
        s: ShotWindows([f for f in films if split[f.film_id] == s], embeddings)
        for s in ("train", "val", "test")
    }


@pytest.mark.parametrize("layers", [0, 2])
def test_training_on_views_equals_training_on_concatenated_windows(layers):
    config, w = replace(QUICK, standardize=False, layers=layers, seed=7), parts()
    train, val, test = w["train"], w["val"], w["test"]
    expected = train_probes(
        np.asarray(train), train.labels[:, None], np.asarray(val), val.labels[:, None], [config]
    )[0]
    predict = window_probe(config)(train, train.labels, val, val.labels, 7)
    np.testing.assert_allclose(predict(test), expected.predict(np.asarray(test))[:, 0], atol=2e-5)
    assert len(set(np.round(predict(test), 4))) > 20


def test_it_finds_boundaries_and_the_seed_matters():
    films, embeddings, split = world()
    fit = window_probe(QUICK)
    first, _ = evaluate_sbd(films, embeddings, split, fit, encoder="looks")
    again, _ = evaluate_sbd(films, embeddings, split, fit, encoder="looks")
    other, _ = evaluate_sbd(films, embeddings, split, fit, encoder="looks", seed=1)
    assert value(first, "pooled AP") > 0.9
    assert value(first, "pooled AP") == value(again, "pooled AP") != value(other, "pooled AP")
    left_out, _ = leave_one_film_out(films, embeddings, fit, encoder="looks", threshold="val")
    assert value(left_out, "mean per-film AP") > 0.9


def test_constant_features_and_validation_without_a_boundary_are_fine():
    w = parts()
    w["val"].labels[:] = 0
    for part in w.values():
        part.array[:, 0] = 3
    predict = window_probe(QUICK)(w["train"], w["train"].labels, w["val"], w["val"].labels, 0)
    assert np.isfinite(predict(w["test"])).all()
    assert np.ptp(predict(w["test"])) > 0.1


def test_the_defaults_are_the_papers():
    assert (SBD_PROBE.lr, SBD_PROBE.dropout, SBD_PROBE.epochs, SBD_PROBE.batch) == (0.03, 0.8, 800, 4096)
    assert (SBD_PROBE.hidden, SBD_PROBE.layers, SBD_PROBE.loss, SBD_PROBE.choice) == (512, 2, "bce", "ap")
