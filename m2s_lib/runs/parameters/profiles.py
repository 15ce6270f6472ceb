"""Profiles: what a named run changes, data_manifests/profiles/<name>.yaml."""

import os
import re
from dataclasses import field, replace
from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import BeforeValidator, ConfigDict, StringConstraints, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from m2s_lib.errors import M2SError
from m2s_lib.runs.parameters.parameters import listed
from m2s_lib.runs.parameters.values import load_yaml
from m2s_lib.runs.project import project_root

_REPLACED = {"rows": "settings"}  # keys that are gone
_KEYS = {  # of the file, and what each has to be
    "description": "one sentence that says what the run is for",
    "run_dir": "text, such as runs/demo",
    "stages": "a list, such as ['01', '02']",
    "parameters": 'notebooks mapped to values, such as {"03": {shots_per_scene: 4}}',
    "settings": 'names mapped to parameters, such as {"row 7": {"03": {shots_per_scene: 4}}}',
    "base": "the name of the first of the settings",
    "repeats": 'names mapped to parameters, such as {"seed 1": {"01": {shot_seed: 1}}}',
    "summary": "a list, such as ['09']",
}


def _two_digits(key: object) -> str:
    """YAML reads an unquoted 03 as the number 3."""
    return re.sub(r"^(\d)$", r"0\1", str(key))


def _or(empty: object) -> BeforeValidator:
    """What is written without a value, `parameters:`, is empty."""
    return BeforeValidator(lambda value: empty if value is None else value)


Text = Annotated[str, _or("")]
Stages = Annotated[tuple[Annotated[str, BeforeValidator(_two_digits)], ...], _or(())]
Values = Annotated[dict[str, Any], _or({})]
Changes = Annotated[dict[Annotated[str, BeforeValidator(_two_digits)], Values], _or({})]
Names = Annotated[str, BeforeValidator(str)]


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Profile:
    """What a named run changes.

    Attributes:
        name: of its file.
        source: the file's path.
        description: one sentence.
        run_dir: '' means runs/<name>.
        stages: () means all notebooks.
        parameters: by notebook, '03' or '03_scene_mining', and by name.
        settings: name -> what it changes.
        setting_stages: of the settings that have fewer stages.
        base: the setting whose stages lie in the run's own folder, '' when each has a folder of its own.
        repeats: name -> what it changes; each has all settings.
        summary: stages that are run once, after all settings.
    """

    name: str
    source: str
    description: Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)]
    run_dir: Text = ""
    stages: Stages = ()
    parameters: Changes = field(default_factory=dict)
    settings: Annotated[dict[Names, Changes], _or({})] = field(default_factory=dict)
    repeats: Annotated[dict[Names, Changes], _or({})] = field(default_factory=dict)
    setting_stages: dict[Names, Stages] = field(default_factory=dict)
    base: Text = ""
    summary: Stages = ()


def load_profile(name_or_path: str | os.PathLike, profiles_dir: str | os.PathLike | None = None) -> Profile:
    """Reads a profile by its name in data_manifests/profiles or by the path of a YAML file.

    Only the file's own form is checked here; `plan.plan_run` compares it with the notebooks.
    Raises M2SError listing all that is wrong, or the profiles there are.
    """
    path = _profile_path(str(name_or_path), profiles_dir)
    try:
        content = load_yaml(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise M2SError(f"the profile {path} cannot be read: {error}") from error
    if not isinstance(content, dict):
        raise M2SError(f"the profile {path} has to be a mapping with the keys {', '.join(_KEYS)}")
    problems = [_unknown(key) for key in content if key not in _KEYS]
    own = {key: value for key, value in content.items() if key in _KEYS}
    own |= {"name": path.stem, "source": str(path)} | _settings(own.get("settings"))
    try:
        profile = TypeAdapter(Profile).validate_python(own)
        problems += _contradictions(profile)
    except ValidationError as error:
        places = {".".join(map(str, _where(e))): e for e in error.errors()}
        problems += [_wrong(name, e) for name, e in places.items()]
    if problems:
        raise M2SError(listed(f"{len(problems)} problem(s) in the profile {path}", problems))
    return profile


def _settings(settings: object) -> dict:
    """The settings of a file with the stages of each apart: {"03": ..., stages: [...]} in the file."""
    if not isinstance(settings, dict):
        return {"settings": settings}
    own = {name: one for name, one in settings.items() if isinstance(one, dict)}
    stages = {name: one["stages"] for name, one in own.items() if "stages" in one}
    rest = {name: {k: v for k, v in one.items() if k != "stages"} for name, one in own.items()}
    return {"settings": settings | rest, "setting_stages": stages}


def _unknown(key: object) -> str:
    if key in _REPLACED:
        return f"the key {key!r} is now {_REPLACED[key]!r}"
    return f"unknown key {key!r}; the keys are {', '.join(_KEYS)}"


def _where(error: dict) -> tuple:
    """The path of what is wrong: the key, and the setting's name where it is one's stages."""
    path = error["loc"]
    return path[:2] if path[0] == "setting_stages" else path[:1]


def _wrong(name: str, error: dict) -> str:
    if name.startswith("setting_stages"):
        return f"setting {error['loc'][1]!r}: stages has to be {_KEYS['stages']}"
    if error["type"] == "missing" or error["input"] == "":
        return f"{name} is missing: {_KEYS[name]}"
    return f"{name} has to be {_KEYS[name]}; got {error['input']!r}"


def _contradictions(profile: Profile) -> list[str]:
    problems = []
    if profile.base and profile.base != next(iter(profile.settings), None):
        problems.append(f"base has to name the first of the settings; got {profile.base!r}")
    if profile.base and profile.repeats:
        problems.append("a run with a base setting cannot have repeats: its folder holds one setting")
    if profile.summary and not (profile.settings or profile.repeats):
        problems.append("summary names stages to run once after settings or repeats, and there are none")
    return problems


def without_settings(profile: Profile) -> Profile:
    """Returns the profile without settings, repeats and the stages that are run once after them."""
    return replace(profile, settings={}, setting_stages={}, base="", repeats={}, summary=())


def one_run(profile: Profile) -> Profile:
    """Returns the profile as a run without settings: its stages and those that are run once after them."""
    stages = (*profile.stages, *profile.summary) if profile.stages else ()
    return replace(without_settings(profile), stages=stages)


def _profile_path(text: str, profiles_dir: str | os.PathLike | None) -> Path:
    if text.endswith((".yaml", ".yml")) or "/" in text or os.sep in text:
        return Path(text).expanduser()
    folder = project_root() / "data_manifests" / "profiles" if profiles_dir is None else Path(profiles_dir)
    known = profile_names(folder)
    if text not in known:
        raise M2SError(
            f"there is no profile {text!r}; the profiles are {', '.join(known) or '(none)'} (in {folder}), "
            "or give the path of a YAML file"
        )
    return folder / f"{text}.yaml"


def profile_names(profiles_dir: str | os.PathLike) -> list[str]:
    """Returns the names of the profiles in a folder."""
    return sorted(p.stem for p in Path(profiles_dir).glob("*.yaml"))
