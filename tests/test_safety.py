"""What the library must never do, read off its syntax, and names that may not leave their folder."""

import ast
import json
import os
import shutil
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from m2s_lib import io as files
from m2s_lib.display.explorer.export import export_path
from m2s_lib.display.explorer.state import open_state
from m2s_lib.display.playback import cut_clip, film_file
from m2s_lib.errors import M2SError
from m2s_lib.evaluation.encoders.weight_files import read_weights
from m2s_lib.evaluation.movienet import files as movienet
from m2s_lib.films.store.clip_stores import clip_stores
from m2s_lib.films.store.film_table import read_film_table
from m2s_lib.films.store.shot_store import open_stores
from m2s_lib.method.shot_encoder import ShotEncoder, ShotEncoderConfig
from m2s_lib.method.weights import load_backbone, load_encoder
from m2s_lib.runs.report import paper_files
from tests.conftest import ROOT
from tests.helpers.display_stores import make_store
from tests.helpers.explorer_films import make_scenes

MODULES = {
    "pickle",
    "_pickle",
    "cPickle",
    "dill",
    "cloudpickle",
    "joblib",
    "shelve",
    "marshal",
    "imp",
    "code",
}
BUILTINS = {"eval", "exec", "compile", "__import__"}
METHODS = {
    *("system", "popen", "mktemp", "read_pickle", "to_pickle", "unsafe_load", "unsafe_load_all", "full_load"),
    *("jit.load", "hub.load", "load_all", "run_path", "run_module", "getoutput", "getstatusoutput"),
}


def faults(code: str) -> list[str]:
    """What in a module's syntax may run somebody else's code."""
    tree, found = ast.parse(code), []
    safe = {"SafeLoader", "BaseLoader"}
    safe |= {n.name for n in ast.walk(tree) if isinstance(n, ast.ClassDef) and _last(n.bases) in safe}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = {a.name.partition(".")[0] for a in node.names} if isinstance(node, ast.Import) else set()
            names |= {(getattr(node, "module", "") or "").partition(".")[0]}
            found += [f"imports {n}" for n in names & MODULES]
        if isinstance(node, ast.Call):
            found += _of_call(node, safe)
    return found


def _last(bases: list) -> str:
    return ast.unparse(bases[0]).rpartition(".")[2] if bases else ""


def _of_call(node: ast.Call, safe: set[str]) -> list[str]:
    name, said = ast.unparse(node.func), {k.arg: k.value for k in node.keywords}
    value = {k: getattr(v, "value", ast.unparse(v)) for k, v in said.items() if k}
    found = [f"calls {name}"] if name in BUILTINS or any(name.endswith(f".{m}") for m in METHODS) else []
    if name.endswith(".eval") and node.args:
        found.append("evaluates a text")
    if name.endswith(".query") and not all(isinstance(a, ast.Constant | ast.Name) for a in node.args):
        found.append("queries with a text made from data")
    if value.get("shell", False) is not False:
        found.append("uses a shell")
    if value.get("allow_pickle", False) is not False:
        found.append("lets numpy unpickle")
    if name == "torch.load" and value.get("weights_only") is not True:
        found.append("torch.load without weights_only=True")
    if name == "yaml.load":
        loader = ast.unparse(said["Loader"]) if "Loader" in said else ""
        names = {n.rpartition(".")[2] for n in loader.replace(" if item else ", " ").split()}
        found += [] if names and names <= safe else [f"yaml.load with {loader or 'no loader'}"]
    return found


def _sources():
    for path in sorted((ROOT / "m2s_lib").rglob("*.py")):
        yield path.relative_to(ROOT).as_posix(), path.read_text(encoding="utf-8")
    for path in sorted((ROOT / "notebooks").glob("*.ipynb")):
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
        yield path.name, "\n".join("".join(c["source"]) for c in cells if c["cell_type"] == "code")


