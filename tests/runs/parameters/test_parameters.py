"""The grammar of parameters cells, and profiles."""

import ast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from m2s_lib.errors import M2SError
from m2s_lib.runs.parameters.parameters import parse_cell, read_parameters
from m2s_lib.runs.parameters.profiles import load_profile
from tests.helpers.toy_project import notebook, write_profile
from tests.runs.parameters.test_values import values


def test_a_cell_is_read_without_running_it():
    found, problems = parse_cell(
        'x = 9  # shots, 1..64 | scene length | per "scene"\n# a remark\ny = -1e-3 # factor|why\n', "03_scene"
    )
    assert problems == []
    x, y = found["x"], found["y"]
    assert (x.default, x.type, x.unit, x.range, x.description) == (
        9,
        "int",
        "shots",
        "1..64",
        'scene length | per "scene"',
    )
    assert (y.default, y.type, y.range, y.key) == (-1e-3, "float", "", "03.y")


def test_a_value_and_its_comment_may_take_several_lines():
    cell = """
x = [
    1,
    2,
]  # shots, 1..64 | of a scene,
#   and of
#   the next
#   one
# a remark
y = ("a; "
     "b")  # text | names
#     far in
"""
    found, problems = parse_cell(cell, "01_a")
    assert problems == []
    assert (found["x"].default, found["x"].description) == ([1, 2], "of a scene, and of the next one")
    assert (found["y"].default, found["y"].description) == ("a; b", "names far in")


def test_headings_group_the_parameters_below_them():
    lines = [
        "run_dir = 'r'  # folder | it",
        "# -- films --",
        "a = 1  # n | a",
        "# a remark",
        "b = 1  # n | b",
    ]
    lines += ["", "# --- two words ---", "c = 1  # n | c"]
    parameters, problems = parse_cell("\n".join(lines), "01_a")
    assert problems == []
    assert {p.name: p.group for p in parameters.values()} == {
        "run_dir": "",
        "a": "films",
        "b": "films",
        "c": "two words",
    }


@given(values, st.sampled_from(["text", "file"]))
def test_every_literal_comes_back(case, kind):
    found, problems = parse_cell(f"x = {case[1]!r}  # {kind} | any", "01_a")
    if "\r" in repr(case[1]):
        return
    assert problems == []
    assert found["x"].default == ast.literal_eval(repr(case[1]))


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("x = 1", "x needs a comment"),
        ("x = 1  # shots", "x needs a comment"),
        ("x = 1  # | what", "x needs a comment"),
        ("x = 1  # shots |", "x needs a comment"),
        ("x = 1  # 1..3 | what", "x needs a comment"),
        ("x = 1  # shots, 1-3 | what", "'1-3' is not a range"),
        ("x = 7  # shots, 1..3 | what", "must be in 1..3"),
        ("x = 'a'  # text, 1..3 | what", "is for numbers"),
        ("x = True  # switch, > 0 | what", "is for numbers"),
        ("x = ''  # name | what", "must not be empty"),
        ("x = None  # shots | what", "a bool, int, float, str or a list"),
        ("x = (1, 2)  # shots | what", "a bool, int, float, str or a list"),
        ("_x = 1  # shots | what", "not private"),
        ("x = 2 * 3  # shots | what", "not a plain literal"),
        ("x = open('f')  # shots | what", "not a plain literal"),
        ("x: int = 1  # shots | what", "one for each parameter"),
        ("x = y = 1  # shots | what", "one for each parameter"),
        ("import os  # shots | what", "one for each parameter"),
        ("x = 1\n#   shots | what", "x needs a comment"),
        ("x = 1e999  # shots | what", "finite"),
        ("x = 1  # shots | what\nx = 2  # shots | what", "line 2: x is set twice"),
        ("x = = 1", "is not Python"),
    ],
)
def test_lines_that_break_the_grammar(line, words):
    _, problems = parse_cell(line, "01_a")
    assert len(problems) == 1
    assert words in problems[0]
    assert problems[0].startswith("01_a")


