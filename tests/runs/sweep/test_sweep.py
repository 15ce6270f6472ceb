"""Settings of a profile: what they share is computed once, a failed one is in the table, a run goes on."""

import io
from types import SimpleNamespace

import pytest

from m2s_lib.errors import M2SError
from m2s_lib.io import read_json, read_parquet, write_json
from m2s_lib.runs import open_stage
from m2s_lib.runs.cli import main
from m2s_lib.runs.parameters.profiles import load_profile
from m2s_lib.runs.pipeline import kernel
from m2s_lib.runs.pipeline.pipeline import StageFailed
from m2s_lib.runs.sweep import sweep
from m2s_lib.runs.sweep.sweep import run_sweep, seconds_left, sweep_summary
from m2s_lib.runs.sweep.sweep_plan import plan_sweep
from tests.helpers.toy_project import injected, notebook

TEXT = """
description: three settings, twice
stages: ["01", "02"]
summary: ["04"]
parameters: {"01": {count: 4}}
settings:
  cubes: {"02": {power: 3}}
  squares: {}
  more numbers: {"01": {count: 5}}
repeats:
  a: {}
  b: {"01": {scale: 2.0}}
"""
ALL_SETTINGS = """
run_dir = "runs/toy"  # folder | the run this stage belongs to
"""
ALL_SETTINGS_CODE = """
from m2s_lib.runs import open_stage
stage = open_stage("04_all", globals())
settings = stage.read_parquet(stage.run_dir / "settings.parquet", ["setting"])
stage.finish({"lines": len(settings)})
"""
FOLDERS = ["cubes-a", "squares-a", "more_numbers-a", "cubes-b", "squares-b", "more_numbers-b"]


@pytest.fixture
def profile(toy):
    (toy / "notebooks/04_all.ipynb").write_text(notebook(ALL_SETTINGS, ALL_SETTINGS_CODE))
    (toy / "several.yaml").write_text(TEXT)
    return load_profile(toy / "several.yaml")


@pytest.fixture
def steps(ran, monkeypatch):
    """Names of the stages that ran; 04 reads the table of settings, the others are stood in for."""
    usual = kernel.execute

    def execute(node, folder, *rest):
        if folder.name != "04_all":
            return usual(node, folder, *rest)
        ran.append(folder.name)
        stage = open_stage(folder.name, injected(node))
        stage.finish({"lines": len(stage.read_parquet(stage.run_dir / "settings.parquet", ["setting"]))})
        kernel.write_notebook(node, folder / "notebook.ipynb")

    monkeypatch.setattr(kernel, "execute", execute)
    return ran


def run(profile, ran=None, **named):
    if ran is not None:
        ran.clear()
    said = io.StringIO()
    run_sweep(profile, stream=said, **named)
    return said.getvalue()


def test_equal_stages_are_computed_by_the_first_setting(profile):
    _, settings = plan_sweep(profile)
    assert [r.folder for r in settings] == FOLDERS
    assert [r.own for r in settings] == [
        ("01_numbers", "02_sums"), ("02_sums",), ("01_numbers", "02_sums"),
    ] * 2  # fmt: skip
    assert settings[1].owners == {"01_numbers": "cubes-a", "02_sums": "squares-a"}
    assert (
        settings[4].plan.values["01_numbers"] | {"count": 4, "scale": 2.0}
        == settings[4].plan.values["01_numbers"]
    )
    assert settings[3].plan.values["02_sums"]["power"] == 3


def test_all_settings_run_and_the_summary_sees_them(profile, steps, toy):
    said = run(profile, steps)
    assert steps == ["01_numbers", "02_sums", "02_sums", "01_numbers", "02_sums"] * 2 + ["04_all"]
    assert "6 settings into" in said
    assert "of 12 stages 10 are computed, 2 shared" in said
    assert "squares-a: computes 02" in said
    folder = toy / "runs/several"
    assert (folder / "settings/squares-a/01_numbers").is_symlink()
    assert read_json(folder / "settings/squares-a/01_numbers/run.json")["parameters"]["count"] == 4
    table = read_parquet(folder / "settings.parquet")
    assert len(table) == 12
    assert set(table["status"]) == {"done"}
    assert table.loc[1, ["setting", "repeat", "stage", "shared_with"]].tolist() == [
        "cubes",
        "a",
        "02_sums",
        "",
    ]
    assert table.loc[2, "shared_with"] == "cubes-a"
    assert "squares-a" in sweep_summary(folder)
    run(profile, steps)
    assert steps == []  # all of it is up to date


