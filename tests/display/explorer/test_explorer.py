"""The explorer without a browser: what clicks, keys and choices make of its state, and what is drawn."""

import json

import numpy as np
import pytest

from m2s_lib.display.explorer import state as states
from m2s_lib.display.explorer.data import ScenePairs
from m2s_lib.display.explorer.draw import cards_html, pair_html, second_html
from m2s_lib.display.explorer.explorer import Explorer, explore
from m2s_lib.display.explorer.heat_map import levels, map_label
from m2s_lib.display.explorer.state import KEYS, call_text, marked_cells, open_state
from m2s_lib.display.explorer.static import explorer_figure
from m2s_lib.display.scene_html import messages_html
from m2s_lib.display.screen import Players
from m2s_lib.display.screen_state import SceneKey, dismiss, play
from m2s_lib.errors import M2SError
from tests.helpers.explorer_films import N, make_scenes


@pytest.fixture
def scenes(tmp_path):
    return make_scenes(tmp_path)


@pytest.fixture
def state(scenes):
    return open_state(scenes)


def shown_pair(scenes, state):
    return pair_html(scenes, state, Players(scenes.library, state, {}))


def test_it_opens_on_the_most_similar_pair_that_is_long_enough(scenes, state):
    assert (state.film_a, state.film_b) == ("a", "b")  # b and short are more similar, short is too short
    b, picks = scenes.views["first"]("a", "b")
    assert (state.shot_a, state.shot_b) == (picks.shot_a[0], picks.shot_b[0])
    assert b[state.shot_a, state.shot_b] == b.max()
    assert state.marked == int(picks.kept.sum())


def test_without_similar_films_it_opens_on_two_that_are_long_enough(scenes):
    lengths = {"a": 3, "b": 14, "c": 9}
    own = make_scenes(scenes.run_dir / "own", lengths=lengths)
    without = ScenePairs(own.films, own.stores, own.views, own.film_pairs.head(0), N, own.run_dir)
    assert without.best_pair() == ("b", "c")


def test_films_are_listed_by_similarity_and_found_by_words(scenes):
    assert [f for _, f in scenes.list_films("", beside="a")] == ["b", "c", "short"]
    assert [f for _, f in scenes.list_films("BETA")] == ["b"]
    assert [f for _, f in scenes.list_films("alpha script")] == ["a"]
    assert scenes.list_films("nothing like this") == []
    assert [f for _, f in scenes.list_films("beta", always="a")] == ["a", "b"]
    words = dict((f, w) for w, f in scenes.list_films("", beside="a"))
    assert words["b"].endswith("similarity 0.9")
    assert words["short"].endswith("not a similar pair")
    assert words["c"].startswith("c ·")  # a film without title goes by its id


def test_turned_films_are_the_same_pair(scenes):
    there, back = scenes.scores("first", "a", "b"), scenes.scores("first", "b", "a")
    np.testing.assert_array_equal(there.b, back.b.T)
    assert there.picks.shot_a.tolist() == back.picks.shot_b.tolist()


def test_a_cell_says_how_near_it_is_its_rank_and_what_overlaps(scenes, state):
    b, picks = scenes.views["first"]("a", "b")
    for i, j in np.ndindex(b.shape):
        facts = scenes.facts("first", "a", "b", i, j)
        assert facts.score == pytest.approx(b[i, j])
        assert facts.share == pytest.approx((b < b[i, j]).sum() / b.size)
        assert facts.low == bool(b[i, j] < picks.score[picks.kept].min())
        own = picks[(picks.shot_a == i) & (picks.shot_b == j)]
        assert facts.rank == (int(own["rank"].iloc[0]) if len(own) else 0)
        near = picks[((picks.shot_a - i).abs() < N) | ((picks.shot_b - j).abs() < N)]
        assert facts.overlaps == (0 if len(own) or not len(near) else int(near["rank"].iloc[0]))
    shown = shown_pair(scenes, state)
    assert f'title="score {b.max():.4g}">similarity: the nearest of {b.size} pairs<' in shown
    assert "scene pair #1" in shown
    far = states.choose_cell(scenes, state, *map(int, np.unravel_index(b.argmin(), b.shape)))
    assert "not a scene pair: those that mining keeps are nearer" in shown_pair(scenes, far)


