"""The choice of hyper-parameters by validation, on made-up scores."""

from types import SimpleNamespace

from m2s_lib.evaluation.probes.probe_search import SEARCH_GRID, best_setting, probe_rows, search_configs
from m2s_lib.evaluation.probes.probe_training import Outcome
from m2s_lib.evaluation.probes.probes import ProbeConfig


def probe(score, loss=0.0, config=None):
    return SimpleNamespace(config=config or ProbeConfig(), outcome=Outcome(3, score, loss))


def test_configs_are_settings_times_seeds_and_the_grid_has_the_last_word():
    got = search_configs(
        ProbeConfig(epochs=400), (5, 6), ({"lr": 0.5}, {"dropout": 0.9}), {"lr": 0.2, "epochs": 7}
    )
    assert [(c.lr, c.dropout, c.seed, c.epochs) for c in got] == [
        (0.5, 0.1, 5, 7), (0.5, 0.1, 6, 7), (0.2, 0.9, 5, 7), (0.2, 0.9, 6, 7),
    ]  # fmt: skip
    assert len(search_configs(ProbeConfig(), (0,))) == 1
    assert len({tuple(g.items()) for g in SEARCH_GRID}) == 6


def test_the_best_mean_over_seeds_wins_not_the_luckiest_seed():
    probes = [probe(0.9), probe(0.1), probe(0.6), probe(0.6)]
    assert best_setting(probes, 2) == probes[2:]
    assert best_setting([], 2) == []


def test_equal_scores_are_decided_by_the_loss_then_by_order():
    probes = [probe(0.5, 2.0), probe(0.5, 1.0), probe(0.5, 1.0)]
    assert best_setting(probes, 1)[0] is probes[1]


def test_rows_say_what_was_chosen():
    probes = [probe(0.5), probe(0.7, config=ProbeConfig(lr=0.3))]
    rows = probe_rows("genre", "ours", probes, best_setting(probes, 1))
    assert [r["chosen"] for r in rows] == [False, True]
    assert (rows[1]["task"], rows[1]["encoder"], rows[1]["lr"], rows[1]["best_epoch"]) == (
        "genre",
        "ours",
        0.3,
        3,
    )