def test_what_is_left_is_reckoned_stage_by_stage(profile, steps, toy, monkeypatch):
    monkeypatch.setattr(sweep, "time", SimpleNamespace(monotonic=lambda: 0.0))  # a slow machine says the same
    said = run(profile, steps)
    assert "more_numbers-a: done; 3 of 6 settings, 0.0 min so far, about 0 min left" in said
    assert "more_numbers-b: done; 6 of 6 settings, 0.0 min so far\n" in said
    _, settings = plan_sweep(profile)
    assert seconds_left(settings, [], fresh=False) == 0
    assert seconds_left(settings, FOLDERS, fresh=True) == 0
    assert seconds_left(settings, [], fresh=True) == 0  # nothing has been measured
    for one in settings:
        for stage, seconds in {"01_numbers": 100.0, "02_sums": 10.0}.items():
            path = toy / "runs/several/settings" / one.folder / stage / "run.json"
            write_json(path, read_json(path) | {"seconds": seconds})
    assert seconds_left(settings, FOLDERS[:2], fresh=True) == 3 * 100 + 4 * 10
    _, changed = plan_sweep(profile, overrides=["02.power=4"])  # squares share all with cubes
    assert seconds_left(changed, [], fresh=False) == 4 * 100
    _, changed = plan_sweep(profile, overrides=["01.count=7"])  # more numbers share 01, what follows is stale
    assert seconds_left(changed, [], fresh=False) == 0  # no stage of these values is known
    (toy / "runs/several/settings/squares-b/02_sums/run.json").unlink()
    assert seconds_left(settings, FOLDERS[:4], fresh=False) == 10


def test_a_moved_run_goes_on(profile, steps, toy):
    run(profile, steps)
    (toy / "runs/several").rename(toy / "elsewhere")
    run(profile, steps, run_dir="elsewhere", overrides=["02.power=4"])
    assert steps == ["02_sums"] * 4 + ["04_all"]
    for one in ("squares-a", "cubes-a"):  # squares are cubes now, and share all of them
        record = read_json(toy / "elsewhere/settings" / one / "02_sums/run.json")
        assert record["parameters"]["power"] == 4
    assert (toy / "elsewhere/settings/squares-a/02_sums").is_symlink()


def test_a_failed_setting_says_why_and_the_others_are_done(profile, steps, toy, monkeypatch):
    usual = kernel.execute

    def execute(node, folder, *rest):
        if folder.parent.name == "cubes-a" and folder.name == "01_numbers":
            raise kernel.NotebookFailed("cell 3: no such number")
        usual(node, folder, *rest)

    monkeypatch.setattr(kernel, "execute", execute)
    with pytest.raises(
        StageFailed, match=r"2 of 6 settings failed(?s:.*)cubes-a: 01_numbers: cell 3: no such number"
    ):
        run(profile, steps)
    table = read_parquet(toy / "runs/several/settings.parquet").set_index(["folder", "stage"])
    assert "cell 3: no such number" in table.loc[("cubes-a", "01_numbers"), "reason"]
    shares = "it shares 01_numbers with cubes-a, which failed"
    assert table.loc[("squares-a", "02_sums"), ["status", "reason"]].tolist() == ["not run", shares]
    assert set(table.loc["more_numbers-a", "status"]) == {"done"}
    monkeypatch.setattr(kernel, "execute", usual)
    run(profile, steps)
    assert steps == ["01_numbers", "02_sums", "02_sums", "04_all"]  # only what had not been done


def test_one_setting_brings_those_that_it_shares_with(profile, steps):
    run(profile, steps, names=["squares"])
    assert steps == ["01_numbers", "02_sums", "02_sums"] * 2 + ["04_all"]


@pytest.mark.slow
def test_settings_in_processes_give_the_same(profile, toy):
    """The one test that starts kernels, two settings at once."""
    run(profile, run_dir="at_once", jobs=2, names=["cubes", "squares"])
    for folder, total in {
        "cubes-a": 36.0,
        "squares-a": 14.0,
        "cubes-b": 288.0,
        "squares-b": 56.0,
    }.items():
        assert read_json(toy / "at_once/settings" / folder / "02_sums/sums.json")["total"] == total
    assert (toy / "at_once/settings/cubes-a/setting.log").read_text().count("done in") == 2


READS = """
description: the second setting reads what the first has written
stages: ["01"]
settings: {one: {}, two: {"01": {count: 2, source: "{settings}/one/01_numbers/out.txt"}}}
"""


def test_a_setting_reads_what_another_has_written(toy, ran):
    (toy / "reads.yaml").write_text(READS)
    profile = load_profile(toy / "reads.yaml")
    _, settings = plan_sweep(profile)
    assert settings[1].needs == {"one"}
    assert settings[1].plan.values["01_numbers"]["source"] == "runs/reads/settings/one/01_numbers/out.txt"
    run(profile, names=["two"])  # brings the other
    assert ran == ["01_numbers", "01_numbers"]
    assert (toy / settings[1].plan.values["01_numbers"]["source"]).is_file()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            'settings: {x: {"02": {powr: 3}}}',
            r"1 setting\(s\) of profile bad cannot be run(?s:.*)no parameter 'powr'",
        ),
        ('settings: {"a b": {}, "a_b": {"02": {power: 3}}}', "two settings have one name"),
        (
            'settings: {a: {"01": {source: "{settings}/b/x"}}, b: {"01": {count: 1}}}',
            "needs 'b', which no setting before",
        ),
        ("settings: [1]", "settings has to be names mapped to parameters"),
        ("repeats: {a: {'02': 3}}", "repeats has to be names mapped to parameters"),
        ("summary: ['03']", "summary names stages to run once after settings or repeats, and there are none"),
        ("summary: 3\nsettings: {a: {}}", "summary has to be a list"),
    ],
)
def test_what_cannot_be_planned(toy, text, message):
    (toy / "bad.yaml").write_text(f"description: bad\n{text}\n")
    with pytest.raises(M2SError, match=message):
        plan_sweep(load_profile(toy / "bad.yaml"))