# What processes of one run send each other (Ray pickles all of it anyway), and the training loop of a
# notebook, which several of them execute; no file is read so.
BETWEEN_PROCESSES = {
    "m2s_lib/engine_ray.py": ["imports pickle"],
    "m2s_lib/runs/pipeline/fork_server.py": ["calls runpy.run_module"],  # a kernel's own start
    "m2s_lib/training/loop.py": ["imports pickle", "imports cloudpickle", "calls exec", "calls compile"],
}


def test_nothing_runs_or_unpickles_what_a_file_says():
    found = {name: wrong for name, code in _sources() if (wrong := faults(code))}
    assert found == BETWEEN_PROCESSES


@pytest.mark.parametrize(
    "code",
    [
        "import pickle", "from pickle import loads", "import joblib", "eval(x)", "exec(x)", "table.eval(x)",
        "torch.load(p)", "torch.load(p, weights_only=False)", "torch.jit.load(p)", "os.system('ls')",
        "subprocess.run(x, shell=True)", "subprocess.run(x, shell=y)", "np.load(p, allow_pickle=True)",
        "yaml.load(t)", "yaml.load(t, Loader=yaml.Loader)", "yaml.unsafe_load(t)", "pd.read_pickle(p)",
        "class L(yaml.Loader): pass\nyaml.load(t, Loader=L)", "table.query(f'{x} > 1')", "tempfile.mktemp()",
        "torch.hub.load('a', 'b')", "yaml.load(t, Loader=yaml.SafeLoader if item else yaml.Loader)",
    ],
)  # fmt: skip
def test_the_check_above_finds(code):
    assert faults(code)


class _Trap:
    def __reduce__(self):
        return os.mkdir, ("sprung",)


def test_weights_with_code_inside_are_refused_and_the_code_does_not_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save({"weight": torch.ones(2), "trap": _Trap()}, tmp_path / "weights.pt")
    shutil.copy(tmp_path / "weights.pt", tmp_path / "weights.safetensors")
    encoder = ShotEncoder(ShotEncoderConfig.preset("test"))
    for name in ("weights.pt", "weights.safetensors"):
        for read in (read_weights, load_encoder, lambda p: load_backbone(encoder, p)):
            with pytest.raises(M2SError, match="weights"):
                read(tmp_path / name)
    np.save(tmp_path / "array.npy", np.array([_Trap()]), allow_pickle=True)
    with pytest.raises(ValueError):
        files.read_npy(tmp_path / "array.npy")
    assert not (tmp_path / "sprung").exists()


# -- names --

EVIL = ["../x", "../../etc/passwd", "/etc/passwd", "a/../../x", "a\0b", "x" * 300, "映" * 90, "..", ".", ""]


@given(st.text(st.sampled_from("./\\\0a~$映 "), max_size=12))
def test_a_path_from_a_table_stays_inside_or_is_refused(name):
    try:
        place = files.inside("/run/clips", name)
    except M2SError:
        return
    assert os.path.commonpath([os.path.normpath(place), "/run/clips"]) == "/run/clips"
    assert "\0" not in str(place)


def test_paths_inside_stay_usable(tmp_path):
    (tmp_path / "outside.txt").write_text("x")
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "link.txt").symlink_to(tmp_path / "outside.txt")
    assert (
        files.inside(tmp_path / "in", "link.txt").read_text() == "x"
    )  # the owner of the folder set the link
    assert files.inside(tmp_path / "in", tmp_path / "in" / "a" / ".." / "b") == tmp_path / "in" / "b"


@pytest.mark.parametrize("name", EVIL[:5])
def test_a_clips_path_may_not_lead_out_of_the_clips_folder(tmp_path, name):
    (tmp_path / "clips").mkdir()
    (tmp_path / "x").write_bytes(b"secret")
    table = pd.DataFrame({"item": ["a"], "path": [name]})
    with pytest.raises(M2SError, match=r"leads out of .*clips|none of the 1 clips' files is in"):
        clip_stores(tmp_path / "clips", table, tmp_path / "out")


