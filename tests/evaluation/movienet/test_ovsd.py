import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from m2s_lib.errors import M2SError
from m2s_lib.evaluation.encoders.encoders import ColourEncoder, shot_embeddings
from m2s_lib.evaluation.movienet.compare import compare_open_films
from m2s_lib.evaluation.movienet.ovsd import BESIDE, OWN, boundary_labels, label_store, ovsd_folder, read_ovsd
from m2s_lib.evaluation.movienet.scene_boundaries import About, chance_rows, evaluate_untrained
from m2s_lib.films.store.shot_store import ShotStore, write_shots
from m2s_lib.films.video.decoding import ScanConfig, scan_film
from tests.helpers.boundary_films import write_film


def slow_labels(shots, scenes):
    labels = [0] * len(shots)
    for start in scenes[1:]:
        distance = [abs(s - start) for s in shots]
        first = distance.index(min(distance))  # of two as near, the earlier
        if first:
            labels[first - 1] = 1
    labels[-1] = -1
    return labels


times = st.lists(st.integers(0, 200), min_size=1, max_size=30, unique=True).map(sorted)


@settings(max_examples=200, deadline=None)
@given(times, times)
def test_a_scene_begins_at_the_nearest_shot(shots, scenes):
    labels, counts = boundary_labels(np.array(shots), np.array(scenes))
    assert labels.tolist() == slow_labels(shots, scenes)
    assert counts["n_boundaries"] == (labels == 1).sum()
    assert counts["n_boundaries"] + counts["n_merged"] == counts["n_scenes"] - 1
    assert counts["n_far"] == sum(min(abs(s - start) for s in shots) > 1 for start in scenes[1:])


def test_gaps_are_transitions(tmp_path):
    # the second scene is said to begin in the gap before shot 2, the third a little after shot 3's start
    write_film(
        tmp_path / "01", [(0, 90), (100, 190), (210, 290), (300, 390)], [(0, 199), (200, 303), (304, 400)]
    )
    data = read_ovsd(tmp_path)
    assert data.films[0].labels.tolist() == [0, 1, 1, -1]
    assert data.report.iloc[0].to_dict() == {
        "film_id": "01", "title": "Film 01", "n_shots": 4, "n_scenes": 3, "n_boundaries": 2, "n_merged": 0,
        "n_far": 0, "status": "ok", "reason": "",
    }  # fmt: skip


def test_broken_films_are_rows(tmp_path):
    shots = [(0, 9), (10, 19)]
    write_film(tmp_path / "good", shots, [(0, 9), (10, 19)])
    write_film(tmp_path / "nan", shots, [(0, 19)], np.full((2, 3), np.nan))
    write_film(tmp_path / "short", shots, [(0, 19)], np.ones((1, 3)))
    write_film(tmp_path / "text", shots, [("a", 19)])
    write_film(tmp_path / "empty", shots, [])
    write_film(tmp_path / "backwards", shots, [(0, 9), (10, 19), (5, 19)])
    write_film(tmp_path / "shared", shots, [(0, 10), (10, 19)])  # scenes that share a frame, as in OVSD
    reason = read_ovsd(tmp_path).report.set_index("film_id")["reason"]
    assert reason["good"] == ""
    assert "shot 0" in reason["nan"]
    assert "has 1 rows, shots.txt has 2 shots" in reason["short"]
    assert "line 1" in reason["text"]
    assert "lists no scene" in reason["empty"]
    assert "line 3: scene 5..19 ends or begins too early" in reason["backwards"]
    assert [f.film_id for f in read_ovsd(tmp_path).films] == ["good", "shared"]
    with pytest.raises(M2SError, match="has no OVSD film"):
        read_ovsd(tmp_path / "good")


def test_a_films_own_shots_get_labels_by_time(tmp_path):
    start = np.array([0, 10, 20, 30])
    shots = pd.DataFrame({"shot": range(4), "start_frame": start, "end_frame": start + 9})
    shots = shots.assign(start_s=start / 4, end_s=(start + 10) / 4)  # a copy with 4 frames a second
    path = write_shots(tmp_path / "film.arrow", shots, None, aspect=1.0, fps=4.0, source="features")
    (tmp_path / "scenes.txt").write_text("0\t119\n120\t179\n180\t239\n")  # 24 a second: at 5 s and 7.5 s
    film, counts = label_store(ShotStore(path), tmp_path / "scenes.txt")
    assert film.labels.tolist() == [0, 1, 1, -1]
    assert film.fps == 4
    assert counts["n_far"] == 0
    shots = shots.assign(start_s=np.nan)
    path = write_shots(tmp_path / "timeless.arrow", shots, None, aspect=1.0, fps=4.0, source="features")
    with pytest.raises(M2SError, match="film timeless has shots without times"):
        label_store(ShotStore(path), tmp_path / "scenes.txt")


