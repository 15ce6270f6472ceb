"""The gallery without a browser: what clicks, keys and choices make of its state, and what is found."""

import json

import numpy as np
import pandas as pd
import pytest

from m2s_lib.display.gallery import state as states
from m2s_lib.display.gallery.data import films_of, list_films, results
from m2s_lib.display.gallery.draw import gallery_html, static_html
from m2s_lib.display.gallery.export import export_results
from m2s_lib.display.gallery.gallery import Gallery, gallery_view, open_gallery
from m2s_lib.display.gallery.state import open_state
from m2s_lib.display.screen import Players
from m2s_lib.errors import M2SError
from m2s_lib.evaluation.retrieval.collection import SceneCollection
from m2s_lib.films.video.decoding import ScanConfig
from tests.helpers.display_stores import make_store
from tests.helpers.videos import render

N, STRIDE = 4, 2
LENGTHS = {"a": 20, "b": 14, "c": 9}
TITLES = {"a": "Alpha <script>alert(1)</script>", "b": "Beta", "c": "Gamma"}


class Encoders:
    """Stands in for the run's encoders: a new scene is where its first shot says."""

    def embed(self, name, store, shot, n_shots, *, indexed):
        if name == "blind":
            raise M2SError("a new scene cannot be encoded by 'blind'")
        return np.full(6, shot, np.float32)


@pytest.fixture
def collection(tmp_path):
    stores = {film: make_store(tmp_path, film, n=count) for film, count in LENGTHS.items()}
    rows = [(f, s, N) for f, count in LENGTHS.items() for s in range(0, count - N + 1, STRIDE)]
    scenes = pd.DataFrame(rows, columns=["film_id", "shot", "n_shots"])
    scenes["start_s"], scenes["end_s"] = scenes.shot * 5.0, (scenes.shot + N) * 5.0
    scenes["theme"] = np.where(scenes.shot % 4 == 0, "duel", "feast")
    scenes["place"] = np.where(scenes.film_id == "c", "hotel", "school")
    films = pd.DataFrame({"film_id": list(LENGTHS), "title": list(TITLES.values())})
    films["path"] = [str(tmp_path / f"{f}.mp4") for f in LENGTHS]
    random = np.random.default_rng(0)
    vectors = {
        name: random.normal(size=(len(scenes), 6)).astype(np.float32) for name in ("ours", "other", "blind")
    }
    scan = ScanConfig(32, min_shot_s=0.3)
    return SceneCollection(tmp_path, scenes, films, stores, vectors, Encoders(), scan, tmp_path / "truth")


@pytest.fixture
def state(collection):
    return open_state(collection, "a", 0, k=5)


def live(collection, state):
    return gallery_html(collection, state, Players(films_of(collection, state.query), state, {}))


def by_hand(collection, encoder, row, allowed):
    """Rows by distance from a scene, the slow way."""
    vectors = collection._vectors[encoder]
    order = np.argsort(((vectors - vectors[row]) ** 2).sum(1), kind="stable")
    return [int(r) for r in order if allowed(collection.scenes.iloc[r]) and r != row]


@pytest.mark.parametrize("encoder", ["ours", "other"])
@pytest.mark.parametrize(
    ("choices", "allowed"),
    [
        ({}, lambda s: s.film_id != "a"),
        ({"own_film": True}, lambda s: True),
        ({"theme": "duel"}, lambda s: s.film_id != "a" and s.theme == "duel"),
        ({"place": "hotel", "theme": "feast"}, lambda s: s.place == "hotel" and s.theme == "feast"),
        ({"title": "bet"}, lambda s: s.film_id == "b"),
    ],
)
def test_results_are_the_nearest_that_pass(collection, state, encoder, choices, allowed):
    asked = states.choose(collection, states.choose_encoder(collection, state, encoder), k=50, **choices)
    assert asked.error == ""
    table = results(collection, asked)
    assert table["row"].tolist() == by_hand(collection, encoder, 0, allowed)
    assert table["distance"].is_monotonic_increasing


def test_no_result_is_said_and_not_an_error(collection, state):
    asked = states.choose(collection, state, title="no such film")
    assert results(collection, asked).empty
    shown = live(collection, asked)
    assert "0 of 18 scenes pass the filters" in shown
    assert "nothing is left to be found: change the filters" in shown


