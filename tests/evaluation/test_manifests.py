"""The data sets' manifests: readable, complete, and in agreement with the code and with each other."""

import re
from pathlib import Path

import pytest
import yaml

from m2s_lib.evaluation.lvu.files import TASKS
from m2s_lib.evaluation.moderation.files import CLASSES, FRACTIONS
from tests.helpers.lvu_folders import REAL_SIZES

FOLDER = Path(__file__).resolve().parents[2] / "data_manifests"
NAMES = ("lvu", "movienet", "mcd", "movielens", "ovsd", "moviecl30k")


def manifest(name):
    return yaml.safe_load((FOLDER / f"{name}.yaml").read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", NAMES)
def test_every_manifest_says_what_where_from_licence_layout_and_counts(name):
    found = manifest(name)
    assert {"name", "title", "used_for", "from", "licence", "layout", "expected"} <= set(found)
    assert found["layout"]
    assert all(isinstance(v, str) for v in found["layout"].values())
    assert re.search(r"notebooks? 0[1-7]", found["used_for"])
    assert "://" not in str(found)


def test_lvus_counts_add_up_and_are_the_codes():
    expected = manifest("lvu")["expected"]
    splits = {task: tuple(counts) for task, counts in expected["splits"].items()}
    assert splits == REAL_SIZES
    assert list(splits) == list(TASKS)
    assert sum(map(sum, splits.values())) == expected["rows"]
    assert set(expected["constant_baseline_on_test"]) == set(TASKS)


def test_movienets_counts_add_up():
    expected = manifest("movienet")["expected"]
    assert sum(expected["splits"]["scene318"]) == expected["films_with_scenes"]
    assert sum(expected["splits"]["full"]) == expected["films"]
    for labels, zero, one, uncertain, shots in expected["labels"].values():
        assert zero + one + uncertain == labels
        assert 0 < shots - labels < 200


def test_mcds_counts_add_up_and_are_the_codes():
    found = manifest("mcd")
    assert sum(found["expected"]["per_class"].values()) == found["expected"]["clips"]
    assert tuple(found["classes"]) == CLASSES
    assert tuple(found["expected"]["split"]) == FRACTIONS


def test_moviecl30ks_genres_are_all_films():
    genres = manifest("moviecl30k")["expected"]["genre_percent"]
    assert len(genres) == 11
    assert sum(genres.values()) == pytest.approx(100, abs=0.6)  # as printed, they add up to 99.5


def test_movielens_small_has_the_rows_that_are_expected(shared_data):
    expected, folder = manifest("movielens")["expected"], shared_data / "movielens" / "ml-latest-small"
    for file, key in (("ratings.csv", "ratings"), ("movies.csv", "films"), ("tags.csv", "tags")):
        with open(folder / file, encoding="utf-8") as f:
            assert sum(1 for _ in f) - 1 == expected[key]


def test_shared_ovsd_films_are_within_what_is_expected(shared_data):
    films = sorted(p for p in (shared_data / "ovsd").iterdir() if p.is_dir())
    assert 0 < len(films) <= manifest("ovsd")["expected"]["films"]
    shots = sum(len((f / "shots.txt").read_text().split("\n")) - 1 for f in films)
    assert 0 < shots < manifest("ovsd")["expected"]["shots"]