def test_a_folder_beside_the_runs_films_is_taken_only_when_it_is_named(tmp_path):
    films = tmp_path / "films"
    films.mkdir()
    (tmp_path / "ovsd").mkdir()
    assert ovsd_folder("", films) is None
    assert ovsd_folder(str(tmp_path / "mine"), films) == tmp_path / "mine"  # whether it is there or not
    for source in ("video", "movienet"):
        assert ovsd_folder(OWN, films, source) is None
        assert ovsd_folder(BESIDE, films, source) == tmp_path / "ovsd"
    (tmp_path / "ovsd").rmdir()
    for word in (OWN, BESIDE):
        assert ovsd_folder(word, films) is None
        assert ovsd_folder(word, "embedded") is None
        assert ovsd_folder(word, "") is None


def test_films_that_came_with_features_are_ovsd_itself_when_they_have_scenes(tmp_path):
    films = tmp_path / "films"
    write_film(films / "01", [(0, 9), (10, 19)], [(0, 9), (10, 19)])
    (tmp_path / "ovsd").mkdir()
    assert ovsd_folder(OWN, films, "features") == films
    assert len(read_ovsd(ovsd_folder(OWN, films, "features")).films) == 1
    (films / "01" / "scenes.txt").unlink()
    assert ovsd_folder(OWN, films, "features") is None


def test_the_nine_shared_films_are_read_whole(shared_data):
    data = read_ovsd(shared_data / "ovsd")
    assert (data.report["status"] == "ok").all()
    by_title = data.report.set_index("title")
    assert by_title.loc["Big Buck Bunny", ["n_shots", "n_scenes"]].tolist() == [132, 17]
    assert len(data.films) == 9
    assert {x.shape[1] for x in data.features.values()} == {512}


def test_the_look_alone_beats_random_scores_on_the_shared_films(shared_data):
    data = read_ovsd(shared_data / "ovsd")
    results = evaluate_untrained(data.films, data.features, About("OVSD", "VGG19"))[0].results
    chance = chance_rows(data.films, About("OVSD", "")).set_index("metric")["value"]
    assert (results.set_index("metric")["ci_low"] > chance[["pooled AP", "mean per-film AP"]]).all()


def test_big_buck_bunny_from_its_own_pictures(shared_data, tmp_path):
    film = scan_film(shared_data / "films" / "big_buck_bunny_2008.mp4", ScanConfig(frame_size=32))
    path = write_shots(
        tmp_path / "bbb.arrow", film.shots, film.keyframes, aspect=film.aspect, fps=film.fps, source="video"
    )
    store = ShotStore(path)
    labelled, counts = label_store(store, shared_data / "ovsd" / "01" / "scenes.txt")
    assert counts["n_scenes"] == 17
    assert counts["n_boundaries"] >= 14
    embeddings = shot_embeddings(ColourEncoder(), {"bbb": store})
    results = evaluate_untrained([labelled], embeddings, About("OVSD", "colour"))[0].results
    chance = chance_rows([labelled], About("OVSD", "")).set_index("metric")["value"]
    assert results["value"][0] > 1.5 * chance["pooled AP"]


@pytest.mark.slow
@pytest.mark.timeout(900)  # twenty films, each left out once
def test_a_probe_on_vgg_features_beats_random_scores_on_real_films(shared_data):
    data = [read_ovsd(shared_data / "ovsd"), read_ovsd(shared_data / "bbc", "BBC")]
    small = {"hidden": 64, "lr": 0.1, "batch": 128, "epochs": 40, "dropout": 0.8}
    results = compare_open_films(data, name="VGG19", **small).results
    by = results.set_index(["benchmark", "encoder", "metric"])["value"]
    for benchmark in ("OVSD", "BBC", "OVSD + BBC"):
        for metric in ("pooled AP", "mean per-film AP"):
            assert by[benchmark, "VGG19", metric] > 1.2 * by[benchmark, "random scores", metric]
    both = results[(results["benchmark"] == "OVSD + BBC") & (results["metric"] == "mean per-film AP")]
    assert both["n"].tolist() == [20, 20, 20]
    assert all((d.report["status"] == "ok").all() for d in data)
