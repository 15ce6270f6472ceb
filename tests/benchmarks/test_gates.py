from dataclasses import replace

import numpy as np
import pytest

from benchmarks.gates.measure import DEVELOPMENT, measure_gates, whiten
from benchmarks.gates.mined import MOVIE, Material, Recipe, _recipe
from benchmarks.gates.mined import measure as measure_mined
from benchmarks.gates.pretrained import measure
from benchmarks.gates.sheets import contact_sheet
from benchmarks.gates.training import Budget, learned_representations, shot_features
from benchmarks.gates.windows import (
    LENGTH,
    SIDE,
    Windows,
    correlations,
    cramers_v,
    keyframes,
    metadata_shares,
)
from m2s_lib.errors import M2SError
from m2s_lib.films.stories.plan import StoriesConfig
from m2s_lib.films.stories.story import THEMES
from m2s_lib.films.world.kinds import plan_world

WORLD = plan_world(StoriesConfig(seed=109, films=30, benchmark_films=12))
WINDOWS = Windows.of(WORLD)


def test_reported_worlds_are_not_looked_at():
    with pytest.raises(M2SError, match="world 200 is not a development world.*100 to 109 only"):
        measure_gates(200, Budget())
    assert not set(DEVELOPMENT) & set(range(200, 208))


def test_windows_are_pure_and_their_numbers_are_those_of_the_shots():
    shots = [(film.number, scene) for film in WORLD.films for scene, _ in film.shots]
    for row, numbers in enumerate(WINDOWS.shots()):
        assert len(numbers) == LENGTH
        assert {shots[n] for n in numbers} == {(WINDOWS.film[row], WINDOWS.scene[row])}
    assert set(WINDOWS.film[WINDOWS.held_out]) == {f.number for f in WORLD.films if f.split != "train"}


def test_who_sees_every_action_in_order_names_the_theme_and_who_sees_no_order_does_not():
    seen = WINDOWS.actions()
    assert WINDOWS.neighbours(np.eye(len(THEMES))[WINDOWS.theme]) == 1
    assert WINDOWS.neighbours(seen) > WINDOWS.neighbours(seen.sum(1, keepdims=True)) + 0.05
    assert WINDOWS.twins(seen) >= 0.8


def test_a_probe_finds_what_is_there_and_chance_where_nothing_is():
    rng = np.random.default_rng(0)
    noise = rng.normal(size=(len(WINDOWS.theme), 20))
    shown = noise[:, : len(THEMES)] + 8 * np.eye(len(THEMES))[WINDOWS.theme]
    assert WINDOWS.probe(shown) > 0.9
    assert WINDOWS.probe(noise) < 0.25


def test_whitened_vectors_have_unit_variance_on_the_films_for_training():
    rng = np.random.default_rng(0)
    mixed = rng.normal(size=(len(WINDOWS.theme), 10)) @ rng.normal(size=(10, 10))
    white = whiten(mixed, WINDOWS.held_out)[~WINDOWS.held_out]
    np.testing.assert_allclose(white.T @ white, np.eye(10), atol=1e-6)


def test_cramers_v_is_one_for_a_function_and_near_zero_for_chance():
    rng = np.random.default_rng(0)
    a = rng.integers(4, size=2000)
    counts = np.zeros((2, 4, 4), int)
    np.add.at(counts[0], (a, 3 - a), 1)
    np.add.at(counts[1], (a, rng.integers(4, size=2000)), 1)
    assert cramers_v(counts[0]) == pytest.approx(1, abs=1e-3)
    assert cramers_v(counts[1]) < 0.06


@pytest.mark.slow
def test_what_goes_with_themes_does_not_when_it_is_switched_off():
    off = plan_world(StoriesConfig(seed=109, films=250, benchmark_films=2, correlations=0.0))
    on = plan_world(StoriesConfig(seed=109, films=250, benchmark_films=2))
    for name in ("place", "relationship", "director", "writer"):
        assert correlations(off)[name] < 0.2 < correlations(on)[name]


def test_metadata_knows_of_themes_in_the_order_of_the_sources():
    shares = metadata_shares(plan_world(StoriesConfig(seed=109, films=96, benchmark_films=2)))
    assert shares["cowatch"] > shares["genre"] > shares["chance"]
    assert shares["synopsis"] > shares["chance"] + 0.2
    assert shares["random"] == pytest.approx(shares["chance"], abs=0.12)


