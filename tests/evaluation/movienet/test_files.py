import json
import time

import numpy as np
import pytest

from m2s_lib.errors import M2SError
from m2s_lib.evaluation.movienet.files import (
    describe,
    read_labels,
    read_movienet,
    read_shot_table,
    task_name,
)
from m2s_lib.evaluation.movienet.place_tagging import read_places
from m2s_lib.films.world.kinds import plan_world
from m2s_lib.films.world.movienet import write_movienet_labels
from m2s_lib.films.world.plan import WorldConfig
from m2s_lib.films.world.records import PLACES


def write_film(root, film, n_shots, labels):
    for folder in ("label318", "shot_movie318", "meta"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    text = "\n".join(f"{shot:04d} {label}" for shot, label in labels.items())
    (root / "label318" / f"{film}.txt").write_text(text + "\n")
    shots = [f"{i * 50} {i * 50 + 49} {i * 50 + 9} {i * 50 + 25} {i * 50 + 40}" for i in range(n_shots)]
    (root / "shot_movie318" / f"{film}.txt").write_text("\n".join(shots))


def write_split(root, **lists):
    lists = {"train": [], "val": [], "test": []} | lists
    (root / "meta").mkdir(parents=True, exist_ok=True)
    (root / "meta" / "split318.json").write_text(json.dumps(lists | {"all": sum(lists.values(), [])}))


@pytest.fixture
def root(tmp_path):
    root = tmp_path / "scene318"
    write_film(root, "tt1", 5, {0: 0, 1: 1, 2: -1, 3: 0})
    write_film(root, "tt2", 4, {0: 1, 1: 0, 2: 0, 3: 1})  # as many labels as shots, as tt0120755
    write_film(root, "tt3", 5, {0: 0, 1: 1, 2: 0})  # two fewer, as tt1099212
    write_film(root, "tt4", 3, {0: 0, 1: 1, 7: 1, 8: 0})
    write_split(root, train=["tt1", "tt2"], val=["tt3"], test=["tt4", "tt5"])
    return root


def test_label_i_is_the_boundary_after_shot_i(root):
    data = read_movienet(root)
    film = data.films[0]
    assert film.labels.tolist() == [0, 1, 1, 0, -1]
    assert film.asked.tolist() == [0, 1, 2, 3]
    assert film.bounds[1].tolist() == [50, 99]
    assert film.fps == 24
    assert data.split == {"tt1": "train", "tt2": "train", "tt3": "val", "tt4": "test", "tt5": "test"}


@pytest.mark.parametrize(
    ("uncertain", "labels", "boundaries", "name"),
    [
        ("boundary", [0, 1, 1, 0, -1], 2, "scene boundaries"),
        ("same", [0, 1, 0, 0, -1], 1, "scene boundaries (uncertain = same scene)"),
        ("drop", [0, 1, -1, 0, -1], 1, "scene boundaries (uncertain left out)"),
    ],
)
def test_what_uncertain_labels_mean_changes_the_task(root, uncertain, labels, boundaries, name):
    data = read_movienet(root.parent, uncertain)  # the folder above scene318 will do
    assert data.films[0].labels.tolist() == labels
    row = data.report.set_index("film_id").loc["tt1"]
    assert (row["n_uncertain"], row["n_boundaries"]) == (1, boundaries)
    assert data.task == task_name(uncertain) == name
    assert describe(data).startswith(f"MovieNet, {name}")


def test_files_that_disagree_are_used_as_far_as_they_agree_and_counted(root):
    data = read_movienet(root, fps={"tt2": 25.0})
    report = data.report.set_index("film_id")
    assert report["status"].to_dict() == {
        "tt1": "ok", "tt2": "differs", "tt3": "differs", "tt4": "differs", "tt5": "failed",
    }  # fmt: skip
    assert report.loc["tt2", ["n_missing", "n_beyond"]].tolist() == [0, 1]
    assert report.loc["tt3", ["n_missing", "n_beyond"]].tolist() == [1, 0]
    assert report.loc["tt4", ["n_missing", "n_beyond"]].tolist() == [0, 2]
    assert report.loc["tt3", "reason"] == "5 shots ask for 4 labels, 3 found"
    assert "tt5.txt is missing: the film has no labels" in report.loc["tt5", "reason"]
    films = {f.film_id: f for f in data.films}
    assert films["tt2"].labels.tolist() == [1, 0, 0, -1]
    assert films["tt2"].fps == 25
    assert films["tt3"].labels.tolist() == [0, 1, 0, -1, -1]
    assert films["tt4"].labels.tolist() == [0, 1, -1]
    text = describe(data)
    assert "train: 2 of 2 films, 7 labels, 42.86% boundaries, 1 uncertain" in text
    assert "test: 1 of 2 films" in text
    assert "tt3 (val) differs: 5 shots ask for 4 labels, 3 found" in text


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("0000 0\n0001 2\n", "line 2: expected 'shot label', such as '0003 1', found '0001 2'"),
        ("0000 0\n0000 1\n", "line 2: shot 0 has a label already"),
        ("0000,0\n0001,1\n", "line 1: expected 'shot label'"),
        ("0000 0\n0001\n0002 1\n", "line 2: expected 'shot label'"),
        ("0000 0 0001 1\n", "line 1: expected 'shot label'"),
        ("", "has no labels"),
    ],
)
def test_broken_label_files_are_named_and_the_rest_is_read(root, text, message):
    path = root / "label318" / "tt1.txt"
    path.write_text(text)
    with pytest.raises(M2SError, match=message):
        read_labels(path)
    data = read_movienet(root)
    assert message.split(":")[0] in data.report.set_index("film_id").loc["tt1", "reason"]
    assert len(data.films) == 3


