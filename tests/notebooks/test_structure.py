"""What every notebook has to look like. The rules stand in the assertions' messages."""

import ast
import json
import re
import shutil
import subprocess
import sys

import nbformat
import pytest

from m2s_lib.runs.parameters.parameters import read_parameters
from m2s_lib.runs.parameters.plan import plan_run
from m2s_lib.runs.parameters.profiles import load_profile, profile_names
from m2s_lib.runs.sweep.sweep_plan import plan_sweep
from tests.conftest import ROOT

NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
PROFILES = profile_names(ROOT / "data_manifests" / "profiles")
MOST_CELLS, MOST_LINES, MOST_CODE, TYPICAL_LINES = 25, 33, 200, 11  # one argument a line
pytestmark = pytest.mark.filterwarnings("error")


@pytest.fixture(params=NOTEBOOKS, ids=lambda p: p.stem)
def path(request):
    return request.param


@pytest.fixture
def cells(path):
    found = json.loads(path.read_text(encoding="utf-8"))["cells"]
    return [{**c, "source": "".join(c["source"]), "tags": c["metadata"].get("tags", [])} for c in found]


@pytest.fixture
def code(cells):
    return [c for c in cells if c["cell_type"] == "code"]


def lines(cell) -> int:
    """Lines of a cell, imports apart."""
    imports = [s for s in ast.parse(cell["source"]).body if isinstance(s, ast.Import | ast.ImportFrom)]
    return len(cell["source"].splitlines()) - sum(s.end_lineno - s.lineno + 1 for s in imports)


def test_there_are_notebooks_and_nothing_else():
    others = [
        p.name
        for p in (ROOT / "notebooks").iterdir()
        if p.suffix != ".ipynb" and p.name != ".ipynb_checkpoints"
    ]
    assert others == [], "notebooks/ holds notebooks alone; helpers live in m2s_lib"
    numbers = [p.stem[:2] for p in NOTEBOOKS]
    assert {"01", "02", "03", "04", "08"} <= set(numbers)
    assert len(set(numbers)) == len(numbers), "a number is the run order: one notebook each"


def test_name_and_title(path, cells):
    assert re.fullmatch(r"\d\d_[a-z0-9]+(_[a-z0-9]+)+", path.stem), (
        "notebooks are named NN_words_of_the_paper"
    )
    title, *_ = cells
    assert title["cell_type"] == "markdown"
    first = title["source"].splitlines()[0]
    assert first.startswith(f"# {path.stem[:2]} "), "the first cell is the title, with the notebook's number"
    assert re.search(r"^\|.*in.*\|.*out", title["source"], re.MULTILINE), (
        "the title has a table of inputs and outputs"
    )
    assert "Run time" in title["source"], "the title says how long it takes"
    assert "paper" in title["source"], "the title says where in the paper this is"
    assert title["source"].count("?"), "the title asks the notebook's question"


def test_kernel_and_form(path):
    text = path.read_text(encoding="utf-8")
    node = json.loads(text)
    assert node["metadata"]["kernelspec"]["name"] == "python3"
    assert set(node["metadata"]) == {"kernelspec", "language_info"}, "no metadata of one machine or editor"
    assert (node["nbformat"], node["nbformat_minor"]) == (4, 5)
    nbformat.validate(nbformat.from_dict(node))
    assert text == json.dumps(node, indent=1, ensure_ascii=False) + "\n", (
        "indent 1, real letters, one newline at the end"
    )


def test_ids(path, cells):
    wanted = [f"{path.stem[:2]}-{i:02d}" for i in range(1, len(cells) + 1)]
    ids = [c["id"] for c in cells]
    assert len(set(ids)) == len(ids)
    assert all(re.fullmatch(rf"{path.stem[:2]}-[a-z0-9-]+", i) for i in ids), (
        f"ids say where they are, such as {wanted[0]}"
    )


def test_nothing_is_stored(cells, code):
    for c in code:
        assert c["execution_count"] is None, c["id"]
        assert c["outputs"] == [], c["id"]
    for c in cells:
        assert set(c["metadata"]) <= {"tags"}, f"{c['id']}: cells have tags and no other metadata"
        assert "attachments" not in c, c["id"]