@pytest.mark.parametrize("name", EVIL)
def test_items_and_films_of_benchmarks_become_names_or_are_refused(tmp_path, name):
    (tmp_path / "clips").mkdir()
    (tmp_path / "clips" / "a.mp4").write_bytes(b"no film")
    with pytest.raises(M2SError):
        clip_stores(tmp_path / "clips", [name], tmp_path / "out")
    split = {"train": [name], "val": ["tt2"], "test": ["tt3"]}
    (tmp_path / "split318.json").write_text(json.dumps(split))
    with pytest.raises(M2SError, match="is no name of a film, such as tt0000001"):
        movienet.read_split(tmp_path / "split318.json")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["clips", "split318.json"]


def test_film_ids_of_odd_files_are_safe_names_or_rows_that_say_why(tmp_path):
    films = tmp_path / "films"
    films.mkdir()
    for name in ("..a", "a:b*c", "x" * 220, "new\nline", "$(rm -rf)", "..."):
        (films / f"{name}.mp4").write_bytes(b"x")
    table = read_film_table(films)
    assert len(table) == 4  # names that begin with a dot are hidden
    for row in table.itertuples():
        assert files.is_name(row.film_id) or (row.status == "failed" and row.reason), row
    (tmp_path / "m.csv").write_text(f"film_id,title\n../../x,X\n/etc/passwd,Y\n{table.film_id[0]},Z\n")
    named = read_film_table(films, tmp_path / "m.csv")
    assert all(map(files.is_name, named.attrs["unknown_metadata"]))
    assert list(named.film_id) == list(table.film_id)


@pytest.mark.parametrize("name", EVIL)
def test_stores_are_asked_for_by_name_and_never_by_path(tmp_path, name):
    (tmp_path / "shots").mkdir()
    make_store(tmp_path, "x", n=2)
    make_store(tmp_path / "shots", "a", n=2)
    stores = open_stores(tmp_path / "shots")
    assert list(stores) == ["a"]
    with pytest.raises(KeyError):
        stores[name]


def test_exports_stay_in_the_run(tmp_path):
    evil = ("../../a", "/etc/a", "b" * 300, "a\0b")
    scenes = make_scenes(tmp_path, lengths={"a": 20, "b": 14})
    state = open_state(scenes, "a", "b")
    for film in evil:
        path = export_path(scenes, replace(state, film_a=film, encoder="../../../etc/x"), "csv")
        assert path.parent == tmp_path / "exports"
        assert files.is_name(path.name)


def test_a_record_from_elsewhere_cannot_make_the_report_copy_other_files(tmp_path, monkeypatch):
    (tmp_path / "secret.png").write_bytes(b"secret")
    stage = tmp_path / "run" / "02_movie_similarity"
    entry = {"id": "fig2", "alt": "", "png": "../../secret.png", "pdf": "/etc/passwd"}
    files.write_json(stage / "run.json", {"status": "done", "figures": [entry]})
    monkeypatch.setattr(paper_files, "FIGURES", (("Fig. 2", "fig2", "02", "fig2"),))
    with pytest.raises(M2SError, match=r"'../../secret.png' leads out of"):
        paper_files.write_figures(tmp_path / "paper", tmp_path / "run", ROOT)
    assert not list((tmp_path / "paper").glob("*"))


@pytest.mark.parametrize(
    "path",
    ["javascript:alert(1)", "data:video/mp4;base64,AAAA", "http://x.example/a.mp4", "concat:a|b", "\0", ""],
)
def test_only_files_are_played(tmp_path, path):
    store = make_store(tmp_path, "a", n=3)
    with pytest.raises(M2SError, match="film a"):
        film_file(store, path, tmp_path)


def test_a_playlist_in_a_films_place_is_not_followed(tmp_path):
    """FFmpeg would open what the list names."""
    (tmp_path / "a.mp4").write_text("#EXTM3U\n#EXTINF:10,\nfile:///etc/passwd\n")
    (tmp_path / "b.mp4").write_text("ffconcat version 1.0\nfile /etc/passwd\n")
    for name in ("a.mp4", "b.mp4"):
        with pytest.raises(M2SError, match=f"{name} is not a video that can be read"):
            cut_clip(tmp_path / name, 0, 1, tmp_path)
