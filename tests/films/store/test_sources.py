"""MovieNet folders and ready features: what is read, and what is refused with both numbers."""

import numpy as np
import pytest
from PIL import Image

from m2s_lib.errors import M2SError
from m2s_lib.films.store.sources import read_ready_features, scan_keyframe_folder
from m2s_lib.films.video.decoding import ScanConfig


@pytest.fixture
def movienet(tmp_path):
    """A film of five shots with three images each; red says which shot, green which image."""
    folder = tmp_path / "tt0032138"
    folder.mkdir()
    for shot in range(5):
        for image in range(3):
            pixels = np.full((24, 56, 3), (shot * 50, image * 100, 30), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / f"shot_{shot:04d}_img_{image}.jpg", quality=95)
    (folder / "notes.txt").write_text("not an image")
    return folder


@pytest.mark.parametrize(("k", "images"), [(1, [1]), (2, [0, 2]), (3, [0, 1, 2])])
def test_k_images_of_each_shot_are_chosen_evenly(movienet, k, images):
    film = scan_keyframe_folder(movienet, ScanConfig(frames_per_shot=k, frame_size=32))
    assert film.keyframes.shape == (5, k, 32, 32, 3)
    colours = film.keyframes.mean(axis=(2, 3))  # [n_shots, k, c]
    np.testing.assert_allclose(colours[..., 0], np.tile(np.arange(5)[:, None] * 50.0, (1, k)), atol=4)
    np.testing.assert_allclose(colours[..., 1], np.tile(np.array(images) * 100.0, (5, 1)), atol=4)
    assert film.shots["start_frame"].tolist() == film.shots["end_frame"].tolist() == [0, 1, 2, 3, 4]
    assert film.shots["start_s"].isna().all()
    assert np.isnan(film.fps)
    assert (film.width, film.height, film.aspect) == (56, 24, 56 / 24)


def test_the_shot_table_gives_frames_and_its_count_is_checked(movienet, tmp_path):
    table = tmp_path / "tt0032138.txt"
    lines = [f"{s * 50} {s * 50 + 49} {s * 50 + 10} {s * 50 + 25} {s * 50 + 40}" for s in range(5)]
    table.write_text("\n".join(lines) + "\n")
    film = scan_keyframe_folder(movienet, None, table)
    assert film.shots["start_frame"].tolist() == [0, 50, 100, 150, 200]
    assert film.shots["end_frame"].tolist() == [49, 99, 149, 199, 249]
    table.write_text("\n".join(lines[:4]))
    with pytest.raises(M2SError, match=r"film tt0032138: .*tt0032138.txt lists 4 shots, the folder has 5"):
        scan_keyframe_folder(movienet, None, table)


def test_folders_that_are_not_whole_name_the_image(movienet, tmp_path):
    with pytest.raises(
        M2SError, match=r"film tt0032138: 4 keyframes per shot were asked for, the folder has 3"
    ):
        scan_keyframe_folder(movienet, ScanConfig(frames_per_shot=4))
    (movienet / "shot_0002_img_1.jpg").unlink()
    with pytest.raises(M2SError, match=r"film tt0032138, shot 2: shot_0002_img_1.jpg is missing"):
        scan_keyframe_folder(movienet)
    (movienet / "shot_0002_img_1.jpg").write_bytes(b"not a picture")
    with pytest.raises(M2SError, match=r"film tt0032138, shot 2: shot_0002_img_1.jpg cannot be read"):
        scan_keyframe_folder(movienet)
    with pytest.raises(M2SError, match="film folder .*nowhere is missing"):
        scan_keyframe_folder(tmp_path / "nowhere")
    (tmp_path / "bare").mkdir()
    with pytest.raises(M2SError, match="film bare: no image named like shot_0000_img_0.jpg"):
        scan_keyframe_folder(tmp_path / "bare")


def ready(tmp_path, rows=4, n_shots=4, d=6, kind="npy"):
    folder = tmp_path / "film 9"
    folder.mkdir(exist_ok=True)
    (folder / "shots.txt").write_text("".join(f"{i * 10} {i * 10 + 9}\n" for i in range(n_shots)))
    (folder / "scenes.txt").write_text("0\t39\n")
    features = np.arange(rows * d, dtype=np.float64).reshape(rows, d) / 7
    if kind == "npy":
        np.save(folder / "features.npy", features)
    else:
        np.savetxt(folder / "features.txt", features)
    return folder, features


@pytest.mark.parametrize("kind", ["npy", "txt"])
def test_ready_features_come_with_their_shots(tmp_path, kind):
    folder, features = ready(tmp_path, kind=kind)
    shots, found = read_ready_features(folder)
    assert found.dtype == np.float32
    assert found.flags.c_contiguous
    np.testing.assert_allclose(found, features, rtol=1e-6)
    assert shots[["start_frame", "end_frame"]].to_numpy().tolist() == [[0, 9], [10, 19], [20, 29], [30, 39]]


def test_ready_features_that_do_not_fit_are_refused(tmp_path):
    folder, features = ready(tmp_path, rows=3)
    with pytest.raises(M2SError, match=r"film film 9: features.npy has 3 rows, shots.txt has 4 shots"):
        read_ready_features(folder)
    folder, features = ready(tmp_path)
    features[2, 1] = np.inf
    features[3, 0] = np.nan
    np.save(folder / "features.npy", features)
    with pytest.raises(
        M2SError, match=r"features of shot 2 in features.npy are NaN or infinite \(2 such shots\)"
    ):
        read_ready_features(folder)
    np.save(folder / "features.npy", np.zeros((4, 2, 3)))
    with pytest.raises(M2SError, match=r"must be \[n_shots, d\], it is float64 \(4, 2, 3\)"):
        read_ready_features(folder)
    np.save(folder / "features.npy", np.array([{}] * 4, dtype=object), allow_pickle=True)
    with pytest.raises(M2SError, match="features.npy cannot be read as a feature matrix"):
        read_ready_features(folder)
    (folder / "more.npy").write_bytes(b"")
    with pytest.raises(M2SError, match=r"expected one feature file .* found \['features.npy', 'more.npy'\]"):
        read_ready_features(folder)


def test_ovsd_films(shared_data):
    shots, features = read_ready_features(shared_data / "ovsd" / "01")
    assert len(shots) == len(features) == 132
    assert features.shape[1] == 512
    assert (shots["start_frame"][1:].to_numpy() > shots["end_frame"][:-1].to_numpy()).all()