@pytest.mark.parametrize(
    ("key", "shift", "di", "dj"),
    [
        ("ArrowDown", False, 1, 0),
        ("ArrowUp", False, -1, 0),
        ("ArrowRight", True, 0, N),
        ("ArrowLeft", True, 0, -N),
    ],
)
def test_arrows_move_a_shot_and_with_shift_a_scene(scenes, state, key, shift, di, dj):
    middle = states.choose_cell(scenes, state, 8, 5)
    moved = states.press(scenes, middle, key, shift)
    assert (moved.shot_a, moved.shot_b) == (8 + di, 5 + dj)
    assert moved.error == ""


def test_at_the_edge_it_says_where_scenes_end(scenes, state):
    corner = states.choose_cell(scenes, state, 16, 10)
    moved = states.press(scenes, corner, "ArrowDown")
    assert (moved.shot_a, moved.shot_b) == (16, 10)
    assert "ends with shot 19: scenes of 4 shots start at shots 0 to 16, not at 17" in moved.error
    assert "&lt;script&gt;" in messages_html(moved.error, "")
    assert dismiss(scenes, moved).error == ""


def test_n_and_p_step_through_the_marked_pairs(scenes, state):
    picks = scenes.scores("first", "a", "b").picks
    second = states.press(scenes, state, "n")
    assert (second.shot_a, second.shot_b) == (picks.shot_a[1], picks.shot_b[1])
    assert states.press(scenes, second, "p").shot_a == state.shot_a
    assert "this is the best of the" in states.press(scenes, state, "p").error
    last = states.press(scenes, state, "End")
    assert (last.shot_a, last.shot_b) == (picks.shot_a[state.marked - 1], picks.shot_b[state.marked - 1])
    assert "this is the last of the" in states.press(scenes, last, "n").error
    assert states.press(scenes, last, "Home").shot_a == picks.shot_a[0]
    nothing = states.mark(scenes, state, 0)
    assert "no scene pair is marked" in states.press(scenes, nothing, "n").error
    assert states.mark(scenes, state, 999).marked == len(picks)


def test_another_encoder_keeps_the_scenes_and_marks_its_own(scenes, state):
    other = states.choose_encoder(scenes, state, "second")
    assert (other.shot_a, other.shot_b) == (state.shot_a, state.shot_b)
    picks = scenes.scores("second", "a", "b").picks
    cells = picks[["shot_a", "shot_b", "rank"]].head(other.marked).assign(both=0).values.tolist()
    assert marked_cells(scenes, other, "second") == cells
    both = states.choose_second(scenes, state, "second")
    assert states.choose_second(scenes, both, "").second == ""
    assert "is the first encoder already" in states.choose_second(scenes, state, "first").error
    assert states.choose_encoder(scenes, both, "second").second == ""
    switched = states.press(scenes, both, "e")
    assert (switched.encoder, switched.second, switched.shot_a) == ("second", "first", both.shot_a)
    assert "choose a second one" in states.press(scenes, state, "e").error
    for i, j, _, agreed in marked_cells(scenes, both, "first"):
        near = [abs(i - k) < N and abs(j - m) < N for k, m, *_ in marked_cells(scenes, both, "second")]
        assert agreed == any(near)
    scores = [scenes.scores(e, "a", "b") for e in ("first", "second")]
    corner = states.choose_cell(scenes, both, 0, 0)
    best = int(scores[1].b[:, 0].argmax())
    assert f'data-film="a" data-shot="{best}"' in second_html(scenes, corner)
    top = np.unravel_index(scores[1].b.argmax(), scores[1].b.shape)
    agreed = states.choose_cell(scenes, both, *map(int, top))
    assert "finds the same best partners" in second_html(scenes, agreed)