def test_one_parameters_cell_directly_after_the_title(cells):
    tagged = [i for i, c in enumerate(cells) if "parameters" in c["tags"]]
    assert tagged == [1]
    assert cells[1]["cell_type"] == "code"
    for statement in ast.parse(cells[1]["source"]).body:
        assert isinstance(statement, ast.Assign), "parameters are plain literals"
        ast.literal_eval(statement.value)
    assert cells[1]["source"].startswith('run_dir = "runs/demo"'), "run_dir first, the demo's by default"


def test_the_last_code_cell_checks_and_finishes(path, cells, code):
    assert [c["id"] for c in code if "checks" in c["tags"]] == [code[-1]["id"]], (
        "the last code cell, and only it, is tagged checks"
    )
    assert cells[-1]["id"] == code[-1]["id"], "nothing comes after the checks"
    body = ast.parse(code[-1]["source"]).body
    assert any(isinstance(s, ast.Assert) for s in body), "checks are plain asserts"
    assert code[-1]["source"].count("stage.finish(") == 1
    assert ast.unparse(body[-1]).startswith("stage.finish("), (
        "stage.finish comes last: what it records has been checked"
    )
    assert sum(c["source"].count("stage.finish(") for c in code) == 1
    opened = [c["source"].count(f'open_stage("{path.stem}", globals())') for c in code]
    assert sum(opened) == 1, f'stage = open_stage("{path.stem}", globals())'
    assert opened[1] == 1, "the stage is opened in the cell after the parameters"


def test_no_helpers_and_no_set_up_of_the_machine(code):
    for c in code:
        tree = ast.parse(c["source"])
        for node in ast.walk(tree):
            what = f"{c['id']}, line {getattr(node, 'lineno', 0)}"
            kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Global, ast.Nonlocal)
            assert not isinstance(node, kinds), f"{what}: helpers live in m2s_lib"
            assert not isinstance(node, ast.Try), f"{what}: errors are the library's"
        assert not re.search(
            r"\bpip\b|\bconda\b|sys\.path|^\s*[!%]|google\.colab|<FIXME>|\bTODO\b|os\.environ|os\.chdir",
            c["source"],
            re.MULTILINE,
        ), c["id"]
        assert not re.search(r"\bexec\(|\beval\(|pickle|savefig|plt\.show", c["source"]), c["id"]


def test_imports_stand_in_one_cell(code):
    importing = [
        c["id"]
        for c in code
        if any(isinstance(s, ast.Import | ast.ImportFrom) for s in ast.walk(ast.parse(c["source"])))
    ]
    assert importing == [code[1]["id"]], "imports in one cell, after the parameters"


def test_size(cells, code):
    assert len(code) <= MOST_CELLS
    sizes = {c["id"]: lines(c) for c in code if "parameters" not in c["tags"]}
    assert {i: n for i, n in sizes.items() if n > MOST_LINES} == {}, f"cells have at most {MOST_LINES} lines"
    assert sum(sizes.values()) <= MOST_CODE
    assert sorted(sizes.values())[len(sizes) // 2] <= TYPICAL_LINES


def test_text_for_every_code_cell(cells, code):
    text = [c for c in cells if c["cell_type"] == "markdown"]
    assert all(c["source"].strip() for c in text)
    assert len(text) >= len(code), (
        f"{len(code)} code cells and {len(text)} text cells: each code cell has its text"
    )
    two = [
        b["id"]
        for a, b in zip(cells, cells[1:], strict=False)
        if a["cell_type"] == b["cell_type"] == "code" and a is not cells[1]
    ]
    assert two == [], f"{two} follow a code cell without a word"


def test_links_and_stage_names_are_real(cells):
    stages = {p.stem for p in NOTEBOOKS}
    for c in cells:
        for name in re.findall(r"\b(\d\d_[a-z]+(?:_[a-z]+)*)/", c["source"]):
            assert name in stages, f"{c['id']}: there is no stage {name}"
        for number in re.findall(r'earlier\("(\d\d)"\)', c["source"]):
            assert any(s.startswith(number) for s in stages), f"{c['id']}: there is no stage {number}"


def test_no_notebook_reads_a_later_one(path, code):
    for c in code:
        for number in re.findall(r'["\'](\d\d)(?:_[a-z_]+/|["\'])', c["source"]):
            if number != path.stem[:2]:
                assert number < path.stem[:2], f"{c['id']} reads stage {number}"


def test_every_parameter_is_used_and_no_other_name_is_set_twice(path, code):
    known = read_parameters(ROOT / "notebooks")[path.stem]
    text = "\n".join(c["source"] for c in code[1:])
    names = {
        n.id for n in ast.walk(ast.parse(text)) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Load)
    }
    assert sorted(set(known) - names - {"run_dir"} - later_reads(path)) == [], "parameters that nothing reads"
    stored = {
        n.id for n in ast.walk(ast.parse(text)) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)
    }
    assert sorted(stored & set(known)) == [], "a parameter keeps its value"


