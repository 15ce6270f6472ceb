"""The visitors' page without a browser: tabs, address, tray, what is shown of films, and search by words."""

import json
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from sklearn.decomposition import PCA

from m2s_lib.display.gallery import state as search_states
from m2s_lib.display.gallery.data import results
from m2s_lib.display.gallery.draw import gallery_html
from m2s_lib.display.page.films import FilmsState, film_html, list_html, open_film, step
from m2s_lib.display.page.open_scene import films_of
from m2s_lib.display.page.page import Page
from m2s_lib.display.page.scene_map import _COLOURS, hover_texts, legend_html, pointed_html
from m2s_lib.display.page.tray import Tray
from m2s_lib.display.screen import Players
from m2s_lib.display.screen_state import SceneKey
from m2s_lib.errors import M2SError
from m2s_lib.evaluation.retrieval.collection import SceneCollection, main_plane
from m2s_lib.films.video.decoding import ScanConfig
from tests.display.test_escaping import EVIL, check
from tests.helpers.display_stores import make_store
from tests.helpers.explorer_films import make_scenes

N = 4
LENGTHS = {"a": 20, "b": 14, "c": 9}


class Words:
    """Stands in for encoders that know words: a text is the direction of its length."""

    words_encoder = "ours"

    def embed_words(self, text):
        return np.eye(6, dtype=np.float32)[len(text) % 6]


def make_collection(folder, titles=("Alpha", "Beta", "Gamma"), words=True):
    stores = {film: make_store(folder, film, n=count) for film, count in LENGTHS.items()}
    rows = [(f, s, N) for f, count in LENGTHS.items() for s in range(0, count - N + 1, N)]
    scenes = pd.DataFrame(rows, columns=["film_id", "shot", "n_shots"])
    scenes = scenes.assign(start_s=scenes.shot * 5.0, end_s=(scenes.shot + N) * 5.0)
    scenes["words"] = [f"Nobody KNOWS the {s} of {f}." if words else "" for f, s, _ in rows]
    scenes["genre"] = scenes["film_id"].map({"a": "Drama|Comedy", "b": "Drama", "c": ""})
    scenes["year"] = scenes["film_id"].map({"a": "1999", "b": "2001", "c": ""})
    films = pd.DataFrame({"film_id": [*LENGTHS, "gone"], "title": [*titles, titles[0]], "path": "x.mp4"})
    films = films.assign(status=["ok"] * 3 + ["failed"], reason=["", "", "", "cut short: copy it again"])
    vectors = {"ours": np.random.default_rng(0).normal(size=(len(scenes), 6)).astype(np.float32)}
    return SceneCollection(folder, scenes, films, stores, vectors, Words(), ScanConfig(32), folder / "truth")


@pytest.fixture
def collection(tmp_path):
    return make_collection(tmp_path)


def pairs_of(tmp_path):
    scenes = make_scenes(tmp_path / "pairs")
    names = ("films", "stores", "views", "film_pairs", "n_shots", "run_dir")
    return lambda: {name: getattr(scenes, name) for name in names}


@pytest.fixture
def page(collection, tmp_path):
    return Page(collection, pairs_of(tmp_path))


def players_of(collection, state, tray=None):
    return Players(films_of(collection), state, {}, tray if tray is not None else Tray(collection.run_dir))


# -- films --


def test_every_film_is_listed_and_those_not_read_with_the_reason(collection):
    state = FilmsState()
    text = list_html(collection, state, players_of(collection, state))
    assert [text.count(f'data-act="film" data-value="{f}"') for f in (*LENGTHS, "gone")] == [1, 1, 1, 0]
    assert "01:40 · 20 shots · 5 scenes" in text
    assert "1 film not read" in text
    assert "cut short: copy it again" in text
    found = list_html(collection, replace(state, search="bet"), players_of(collection, state))
    assert 'data-value="b"' in found
    assert 'data-value="a"' not in found
    assert "No film has these words" in list_html(collection, replace(state, search="zzz"), None)


def test_a_film_shows_its_scenes_and_the_open_one_with_its_words(collection):
    state = open_film(collection, FilmsState(), "a", 6)
    assert state.shot == 4  # the scene that shot 6 lies in
    text = film_html(collection, state, players_of(collection, state))
    assert text.count('data-act="scene"') == 5
    assert '<blockquote class="m2s-said">Nobody KNOWS the 4 of a.</blockquote>' in text
    assert 'data-act="like" data-value="a:4:4"' in text
    assert step(collection, state, 1).shot == 8
    assert step(collection, replace(state, shot=0), -1).shot == 0
    assert "is not among the films here" in open_film(collection, state, "x").error
    assert open_film(collection, state, "").film == ""


