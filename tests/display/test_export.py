"""Exports read back by other means than the library that wrote them: lines of CMX 3600, JSON, XML."""

import json
import math
import re
from dataclasses import replace
from fractions import Fraction
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest

from m2s_lib.display.explorer import state as states
from m2s_lib.display.explorer.export import export_pairs, pair_cuts, pairs_table
from m2s_lib.display.explorer.state import open_state
from m2s_lib.display.export import write_export
from m2s_lib.display.timelines import Cut, edit_rate, start_frame, timeline_text
from m2s_lib.errors import M2SError
from tests.helpers.explorer_films import N, make_scenes

NTSC = Fraction(24000, 1001)
A = Cut("a", "Amélie", "/films/a b.mp4", 23.976, 1.0, 3.0, "pair 1 A", 0.9, "shots 3-11")
B = Cut("b", "日本", "b.mp4", 25.0, 10.48, 12.0, "pair 1 B", 0.9, "shots 0-8")


@pytest.fixture
def scenes(tmp_path):
    return make_scenes(tmp_path)


@pytest.fixture
def state(scenes):
    return states.mark(scenes, open_state(scenes), 99)


def events(text):
    """Number, reel and four timecodes of each event of an EDL."""
    lines = re.findall(r"^(\d{3})  (\w+) +V     C        (\S+) (\S+) (\S+) (\S+)$", text, re.MULTILINE)
    return [(int(number), reel, *times) for number, reel, *times in lines]


def frames(timecode, base):
    hours, minutes, seconds, count = map(int, timecode.split(":"))
    return ((hours * 60 + minutes) * 60 + seconds) * base + count


def seconds(text):
    return Fraction(text.removesuffix("s"))


def test_the_csv_is_the_marked_pairs_with_their_times(scenes, state):
    path = export_pairs(scenes, state, "csv")
    assert path.parent == scenes.run_dir / "exports"
    table = pd.read_csv(path)
    _, picks = scenes.views["first"]("a", "b")
    columns = ["shot_a", "shot_b", "rank"]
    assert table[columns].values.tolist() == picks[columns].values.tolist()
    np.testing.assert_allclose(table.start_s_a, picks.shot_a * 5.0)
    np.testing.assert_allclose(table.end_s_b, (picks.shot_b + N) * 5.0)
    assert table.title_a[0] == "Alpha <script>alert(1)</script>"


