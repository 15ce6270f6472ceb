"""The shot store: what is written is read, a scene is a view of the file, damage is said by name."""

import pickle

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from m2s_lib.errors import M2SError
from m2s_lib.films.store.shot_store import ShotStore, most_open, open_stores, write_shots

RNG = np.random.default_rng(7)


def shot_table(n: int) -> pd.DataFrame:
    start = np.arange(n) * 10
    return pd.DataFrame(
        {
            "shot": np.arange(n),
            "start_frame": start,
            "end_frame": start + 9,
            "start_s": start / 24,
            "end_s": (start + 10) / 24,
        }
    )


def write(path, n=12, k=2, h=16, w=20, pixels=True, **options):
    frames = RNG.integers(0, 256, (n, k, h, w, 3), dtype=np.uint8) if pixels else None
    options = dict(aspect=1.85, fps=23.976, source="video") | options
    write_shots(path, shot_table(n), frames, **options)
    return frames


def test_what_is_written_is_read(tmp_path):
    path = tmp_path / "tt01.part one.arrow"
    frames = write(path, extra={"stamp": "abc"})
    store = ShotStore(path)
    assert (store.film_id, store.n_shots, len(store), store.source) == ("tt01.part one", 12, 12, "video")
    assert (store.aspect, store.fps, store.frame_shape, store.has_pixels) == (
        1.85,
        23.976,
        (2, 16, 20, 3),
        True,
    )
    assert store.metadata["stamp"] == "abc"
    pd.testing.assert_frame_equal(store.shots, shot_table(12))
    np.testing.assert_array_equal(store.keyframes(), frames)
    store.verify()


def test_a_scene_is_a_view_of_the_mapped_file_and_equals_frames_read_one_by_one(tmp_path):
    frames = write(tmp_path / "a.arrow")
    store = ShotStore(tmp_path / "a.arrow")
    scene = store.scene(3, 5)
    assert scene.shape == (5, 2, 16, 20, 3)
    assert scene.flags.c_contiguous
    assert not scene.flags.owndata
    mapped = np.frombuffer(store._file.read_buffer(store._file.size()), dtype=np.uint8)
    assert np.shares_memory(scene, mapped)
    for i in range(5):
        for j in range(2):
            np.testing.assert_array_equal(scene[i, j], store.scene(3 + i, 1)[0, j])
            np.testing.assert_array_equal(scene[i, j], frames[3 + i, j])
    del store
    assert scene.sum() == frames[3:8].sum()  # the map lives as long as the view


@given(st.integers(-3, 20), st.integers(-2, 20))
def test_scenes_outside_the_film_are_refused(tmp_path_factory, start, n):
    path = tmp_path_factory.getbasetemp() / "twelve.arrow"
    if not path.exists():
        write(path)
    store = ShotStore(path)
    if 0 <= start and 1 <= n and start + n <= 12:
        assert store.scene(start, n).shape[0] == n
    else:
        with pytest.raises(M2SError, match=rf"film twelve: shots {start}\..*it has 12 shots \(0\.\.11\)"):
            store.scene(start, n)


def test_a_film_without_pixels(tmp_path):
    write(tmp_path / "ready.arrow", pixels=False, source="features", fps=float("nan"))
    store = ShotStore(tmp_path / "ready.arrow")
    assert (store.has_pixels, store.n_shots) == (False, 12)
    assert np.isnan(store.fps)
    with pytest.raises(M2SError, match="film ready has no pixels: it came as features"):
        store.scene(0, 3)
    store.verify()


