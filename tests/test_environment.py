"""Where the project is installed from: one list of packages, and commands in the README that exist."""

import re
import tomllib

import pytest
import yaml

from tests.conftest import ROOT


def test_conda_users_get_the_project_itself_with_its_tests():
    environment = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))
    assert set(environment) == {"name", "channels", "dependencies"}
    plain = [d for d in environment["dependencies"] if isinstance(d, str)]
    (pip,) = [d["pip"] for d in environment["dependencies"] if isinstance(d, dict)]
    assert len(pip) == 1
    assert re.fullmatch(r"(-e|--editable) \.\[test\]", pip[0])
    names = {re.split(r"[=<> ]", d)[0] for d in plain}
    assert names == {"python", "make", "pip"}  # every other package has one home, pyproject.toml
    python = next(d for d in plain if d.startswith("python"))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    least = tuple(map(int, project["requires-python"].removeprefix(">=").split(".")))
    assert tuple(map(int, re.findall(r"\d+", python))) >= least
    assert "test" in project["optional-dependencies"]


def targets() -> set[str]:
    text = (ROOT / "Makefile").read_text(encoding="utf-8")
    return set(re.findall(r"^([a-z-]+):", text, re.MULTILINE))


def test_the_help_of_make_names_its_verbs():
    text = (ROOT / "Makefile").read_text(encoding="utf-8")
    phony = set(re.search(r"^\.PHONY: (.*)$", text, re.MULTILINE)[1].split())
    helped = set(re.findall(r'@echo "make ([a-z-]+)', text))
    assert phony == targets()
    assert helped <= phony
    assert {"demo", "test", "lab"} <= helped


def test_make_commands_of_the_readme_exist():
    readme = ROOT / "README.md"
    if not readme.exists():
        pytest.skip("no README.md yet")
    said = set(
        re.findall(r"(?:^|`|\$ )make ([a-z][a-z-]*)", readme.read_text(encoding="utf-8"), re.MULTILINE)
    )
    assert {"demo", "test", "lab"} <= said
    assert said <= targets()


def test_m2s_commands_of_the_readme_are_accepted():
    from m2s_lib.runs.cli import _parser
    from m2s_lib.runs.parameters.parameters import read_parameters
    from m2s_lib.runs.parameters.profiles import profile_names
    from m2s_lib.runs.project import find_stage

    readme = ROOT / "README.md"
    if not readme.exists():
        pytest.skip("no README.md yet")
    commands = re.findall(
        r"(?:^|`|\$ |bin/)m2s ([a-z]+ [^`\n#]*)", readme.read_text(encoding="utf-8"), re.MULTILINE
    )
    assert commands
    known, profiles = read_parameters(ROOT / "notebooks"), profile_names(ROOT / "data_manifests" / "profiles")
    for command in commands:
        options = _parser().parse_args(command.split())
        profile = getattr(options, "profile", "demo")
        assert profile in profiles or profile.endswith(".yaml") or profile.isupper(), command
        for override in getattr(options, "overrides", []):
            number, name = override.partition("=")[0].split(".")
            assert name in known[find_stage(number, known)], command
