"""Files that are whole or absent, fingerprints that follow content alone, names that stay in their folder."""

import errno
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xxhash
from hypothesis import given
from hypothesis import strategies as st

from m2s_lib import io as files
from m2s_lib.errors import M2SError


def test_a_file_appears_whole_and_only_at_the_end(tmp_path):
    target = tmp_path / "new" / "folder" / "a.txt"
    with files.atomic_path(target) as temporary:
        temporary.write_text("half")
        assert not target.exists()
        assert temporary.parent == target.parent  # a rename within one file system
        temporary.write_text("whole")
    assert target.read_text() == "whole"
    assert list(target.parent.iterdir()) == [target]


def write_half(target, failure):
    with files.atomic_path(target) as temporary:
        temporary.write_text("half")
        raise failure


@pytest.mark.parametrize("failure", [ValueError("bad"), KeyboardInterrupt(), OSError(errno.EIO, "broken")])
def test_a_failure_leaves_the_old_file_and_nothing_else(tmp_path, failure):
    target = tmp_path / "a.txt"
    target.write_text("old")
    with pytest.raises(type(failure)):
        write_half(target, failure)
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_says_which_file_and_what_to_do(tmp_path, number):
    target = tmp_path / "a.txt"
    target.write_text("old")
    message = r"no space left while writing .*a\.txt: free some disk and run the same command again"
    with pytest.raises(M2SError, match=message) as raised:
        write_half(target, OSError(number, os.strerror(number)))
    assert raised.value.__cause__.errno == number
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


def test_temporaries_of_the_dead_go_and_those_of_the_living_stay(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, text=True
    )
    living = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    (tmp_path / "deep").mkdir()
    dead = tmp_path / "deep" / f".films.parquet.{done.stdout.strip()}.tmp"
    own = tmp_path / f".own.json.{os.getpid()}.tmp"  # an earlier call in this process that was cut off
    used = tmp_path / f".index.faiss.{living.pid}.tmp"
    users = [tmp_path / name for name in (".notes.tmp", "a.12.tmp", "kept.txt", ".x.tmp.txt")]
    for path in (dead, own, used, *users):
        path.write_text("x")
    try:
        assert files.remove_temporaries(tmp_path) == 2
    finally:
        living.communicate(b"\n")
    assert sorted(p for p in tmp_path.rglob("*") if p.is_file()) == sorted([used, *users])
    assert files.remove_temporaries(tmp_path) == 1  # its process has ended


def test_json_comes_back_plain_and_without_nan(tmp_path):
    value = {
        "nan": float("nan"), "inf": [np.float32("inf"), -np.inf], "n": np.int64(3), 4: np.bool_(True),
        "array": np.array([[1.5, np.nan]]), "path": Path("a") / "b", "é": "映画", "tuple": (1, None),
    }  # fmt: skip
    path = tmp_path / "a.json"
    files.write_json(path, value)
    assert files.read_json(path) == {
        "nan": None, "inf": [None, None], "n": 3, "4": True, "array": [[1.5, None]], "path": "a/b",
        "é": "映画", "tuple": [1, None],
    }  # fmt: skip
    assert list(files.read_json(path)) == [str(k) for k in value]
    assert "NaN" not in path.read_text()


def test_json_that_cannot_be_read_is_named(tmp_path):
    with pytest.raises(M2SError, match=r"a\.json is missing: run the stage that writes it"):
        files.read_json(tmp_path / "a.json")
    (tmp_path / "a.json").write_text('{"cut": ')
    with pytest.raises(M2SError, match=r"a\.json is not JSON .*delete it and run its stage again"):
        files.read_json(tmp_path / "a.json")


def test_tables_come_back_or_say_what_is_wrong(tmp_path):
    path = tmp_path / "03_scene_mining" / "pairs.parquet"
    with pytest.raises(M2SError, match="run stage 03_scene_mining first .m2s run PROFILE --only 03"):
        files.read_parquet(path)
    table = pd.DataFrame({"film": ["a", "b"], "year": pd.array([1999, None], dtype="Int64")})
    files.write_parquet(table, path)
    pd.testing.assert_frame_equal(files.read_parquet(path, ["year"]), table)
    with pytest.raises(M2SError, match=r"lacks the columns \['shot'\]; it has \['film', 'year'\]"):
        files.read_parquet(path, ["film", "shot"])
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(M2SError, match="cannot be read .*delete it and run stage 03_scene_mining again"):
        files.read_parquet(path)