def later_reads(path) -> set[str]:
    """Parameters that other notebooks read through stage.earlier(...).parameters."""
    texts = [p.read_text(encoding="utf-8") for p in NOTEBOOKS if p != path]
    return {name for text in texts for name in re.findall(r"\.parameters\.([a-z_]+)", text)}


def test_metrics_and_parameters_of_other_stages_exist(path, code):
    known = read_parameters(ROOT / "notebooks")
    text = "\n".join(c["source"] for c in code)
    handles = dict(re.findall(r'^(\w+)(?:, \w+)* = stage\.earlier\("(\d\d)"\)', text, re.MULTILINE))
    many = re.findall(r"^([\w, ]+) = ((?:stage\.earlier\(\"\d\d\"\)(?:, )?)+)$", text, re.MULTILINE)
    for names, calls in many:
        handles |= dict(zip(names.split(", "), re.findall(r"\d\d", calls), strict=True))
    for handle, name in re.findall(r"\b(\w+)\.parameters\.(\w+)", text):
        stage = next(s for s in known if s.startswith(handles[handle]))
        assert name in known[stage], f"{stage} has no parameter {name}"
    for handle, name in re.findall(r"\b(\w+)\.metrics\[\"(\w+)\"\]", text):
        other = next(p for p in NOTEBOOKS if p.stem.startswith(handles[handle]))
        finish = json.loads(other.read_text(encoding="utf-8"))["cells"][-1]["source"]
        assert f'"{name}"' in "".join(finish), f"{other.stem} does not record the metric {name}"


@pytest.mark.parametrize("profile", PROFILES)
def test_profiles_fit_the_notebooks(profile):
    content = load_profile(profile, ROOT / "data_manifests" / "profiles")
    needs = [] if content.parameters.get("01", {}).get("films_dir", "embedded") else ["01.films_dir=my films"]
    plan = plan_run(profile, overrides=needs, root=ROOT)
    assert plan.selected == tuple(p.stem for p in NOTEBOOKS if not content.stages or p.stem in plan.stages)
    assert plan.values["01_shot_encoding"]["films_dir"] == ("my films" if needs else "embedded")
    for stage, changes in content.parameters.items():
        full = next(s for s in plan.values if s.startswith(stage))
        assert {n: plan.values[full][n] for n in changes if f"{stage}.{n}" != "01.films_dir"} == {
            n: v for n, v in changes.items() if f"{stage}.{n}" != "01.films_dir"
        }


def test_the_profiles_of_the_readme_are_there():
    assert {"demo", "smoke", "films", "ovsd", "claims", "ablation", "paper"} <= set(PROFILES)


def test_table_1_at_the_papers_scale_is_the_paper_profile_with_clips_own_features():
    """What differs from `paper` is what Table 1 has no use for."""
    paper, table1 = (load_profile(name, ROOT / "data_manifests/profiles") for name in ("paper", "table1"))
    for stage, values in table1.parameters.items():
        unused = {"movie_seeds", "control_source", "compared", "end_to_end_epochs"}
        assert {n: v for n, v in values.items() if n not in unused} == {
            n: v for n, v in paper.parameters[stage].items() if n not in unused
        }
    clip = table1.settings["row 14"]
    assert clip["01"]["shot_encoder"].startswith("open_clip:ViT-B-16/")
    assert clip["04"]["scene_encoder"] == "clip"
    assert table1.settings["row 15"]["04"] == {"scene_encoder": "mvitv2_small"}


