"""MovieNet's keyframes as stores: what is listed is read once, what is not there or broken has its reason."""

import pytest
from PIL import Image

from m2s_lib.errors import M2SError
from m2s_lib.films.store.clip_stores import NOT_THERE
from m2s_lib.films.store.keyframe_stores import KEYFRAMES, keyframe_stores
from m2s_lib.films.video.decoding import ScanConfig

SMALL = ScanConfig(32)


def write_keyframes(folder, shots):
    """A film of so many shots with three images each; red says which shot, green which image."""
    folder.mkdir(parents=True)
    for shot in range(shots):
        for image in range(3):
            picture = Image.new("RGB", (48, 24), (shot * 50, image * 100, 30))
            picture.save(folder / f"shot_{shot:04d}_img_{image}.jpg", quality=95)


@pytest.fixture
def movienet(tmp_path):
    for film, shots in (("tt0000001", 4), ("tt0000002", 2), ("tt0000003", 3), ("tt0000009", 2)):
        write_keyframes(tmp_path / "in/shot_keyf" / film, shots)
    (tmp_path / "in/shot_keyf/tt0000003/shot_0001_img_2.jpg").unlink()
    return tmp_path / "in"


def test_listed_films_are_read_and_the_others_have_a_reason(movienet, tmp_path):
    wanted = ["tt0000003", "tt0000002", "tt0000001", "tt0000005"]
    stores, reasons = keyframe_stores(movienet, wanted, tmp_path / "out", SMALL, workers=1)
    assert sorted(stores) == ["tt0000001", "tt0000002"]
    files = sorted((tmp_path / "out" / "shots").iterdir())
    assert [p.stem for p in files] == ["tt0000001", "tt0000002"]  # tt0000009 is not listed
    assert {f: s.n_shots for f, s in stores.items()} == {"tt0000001": 4, "tt0000002": 2}
    assert stores["tt0000001"].source == "movienet"
    assert stores["tt0000001"].aspect == pytest.approx(2)
    assert reasons.keys() == {"tt0000003", "tt0000005"}
    assert reasons["tt0000005"] == NOT_THERE
    assert "shot_0001_img_2.jpg is missing" in reasons["tt0000003"]
    before = [p.stat().st_mtime_ns for p in files]
    again, same = keyframe_stores(movienet, wanted, tmp_path / "out", SMALL, workers=1)
    assert [p.stat().st_mtime_ns for p in files] == before  # films that are done are not done again
    assert (sorted(again), same) == (sorted(stores), reasons)


@pytest.mark.parametrize(("name", "k", "images"), [("240P", 1, [1]), ("240P_frames", 3, [0, 1, 2])])
def test_the_config_says_how_many_images_and_how_large_whatever_the_folders_name(
    movienet, tmp_path, name, k, images
):
    (movienet / "shot_keyf").rename(movienet / name)
    assert name in KEYFRAMES
    config = ScanConfig(16, frames_per_shot=k)
    stores, reasons = keyframe_stores(movienet, ["tt0000001"], tmp_path / "out", config, workers=1)
    assert (list(stores), reasons) == (["tt0000001"], {})
    colours = stores["tt0000001"].keyframes().mean(axis=(2, 3))  # [n_shots, k, c]
    assert stores["tt0000001"].frame_shape == (k, 16, 16, 3)
    assert colours[2, :, 0] == pytest.approx([100] * k, abs=5)
    assert colours[2, :, 1] == pytest.approx([i * 100 for i in images], abs=5)


def test_films_that_all_fail_leave_no_store_but_their_reasons(movienet, tmp_path):
    stores, reasons = keyframe_stores(movienet, ["tt0000003"], tmp_path / "out", SMALL, workers=1)
    assert stores == {}
    assert list(reasons) == ["tt0000003"]


def test_a_folder_without_keyframes_or_of_other_films_says_so(movienet, tmp_path):
    with pytest.raises(M2SError, match=r"holds keyframes of 4 films, none of them is among the 1 listed: the "
                       r"first folder is 'tt0000001', the first listed film 'tt7'"):  # fmt: skip
        keyframe_stores(movienet, ["tt7"], tmp_path / "out")
    with pytest.raises(M2SError, match="none of them is among the 0 listed"):
        keyframe_stores(movienet, [], tmp_path / "out")
    with pytest.raises(
        M2SError, match=r"has no keyframes: expected shot_keyf/<film>/shot_0000_img_0.jpg in it, see data_man"
    ):
        keyframe_stores(movienet / "shot_keyf", ["tt0000001"], tmp_path / "out")
    (tmp_path / "empty" / "240P").mkdir(parents=True)
    with pytest.raises(M2SError, match=r"no film under .*240P: looked for folders with keyframes"):
        keyframe_stores(tmp_path / "empty", ["tt0000001"], tmp_path / "out")
