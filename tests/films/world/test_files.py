import dataclasses
import os
import shutil

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from m2s_lib.errors import M2SError
from m2s_lib.films.store.film_table import read_film_table
from m2s_lib.films.store.ingest import read_boundaries
from m2s_lib.films.world.files import (
    check_rendered,
    film_frames,
    plan_edits,
    render_world,
    run_jobs,
    true_labels,
    true_scenes,
    true_shots,
)
from m2s_lib.films.world.frames import draw_shot
from m2s_lib.films.world.kinds import plan_world
from m2s_lib.films.world.plan import THEMES, WorldConfig
from tests.helpers.worlds import TINY, decode, digests, key_frames, with_transitions, world_with_transitions

KINDS = ("cut", "dissolve", "cut", "fade", "dissolve")
WORLD = world_with_transitions(plan_world(TINY), KINDS)


@pytest.fixture(scope="module")
def rendered(tmp_path_factory):
    folder = tmp_path_factory.mktemp("world")
    assert render_world(WORLD, folder, workers=1) == 5
    return folder


@pytest.fixture(scope="module")
def frames(rendered):
    return decode(rendered / "films" / "film_000.mp4").astype(np.float32)


@pytest.fixture
def copy(rendered, tmp_path):
    return shutil.copytree(rendered, tmp_path / "world")


def truth_of(folder, film_id="film_000"):
    return pd.read_parquet(folder / "truth" / f"{film_id}.parquet")


def drawn(number):
    """Shot `number` of film 0 as drawn, without transitions."""
    film = WORLD.films[0]
    places = [(i, j) for i, scene in enumerate(film.scenes) for j in range(len(scene.shots))]
    return draw_shot(TINY, film, *places[number]).astype(np.float32)


def far(a, b):
    return float(np.abs(a - b).mean())


# --- the files


def test_files_are_the_same_bytes_each_time_in_one_process_or_two(rendered, tmp_path):
    render_world(WORLD, tmp_path, workers=2)
    assert digests(tmp_path) == digests(rendered)


def test_another_seed_gives_other_films(rendered, tmp_path):
    other = plan_world(dataclasses.replace(TINY, seed=4, films=2, benchmark_films=0))
    render_world(other, tmp_path, workers=1)
    a, b = digests(tmp_path / "films"), digests(rendered / "films")
    assert all(a[name] != b[name] for name in a)


@pytest.mark.parametrize("film", WORLD.films, ids=lambda f: f.film_id)
def test_truth_covers_every_decoded_frame_once(rendered, film):
    truth = truth_of(rendered, film.film_id)
    starts, ends = truth["start_frame"].to_numpy(), truth["end_frame"].to_numpy()
    assert starts[0] == 0
    assert (starts[1:] == ends[:-1] + 1).all()
    assert (ends >= starts).all()
    assert len(decode(rendered / "films" / f"{film.film_id}.mp4")) == ends[-1] + 1
    assert len(truth) == len(film.shots)
    pd.testing.assert_frame_equal(truth, true_shots(TINY, film))


def test_truth_names_what_was_planned(rendered):
    film = WORLD.films[0]
    truth = truth_of(rendered)
    for row, (number, _) in zip(truth.itertuples(), film.shots, strict=True):
        assert row.scene == number
        assert row.theme == THEMES[film.scenes[number].theme]
    assert truth["scene"].nunique() == len(film.scenes) > 1


def test_the_encoded_film_is_the_drawn_film(frames):
    pictures = np.stack([p for p, _ in film_frames(TINY, WORLD.films[0])]).astype(np.float32)
    assert pictures.shape == frames.shape
    assert np.abs(pictures - frames).mean() < 8  # grain and colour edges go, the picture stays
    rows = [f.reshape(12, 8, 16, 8, 3).mean((1, 3, 4)) for f in (pictures[40], frames[40])]
    assert far(*rows) < 2


def test_the_faint_pattern_of_the_theme_survives_the_codec(frames):
    """What the theme adds to the drawn pictures is still there, to a tenth, in the decoded ones."""
    film = WORLD.films[0]
    kept = []
    edits = plan_edits(TINY, film)
    for row, edit, (_, shot) in zip(true_shots(TINY, film).itertuples(), edits, film.shots, strict=True):
        if not shot.shows_theme:
            continue
        clear = slice(edit.dissolve_in + edit.fade_in, edit.frames - edit.out)  # no transition
        shown, hidden = drawn(row.shot)[clear], with_hidden_theme(film, row.shot)[clear]
        first = row.start_frame + edit.fade_in
        decoded = frames[first : first + len(shown)]
        pattern = (shown - hidden).mean(0)  # [h, w, c]
        kept.append(((decoded - hidden).mean(0) * pattern).sum() / (pattern**2).sum())
    assert len(kept) >= 8
    assert 0.9 < np.median(kept) < 1.1
    assert min(kept) > 0.75