def test_windows_line_ends_and_empty_lines_are_fine(tmp_path):
    (tmp_path / "a.txt").write_bytes(b"0000 0\r\n0001 -1\r\n\r\n")
    assert read_labels(tmp_path / "a.txt") == {0: 0, 1: -1}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("0 9\n10 x\n", "line 2: expected 'start end'"),
        ("0 9\n5 20\n", r"shot 1 \[5, 20\]: expected shots 'start end' that follow"),
        ("", "expected shots"),
    ],
)
def test_broken_shot_tables_are_named(tmp_path, text, message):
    (tmp_path / "a.txt").write_text(text)
    with pytest.raises(M2SError, match=message):
        read_shot_table(tmp_path / "a.txt")


def test_a_wrong_folder_split_or_choice_is_named(root, tmp_path):
    with pytest.raises(M2SError, match="has no label318"):
        read_movienet(tmp_path / "elsewhere")
    with pytest.raises(M2SError, match="uncertain 'maybe' is unknown"):
        read_movienet(root, "maybe")
    write_split(root, train=["tt1"], test=["tt1"])
    with pytest.raises(M2SError, match="film tt1 is in train and in test"):
        read_movienet(root)
    (root / "meta" / "split318.json").write_text('{"train": []}')
    with pytest.raises(M2SError, match=r"expected lists \['train', 'val', 'test'\], found \['train'\]"):
        read_movienet(root)


def test_318_films_are_read_in_seconds(tmp_path):
    root = tmp_path / "scene318"
    labels = dict(enumerate(np.random.default_rng(0).choice([0, 0, 0, 1, -1], 1595).tolist()))
    names = [f"tt{i:07d}" for i in range(318)]
    for name in names:
        write_film(root, name, 1596, labels)
    write_split(root, train=names[:190], val=names[190:254], test=names[254:])
    start = time.perf_counter()
    data = read_movienet(root)
    seconds = time.perf_counter() - start
    assert len(data.films) == 318
    assert (data.report["status"] == "ok").all()
    assert seconds < 5  # alone it takes about one; the target is 10
    print(f"318 films in {seconds:.2f} s")


def test_the_embedded_films_are_read_like_real_ones(tmp_path):
    world = plan_world(WorldConfig(films=6, benchmark_films=4, shots=30, viewers=2))
    write_movienet_labels(world, tmp_path, tmp_path / "films")
    data = read_movienet(tmp_path, fps=world.config.fps)
    assert (data.report["status"] == "ok").all()
    by_imdb = {f.imdb_id: f for f in world.films}
    for film in data.films:
        scenes = [scene for scene, _ in by_imdb[film.film_id].shots]
        true = [int(a != b) for a, b in zip(scenes, scenes[1:], strict=False)]
        sure = read_labels(tmp_path / "scene318" / "label318" / f"{film.film_id}.txt")
        assert all(film.labels[s] == true[s] for s, label in sure.items() if label != -1)
        assert film.fps == world.config.fps
    n_shots = {f.film_id: f.n_shots for f in data.films}
    places = read_places(tmp_path, data.split, n_shots, min_count=1)
    assert set(places.classes) <= set(PLACES)
    assert places.report["n_bad"].sum() == places.report["n_outside"].sum() == 0
    assert (places.scenes["n_shots"] <= 9).all()
