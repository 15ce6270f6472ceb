"""A folder of clips: the frames that were asked for, a table that names them, and what cannot be cut."""

import os
from dataclasses import replace

import av
import pandas as pd
import pytest

from m2s_lib.display import clip_folder
from m2s_lib.display.export import write_export
from m2s_lib.display.timelines import Cut
from m2s_lib.errors import M2SError
from tests.helpers.videos import number_of, render


@pytest.fixture(scope="module")
def cuts(tmp_path_factory):
    film = render(tmp_path_factory.mktemp("films") / "film.mp4", shots=(24, 24, 24, 24))
    first = Cut("film", "Amélie / 日本", str(film), 24.0, 1.0, 2.0, "scene 1", 0.5, "shot 1, by E_scene")
    return [first, replace(first, start_s=2.5, end_s=4.0, name="scene 2", note="")]


def numbers(path):
    with av.open(str(path)) as file:
        assert [s.type for s in file.streams] == ["video"]
        return [number_of(frame.to_ndarray(format="rgb24")) for frame in file.decode(video=0)]


def export(folder, cuts):
    return write_export(folder / "tray.clips", pd.DataFrame({"film_id": ["film"]}), cuts, "tray")


def test_clips_are_the_scenes_and_the_table_names_them(cuts, tmp_path):
    folder = export(tmp_path, cuts)
    assert folder == tmp_path / "tray clips"
    table = pd.read_csv(folder / "scenes.csv")
    assert table["clip"][0] == "Amélie _ 日本 00.00.01.000 to 00.00.02.000.mp4"
    assert [numbers(folder / name) for name in table["clip"]] == [list(range(24, 48)), list(range(60, 96))]
    assert table[["film_id", "start_s", "end_s", "name"]].values.tolist() == [
        ["film", 1.0, 2.0, "scene 1"],
        ["film", 2.5, 4.0, "scene 2"],
    ]
    assert sorted(p.name for p in folder.iterdir()) == sorted([*table["clip"], "scenes.csv"])


def test_an_export_goes_on_and_a_newer_film_is_cut_again(cuts, tmp_path):
    """A clip that is there stays; a film that is newer than its clip is cut again."""
    folder = export(tmp_path, cuts[:1])
    (clip,) = folder.glob("*.mp4")
    whole = clip.read_bytes()
    clip.write_bytes(b"as it was")
    export(tmp_path, cuts)
    assert clip.read_bytes() == b"as it was"
    assert len(list(folder.glob("*.mp4"))) == 2
    os.utime(clip, (0, 0))
    export(tmp_path, cuts)
    assert clip.read_bytes() == whole


def test_films_that_share_a_title_have_clips_of_their_own(cuts, tmp_path):
    other = render(tmp_path / "other.mp4", shots=(48, 48))
    folder = export(tmp_path, [cuts[0], replace(cuts[0], film_id="other", path=str(other))])
    names = pd.read_csv(folder / "scenes.csv")["clip"].tolist()
    assert names == ["film 00.00.01.000 to 00.00.02.000.mp4", "other 00.00.01.000 to 00.00.02.000.mp4"]
    assert (folder / names[0]).read_bytes() != (folder / names[1]).read_bytes()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"path": ""}, "film film came without a video file: no clip can be cut, export the CSV"),
        ({"end_s": float("nan")}, "film film: scene 1 has no time, export the CSV instead"),
        ({"path": "/gone/film.mp4"}, "film.mp4: there is no such file"),
        ({"start_s": 90.0, "end_s": 91.0}, "no picture could be read between 90.0 s and 91.0 s"),
    ],
)
def test_what_cannot_be_cut_is_named_and_what_was_cut_stays(cuts, tmp_path, change, message):
    export(tmp_path, cuts[1:])
    with pytest.raises(M2SError, match=message):
        export(tmp_path, [replace(cuts[0], **change)])
    assert len(list((tmp_path / "tray clips").glob("*.mp4"))) == 1


def test_more_scenes_than_anybody_wants_as_clips(cuts, monkeypatch, tmp_path):
    monkeypatch.setattr(clip_folder, "MOST", 1)
    with pytest.raises(M2SError, match="a folder of clips holds 1 scenes at most, not 2"):
        export(tmp_path, cuts)