def with_hidden_theme(film, number):
    places = [(i, j) for i, scene in enumerate(film.scenes) for j in range(len(scene.shots))]
    at, which = places[number]
    scene = film.scenes[at]
    shots = tuple(
        dataclasses.replace(s, shows_theme=False) if j == which else s for j, s in enumerate(scene.shots)
    )
    scenes = (*film.scenes[:at], dataclasses.replace(scene, shots=shots), *film.scenes[at + 1 :])
    return draw_shot(TINY, dataclasses.replace(film, scenes=scenes), at, which).astype(np.float32)


def test_every_scene_starts_on_a_key_frame(rendered):
    for film in WORLD.films:
        starts = {first for first, _ in true_scenes(TINY, film)}
        assert starts <= set(key_frames(rendered / "films" / f"{film.film_id}.mp4"))


# --- transitions


def test_a_cut_is_between_two_frames(rendered, frames):
    truth = truth_of(rendered)
    seen = 0
    for a, b in zip(truth.iloc[:-1].itertuples(), truth.iloc[1:].itertuples(), strict=True):
        if a.transition != "cut":
            continue
        before, after = drawn(a.shot)[-1], drawn(b.shot)[0]
        assert far(frames[a.end_frame], before) < far(frames[a.end_frame], after), a.shot
        assert far(frames[b.start_frame], after) < far(frames[b.start_frame], before), b.shot
        seen += 1
    assert seen >= 5


def test_a_cut_between_scenes_is_the_largest_jump_around(tmp_path):
    film = with_transitions(WORLD.films[1], ("cut",))
    pictures = np.stack([p for p, _ in film_frames(TINY, film)]).astype(np.float32)
    smooth = pictures.reshape(len(pictures), 12, 8, 16, 8, 3).mean((2, 4))  # [frames, 12, 16, 3]
    jumps = np.abs(np.diff(smooth, axis=0)).mean((1, 2, 3))
    truth = true_shots(TINY, film)
    changes = truth.loc[truth["scene"].diff() > 0, "start_frame"]
    inside = np.setdiff1d(np.arange(1, len(pictures)), truth["start_frame"])
    assert len(changes) >= 1
    assert all(jumps[x - 1] > jumps[inside - 1].max() for x in changes)


def test_a_dissolve_turns_one_shot_into_the_next_step_by_step(rendered, frames):
    truth = truth_of(rendered)
    dissolves = [row for row in truth.itertuples() if row.transition == "dissolve"]
    assert len(dissolves) >= 3
    for row in dissolves:
        a, b, k = drawn(row.shot), drawn(row.shot + 1), row.transition_frames
        assert 2 <= k <= round(0.5 * TINY.fps)
        shares = []
        for j in range(k):
            before, after = a[len(a) - k + j], b[j]
            shown = frames[row.end_frame - k + 1 + j]
            shares.append(((shown - before) * (after - before)).sum() / ((after - before) ** 2).sum())
        np.testing.assert_allclose(shares, np.arange(1, k + 1) / (k + 1), atol=0.15)
        assert (np.diff(shares) > 0).all()


def test_a_fade_goes_through_black_in_the_middle(rendered, frames):
    truth = truth_of(rendered)
    light = frames.mean((1, 2, 3))
    fades = [row for row in truth.itertuples() if row.transition == "fade"]
    assert len(fades) >= 2
    for row in fades:
        k, at = row.transition_frames, row.end_frame
        assert truth.loc[row.shot + 1, "fade_in_frames"] == k
        assert light[at] < 3
        assert light[at + 1] < 3
        assert (np.diff(light[at - k : at + 1]) < 0).all()
        assert (np.diff(light[at + 1 : at + 2 + k]) > 0).all()


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.integers(4, 30), st.permutations(["cut", "dissolve", "fade", "dissolve"]))
def test_edits_leave_every_shot_frames_of_its_own(seed, fps, kinds):
    config = WorldConfig(seed=seed, films=2, benchmark_films=0, shots=30, fps=fps, viewers=1)
    film = with_transitions(plan_world(config).films[0], tuple(kinds))
    edits, truth = plan_edits(config, film), true_shots(config, film)
    assert [e.frames for e in edits] == [shot.frames for _, shot in film.shots]
    for e, following in zip(edits, edits[1:], strict=False):
        assert e.dissolve_in + e.fade_in + e.out <= e.frames - 2
        assert (following.dissolve_in, following.fade_in) == (
            e.out * (e.transition == "dissolve"),
            e.out * (e.transition == "fade"),
        )
        assert (e.out > 0) == (e.transition != "cut")
    lost = sum(e.out for e in edits if e.transition == "dissolve")
    assert truth["end_frame"].iloc[-1] + 1 == sum(e.frames for e in edits) - lost
    last_of_scene = truth.groupby("scene").tail(1)
    assert "dissolve" not in set(last_of_scene["transition"])
    assert list(truth["transition"]).count("end") == 1


# --- what is true of detected shots