@pytest.mark.parametrize("evil", EVIL)
def test_words_of_others_never_become_markup(tmp_path, evil):
    collection = make_collection(tmp_path, titles=[evil] * 3)
    collection.scenes["words"] = evil
    collection.films["reason"] = evil
    tray = Tray(tmp_path)
    tray.note(SceneKey("a", 4, 4), evil)
    page = Page(collection, pairs_of(tmp_path))
    page.act("shelf", "")
    page.follow()
    state = replace(FilmsState(), film="a", shot=4)
    players = players_of(collection, state, tray)
    for text in (
        list_html(collection, state, players),
        film_html(collection, state, players),
        page.shelf.html,
        legend_html(collection, "film"),
        pointed_html(films_of(collection), "a", 0, hover_texts(collection)[0]),
    ):
        check(text, evil)
    assert not any("<" in words.replace(" · ", "") for words in hover_texts(collection))


# -- tabs and address --


def test_the_address_follows_and_leads(page):
    assert page.address.value == "tab=films"
    page.visit("tab=films&film=b&scene=4")
    assert (page.tab, page.screens["films"].state.film, page.screens["films"].state.shot) == ("films", "b", 4)
    page.visit("tab=search&film=c&scene=4")
    assert page.screens["search"].state.query.scene == ("c", 4, 4)
    assert page.address.value == "tab=search&film=c&scene=4"
    page.visit("tab=map&film=b&scene=8")
    assert page.screens["map"].state.scene == ("b", 8, 4)
    page.visit("tab=pairs&film=a&scene=3&film_b=b&scene_b=5")
    state = page.screens["pairs"].state
    assert (state.film_a, state.shot_a, state.film_b, state.shot_b) == ("a", 3, "b", 5)
    page.visit("")
    assert page.address.value == "tab=films"
    hidden = [name for name, s in page.screens.items() if "m2s-hidden" in s.screen._dom_classes]
    assert hidden == ["search", "map", "pairs"]


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("tab=films&film=x", "is not among the films"),
        ("tab=search&film=x", "has no scene here"),
        ("tab=map&film=x", "has no scene here"),
        ("tab=pairs&film=a&film_b=x", "is not among the"),
        ("tab=nowhere", "there is no tab"),
        ("%%%&&&=", ""),
    ],
)
def test_an_address_that_leads_nowhere_is_said(page, address, words):
    page._guarded(page.visit)(address)
    assert words in page.nav.html + page.screens[page.tab].state.error


def test_scenes_like_this_leads_to_search(page):
    page.screens["films"].act("like", "b:4:4")
    assert page.tab == "search"
    assert page.screens["search"].state.query.scene == ("b", 4, 4)
    page.act("tab", "pairs")
    page.screens["pairs"].act("query", "b")
    assert page.tab == "search"
    assert not (page.collection.run_dir / "query.json").exists()


def test_pairs_that_cannot_be_compared_are_said(collection):
    def none():
        raise M2SError("no film is long enough")

    page = Page(collection, none)
    page._guarded(page.act)("tab", "pairs")
    assert page.tab == "films"
    assert "m2s-hidden" not in page.screens["films"].screen._dom_classes
    assert "no film is long enough" in page.nav.html


# -- tray --


def test_the_tray_is_a_file_and_the_only_one_that_is_written(page, tmp_path):
    before = {p for p in tmp_path.rglob("*") if p.is_file()}
    for tab in ("pairs", "search", "map", "films"):
        page.act("tab", tab)
    page.screens["films"].act("star", "a:4:4")
    page.act("shelf", "")
    page.act("note", "a:4:4\tlovely light")
    page.follow()
    assert "★ Tray (1)" in page.nav.html
    assert 'value="lovely light"' in page.shelf.html
    written = {
        p.relative_to(tmp_path).as_posix() for p in tmp_path.rglob("*") if p.is_file() and p not in before
    }
    assert written == {"tray.json", ".cache/tray.lock", ".cache/map.npy"}
    rows = json.loads((tmp_path / "tray.json").read_text())["scenes"]
    assert rows == [{"film_id": "a", "shot": 4, "n_shots": 4, "note": "lovely light"}]
    assert SceneKey("a", 4, 4) in Tray(tmp_path)
    page.act("star", "a:4:4")
    assert len(Tray(tmp_path)) == 0


def test_two_visitors_share_the_tray(tmp_path):
    one, other = Tray(tmp_path), Tray(tmp_path)
    one.toggle(SceneKey("a", 0, 4))
    other.toggle(SceneKey("b", 0, 4))
    assert list(Tray(tmp_path).notes) == [("a", 0, 4), ("b", 0, 4)]
    (tmp_path / "tray.json").write_text('{"scenes": [{"film_id": "a"}]}')
    with pytest.raises(M2SError, match="is no tray"):
        Tray(tmp_path)