def test_truncated_files_say_what_to_do(tmp_path):
    path = tmp_path / "cut.arrow"
    write(path)
    data = path.read_bytes()
    for size in (0, 4, 100, len(data) // 2, len(data) - 1):
        path.write_bytes(data[:size])
        with pytest.raises(
            M2SError, match=r"cut.arrow is damaged or cut short .*: delete it and run stage 01 again"
        ):
            ShotStore(path)


def test_flipped_bytes_never_pass_unnoticed(tmp_path):
    """Every byte that matters is under Arrow's own checks or one of the two checksums."""
    path = tmp_path / "flip.arrow"
    frames = write(path, n=6, k=1, h=8, w=8)
    data = path.read_bytes()
    messages = []
    for at in range(0, len(data), 29):
        path.write_bytes(data[:at] + bytes([data[at] ^ 0x10]) + data[at + 1 :])
        try:
            store = ShotStore(path)
            store.verify()
        except M2SError as error:
            messages.append(str(error))
        else:
            pd.testing.assert_frame_equal(store.shots, shot_table(6))
            np.testing.assert_array_equal(store.keyframes(), frames)
    assert len(messages) > 20
    assert all("flip.arrow" in m and "run stage 01 again" in m for m in messages)


def test_what_cannot_be_stored_is_refused(tmp_path):
    frames = np.zeros((3, 1, 8, 8, 3), np.uint8)
    options = dict(aspect=1, fps=24, source="video")
    for table, pixels, message in [
        (shot_table(4), frames, r"a.arrow: 4 shots in the table, keyframes of 3"),
        (
            shot_table(3).drop(columns="end_s"),
            frames,
            r"a.arrow: the shot table lacks the columns \['end_s'\]",
        ),
        (shot_table(0), None, r"a.arrow: a film needs at least one shot"),
        (shot_table(3), frames.astype(np.float32), r"must be uint8 .* float32"),
    ]:
        with pytest.raises(M2SError, match=message):
            write_shots(tmp_path / "a.arrow", table, pixels, **options)
    assert list(tmp_path.iterdir()) == []


def test_a_missing_store_names_the_stage(tmp_path):
    with pytest.raises(M2SError, match="none.arrow is missing: run stage 01 first"):
        ShotStore(tmp_path / "none.arrow")
    with pytest.raises(M2SError, match="nowhere is missing: run stage 01 first"):
        open_stores(tmp_path / "nowhere")


def test_a_folder_of_stores_opens_lazily_and_keeps_few(tmp_path):
    for name in ("b", "a", "c d"):
        write(tmp_path / f"{name}.arrow", n=3)
    (tmp_path / "broken.arrow").write_bytes(b"ARROW1")
    (tmp_path / ".a.arrow.1.tmp").write_bytes(b"")
    stores = open_stores(tmp_path, keep=2)
    assert list(stores) == ["a", "b", "broken", "c d"]
    assert len(stores) == 4
    assert "broken" in stores
    assert "z" not in stores
    assert stores["a"] is stores["a"]
    assert [stores[n].film_id for n in ("a", "b", "c d")] == ["a", "b", "c d"]
    assert stores._open.cache_info().currsize == 2
    with pytest.raises(M2SError, match="broken.arrow is damaged"):
        stores["broken"]
    with pytest.raises(KeyError):
        stores["z"]


def test_some_stores_of_a_folder_stay_lazy_and_in_the_order_asked_for(tmp_path):
    for name in ("a", "b", "c"):
        write(tmp_path / f"{name}.arrow", n=3)
    some = open_stores(tmp_path, keep=1).only(["c", "a"])
    assert [store.film_id for store in some.values()] == ["c", "a"]
    assert some._open.cache_info().currsize == 1
    assert "b" not in some
    with pytest.raises(M2SError, match="1 of 2 films have no shots in .*'z': run stage 01 again"):
        some.only(["a", "z"])


def test_a_store_travels_to_another_process_as_its_path(tmp_path):
    frames = write(tmp_path / "a.arrow", n=200)
    message = pickle.dumps(ShotStore(tmp_path / "a.arrow"))
    assert len(message) < 1000
    np.testing.assert_array_equal(pickle.loads(message).keyframes(), frames)


def test_no_space_left_says_so_and_leaves_the_old_store(tmp_path):
    import os

    path = tmp_path / "full.arrow"
    old = write(path)
    (tmp_path / f".full.arrow.{os.getpid()}.tmp").symlink_to("/dev/full")
    with pytest.raises(M2SError, match=r"no space left while writing .*full.arrow"):
        write(path, n=500)
    np.testing.assert_array_equal(ShotStore(path).keyframes(), old)


def test_training_may_open_as_many_stores_as_the_system_allows(tmp_path):
    import resource

    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = most_open()
    try:
        assert 256 <= most <= 60_000
        assert most == 256 or resource.getrlimit(resource.RLIMIT_NOFILE)[0] >= most
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