def test_true_labels_follow_the_middle_frame(rendered):
    truth = truth_of(rendered)
    of_frame = np.repeat(truth["theme"].to_numpy(), truth["end_frame"] - truth["start_frame"] + 1)  # oracle
    rng = np.random.default_rng(0)
    cuts = np.unique(rng.integers(1, len(of_frame), 30))
    starts, ends = np.r_[0, cuts], np.r_[cuts - 1, len(of_frame) - 1]
    expected = [of_frame[(a + b) // 2] for a, b in zip(starts, ends, strict=True)]
    assert true_labels(rendered, "film_000", starts, ends, "theme") == expected
    assert true_labels(rendered, "film_000", truth["start_frame"], truth["end_frame"], "scene") == list(
        truth["scene"]
    )
    assert true_labels(rendered, "film_000", [], [], "theme") == []


def test_true_labels_refuse_what_they_do_not_know(rendered):
    with pytest.raises(M2SError, match="nothing is known about film 'other'"):
        true_labels(rendered, "other", [0], [1], "theme")
    with pytest.raises(M2SError, match="has no column 'mood'"):
        true_labels(rendered, "film_000", [0], [1], "mood")
    with pytest.raises(M2SError, match="shots reach frame 100000, the film has frames 0 to"):
        true_labels(rendered, "film_000", [0, 100_000], [1, 100_000], "theme")


def test_the_truth_serves_as_a_users_boundary_table(rendered):
    table = read_boundaries(rendered / "truth" / "film_000.parquet")
    assert {"start_frame", "end_frame"} <= set(table.columns)


# --- metadata, resuming, refusing


def test_metadata_is_what_the_film_table_reads(rendered):
    table = read_film_table(rendered / "films", rendered / "metadata.csv")
    assert list(table["film_id"]) == [f.film_id for f in WORLD.films]
    assert list(table["title"]) == [f.title for f in WORLD.films]
    assert list(table["imdb_id"]) == [f.imdb_id for f in WORLD.films]
    assert list(table["year"]) == [f.year for f in WORLD.films]
    assert list(table["split"]) == [f.split for f in WORLD.films]
    assert set(table["status"]) == {"pending"}
    assert all("-" not in g for g in table["genres"])
    assert table.attrs["unknown_metadata"] == []


def test_films_that_are_there_are_not_rendered_again(copy):
    before = {p: p.stat().st_mtime_ns for p in (copy / "films").iterdir()}
    assert render_world(WORLD, copy, workers=1) == 0
    assert {p: p.stat().st_mtime_ns for p in (copy / "films").iterdir()} == before


@pytest.mark.parametrize("lost", ["films/film_001.mp4", "truth/film_001.parquet"])
def test_a_film_that_lacks_a_part_is_rendered_again_and_only_that(copy, rendered, lost):
    (copy / lost).unlink()
    with pytest.raises(M2SError, match=r"lacks 1 of this world's 5 films \(first: film_001\)"):
        check_rendered(WORLD, copy)
    assert render_world(WORLD, copy, workers=1) == 1
    assert digests(copy) == digests(rendered)


def test_films_of_another_world_are_replaced(copy):
    small = dataclasses.replace(TINY, films=2, benchmark_films=0, theme_strength=0.3)
    assert render_world(plan_world(small), copy, workers=1) == 2
    assert sorted(p.name for p in (copy / "films").iterdir()) == ["film_000.mp4", "film_001.mp4"]
    assert sorted(p.stem for p in (copy / "truth").iterdir()) == ["film_000", "film_001"]
    with pytest.raises(M2SError, match="call render_world with the same world"):
        check_rendered(WORLD, copy)


def test_films_stay_when_only_the_number_of_viewers_changes(copy):
    other = world_with_transitions(plan_world(dataclasses.replace(TINY, viewers=99)), KINDS)
    assert render_world(other, copy, workers=1) == 0


@pytest.mark.fault
def test_a_worker_that_dies_is_said_with_what_to_do():
    with pytest.raises(M2SError, match="rendering: a worker process ended .* after 0 of 2 films"):
        run_jobs(os._exit, [9, 9], workers=2, what="rendering")


def test_a_folder_with_somebody_elses_films_is_left_alone(tmp_path):
    (tmp_path / "films").mkdir()
    (tmp_path / "films" / "holiday.mp4").write_bytes(b"mine")
    with pytest.raises(M2SError, match="holds 'holiday'.*which is not an embedded film"):
        render_world(WORLD, tmp_path)
    assert (tmp_path / "films" / "holiday.mp4").read_bytes() == b"mine"
    assert not (tmp_path / "world.json").exists()


@pytest.mark.parametrize("size", [(127, 96), (128, 30)])
def test_a_picture_that_cannot_be_encoded_is_refused(tmp_path, size):
    config = dataclasses.replace(TINY, width=size[0], height=size[1])
    with pytest.raises(M2SError, match=f"{size[0]} x {size[1]} pixels cannot be encoded"):
        render_world(plan_world(config), tmp_path)