def test_a_kept_scene_that_is_no_longer_there_stays_in_the_file(page, tmp_path):
    page.tray.note(SceneKey("a", 18, 4), "beyond the film's end")
    page.tray.note(SceneKey("gone", 0, 4), "no such film")
    page.act("star", "b:0:4")
    page._guarded(page.act)("shelf", "")
    assert page.shelf.html.count('class="m2s-kept"') == 1
    page._guarded(page.act)("csv", "")
    assert len((tmp_path / "exports" / "tray.csv").read_text().splitlines()) == 2
    assert len(Tray(tmp_path)) == 3


@pytest.mark.parametrize("kind", ["csv", "edl", "otio", "fcpxml"])
def test_the_trays_scenes_leave_as_files(page, tmp_path, kind):
    page.act("star", "a:4:4")
    page.act("note", "b:0:4\tthe second")
    page._guarded(page.act)(kind, "")
    assert "the tray is in" in page.nav.html
    text = (tmp_path / "exports" / f"tray.{kind}").read_text()
    assert "the second" in text
    page.visit("tab=films&film=a")
    page.screens["films"].act(kind, "")
    assert (tmp_path / "exports" / f"a-scenes.{kind}").stat().st_size > 100


# -- search --


@pytest.fixture
def asked(collection):
    return search_states.open_state(collection, "a", 0, k=50)


@pytest.mark.parametrize(
    ("choices", "films"),
    [
        ({"said": "nobody  knows"}, "abc"),
        ({"said": "the 4 of B"}, "b"),
        ({"said": "nothing"}, ""),
        ({"genre": "Drama"}, "b"),
        ({"genre": "Comedy", "own_film": True}, "a"),
        ({"year": "2001"}, "b"),
        ({"theme": "not known here"}, "bc"),
    ],
)
def test_filters(collection, asked, choices, films):
    found = search_states.choose(collection, asked, **choices)
    assert found.error == ""
    assert sorted(set(results(collection, found)["film_id"])) == list(films)


def test_what_is_said_is_shown(collection, asked):
    shown = gallery_html(collection, search_states.choose(collection, asked, said="knows the 8"))
    assert shown.count("Nobody KNOWS the 8 of") == 2
    assert "its own film included" in shown


def test_one_result_per_film_is_the_nearest_of_each(collection, asked):
    every = results(collection, search_states.choose(collection, asked, own_film=True))
    one = results(collection, search_states.choose(collection, asked, own_film=True, one_per_film=True))
    assert one["row"].tolist() == every.drop_duplicates("film_id")["row"].tolist()
    two = search_states.choose(collection, asked, own_film=True, one_per_film=True, k=2)
    assert results(collection, two)["row"].tolist() == one["row"].tolist()[:2]


def test_words_are_asked_for_where_an_encoder_knows_them(collection, asked):
    found = search_states.ask_text(collection, asked, " dog ")
    table = results(collection, found)
    x = collection._vectors["ours"]
    far = 1 - x[:, 3] / np.linalg.norm(x, axis=1)
    assert table["row"].tolist() == np.argsort(far, kind="stable").tolist()
    np.testing.assert_allclose(table["distance"], np.sort(far), rtol=1e-5)
    assert search_states.ask_scene(collection, found, "b", 0).text == ""
    collection.words_encoder = ""
    assert "no encoder of this run knows words" in search_states.ask_text(collection, asked, "cat").error


def test_the_map_says_what_its_colours_mean(collection):
    text = legend_html(collection, "film")
    titles = [collection.titles[film] for film in collection.scenes["film_id"].unique()]
    assert [text.index(title) for title in titles] == sorted(text.index(title) for title in titles)
    for colour in _COLOURS[: len(titles)]:
        assert f"color:{colour}" in text
    n = len(_COLOURS) + 1
    scenes = pd.concat([collection.scenes] * n, ignore_index=True)[:n]
    collection.scenes = scenes.assign(year=range(n))
    assert f"{n} values share {n - 1} colours" in legend_html(collection, "year")


def test_the_scene_that_one_points_at_has_a_picture_and_its_time(page):
    page.act("tab", "map")
    screen = page.screens["map"]
    last = screen.data.scenes.iloc[-1]
    screen._pointed(None, SimpleNamespace(point_inds=[len(screen.data.scenes) - 1]), None)
    text = screen.pointed.html
    assert "<img" in text or "m2s-blank" in text
    assert screen.data.titles[last["film_id"]] in text
    assert hover_texts(screen.data)[-1] in text


def test_the_plane_is_the_two_main_directions():
    x = np.random.default_rng(1).normal(size=(50, 7)) * [9, 1, 5, 1, 1, 1, 1]
    plane, expected = main_plane(x.astype(np.float32)), PCA(2).fit_transform(x)
    np.testing.assert_allclose(np.abs(plane), np.abs(expected), atol=1e-4)
    assert main_plane(np.ones((3, 1), np.float32)).shape == (3, 2)