def test_a_result_becomes_the_query_and_back_leads_back(collection, state):
    second = results(collection, state).iloc[1]
    asked = states.press(collection, state, "2")
    assert (asked.query.film_id, asked.query.shot) == (second.film_id, second.shot)
    further = states.press(collection, asked, "ArrowRight")
    assert further.query.shot == asked.query.shot + STRIDE or "last scene" in further.error
    assert states.press(collection, asked, "b").query == state.query
    assert "nothing to go back to" in states.press(collection, state, "b").error
    assert "there is no result 9: 5 were found" in states.press(collection, state, "9").error


def test_the_ends_of_a_film_are_said(collection, state):
    assert "this is the first scene of Alpha" in states.step_scene(collection, state, -1).error
    last = states.ask_scene(collection, state, "a", 99)
    assert last.query.shot == 16  # the nearest scene
    assert "this is the last scene of Alpha" in states.step_scene(collection, last, 1).error


def test_two_encoders_mark_what_both_found(collection, state):
    both = states.choose_second(collection, states.choose(collection, state, k=9), "other")
    rows = {name: results(collection, both, name)["row"].tolist() for name in ("ours", "other")}
    shared = set(rows["ours"]) & set(rows["other"])
    shown = live(collection, both)
    drawn = sum(row in shared for name in rows for row in rows[name][: both.shown])
    assert 0 < drawn == shown.count('class="m2s-result m2s-both"')
    assert f"{len(shared)} of 9 found by both" in shown
    assert "is the first encoder already" in states.choose_second(collection, state, "ours").error
    assert states.choose_encoder(collection, both, "other").second == ""
    assert states.choose_second(collection, both, "").second == ""


def test_the_explorers_scene(collection, state, tmp_path):
    assert 'press "use as query" in notebook 03' in states.take_explorers_scene(collection, state).error
    (tmp_path / "query.json").write_text(json.dumps({"film_id": "b", "shot": 3, "n_shots": N}))
    taken = states.take_explorers_scene(collection, state)
    assert (taken.query.film_id, taken.query.shot) == ("b", 3)  # not one of the collection's scenes
    assert "the explorer's scene: Beta, shot 3" in taken.notice
    for wrong, words in [({"film_id": "x", "shot": 0, "n_shots": N}, "is not among"), ([], "names no scene"),
                         ({"film_id": "b", "shot": 12, "n_shots": N}, "12")]:  # fmt: skip
        (tmp_path / "query.json").write_text(json.dumps(wrong))
        told = states.take_explorers_scene(collection, state)
        assert words in told.error
        assert told.query == state.query


def test_nearness_is_in_words_and_the_number_in_the_hint(collection, state):
    first = results(collection, state).iloc[0]
    shown = live(collection, state)
    assert f'title="distance {first.distance:.3g}">the nearest of 18 scenes<' in shown
    assert "nearer than 88.8 % of 18 scenes" in shown


@pytest.mark.parametrize("kind", ["csv", "edl", "otio", "fcpxml"])
def test_results_leave_as_files(collection, state, kind):
    path = export_results(collection, state, kind)
    assert path.parent == collection.run_dir / "exports"
    text = path.read_text()
    assert all(str(shot) in text for shot in results(collection, state)["shot"])
    nothing = states.choose(collection, state, title="no such film")
    with pytest.raises(M2SError, match="nothing was found, there is nothing to export"):
        export_results(collection, nothing, kind)


def test_a_stretch_of_any_file_is_a_query(collection, state, tmp_path):
    film = render(tmp_path / "new/clip.mp4", shots=(24, 24, 24, 24, 24, 24))
    asked = states.ask_clip(collection, state, "new/clip.mp4", 0, 5, root=tmp_path)
    assert asked.error == ""
    assert asked.query.file == str(film)
    assert "clip.mp4: " in asked.notice
    assert len(results(collection, asked)) == 5
    assert "clip.mp4" in live(collection, asked)
    assert "is not one of the collection's films" in states.step_scene(collection, asked, 1).error
    blind = states.choose_encoder(collection, asked, "blind")
    assert (blind.error, blind.encoder) == ("a new scene cannot be encoded by 'blind'", "ours")


