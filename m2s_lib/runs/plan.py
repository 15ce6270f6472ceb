"""A run settled before it starts: profile, command line and notebooks compared, all problems said at once."""

import difflib
import os
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from m2s_lib.errors import M2SError
from m2s_lib.runs.parameters import RUN_DIR, Parameter, Profile, listed, load_profile, read_parameters
from m2s_lib.runs.project import find_stage, root_or_default, run_folder, unknown_stage
from m2s_lib.runs.values import fit_yaml, parse_text

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
    place: str = ""  # the URL that run_dir mirrors

    def notebook(self, stage: str) -> Path:
        """The notebook of a stage."""
        return self.root / "notebooks" / f"{stage}.ipynb"

    def resume_command(self, stage: str = "") -> str:
        """The command that goes on with this run, from `stage` or from whatever is not up to date."""
        home = self.root / "data_manifests" / "profiles" / f"{self.profile.name}.yaml"
        words = [
            "m2s",
            "run",
            self.profile.name if Path(self.profile.source) == home else self.profile.source,
        ]
        if self.place:
            words += ["--run-dir", self.place]
        elif self.run_dir != run_folder(self.profile.run_dir or f"runs/{self.profile.name}", self.root):
            words += ["--run-dir", str(self.run_dir)]
        if stage and not self.only and not self.profile.base:  # a base row's run has other rows to go on with
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
    """Settle what a run does, without running anything.

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
    values = {
        stage: {n: p.default for n, p in found.items() if n != RUN_DIR} for stage, found in known.items()
    }
    _apply_profile(profile, known, values, problems)
    stages = _pick(profile.stages, known, f"{profile.source}, stages: ", problems) or tuple(known)
    selected = _select(stages, known, only, from_, problems)
    _apply_overrides(overrides, known, values, selected, problems)
    if problems:
        raise M2SError(
            listed(f"nothing was run, {len(problems)} problem(s) with profile {profile.name}", problems)
        )
    folder = (
        run_folder(run_dir, Path.cwd())
        if run_dir
        else run_folder(profile.run_dir or f"runs/{profile.name}", root)
    )
    values = {s: values[s] for s in stages}
    return Plan(profile, root, folder, stages, selected, values, tuple(overrides), bool(only))


def _pick(wanted: Sequence[str], known: Known, where: str, problems: list[str]) -> tuple[str, ...]:
    """Full names of the wanted stages, in run order."""
    found = set()
    for text in wanted:
        stage = find_stage(text, known)
        if stage is None:
            problems.append(unknown_stage(text, known, where))
        found.add(stage)
    return tuple(s for s in known if s in found)


def _select(stages: tuple[str, ...], known: Known, only, from_, problems: list[str]) -> tuple[str, ...]:
    if only and from_:
        problems.append(
            "--only and --from exclude each other: --only names the stages, --from the first of them"
        )
    asked = _pick(only, known, "--only: ", problems)
    first = _pick([from_] if from_ else [], known, "--from: ", problems)
    for stage in asked + first:
        if stage not in stages:
            problems.append(f"{stage} is not among the profile's stages, which are {', '.join(stages)}")
    if asked:
        return asked
    return tuple(s for s in stages if not first or s >= first[0])


def _apply_profile(profile: Profile, known: Known, values: dict, problems: list[str]) -> None:
    seen = set()
    for key, changes in profile.parameters.items():
        stage = find_stage(key, known)
        where = f"{profile.source}, parameters: "
        if stage is None:
            problems.append(unknown_stage(key, known, where))
            continue
        for name, value in changes.items():
            parameter = _lookup(stage, str(name), known, where, problems)
            if parameter is None:
                continue
            if parameter.key in seen:
                problems.append(f"{where}{parameter.key} is set twice")
            seen.add(parameter.key)
            _set(parameter, lambda p, v=value: fit_yaml(v, p.type), value, values, where, problems)


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
        stage = find_stage(number, known)
        if stage is None:
            problems.append(unknown_stage(number, known, where))
            continue
        parameter = _lookup(stage, name, known, where, problems)
        if parameter is None:
            continue
        if parameter.key in seen:
            problems.append(f"{where}{parameter.key} is given twice")
        seen.add(parameter.key)
        _set(parameter, lambda p, v=value: parse_text(v, p.type), value, values, where, problems)
        if selected and stage not in selected:
            problems.append(f"{where}has no effect, because this command runs only {', '.join(selected)}")


def _set(parameter: Parameter, read, raw: object, values: dict, where: str, problems: list[str]) -> None:
    """Put one value in place, or say why not."""
    try:
        value = read(parameter)
    except (TypeError, ValueError):
        value = raw  # `check` finds the words
    try:
        values[parameter.notebook][parameter.name] = parameter.check(value)
    except M2SError as error:
        hint = (
            "; quote it to make it text"
            if parameter.type == "str" and not isinstance(raw, list | dict)
            else ""
        )
        problems.append(f"{where}{error}{hint if not isinstance(raw, str) else ''}")


def _lookup(stage: str, name: str, known: Known, where: str, problems: list[str]) -> Parameter | None:
    if name == RUN_DIR:
        problems.append(
            f"{where}run_dir is the same for all notebooks: use --run-dir, or run_dir at the top of a profile"
        )
        return None
    if name in known[stage]:
        return known[stage][name]
    problems.append(f"{where}{stage} has no parameter {name!r}; {_nearest(stage, name, known)}")
    return None


def _nearest(stage: str, name: str, known: Known) -> str:
    everything = {p.name: p for found in known.values() for p in found.values() if p.name != RUN_DIR}
    if name in everything:
        return f"it lives in {everything[name].notebook}: write {everything[name].key}"
    own = [n for n in known[stage] if n != RUN_DIR]
    near = difflib.get_close_matches(name, own, n=1) or difflib.get_close_matches(name, everything, n=1)
    if near:
        best = known[stage].get(near[0]) or everything[near[0]]
        return f"did you mean {best.key} (in {best.notebook}; {best.meaning})?"
    return f"it has {', '.join(own) or 'none'}"


def _example(known: Known) -> str:
    parameter = next((p for found in known.values() for p in found.values() if p.name != RUN_DIR), None)
    return f"{parameter.key}={parameter.default}" if parameter else "03.shots_per_scene=4"