@pytest.mark.parametrize("profile", ["ablation", "table1"])
def test_the_settings_are_table_1(profile):
    from m2s_lib.evaluation.paper.ablation import OTHER_READING
    from m2s_lib.evaluation.paper.published import read_settings

    rows = dict(load_profile(profile, ROOT / "data_manifests/profiles").settings)
    other = rows.pop(OTHER_READING, None)
    assert other == ({"03": {"keep": "above_median"}} if profile == "ablation" else None)
    settings = read_settings("Table 1").set_index("row")
    assert list(rows) == [f"row {n}" for n in settings.index]
    for number, row in settings.iterrows():
        asked = rows[f"row {number}"]
        assert asked.get("02", {}).get("films_share", 1.0) == row["pretrain_films"] / 30_000
        assert asked.get("03", {}).get("shots_per_scene", 9) == row["shots"]
        assert asked.get("01", {}).get("frames_per_shot", 1) == row["frames"]
        assert ("scene_weights" in asked.get("04", {})) == (row["scene_init"] == "CLIP")
        assert ("mvitv2" in asked.get("04", {}).get("scene_encoder", "")) == (row["backbone"] != "ViT-B/16")
        source = asked.get("02", {}).get("metadata_source", "cowatch")
        both = "+synopsis" if "lvu_beside" in asked.get("05", {}) else ""
        assert source.replace("cowatch", "co-watch") + both == row["metadata"]


@pytest.mark.parametrize("profile", PROFILES)
def test_profiles_hold_values_that_the_method_accepts(profile):
    """The grammar of parameters knows one value at a time; these belong together."""
    from m2s_lib.encoders.names import is_picture_encoder
    from m2s_lib.films.video.decoding import ScanConfig
    from m2s_lib.method.movie_pooling import Pooling
    from m2s_lib.method.movie_similarity import MovieTrainConfig
    from m2s_lib.method.scene_encoder import SceneEncoderConfig
    from m2s_lib.method.shot_encoder import ShotEncoderConfig
    from m2s_lib.mining.similar_scenes import MiningConfig
    from m2s_lib.training.config import ContrastiveConfig

    content = load_profile(profile, ROOT / "data_manifests" / "profiles")
    rows = [row.plan for row in plan_sweep(content, root=ROOT)[1]] if content.settings else []
    for plan in rows or [plan_run(profile, root=ROOT)]:
        v = {n: x for values in plan.values.values() for n, x in values.items()}
        ScanConfig(
            v["frame_size"],
            v["frames_per_shot"],
            v["detector"],
            v["detector_threshold"],
            v["min_shot_s"],
            reader=v["reader"],
        )
        if not is_picture_encoder(v["shot_encoder"]):
            ShotEncoderConfig.preset(v["shot_encoder"], image_size=v["frame_size"])
        SceneEncoderConfig.preset(v["scene_encoder"], image_size=v["frame_size"])
        MiningConfig(v["shots_per_scene"], v["keep"], v["keep_ratio"])
        pooling = Pooling(
            v["movie_shots"], v["avg_kernel"], v["avg_stride"], v["max_kernel"], v["max_stride"]
        )
        MovieTrainConfig(
            pooling, epochs=v["movie_epochs"], batch=v["movie_batch"], held_out=v["movie_held_out"]
        )
        for kind in ("shot", "scene"):
            names = ("epochs", "batch", "warmup_epochs", "queue", "momentum")
            ContrastiveConfig(**{name: v[f"{kind}_{name}"] for name in names})


def test_the_code_is_clean():
    ruff = shutil.which("ruff") or f"{sys.prefix}/bin/ruff"
    done = subprocess.run(
        [ruff, "check", "--no-cache", "--output-format=concise", "notebooks"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout


def test_no_name_of_one_cell_hides_in_another(code):
    """Run in order, every name that a cell reads was set before it (Run All on a fresh kernel)."""
    import builtins

    known = set(dir(builtins)) | {"globals"}
    for c in code:
        tree = ast.parse(c["source"])
        imported = {
            a.asname or a.name.split(".")[0]
            for n in ast.walk(tree)
            if isinstance(n, ast.Import | ast.ImportFrom)
            for a in n.names
        }
        names = [n for n in ast.walk(tree) if isinstance(n, ast.Name)]
        stored = {n.id for n in names if isinstance(n.ctx, ast.Store)} | imported
        unknown = {n.id for n in names if isinstance(n.ctx, ast.Load)} - known - stored
        assert unknown == set(), c["id"]
        known |= stored