def test_shot_tokens_learn_themes_from_features_that_show_the_actions():
    kinds = [shot.kind for film in WORLD.films for _, shot in film.shots]
    names = sorted(set(kinds))
    features = np.eye(len(names), dtype=np.float32)[[names.index(k) for k in kinds]]
    budget = Budget(steps=150, pixels=False)
    ((name, vectors, accuracy),) = learned_representations(WINDOWS, None, features, None, budget)
    assert name == "shot tokens"
    assert vectors.shape == (len(WINDOWS.theme), 128)
    assert accuracy > 0.6


@pytest.mark.slow
def test_e_shot_gives_every_drawn_shot_a_feature_of_unit_length():
    world = plan_world(StoriesConfig(seed=109, films=3, benchmark_films=1, shots=12))
    frames = keyframes(world)
    assert frames.shape == (48, SIDE, SIDE, 3)
    _, features = shot_features(Windows.of(world), frames, Budget(patch=16))
    assert features.shape[0] == 48
    np.testing.assert_allclose(np.linalg.norm(features, axis=1), 1, atol=1e-4)


@pytest.mark.slow
def test_the_gates_of_the_plan_are_a_table_of_one_row_each():
    table = measure_gates(109, Budget(), only_plan=True)
    assert list(table.columns) == ["world", "gate", "name", "value"]
    assert set(table["world"]) == {109}
    assert set(table["gate"]) == {"g4", "g5"}
    assert not table["name"].duplicated().any()
    assert table["value"].between(0, 1).all()


def test_a_sheet_has_a_strip_of_every_theme():
    sheet, names = contact_sheet(WORLD, np.random.default_rng(0))
    assert sorted(names) == sorted(THEMES)
    assert sheet.shape[1] == 9 * WORLD.config.width
    assert sheet.shape[0] % 12 == 0


def test_features_that_know_the_theme_pass_and_noise_does_not():
    rng = np.random.default_rng(0)
    themes = np.array([scene.theme for film in WORLD.films for scene in film.scenes for _ in scene.shots])
    noise = rng.standard_normal((len(themes), 16)).astype(np.float32)
    told = noise + 3 * np.eye(16, dtype=np.float32)[themes]
    knows, nothing = (measure(x, WINDOWS, Budget(steps=40)) for x in (told, noise))
    assert min(knows["mean of nine, ridge"], knows["shot tokens with labels, P@1"]) > 0.8
    assert max(nothing["mean of nine, ridge"], nothing["shot tokens with labels, P@1"]) < 0.3


@pytest.fixture
def telling(tmp_path):
    """A small world whose shots tell their theme among much that does not matter."""
    rng, features = np.random.default_rng(0), {}
    look = rng.normal(size=(len(WORLD.films), 20))
    for film in WORLD.films:
        theme = np.array([film.scenes[i].theme for i, _ in film.shots])
        x = look[film.number] + 0.5 * rng.normal(size=(len(theme), 20))
        x[:, : len(THEMES)] += 3 * np.eye(len(THEMES))[theme]
        features[film.film_id] = x.astype(np.float32)
    return Material(WORLD, features, tmp_path)


@pytest.mark.slow
def test_mined_pairs_train_tokens_and_everything_beside_them_is_measured(telling, monkeypatch):
    monkeypatch.setattr("benchmarks.gates.mined.MOVIE", replace(MOVIE, epochs=3, hidden=16, batch=16))
    recipe = Recipe(steps=60, batch=16, lr=1e-3, momentum=0.9, components=20)
    table = measure_mined(telling, recipe, with_controls=True).set_index("name").value
    assert table["tokens, co-watch, P@1"] > 0.3
    assert (
        table["pairs of one theme, E_movie co-watch"] > table["pairs of one theme, any scenes, cowatch films"]
    )
    assert table.filter(like="P@1").between(0, 1).all()
    again = measure_mined(telling, recipe, with_controls=False).set_index("name").value
    assert again.to_dict() == table[again.index].to_dict()


def test_a_share_of_the_films_leaves_the_held_out_ones(telling):
    few = telling.share(0.5)
    assert len(few.training_films) == 15
    assert {f.film_id for f in WORLD.films if f.split != "train"} <= {f.film_id for f in few.world.films}


def test_recipes_are_changed_by_words():
    changed = _recipe(["steps=3", "negatives=both", "own_pair=True", "lr=0.1"])
    assert changed == Recipe(steps=3, negatives="both", own_pair=True, lr=0.1)