def test_errors_change_nothing_but_the_message(scenes, state):
    for films in (("a", "short"), ("a", "a"), ("a", "gone")):
        tried = states.choose_films(scenes, state, *films)
        assert (tried.film_a, tried.film_b) == ("a", "b")
        assert tried.error
    assert (
        "A short one (short) has 3 shots, fewer than a scene of 4"
        in states.choose_films(scenes, state, "a", "short").error
    )
    with pytest.raises(M2SError, match="name both films or neither"):
        open_state(scenes, "a")
    with pytest.raises(M2SError, match="there is no encoder 'x'"):
        open_state(scenes, "a", "b", encoder="x")


def test_the_strips_show_both_scenes_and_escape_titles(scenes, state):
    shown = shown_pair(scenes, state)
    assert shown.count("<img") == 2 * N
    assert shown.count("alt=") >= 2 * N
    assert f'data-film="a" data-shot="{state.shot_a}"' in shown
    assert f'data-film="b" data-shot="{state.shot_b}"' in shown
    assert "<script>" not in shown
    assert "use as query" in shown
    cards = cards_html(scenes, state)
    assert cards.count('data-act="pair"') == state.marked
    assert cards.count("aria-current") == 1


def test_use_as_query_hands_the_scene_over(scenes, state, tmp_path):
    told = states.use_as_query(scenes, state, "b")
    query = json.loads((tmp_path / "query.json").read_text())
    assert query == {"film_id": "b", "shot": state.shot_b, "n_shots": N, "from": "03"}
    assert "is the query now" in told.notice


def test_the_copied_call_draws_the_same_view(scenes, state):
    moved = states.choose_second(scenes, states.choose_cell(scenes, state, 3, 2), "second")
    named = {"scenes": scenes}
    exec(call_text(moved), named)  # it is what a person pastes
    expected = explorer_figure(scenes, "a", "b", second="second", shot_a=3, shot_b=2, marked=moved.marked)
    drawn = explorer_figure(scenes, "a", "b", encoder="first", second="second", shot_a=3, shot_b=2,
                            marked=moved.marked)  # fmt: skip
    assert drawn.m2s_alt == expected.m2s_alt
    assert "explorer_figure(" in call_text(moved)
    assert "3" in drawn.m2s_alt or drawn.m2s_alt


def test_cells_travel_as_levels_of_the_score(scenes):
    scores = scenes.scores("first", "a", "b")
    back = np.frombuffer(levels(scores), np.uint16).reshape(scores.b.shape) / 65535
    np.testing.assert_allclose(scores.low + back * (scores.high - scores.low), scores.b, atol=2e-4)
    words = map_label(scenes, open_state(scenes), "first")
    assert "17 scenes of Alpha" in words
    assert "Arrow keys move one shot" in words


