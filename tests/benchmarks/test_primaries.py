"""The primary claims on a world whose features are made up: every side is measured, once, and judged together."""

import dataclasses

import numpy as np
import pandas as pd
import pytest

from benchmarks import primaries
from benchmarks.gates.mined import MOVIE, Recipe
from m2s_lib.evaluation.paper.primaries import COLUMNS, PRIMARIES

FEW = Recipe(steps=12, batch=8, components=16)


def made_up(world, folder) -> dict[str, np.ndarray]:
    """What a shot shows of its theme, and much of its film's looks: film_id -> float32 [shots, 24]."""
    features = {}
    for film in world.films:
        rng = np.random.default_rng(film.number)
        themes = np.eye(12)[[film.scenes[i].theme for i, _ in film.shots]]
        looks = np.tile(rng.normal(size=12), (len(themes), 1))
        features[film.film_id] = np.hstack([themes, looks]) + 0.5 * rng.normal(size=(len(themes), 24))
    return {film: x.astype(np.float32) for film, x in features.items()}


@pytest.fixture
def quick(monkeypatch):
    monkeypatch.setattr(primaries, "picture_features", made_up)
    monkeypatch.setattr(primaries, "HELD_OUT_FILMS", 8)
    monkeypatch.setattr(primaries, "RECIPE", FEW)
    monkeypatch.setattr("benchmarks.gates.mined.MOVIE", dataclasses.replace(MOVIE, epochs=2, hidden=16))


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["stories", "shapes"])
def test_every_side_of_the_claims_is_measured_once(kind, quick, monkeypatch, tmp_path, capsys):
    arguments = ["--kind", kind, "--films", "40", "--out", str(tmp_path)]
    assert primaries.main(["--worlds", "100", "101", *arguments]) == 0
    measured = pd.read_csv(tmp_path / kind / "measured-100.csv")
    assert measured.value.between(0, 1).all()
    assert not measured.duplicated(["setting", "encoder", "task"]).any()
    table = pd.read_csv(tmp_path / kind / "primaries.csv")
    assert tuple(table.columns) == COLUMNS
    assert table.claim.tolist() == [p.claim for p in PRIMARIES]
    assert (table.worlds == 2).all()
    assert table.difference.notna().all()
    assert table.frozen.nunique() == 1
    monkeypatch.setattr(primaries, "measure_world", None)  # nothing is computed again
    assert primaries.main(["--worlds", "100", "101", *arguments]) == 0
    assert "metadata finds pairs of one theme" in capsys.readouterr().out


def test_what_is_fixed_names_what_it_was_made_with(monkeypatch):
    before = primaries.frozen("stories")
    assert before != primaries.frozen("shapes")
    monkeypatch.setattr("m2s_lib.errors.M2SError", ValueError)  # code outside is no part of it
    assert before == primaries.frozen("stories")


def test_reported_worlds_are_no_development_worlds():
    assert not set(primaries.REPORTED) & set(primaries.DEVELOPMENT)
    assert primaries.main.__defaults__ == (None,)
    with pytest.raises(SystemExit):
        primaries.main(["--worlds", "5"])
