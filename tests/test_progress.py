"""Progress lines: seldom, with rate and ETA."""

import re

import pytest

from m2s_lib import progress
from m2s_lib.progress import Progress


@pytest.fixture
def clock(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    return now


def test_a_line_every_ten_seconds_with_rate_and_eta(clock, capsys):
    bar = Progress("scanning films", total=8000, unit="films")
    for _ in range(100):  # one film a tenth of a second, for ten seconds
        clock[0] += 0.1000001
        bar.step()
    bar.step(note="bad.mp4: empty")  # too soon for a line
    out = capsys.readouterr().out
    assert out == "scanning films: 100/8,000 films, 10 films/s, ETA 0:13:10\n"
    clock[0] += 3600
    bar.step(9, note="bad.mp4: empty")
    said = re.fullmatch(r"(.*), ETA (\d+):\d\d:\d\d, bad\.mp4: empty\n", capsys.readouterr().out)
    assert said[1] == "scanning films: 110/8,000 films, 0.0305 films/s"
    assert int(said[2]) == int(7890 / (110 / 3610)) // 3600


def test_short_work_says_nothing_and_more_than_all_is_no_negative_eta(clock, capsys):
    bar = Progress("a", total=2)
    bar.step(2)
    assert capsys.readouterr().out == ""
    clock[0] += 11
    bar.step()
    assert capsys.readouterr().out == "a: 3/2 items, 0.273 items/s, ETA 0:00:00\n"


def test_iterating_counts_each_item_and_takes_a_length(clock, capsys):
    seen = []
    for item in progress.progress(iter("abc"), "letters", total=3, unit="letters"):
        seen.append(item)
        clock[0] += 10
    assert seen == ["a", "b", "c"]
    assert [line.split(",")[0] for line in capsys.readouterr().out.splitlines()] == [
        "letters: 1/3 letters",
        "letters: 2/3 letters",
        "letters: 3/3 letters",
    ]
    assert list(progress.progress([], "none")) == []
