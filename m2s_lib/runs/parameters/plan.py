"""A run settled before it starts: profile, command line and notebooks compared, all problems at once."""

import difflib
import os
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from m2s_lib.errors import M2SError
from m2s_lib.runs.parameters.parameters import REPLACED, RUN_DIR, Parameter, listed, read_parameters
from m2s_lib.runs.parameters.profiles import Profile, load_profile
from m2s_lib.runs.parameters.values import parse_text
from m2s_lib.runs.project import find_stage, is_url, root_or_default, run_folder, unknown_stage
from m2s_lib.runs.records.record import locate

FILMS = "01.films_dir"  # what --films-dir sets
_NO_PATH = ("", "embedded", "own")  # what a file or folder may be instead of a path
Known = dict[str, dict[str, Parameter]]


@dataclass(frozen=True)
class Plan:
    """What will run, where and with which values."""

    profile: Profile
    root: Path
    run_dir: Path
    stages: tuple[str, ...]  # the profile's stages, in run order
    selected: tuple[str, ...]  # those that this call runs
    values: dict[str, dict[str, object]]  # stage -> name -> value, run_dir left out
    overrides: tuple[str, ...] = ()  # as given, for the command that goes on
    only: bool = False  # stages were named one by one
    url: str = ""  # that run_dir mirrors

    def notebook(self, stage: str) -> Path:
        """Returns the notebook of a stage."""
        return self.root / "notebooks" / f"{stage}.ipynb"

    def resume_command(self, stage: str = "") -> str:
        """Returns the command that goes on from `stage`, or from whatever is not up to date."""
        profile = self.profile
        home = self.root / "data_manifests" / "profiles" / f"{profile.name}.yaml"
        words = ["m2s", "run", profile.name if Path(profile.source) == home else profile.source]
        if self.url or self.run_dir != _run_dir(profile, None, self.root):
            words += ["--run-dir", self.url or str(self.run_dir)]
        if stage and not self.only and not profile.base:  # a base's run has other settings to go on with
            words += ["--from", stage[:2]]
        for name in self.selected if self.only else ():
            words += ["--only", name[:2]]
        for text in self.overrides:  # those of stages that are not run again would be refused
            if self.only or text[:2] >= stage[:2]:
                words += ["-p", text]
        return shlex.join(words)


def plan_run(
    profile: str | os.PathLike | Profile,
    run_dir: str | os.PathLike | None = None,
    only: Sequence[str] = (),
    from_: str | None = None,
    overrides: Sequence[str] = (),
    root: str | os.PathLike | None = None,
) -> Plan:
    """Settles what a run does, without running anything.

    Args:
        profile: name, path of a YAML file, or a Profile.
        run_dir: folder of the run, seen from the current folder; None takes the profile's, or runs/<profile>.
        only: stages to run ('03' or the full name); () runs all of the profile's.
        from_: first stage to run.
        overrides: texts `03.name=value`, which win over the profile.
        root: the project's root; None finds it.

    Raises M2SError listing every unknown notebook, unknown parameter, wrong type and impossible value.
    """
    root = root_or_default(root)
    if not isinstance(profile, Profile):
        profile = load_profile(profile, root / "data_manifests" / "profiles")
    known = read_parameters(root / "notebooks")
    problems: list[str] = []
    values = {s: {n: p.default for n, p in ps.items() if n != RUN_DIR} for s, ps in known.items()}
    _apply_profile(profile, known, values, problems)
    stages = _pick(profile.stages, known, f"{profile.source}, stages: ", problems) or tuple(known)
    selected = _select(stages, known, only, from_, problems)
    _apply_overrides(overrides, known, values, selected, problems)
    if problems:
        title = f"nothing was run, {len(problems)} problem(s) with profile {profile.name}"
        raise M2SError(listed(title, problems))
    values, folder = {s: values[s] for s in stages}, _run_dir(profile, run_dir, root)
    return Plan(profile, root, folder, stages, selected, values, tuple(overrides), bool(only))


def _run_dir(profile: Profile, run_dir: str | os.PathLike | None, root: Path) -> Path:
    if run_dir:
        return run_folder(run_dir, Path.cwd())
    return run_folder(profile.run_dir or f"runs/{profile.name}", root)


def _pick(wanted: Sequence[str], known: Known, where: str, problems: list[str]) -> tuple[str, ...]:
    """Returns the full names of the wanted stages, in run order."""
    stages = {text: find_stage(text, known) for text in wanted}
    problems += [unknown_stage(text, known, where) for text, stage in stages.items() if stage is None]
    return tuple(s for s in known if s in stages.values())


