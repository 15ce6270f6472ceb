"""Subtitles beside films and inside them, by the times of shots."""

import subprocess

import pytest

from m2s_lib.errors import M2SError
from m2s_lib.films.store.film_table import read_film_table
from m2s_lib.films.store.ingest import ingest_films
from m2s_lib.films.store.shot_store import open_stores
from m2s_lib.films.store.subtitles import read_subtitle_file, subtitle_table, text_track, words_between
from m2s_lib.films.video.decoding import ScanConfig
from tests.helpers.videos import render

SRT = """1
00:00:00,500 --> 00:00:01,000
<i>Hello there</i>

2
00:00:01,500 --> 00:00:02,000
Two people
in a car, señor
"""


def test_a_file_beside_the_film(tmp_path):
    (tmp_path / "a.srt").write_text(SRT, encoding="utf-8")
    (tmp_path / "b.srt").write_text(SRT, encoding="cp1252")
    (tmp_path / "c.vtt").write_text("WEBVTT\n\n" + SRT.replace(",500", ".500").replace(",000", ".000"))
    for name in ("a.srt", "b.srt"):
        table = read_subtitle_file(tmp_path / name)
        assert table.text.tolist() == ["Hello there", "Two people in a car, señor"]
        assert table.start_s.tolist() == [0.5, 1.5]
        assert table.end_s.tolist() == [1.0, 2.0]
    assert read_subtitle_file(tmp_path / "c.vtt").text[0] == "Hello there"


@pytest.mark.parametrize("text", ["", "no times here\n"])
def test_files_without_subtitles_are_named(tmp_path, text):
    (tmp_path / "a.srt").write_text(text)
    with pytest.raises(M2SError, match=r"a.srt (has no subtitle|cannot be read as subtitles)"):
        read_subtitle_file(tmp_path / "a.srt")


def test_words_belong_to_the_time_of_their_middle(tmp_path):
    (tmp_path / "a.srt").write_text(SRT, encoding="utf-8")
    table = read_subtitle_file(tmp_path / "a.srt")
    assert words_between(table, 0.0, 0.8) == "Hello there"
    assert words_between(table, 0.8, 1.0) == ""
    assert words_between(table, 0.0, 9.0) == "Hello there Two people in a car, señor"


def test_a_track_in_the_film_is_kept_in_its_store(tmp_path):
    ffmpeg = pytest.importorskip("imageio_ffmpeg", reason="makes the inputs").get_ffmpeg_exe()
    (tmp_path / "a.srt").write_text(SRT, encoding="utf-8")
    plain = render(tmp_path / "plain.mp4", shots=(24, 24, 24))
    (tmp_path / "films").mkdir()
    for name, codec in (("a.mp4", "mov_text"), ("b.mkv", "srt"), ("c.mkv", "ass")):
        inputs = ["-i", str(plain), "-i", str(tmp_path / "a.srt")]
        out = str(tmp_path / "films" / name)
        subprocess.run([ffmpeg, "-v", "error", *inputs, "-c:v", "copy", "-c:s", codec, out], check=True)
    render(tmp_path / "films" / "d.mp4", shots=(24, 24))
    table = read_film_table(tmp_path / "films")
    ingest_films(table, tmp_path / "out", ScanConfig(32), workers=1)
    films = dict(zip(table.film_id, table.path, strict=True))
    subtitles = subtitle_table(films, open_stores(tmp_path / "out" / "shots"))
    assert subtitles.film_id.unique().tolist() == ["a", "b", "c"]
    for _, of_film in subtitles.groupby("film_id"):
        assert of_film.text.tolist() == ["Hello there", "Two people in a car, señor"]
        assert of_film.start_s.tolist() == pytest.approx([0.5, 1.5], abs=0.01)
    (tmp_path / "films" / "d.en.srt").write_text(SRT.replace("Hello", "Goodbye"), encoding="utf-8")
    again = subtitle_table(films, open_stores(tmp_path / "out" / "shots"))
    assert again[again.film_id == "d"].text.iloc[0] == "Goodbye there"


def test_a_film_without_any_has_none(tmp_path):
    film = render(tmp_path / "a.mp4", shots=(5,))
    assert text_track(film) == ""
    empty = subtitle_table({"a": film}, {})
    assert empty.empty
    assert empty.columns.tolist() == ["film_id", "start_s", "end_s", "text"]
