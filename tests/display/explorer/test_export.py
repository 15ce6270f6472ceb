"""The marked pairs as CSV and as an edit decision list that editors read."""

import math
import re

import numpy as np
import pandas as pd
import pytest

from m2s_lib.display.explorer import state as states
from m2s_lib.display.explorer.export import edit_rate, edl_text, export_csv, export_edl, pairs_table, smpte
from m2s_lib.display.explorer.state import open_state
from m2s_lib.errors import M2SError
from tests.helpers.explorer_films import N, make_scenes


@pytest.fixture
def scenes(tmp_path):
    return make_scenes(tmp_path)


@pytest.fixture
def state(scenes):
    state = open_state(scenes)
    return states.mark(scenes, state, 99)


def test_the_csv_is_the_marked_pairs_with_their_times(scenes, state):
    path = export_csv(scenes, state)
    assert path.parent == scenes.run_dir / "exports"
    table = pd.read_csv(path)
    _, picks = scenes.views["first"]("a", "b")
    assert (
        table[["shot_a", "shot_b", "rank"]].values.tolist()
        == picks[["shot_a", "shot_b", "rank"]].values.tolist()
    )
    np.testing.assert_allclose(table.start_s_a, picks.shot_a * 5.0)
    np.testing.assert_allclose(table.end_s_b, (picks.shot_b + N) * 5.0)
    assert table.title_a[0] == "Alpha <script>alert(1)</script>"


def test_the_edl_names_frames_of_both_films(scenes, state):
    """At 2 frames a second the list has 24, the lowest usual multiple; a scene has 20 s, so 480 frames."""
    text = export_edl(scenes, state).read_text(encoding="ascii")
    events = re.findall(r"^(\d{3})  (\w+) +V     C        (\S+) (\S+) (\S+) (\S+)$", text, re.MULTILINE)
    table = pairs_table(scenes, state)
    assert len(events) == 2 * len(table)
    record = 3600 * 24
    for number, (event, reel, start, end, at, until) in enumerate(events):
        row, side = table.iloc[number // 2], "ab"[number % 2]
        assert int(event) == number + 1
        assert reel == side.upper()
        assert start == smpte(round(row[f"start_s_{side}"] * 24), 24)
        assert end == smpte(round(row[f"end_s_{side}"] * 24), 24)
        assert (at, until) == (smpte(record, 24), smpte(record + 480, 24))
        record += 480
    assert text.startswith("TITLE: scene pairs of a and b\nFCM: NON-DROP FRAME\n")
    assert "* FROM CLIP NAME: a.mp4" in text


@pytest.mark.parametrize(
    ("fps", "rate"), [(8.0, 24.0), (12.5, 25.0), (23.976, 24000 / 1001), (29.97, 30000 / 1001), (120.0, 60.0)]
)
def test_rates_that_editors_know(fps, rate):
    assert edit_rate(fps) == rate


def test_names_are_one_line_of_ascii(scenes, state):
    table = pairs_table(scenes, state).assign(title_a="Amélie\n* FROM CLIP NAME: other", title_b="日本")
    text = edl_text(table, {"a": (24.0, "Amélie.mp4"), "b": (25.0, "b.mp4")})
    assert "Amelie * FROM CLIP NAME: other" in text  # on the comment's own line
    assert text.isascii()
    assert "B HAS 25 FRAMES PER SECOND: ITS TIMES ARE SECONDS" in text.upper()


@pytest.mark.parametrize(
    ("change", "films", "message"),
    [
        ({}, {"a": (math.nan, "a"), "b": (24.0, "b")}, "film a has no frame rate"),
        (
            {"start_s_b": math.nan},
            {"a": (24.0, "a"), "b": (24.0, "b")},
            "has no time, export the CSV instead",
        ),
    ],
)
def test_what_has_no_timecode_says_so(scenes, state, change, films, message):
    with pytest.raises(M2SError, match=message):
        edl_text(pairs_table(scenes, state).assign(**change), films)


def test_nothing_marked_is_nothing_to_export(scenes, state):
    with pytest.raises(M2SError, match="no scene pair is marked"):
        export_csv(scenes, states.mark(scenes, state, 0))
    many = pd.concat([pairs_table(scenes, state)] * 200)
    with pytest.raises(M2SError, match="an EDL holds 499 scene pairs at most"):
        edl_text(many, {"a": (24.0, "a"), "b": (24.0, "b")})