def test_the_edl_names_frames_of_both_films(scenes, state):
    """At 2 frames a second the list has 24, the lowest usual multiple; a scene has 20 s, so 480 frames."""
    text = export_pairs(scenes, state, "edl").read_text(encoding="ascii")
    table, record = pairs_table(scenes, state), 3600 * 24
    listed = events(text)
    assert len(listed) == 2 * len(table)
    for number, (event, reel, start, end, at, until) in enumerate(listed):
        row, side = table.iloc[number // 2], "ab"[number % 2]
        assert (event, reel) == (number + 1, side.upper())
        assert frames(start, 24) == round(row[f"start_s_{side}"] * 24)
        assert frames(end, 24) == round(row[f"end_s_{side}"] * 24)
        assert (frames(at, 24), frames(until, 24)) == (record, record + 480)
        record += 480
    assert text.startswith("TITLE: scene pairs of a and b\nFCM: NON-DROP FRAME\n")
    assert "* FROM FILE: a.mp4" in text
    first = table.iloc[0]
    assert f"PAIR {first['rank']} A, SCORE {first.score:.4g}".upper() in text
    assert f"* COMMENT: shots {first.shot_a}-{first.shot_a + N - 1}, by first" in text


def test_an_edl_counts_frames_from_the_start_of_each_source():
    text = timeline_text("edl", [A, B], "two", {"a": "10:00:00:12", "b": "01:00:00:00"})
    one, two = events(text)
    assert one[2:] == ("10:00:01:12", "10:00:03:12", "01:00:00:00", "01:00:02:00")  # 24 frames a second
    assert frames(two[2], 24) == 3600 * 24 + round(10.48 * NTSC)  # seconds, at A's rate
    assert frames(two[4], 24) == 3602 * 24
    own = events(timeline_text("edl", [replace(A, timecode="02:00:00:00")], "one"))  # the file's own
    assert own[0][2] == "02:00:01:00"
    assert "* b HAS 25 FRAMES PER SECOND: ITS TIMES ARE SECONDS" in text
    assert "Amelie" in text
    assert text.isascii()


def test_otio_keeps_the_rates_scores_and_notes():
    timeline = json.loads(timeline_text("otio", [A, B], "two", {"b": "01:00:00:00"}))
    assert timeline["global_start_time"]["value"] / timeline["global_start_time"]["rate"] == pytest.approx(
        3603.6
    )
    one, two = timeline["tracks"]["children"][0]["children"]
    start, length = (one["source_range"][k] for k in ("start_time", "duration"))
    assert Fraction(start["rate"]).limit_denominator(1001) == NTSC
    assert (start["value"], length["value"]) == (24, 48)
    assert two["source_range"]["start_time"] == pytest.approx({"OTIO_SCHEMA": "RationalTime.1", "rate": 25.0,
                                                               "value": 90000 + 262})  # fmt: skip
    (marker,) = two["markers"]
    assert marker["metadata"]["m2s"] == {"score": 0.9, "note": "shots 0-8", "film_id": "b"}
    media = one["media_references"]["DEFAULT_MEDIA"]
    assert media["target_url"] == "file:///films/a%20b.mp4"


def test_fcpxml_has_exact_times_markers_and_notes():
    root = ElementTree.fromstring(timeline_text("fcpxml", [A, B, replace(A, fps=8.0, film_id="c", path="c")],
                                                "three", {"b": "01:00:00:00"}))  # fmt: skip
    assert {f.get("frameDuration") for f in root.iter("format")} == {"1001/24000s", "1/25s", "1/8s"}
    one, two, three = root.iter("clip")
    assert seconds(one.get("start")) == 24 / NTSC
    assert seconds(one.get("duration")) == 48 / NTSC
    assert seconds(two.get("start")) == 3600 + Fraction(262, 25)
    assert seconds(two.get("offset")) == 48 / NTSC
    assert seconds(three.get("start")) == 1
    assert [(m.get("value"), m.get("note")) for m in root.iter("marker")][1] == (
        "pair 1 B, score 0.9",
        "shots 0-8",
    )
    assert root.find(".//sequence").get("tcStart") == "3600s"
    quoted = ElementTree.fromstring(timeline_text("fcpxml", [replace(A, title='Sophie\'s "choice"')], "x"))
    assert quoted.find(".//clip").get("name") == 'pair 1 A: Sophie’s "choice"'
    assert {a.get("src") for a in root.iter("asset")} == {"file:///films/a%20b.mp4", "b.mp4", "c"}


@pytest.mark.parametrize(
    ("fps", "rate"), [(8.0, 24.0), (12.5, 25.0), (23.976, 24000 / 1001), (29.97, 30000 / 1001), (120.0, 60.0)]
)
def test_rates_that_editors_know(fps, rate):
    assert edit_rate(fps) == rate


def test_timecodes_of_sources():
    """Drop-frame leaves out two numbers a minute but every tenth: ten minutes are 17,982 frames at 29.97."""
    assert start_frame("", 25.0) == 0
    assert start_frame("01:00:00:00", 24000 / 1001) == 86_400
    assert start_frame("00:10:00;00", 30000 / 1001) == 17_982
    with pytest.raises(M2SError, match="'1 h' is no timecode: write HH:MM:SS:FF"):
        start_frame("1 h", 25.0)


def test_reels_differ_for_every_film():
    cuts = [replace(A, film_id=f"a long name {i}") for i in range(3)]
    assert len({reel for _, reel, *_ in events(timeline_text("edl", cuts, "three"))}) == 3


@pytest.mark.parametrize("kind", ["edl", "otio", "fcpxml"])
@pytest.mark.parametrize(
    ("cut", "message"),
    [
        (replace(A, fps=math.nan), "film a has no frame rate"),
        (replace(A, start_s=math.nan), "pair 1 A has no time, export the CSV instead"),
    ],
)
def test_what_has_no_timecode_says_so(kind, cut, message):
    with pytest.raises(M2SError, match=message):
        timeline_text(kind, [B, cut], "x")


def test_what_cannot_be_exported(scenes, state, tmp_path):
    with pytest.raises(M2SError, match="no scene pair is marked"):
        export_pairs(scenes, states.mark(scenes, state, 0), "csv")
    with pytest.raises(M2SError, match="choose one of csv, edl, otio, fcpxml, clips"):
        write_export(tmp_path / "x.txt", pairs_table(scenes, state), [], "x")
    with pytest.raises(M2SError, match="an EDL holds 999 scenes at most, not 1002"):
        timeline_text("edl", pair_cuts(scenes, pairs_table(scenes, state))[:2] * 501, "x")