def _select(stages: tuple[str, ...], known: Known, only, from_, problems: list[str]) -> tuple[str, ...]:
    if only and from_:
        how = "--only names the stages, --from the first of them"
        problems.append(f"--only and --from exclude each other: {how}")
    asked = _pick(only, known, "--only: ", problems)
    first = _pick([from_] if from_ else [], known, "--from: ", problems)
    for stage in asked + first:
        if stage not in stages:
            problems.append(f"{stage} is not among the profile's stages, which are {', '.join(stages)}")
    return asked or tuple(s for s in stages if not first or s >= first[0])


def _apply_profile(profile: Profile, known: Known, values: dict, problems: list[str]) -> None:
    where, seen = f"{profile.source}, parameters: ", set()
    for key, changes in profile.parameters.items():
        for name, value in changes.items():
            parameter = _lookup(key, str(name), known, where, problems)
            if parameter and parameter.key in seen:
                problems.append(f"{where}{parameter.key} is set twice")
            if parameter:
                seen.add(parameter.key)
                _set(parameter, value, values, where, problems)
        if not changes and find_stage(key, known) is None:
            problems.append(unknown_stage(key, known, where))


def _apply_overrides(
    texts: Sequence[str], known: Known, values: dict, selected: tuple[str, ...], problems: list[str]
) -> None:
    seen = set()
    for text in texts:
        key, equals, value = text.partition("=")
        number, dot, name = key.strip().partition(".")
        where = f"-p {text}: "
        if not equals or not dot:
            problems.append(f"{where}expected NN.name=value, such as -p {_example(known)}")
            continue
        parameter = _lookup(number, name, known, where, problems)
        if parameter is None:
            continue
        if parameter.key in seen:
            problems.append(f"{where}{parameter.key} is given twice")
        seen.add(parameter.key)
        _set(parameter, parse_text(value, parameter.type), values, where, problems)
        if selected and parameter.notebook not in selected:
            problems.append(f"{where}has no effect, because this command runs only {', '.join(selected)}")


def _set(parameter: Parameter, value: object, values: dict, where: str, problems: list[str]) -> None:
    """Puts one value in place, or says why not."""
    try:
        values[parameter.notebook][parameter.name] = parameter.check(value)
    except M2SError as error:
        unquoted = parameter.type == "str" and not isinstance(value, str | list | dict)
        problems.append(f"{where}{error}{'; quote it to make it text' if unquoted else ''}")


def _lookup(key: str, name: str, known: Known, where: str, problems: list[str]) -> Parameter | None:
    stage = find_stage(key, known)
    if stage is None:
        if (problem := unknown_stage(key, known, where)) not in problems:
            problems.append(problem)
    elif name == RUN_DIR:
        how = "use --run-dir, or run_dir at the top of a profile"
        problems.append(f"{where}run_dir is the same for all notebooks: {how}")
    elif name not in known[stage]:
        problems.append(f"{where}{stage} has no parameter {name!r}; {_nearest(stage, name, known)}")
    return known[stage].get(name) if stage and name != RUN_DIR else None


def _nearest(stage: str, name: str, known: Known) -> str:
    if name in REPLACED:
        return f"it is gone: {REPLACED[name]}"
    everything = {p.name: p for of_stage in known.values() for p in of_stage.values() if p.name != RUN_DIR}
    if name in everything:
        return f"it lives in {everything[name].notebook}: write {everything[name].key}"
    own = [n for n in known[stage] if n != RUN_DIR]
    near = difflib.get_close_matches(name, own, n=1) or difflib.get_close_matches(name, everything, n=1)
    if near:
        best = known[stage].get(near[0]) or everything[near[0]]
        return f"did you mean {best.key} (in {best.notebook}; {best.meaning})?"
    return f"it has {', '.join(own) or 'none'}"


def _example(known: Known) -> str:
    parameter = next((p for ps in known.values() for p in ps.values() if p.name != RUN_DIR), None)
    return f"{parameter.key}={parameter.default}" if parameter else "03.shots_per_scene=4"


def missing_paths(plan: Plan) -> list[str]:
    """Returns a sentence for each missing file or folder that the selected stages' parameters name.

    What a stage of some run writes (its path names the stage) need not be there yet.
    """

    known = read_parameters(plan.root / "notebooks")
    problems = []
    for parameter in (p for stage in plan.selected for p in known[stage].values() if p.name != RUN_DIR):
        value, kind = plan.values[parameter.notebook][parameter.name], parameter.unit.split()[0]
        if kind not in ("file", "folder") or value in _NO_PATH or is_url(value):
            continue
        path = locate(str(Path(value).expanduser()), plan.run_dir, plan.root)  # films may have moved
        if path.exists() or any(part in known for part in path.parts):
            continue
        how = "--films-dir FOLDER" if parameter.key == FILMS else f"-p {parameter.key}=PATH"
        command = f"m2s run {shlex.split(plan.resume_command())[2]} {how}"
        problems.append(f"{parameter.key} = {value!r}: there is no {kind} {path}; say where it is: {command}")
    return problems