def test_the_command_says_what_settings_allow(profile, toy, capsys):
    assert main(["run", "several.yaml".replace("several", "./several"), "--only", "01"]) == 2
    assert "choose with --setting" in capsys.readouterr().err
    assert main(["run", "toy", "--setting", "x"]) == 2
    assert (
        "--setting, --jobs, --engine and --address are for profiles with settings, toy has none"
        in capsys.readouterr().err
    )
    assert main(["run", "./several.yaml", "--setting", "x"]) == 2
    assert "there is no setting 'x' in profile several" in capsys.readouterr().err
    assert main(["run", "./several.yaml", "--jobs", "0"]) == 2


@pytest.mark.slow
def test_settings_at_once_begin_with_those_that_others_wait_for(profile, toy):
    said = run(profile, jobs=2).splitlines()
    begun = [line.split(":")[0] for line in said if ": computes" in line]
    assert set(begun[:2]) == {"cubes-a", "cubes-b"}  # of each of them the squares have a stage
    assert sorted(begun) == sorted(FOLDERS)


BASE = """
description: one setting in the run's own folder, one with fewer stages
stages: ["01", "02"]
summary: ["04"]
base: squares
settings: {squares: {}, cubes: {"02": {power: 3}}, counted: {stages: ["01"], "01": {count: 5}}}
"""


@pytest.fixture
def based(profile, toy):
    (toy / "based.yaml").write_text(BASE)
    return load_profile(toy / "based.yaml")


def test_the_base_setting_is_the_run_itself(based, steps, toy):
    said = run(based)
    folder = toy / "runs/based"
    assert "of 5 stages 4 are computed, 1 shared" in said
    assert steps == ["01_numbers", "02_sums", "02_sums", "01_numbers", "04_all"]
    assert read_json(folder / "02_sums/run.json")["parameters"]["power"] == 2
    assert (folder / "settings/squares").resolve() == folder
    assert (folder / "settings/cubes/01_numbers").resolve() == folder / "01_numbers"
    assert not (folder / "settings/counted/02_sums").exists()
    assert read_parquet(folder / "settings.parquet")["setting"].tolist() == ["squares"] * 2 + [
        "cubes"
    ] * 2 + ["counted"]
    assert run(based, steps).count("skipped") == 5
    assert steps == []


def test_one_stage_of_a_base_setting_is_run_by_its_number(based, steps, toy, monkeypatch):
    run(based)
    steps.clear()
    monkeypatch.chdir(toy)
    assert main(["run", "./based.yaml", "--only", "02", "-p", "02.power=4"]) == 0
    assert steps == ["02_sums"]
    assert read_json(toy / "runs/based/02_sums/run.json")["parameters"]["power"] == 4


def test_a_base_setting_that_fails_ends_the_run_and_says_how_to_go_on(based, steps, monkeypatch):
    def execute(node, folder, *rest):
        raise kernel.NotebookFailed("cell 3: no such number")

    monkeypatch.setattr(kernel, "execute", execute)
    with pytest.raises(
        StageFailed, match=r"(?s)01_numbers: cell 3: no such number.*m2s run \S*based.yaml -p 01.count=7$"
    ):
        run(based, steps, overrides=["01.count=7"])


def test_a_setting_with_fewer_stages_is_not_told_of_the_others(based, toy):
    _, settings = plan_sweep(based, overrides=["02.power=4"])
    assert [r.plan.stages for r in settings][2] == ("01_numbers",)
    assert settings[1].plan.values["02_sums"]["power"] == 4
    with pytest.raises(M2SError, match="has no parameter 'powr'"):
        plan_sweep(based, overrides=["02.powr=5"])


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("base: b\nsettings: {a: {}, b: {}}", "base has to name the first of the settings; got 'b'"),
        ("base: a\nsettings: {a: {}}\nrepeats: {x: {}}", "a run with a base setting cannot have repeats"),
        ("settings: {a: {stages: 3}}", "setting 'a': stages has to be a list"),
        ('settings: {a: {stages: ["77"]}}', "77"),
    ],
)
def test_what_a_base_setting_cannot_be(toy, line, message):
    (toy / "bad.yaml").write_text(f"description: d\n{line}\n")
    with pytest.raises(M2SError, match=message):
        plan_sweep(load_profile(toy / "bad.yaml"))