@pytest.mark.parametrize(
    ("path", "folders", "words"),
    [
        ("", (), "which file?"),
        ("gone.mp4", (), "there is no such file"),
        ("../outside.mp4", ("films",), "on this page a file has to lie in"),
    ],
)
def test_files_that_cannot_be_asked_for(collection, state, tmp_path, path, folders, words):
    folders = tuple(str(tmp_path / f) for f in folders)
    told = states.ask_clip(collection, state, path, 0, 5, root=tmp_path, folders=folders)
    assert words in told.error
    assert told.query == state.query


@pytest.mark.parametrize(
    ("named", "message"),
    [
        ({"film_id": "x"}, "film 'x' has no scene here"),
        ({"encoder": "x"}, "there is no encoder 'x'"),
        ({"k": 0}, "k is 0, expected 1 to 50"),
    ],
)
def test_what_cannot_be_opened(collection, named, message):
    with pytest.raises(M2SError, match=message):
        open_state(collection, **named)


def test_titles_are_escaped_and_pictures_have_words(collection, state):
    for page in (live(collection, state), static_html(collection, state)):
        assert "<script>" not in page
        assert "&lt;script&gt;" in page
        assert page.count("<img") == page.count("alt=")
    assert "data-act" not in static_html(collection, state)  # nothing to press in a picture
    view = gallery_view(collection, "a", 0, k=3)
    assert "the 3 scenes nearest to it by ours" in repr(view)
    assert [f for _, f in list_films(collection, "alpha")] == ["a"]


def test_headless_runs_make_no_widget(collection, capsys, monkeypatch):
    monkeypatch.setenv("M2S_PIPELINE", "1")
    assert open_gallery(collection) is None
    assert "opens here in JupyterLab" in capsys.readouterr().out


class TestWidget:
    """The wiring, without a front end."""

    @pytest.fixture
    def screen(self, collection, state):
        return Gallery(collection, state)

    def test_controls_ask_and_follow(self, screen):
        parts = screen.controls.parts
        parts["film"].value = "b"
        assert screen.state.query.film_id == "b"
        parts["scene"].value = 4
        assert screen.state.query.shot == 4
        parts["theme"].value = "duel"
        parts["k"].value = 2
        assert results(screen.data, screen.state).theme.tolist() == ["duel"] * 2
        parts["second"].value = "other"
        assert screen.state.second == "other"
        screen.act("scene-of", "c:2")
        assert parts["film"].value == "c"
        assert parts["scene"].value == 2
        screen.act("back")
        assert parts["film"].value == "b"
        parts["search"].value = "gamma"
        assert {f for _, f in parts["film"].options} == {"b", "c"}  # the query's film stays

    def test_errors_are_seen_and_closed(self, screen, monkeypatch):
        parts = screen.controls.parts
        parts["path"].value = "gone.mp4"
        parts["clip"].click()
        assert "there is no such file" in screen.messages.html
        screen.act("dismiss")
        assert "m2s-error" not in screen.messages.html
        monkeypatch.setattr(states, "press", lambda *a: 1 / 0)
        screen.guard(lambda: screen.change(states.press, "b"))()
        assert "unexpected ZeroDivisionError" in screen.messages.html

    def test_a_page_for_others_takes_files_of_the_films_folder_only(self, screen, monkeypatch, tmp_path):
        render(tmp_path.parent / "secret.mp4", shots=(24, 24))
        monkeypatch.setenv("SERVER_SOFTWARE", "voila/0.5")
        screen.control("clip", (str(tmp_path.parent / "secret.mp4"), 0.0, 2.0))
        assert "on this page a file has to lie in" in screen.messages.html


def test_the_film_of_the_query_is_in_a_list_that_is_too_long_for_it(collection, monkeypatch):
    monkeypatch.setattr("m2s_lib.display.gallery.data.LISTED", 1)
    assert len(list_films(collection)) == 1
    hidden = next(f for f in collection.scenes["film_id"].unique() if f != list_films(collection)[0][1])
    assert [f for _, f in list_films(collection, always=hidden)] == [hidden]
    screen = Gallery(collection, open_state(collection))
    screen.control("film", hidden)
    assert screen.state.query.film_id == hidden
    assert screen.controls.parts["film"].value == hidden