def test_arrays_come_back(tmp_path):
    array = np.arange(6, dtype=np.float32).reshape(2, 3)
    files.write_npy(tmp_path / "a.npy", array)
    np.testing.assert_array_equal(np.load(tmp_path / "a.npy"), array)
    np.testing.assert_array_equal(files.read_npy(tmp_path / "a.npy"), array)
    np.save(tmp_path / "b.npy", array)  # somebody else's, without checksum
    np.testing.assert_array_equal(files.read_npy(tmp_path / "b.npy"), array)
    assert files.read_npy(tmp_path / "b.npy").shape == (2, 3)


@pytest.mark.fault
def test_every_bit_of_an_array_counts(tmp_path):
    path = tmp_path / "a.npy"
    files.write_npy(path, np.arange(40, dtype=np.float32))
    data = path.read_bytes()
    for at in range(len(data)):
        path.write_bytes(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
        with pytest.raises((ValueError, EOFError, OSError)):
            files.read_npy(path)
    for size in (*range(0, len(data) - 26, 7), len(data) - 1):
        path.write_bytes(data[:size])
        with pytest.raises((ValueError, EOFError, OSError)):
            files.read_npy(path)


@pytest.mark.fault
def test_a_changed_byte_in_a_table_is_seen(tmp_path):
    path = tmp_path / "03_scene_mining" / "pairs.parquet"
    table = pd.DataFrame({"film": ["a", "b"] * 500, "score": np.random.default_rng(1).random(1000)})
    files.write_parquet(table, path)
    data = path.read_bytes()
    for at in range(100, 8000, 97):  # in the pages
        path.write_bytes(data[:at] + bytes([data[at] ^ 16]) + data[at + 1 :])
        with pytest.raises(M2SError, match="delete it and run stage 03_scene_mining again"):
            files.read_parquet(path)


def test_checksums_of_parts_and_wholes(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "_WHOLE", 7)
    (tmp_path / "a").write_bytes(bytes(range(100)))
    for size in (0, 1, 7, 8, 50, 100):
        assert files.checksum(tmp_path / "a", size) == xxhash.xxh3_64_hexdigest(bytes(range(size)))
    assert files.checksum(tmp_path / "a") == xxhash.xxh3_64_hexdigest(bytes(range(100)))


def test_a_manifest_names_what_is_no_longer_what_it_was(tmp_path):
    folder = folder_of(tmp_path / "f")
    (folder / "c").write_bytes(b"c")
    entries = files.manifest(folder, ["a.txt", "c", "sub/b.bin"])
    digest = xxhash.xxh3_64_hexdigest(b"0123456789")
    assert entries[0] == {"path": "a.txt", "size": 10, "xxh3": digest}
    assert files.damaged(folder, entries) == {}
    flip(folder, "sub/b.bin", 7)
    (folder / "a.txt").unlink()
    (folder / "c").write_bytes(b"cc")
    wrong = {"a.txt": "missing", "c": "of another size", "sub/b.bin": "damaged"}
    assert files.damaged(folder, entries) == wrong


def folder_of(root: Path) -> Path:
    (root / "sub").mkdir(parents=True)
    (root / "a.txt").write_bytes(b"0123456789")
    (root / "sub" / "b.bin").write_bytes(bytes(range(200)))
    return root


def test_fingerprints_follow_content_and_not_place_or_time(tmp_path):
    one = folder_of(tmp_path / "one")
    two = Path(shutil.copytree(one, tmp_path / "other" / "two"))
    for path in (two, *two.rglob("*")):
        os.utime(path, (1e9, 1e9))
    assert files.fingerprint(one) == files.fingerprint(two) != ""
    assert files.fingerprint(one / "a.txt") == files.fingerprint(two / "a.txt") != files.fingerprint(one)
    (two / ".a.txt.123.tmp").write_text("half")  # left by a killed process, no content
    assert files.fingerprint(one) == files.fingerprint(two)
    assert files.fingerprint(tmp_path / "nowhere") == ""


def flip(folder, name, at):
    data = bytearray((folder / name).read_bytes())
    data[at] ^= 1
    (folder / name).write_bytes(data)


@pytest.mark.parametrize(
    "change",
    [
        lambda f: flip(f, "a.txt", 0),
        lambda f: flip(f, "sub/b.bin", 199),
        lambda f: (f / "a.txt").rename(f / "c.txt"),
        lambda f: (f / "a.txt").rename(f / "sub" / "a.txt"),
        lambda f: (f / "a.txt").unlink(),
        lambda f: (f / "new").write_bytes(b""),
        lambda f: (f / "a.txt").write_bytes(b"0123456789\x00"),
    ],
)
def test_any_change_of_a_folder_changes_its_fingerprint(tmp_path, change):
    folder = folder_of(tmp_path / "f")
    before = files.fingerprint(folder)
    change(folder)
    assert files.fingerprint(folder) != before


def test_large_files_count_by_size_head_and_tail(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "_WHOLE", 1000)
    monkeypatch.setattr(files, "_PIECE", 100)
    path = tmp_path / "big"
    path.write_bytes(bytes(5000))
    seen = {files.fingerprint(path)}
    for at in (0, 99, 4900, 4999):
        path.write_bytes(bytes(at) + b"\1" + bytes(4999 - at))
        seen.add(files.fingerprint(path))
    path.write_bytes(bytes(5001))
    seen.add(files.fingerprint(path))
    assert len(seen) == 6


def test_lines_of_a_text_file(tmp_path):
    path = tmp_path / "ids.txt"
    path.write_bytes(b"\xef\xbb\xbftt1\r\nAm\xc3\xa9lie\n")
    assert files.read_lines(path, "a list of ids") == ["tt1", "Amélie"]
    path.write_bytes(b"Am\xe9lie\n")
    with pytest.raises(M2SError, match=r"ids.txt is not UTF-8 text \(.*\): give the original file"):
        files.read_lines(path, "a list of ids")
    with pytest.raises(M2SError, match=r"other.txt cannot be read \(No such file.*\): a list of ids"):
        files.read_lines(tmp_path / "other.txt", "a list of ids")


@given(st.text())
def test_a_safe_name_never_leaves_its_folder(name):
    folder = Path("/run/shots")
    try:
        clean = files.safe_name(name)
    except M2SError:
        assert set(name) <= set(" .") or len(name.encode()) > 200
        return
    path = folder / clean
    assert path.parent == folder
    assert Path(os.path.normpath(path)) == path
    assert len(clean.encode()) <= 200
    assert not set(clean) & set('/\\\0:*?"<>|\n')
    assert files.safe_name(clean) == clean


@pytest.mark.parametrize("name", ["", " ", ".", "..", " .. ", "x" * 201, "映" * 67])
def test_names_that_cannot_be_film_ids(name):
    with pytest.raises(M2SError, match="cannot be a film id: it needs 1 to 200 bytes"):
        files.safe_name(name)


def test_good_names_stay_as_they_are():
    for name in ("tt0133093", "Amélie (2001)", "映画", "a.b-c_d 2"):
        assert files.safe_name(name) == name
    assert files.safe_name("../../etc/passwd") == ".._.._etc_passwd"


def test_a_file_that_would_stay_the_same_is_not_touched(tmp_path):
    path = tmp_path / "a.json"
    files.write_json(path, {"a": 1})
    before = path.stat()
    files.write_json(path, {"a": 1})
    assert (path.stat().st_mtime_ns, path.stat().st_ino) == (before.st_mtime_ns, before.st_ino)
    files.write_json(path, {"a": 2})
    assert files.read_json(path) == {"a": 2}
    assert [p.name for p in tmp_path.iterdir()] == ["a.json"]