def test_parameters_of_all_notebooks(toy):
    found = read_parameters(toy / "notebooks")
    assert list(found) == ["01_numbers", "02_sums", "03_table"]
    assert list(found["02_sums"]) == ["run_dir", "power"]
    assert found == read_parameters()  # the project's own, found from the current folder


def test_all_problems_of_the_notebooks_at_once(toy):
    folder = toy / "notebooks"
    run_dir = 'run_dir = "r"  # folder | the run\n'
    (folder / "02_sums.ipynb").write_text(notebook(run_dir + "count = 1  # n | again"))
    (folder / "03_table.ipynb").write_text(notebook("x = 1  # n | no run_dir"))
    (folder / "04_cut.ipynb").write_text('{"cells": [')
    (folder / "05_bare.ipynb").write_text('{"cells": []}')
    with pytest.raises(M2SError) as error:
        read_parameters(folder)
    for words in (
        "4 problem(s)",
        "02_sums: count lives in 01_numbers already",
        "03_table: the parameters cell lacks run_dir",
        "04_cut.ipynb cannot be read",
        "05_bare: needs one cell tagged 'parameters', has 0",
    ):
        assert words in str(error.value)


def test_notebooks_that_share_a_number_and_none_at_all(toy, tmp_path):
    (toy / "notebooks" / "02_other.ipynb").write_text(notebook("x = 1"))
    with pytest.raises(M2SError, match="share a number: 02_other, 02_sums"):
        read_parameters(toy / "notebooks")
    with pytest.raises(M2SError, match="no notebooks named NN_name.ipynb"):
        read_parameters(tmp_path)


def test_a_profile(toy):
    path = write_profile(
        toy,
        "p",
        "description: d\nrun_dir: runs/other\nstages: [01, '02', 9]\nparameters: {03: {x: 1}, 08_a: {}}",
    )
    profile = load_profile("p")
    assert profile == load_profile(path)
    assert (profile.name, profile.run_dir, profile.stages) == ("p", "runs/other", ("01", "02", "09"))
    assert profile.parameters == {"03": {"x": 1}, "08_a": {}}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[1]", "has to be a mapping"),
        ("parameters: {}", "description is missing"),
        ("description: d\nparamters: {}", "unknown key 'paramters'"),
        ("description: d\nstages: 01", "stages has to be a list, such as"),
        ("description: d\nrun_dir: [a]", "run_dir has to be text, such as runs/demo; got"),
        ("description: d\nparameters: {'01': 3}", "parameters has to be notebooks mapped to values"),
        ("description: d\ndescription: e", "written twice: description"),
        ("description: d\nparameters: {'01': {count: 1, count: 2}}", "written twice: count"),
        ("description: [", "cannot be read"),
        ("description: ''", "description is missing"),
        ("description: d\nrows: {a: {}}", "the key 'rows' is now 'settings'"),
        ("description: d\nsettings: {a: 3}", "settings has to be names mapped to parameters"),
        ("description: d\nsettings: {a: {stages: 01}}", "setting 'a': stages has to be a list"),
        ("description: d\nsettings: {a: {}, b: {}}\nbase: b", "base has to name the first of the settings"),
        ("description: d\nsettings: {a: {}}\nbase: a\nrepeats: {r: {}}", "cannot have repeats"),
        ("description: d\nsummary: [09]", "summary names stages to run once after settings"),
    ],
)
def test_profiles_that_are_refused(toy, text, words):
    write_profile(toy, "bad", text)
    with pytest.raises(M2SError, match=words):
        load_profile("bad")


def test_settings_of_a_profile(toy):
    text = "description: d\nsettings: {row 1: , 2: {stages: [1, 02], 03: {title: x}}}\nrepeats: {a: {01: }}"
    profile = load_profile(write_profile(toy, "p", text))
    assert profile.settings == {"row 1": {}, "2": {"03": {"title": "x"}}}
    assert profile.setting_stages == {"2": ("01", "02")}
    assert profile.repeats == {"a": {"01": {}}}


def test_a_profile_that_is_not_there(toy):
    with pytest.raises(M2SError, match=r"no profile 'demo'; the profiles are toy"):
        load_profile("demo")
    with pytest.raises(M2SError, match=r"nowhere/x.yaml cannot be read"):
        load_profile("nowhere/x.yaml")
