"""Every refusal before a run, by message."""

from pathlib import Path

import pytest

from m2s_lib.errors import M2SError
from m2s_lib.runs.parameters.plan import plan_run
from tests.helpers.toy_project import write_profile


def refusal(*arguments, **named) -> str:
    with pytest.raises(M2SError) as error:
        plan_run(*arguments, **named)
    return str(error.value)


def test_values_come_from_notebooks_then_profile_then_command_line(toy):
    plan = plan_run("toy", overrides=["01.scale=3", "01.order=down", "01_numbers.source=../x", "03.title="])
    assert plan.values["01_numbers"]["count"] == 4
    assert plan.values["01_numbers"]["scale"] == 3.0
    assert type(plan.values["01_numbers"]["scale"]) is float
    assert plan.values["01_numbers"]["order"] == "down"
    assert plan.values["01_numbers"]["source"] == "../x"
    assert plan.values["03_table"] == {"title": ""}
    assert "run_dir" not in plan.values["02_sums"]
    assert plan.run_dir == toy / "runs" / "toy"


def test_run_dir_from_the_command_line_is_seen_from_the_current_folder(toy, monkeypatch):
    monkeypatch.chdir(toy / "notebooks")
    assert plan_run("toy", "../elsewhere").run_dir == toy / "elsewhere"
    write_profile(toy, "there", "description: d\nrun_dir: runs/there/x")
    assert plan_run("there").run_dir == toy / "runs/there/x"


def test_stages_are_selected(toy):
    write_profile(toy, "two", "description: d\nstages: ['03', 01]")
    assert plan_run("two").selected == ("01_numbers", "03_table")
    assert plan_run("toy", only=["3"]).selected == ("03_table",)
    assert plan_run("toy", only=["03", "01_numbers"]).selected == ("01_numbers", "03_table")
    assert plan_run("toy", from_="02").selected == ("02_sums", "03_table")


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("04.x=1", "there is no notebook '04'; the notebooks are 01_numbers, 02_sums, 03_table"),
        ("02_sum.x=1", "(did you mean 02_sums?)"),
        (
            "01.conut=1",
            "has no parameter 'conut'; did you mean 01.count (in 01_numbers; numbers, 1..10 | how many",
        ),
        ("02.count=1", "02_sums has no parameter 'count'; it lives in 01_numbers: write 01.count"),
        ("02.zzz=1", "02_sums has no parameter 'zzz'; it has power"),
        (
            "01.count=four",
            "01.count = 'four': expected int, such as 3 (the default); numbers, 1..10 | how many to write",
        ),
        ("01.count=4.5", "expected int, such as 3"),
        ("01.count=11", "01.count = 11: must be in 1..10, such as 3"),
        ("01.scale=0", "01.scale = 0.0: must be in (0, 100]"),
        ("01.scale=nan", "expected a finite number"),
        ("01.sleep_s=-1", "must be >= 0"),
        ("01.order=sideways", "must be one of: up, down"),
        ("01.fail=1", "expected bool, such as false (the default)"),
        ("01.seeds=3", "expected list[int], such as [1, 2]"),
        ("01.seeds=[1, -1]", "-1 in 01.seeds = [1, -1]: must be >= 0"),
        ("01.run_dir=x", "use --run-dir"),
        ("count=4", "expected NN.name=value, such as -p 01.count=3"),
        ("01.count", "expected NN.name=value"),
    ],
)
def test_overrides_that_are_refused(toy, override, words):
    message = refusal("toy", overrides=[override])
    assert "nothing was run, 1 problem(s)" in message
    assert f"-p {override}: " in message
    assert words in message


@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        ("'07': {x: 1}", "there is no notebook '07'"),
        ("'01': {cuont: 1}", "did you mean 01.count"),
        ("'01': {count: '4'}", "01.count = '4': expected int, such as 3"),
        ("'01': {count: 0}", "must be in 1..10"),
        ("'01': {count: }", "01.count = None: expected int"),
        (
            "'01': {order: no}",
            "expected str, such as up (the default); choice, one of: up, down | sorting; quote",
        ),
        ("'01': {run_dir: x}", "run_dir at the top of a profile"),
        ("'01': {count: 4}, 01_numbers: {count: 5}", "01.count is set twice"),
    ],
)
def test_profile_values_that_are_refused(toy, parameters, words):
    path = write_profile(toy, "bad", f"description: d\nparameters: {{{parameters}}}")
    message = refusal("bad")
    assert f"{path}, parameters: " in message
    assert words in message


def test_all_problems_are_said_at_once(toy):
    write_profile(
        toy, "bad", "description: d\nstages: ['01', '09']\nparameters: {'01': {count: 99, nope: 1}}"
    )
    message = refusal("bad", only=["05"], from_="01", overrides=["01.scale=x", "01.scale=y"])
    for words in (
        "no notebook '09'",
        "no notebook '05'",
        "exclude each other",
        "must be in 1..10",
        "no parameter 'nope'",
        "given twice",
    ):
        assert words in message
    assert message.count("\n  - ") == 8


def test_a_value_that_would_have_no_effect_is_refused(toy):
    assert "has no effect, because this command runs only 03_table" in refusal(
        "toy", from_="03", overrides=["01.count=2"]
    )
    write_profile(toy, "two", "description: d\nstages: ['01', '02']")
    assert "03_table is not among the profile's stages" in refusal("two", only=["03"])


def test_the_command_that_goes_on(toy, tmp_path):
    overrides = ["01.count=2", "03.title=a b"]
    assert (
        plan_run("toy", overrides=overrides).resume_command("02_sums")
        == "m2s run toy --from 02 -p '03.title=a b'"
    )
    assert (
        plan_run("toy", overrides=overrides).resume_command() == "m2s run toy -p 01.count=2 -p '03.title=a b'"
    )
    elsewhere = plan_run("toy", tmp_path / "x", only=["02"])
    assert elsewhere.resume_command("02_sums") == f"m2s run toy --run-dir {tmp_path}/x --only 02"
    path = tmp_path / "own.yaml"
    path.write_text("description: d")
    assert plan_run(path).resume_command("01_numbers") == f"m2s run {path} --from 01"
    assert plan_run(path).run_dir == Path(toy / "runs" / "own")