class TestWidget:
    """The wiring: widgets and handlers, without a front end."""

    @pytest.fixture
    def screen(self, scenes, state):
        return Explorer(scenes, state)

    def test_a_click_changes_strips_and_facts(self, screen):
        screen.map._receive(None, {"cell": [7, 6]}, [])
        assert (screen.state.shot_a, screen.state.shot_b) == (7, 6)
        assert 'data-shot="7"' in screen.pair.html
        assert screen.map.cell == [7, 6]
        assert f"score {screen.data.scores('first', 'a', 'b').b[7, 6]:.4g}" in screen.pair.html

    def test_controls_follow_the_state_and_change_it(self, screen):
        screen.encoder.value = "second"
        assert screen.state.encoder == "second"
        screen.other.value = "first"
        assert screen.state.second == "first"
        assert "finds the same best partners" in screen.cards.html
        screen.count.value = 1
        assert screen.state.marked == 1
        assert len(screen.map.marks) == 1
        screen.search["a"].value = "beta"
        assert [f for _, f in screen.films["a"].options] == ["a", "b"]  # the chosen film stays in its list
        assert screen.films["a"].value == "a"
        screen.films["b"].value = "c"
        assert (screen.state.film_a, screen.state.film_b) == ("a", "c")

    def test_a_film_that_is_too_short_shows_in_the_error_strip(self, screen):
        screen.films["b"].value = "short"
        assert "fewer than a scene" in screen.messages.html
        assert screen.state.film_b == "b"

    def test_keys_and_buttons(self, screen, tmp_path):
        screen.press("n")
        assert screen.state.shot_a == screen.data.scores("first", "a", "b").picks.shot_a[1]
        screen.act("csv")
        assert "scene pairs are in" in screen.messages.html
        screen.act("call")
        assert "explorer_figure" in screen.pair.html
        screen.act("query", "a")
        assert (tmp_path / "query.json").is_file()

    def test_a_missing_film_file_shows_and_nothing_else_breaks(self, screen):
        screen.play()
        screen.cutting.join(20)
        assert "film a: its file &#x27;a.mp4&#x27; is not there any more" in screen.messages.html
        assert screen.pair.html.count("There is no clip") == 2
        screen.press("Home")
        assert screen.messages.html == ""

    def test_a_handler_that_fails_is_seen(self, screen, monkeypatch):
        monkeypatch.setattr(states, "press", lambda *a: 1 / 0)
        screen.guard(screen.press)("n")
        assert "unexpected ZeroDivisionError" in screen.messages.html

    def test_a_shot_is_shown_over_the_page_beside_that_of_the_other_scene(self, screen):
        a, b = states.chosen(screen.data, screen.state)
        screen.act("view", f"b:{b.shot + 2}")
        assert screen.state.viewed == (SceneKey("a", a.shot + 2), SceneKey("b", b.shot + 2))
        assert screen.view.html.count("<img") == 2
        screen.act("view-step", "-1")
        assert screen.state.viewed[0] == SceneKey("a", a.shot + 1)
        for _ in range(30):
            screen.act("view-step", "1")
        assert screen.state.viewed[1].shot <= 13  # the film's last shot
        screen.act("view-close")
        assert screen.view.html == ""
        screen.act("view", "b:0" if b.shot else "b:13")
        assert len(screen.state.viewed) == 1  # not of the chosen scene

    def test_keyframes_are_sent_for_shots_that_there_are(self, screen):
        sent = []
        screen.map.send = lambda content, buffers=(): sent.append((content, list(buffers)))
        screen.map._receive(None, {"pictures": ["a:3", "b:13", "b:14", "c:1", "a:x", "a"]}, [])
        assert sent[0][0] == {"pictures": ["a:3", "b:13"]}
        assert all(jpeg[:2] == b"\xff\xd8" for jpeg in sent[0][1])


def test_what_plays_stops_when_it_is_asked_for_again(scenes, state):
    a, b = states.chosen(scenes, state)
    both = play(scenes, state, a, b)
    assert both.playing == (a, b)
    assert play(scenes, both, a).playing == (b,)
    assert play(scenes, both, a, b).playing == ()
    assert states.press(scenes, both, "n").playing == ()  # other scenes
    players = Players(scenes.library, both, {})
    assert "cutting the clip" in players.html(a)
    assert players.html(a) == ""  # one player however often a scene is shown
    assert SceneKey.parse(str(SceneKey("a:b", 3, 4))) == SceneKey("a:b", 3, 4)
    assert SceneKey.parse("a:3") == SceneKey("a", 3, 1)


def test_headless_runs_make_no_widget(scenes, capsys, monkeypatch):
    monkeypatch.setenv("M2S_PIPELINE", "1")
    assert explore(scenes) is None
    assert "opens here when this notebook is run in JupyterLab" in capsys.readouterr().out


def test_keys_are_known_to_the_browser():
    assert {"ArrowUp", "n", "p", "Home", "End"} <= set(KEYS)
