"""The settings of a profile, planned before anything runs: their values, and which computes which stage."""

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from m2s_lib.errors import M2SError
from m2s_lib.io import safe_name
from m2s_lib.runs.parameters.parameters import listed
from m2s_lib.runs.parameters.plan import Plan, plan_run
from m2s_lib.runs.parameters.profiles import Profile, without_settings
from m2s_lib.runs.project import stage_names

SETTINGS = "settings"  # folder of a run's settings
_OTHER = re.compile(r"\{settings\}/([^/]+)/")  # in a parameter: what another setting has written


@dataclass(frozen=True)
class Setting:
    """One setting in one repeat.

    Attributes:
        name: as in the profile. repeat: '' when there is one. folder: name of its folder. plan: of its run.
        owners: stage -> folder of the setting that computes it, its own or an earlier one's.
        reads: folders of other settings whose files its parameters name.
        base: whether its stages lie in the run's own folder.
    """

    name: str
    repeat: str
    folder: str
    plan: Plan
    owners: dict[str, str]
    reads: tuple[str, ...] = ()
    base: bool = False

    @property
    def own(self) -> tuple[str, ...]:
        """Stages that this setting computes itself."""
        return tuple(s for s in self.plan.stages if self.owners[s] == self.folder)

    @property
    def needs(self) -> set[str]:
        """Folders of the settings that have to be done before."""
        return {*self.owners.values(), *self.reads} - {self.folder}


def plan_sweep(
    profile: Profile,
    run_dir: str | os.PathLike | None = None,
    overrides: Sequence[str] = (),
    root: str | os.PathLike | None = None,
    names: Sequence[str] = (),
) -> tuple[Plan, list[Setting]]:
    """Plans all settings of a profile; nothing is run.

    Args:
        profile: with `settings` or `repeats`.
        run_dir, overrides, root: as in `plan_run`; overrides hold in every setting.
        names: of the settings to run, () for all.

    Returns:
        The plan of what is run once, after the settings (the profile's `summary`), and the settings: all of
        the first repeat, then those of the second.

    Raises M2SError listing what is wrong with any setting.
    """
    known, repeats = profile.settings or {"": {}}, profile.repeats or {"": {}}
    if unknown := [n for n in names if n not in known]:
        raise M2SError(
            f"there is no setting {unknown[0]!r} in profile {profile.name}: its settings are {list(known)}"
        )
    once = plan_run(replace(without_settings(profile), stages=profile.summary), run_dir, root=root)
    once = replace(once, overrides=tuple(overrides))
    settings, problems, computed = [], [], {}
    for repeat in repeats:
        for name in known:
            try:
                settings.append(_plan_one(profile, once, name, repeat, computed))
            except M2SError as error:
                problems.append(str(error))
    if problems:
        title = f"{len(problems)} setting(s) of profile {profile.name} cannot be run"
        raise M2SError(listed(title, problems))
    _check_order(profile, settings)
    return once, _with_needed(settings, names) if names else settings


def _plan_one(profile: Profile, once: Plan, name: str, repeat: str, computed: dict[str, str]) -> Setting:
    """Plans one setting; `computed` says which setting computes what, and learns of this one."""
    changes = (profile.parameters, profile.repeats.get(repeat, {}), profile.settings.get(name, {}))
    parameters, reads = _with_others(_merged(*changes), once, repeat)
    stages, texts, base = profile.stages, list(once.overrides), bool(name) and name == profile.base
    if not stages:
        stages = tuple(s for s in stage_names(once.root / "notebooks") if s[:2] not in profile.summary)
    if name in profile.setting_stages:  # it is not told of stages that only others have
        every, stages = {s[:2] for s in stages}, profile.setting_stages[name]
        texts = [t for t in texts if t[:2] not in every or t[:2] in stages]
    folder, label = _folder(name, repeat), ", ".join(filter(None, (name, repeat)))
    about = {"name": profile.name, "base": name} if base else {"name": label}
    own = replace(without_settings(profile), parameters=parameters, stages=stages, **about)
    place = once.run_dir if base else once.run_dir / SETTINGS / folder
    plan = plan_run(own, place, overrides=texts, root=once.root)
    values = {s: dict(v) for s, v in plan.values.items()}
    told = plan.overrides if base else ()  # only the base setting's messages name them
    plan = replace(plan, profile=replace(own, parameters=values), overrides=told)
    owners = {s: computed.setdefault(_key(plan, s), folder) for s in plan.stages}
    return Setting(name, repeat, folder, plan, owners, reads, base)


def _check_order(profile: Profile, settings: Sequence[Setting]) -> None:
    before: set[str] = set()
    for setting in settings:
        if setting.folder in before:
            raise M2SError(f"profile {profile.name}: two settings have one name, once made a file's name")
        if late := setting.needs - before:
            raise M2SError(
                f"profile {profile.name}: setting {setting.name!r} needs {min(late)!r}, which no setting "
                "before it is"
            )
        before.add(setting.folder)


def _with_needed(settings: Sequence[Setting], names: Sequence[str]) -> list[Setting]:
    """Returns the settings of these names and those that they need, which stand before them."""
    wanted = {s.folder for s in settings if s.name in names}
    for setting in reversed(settings):
        wanted |= setting.needs if setting.folder in wanted else set()
    return [s for s in settings if s.folder in wanted]


def _with_others(parameters: dict, once: Plan, repeat: str) -> tuple[dict, tuple[str, ...]]:
    """Returns parameters with "{settings}/name/" in texts replaced by that setting's folder in this repeat,
    and the folders that they name."""
    home, reads = once.run_dir / SETTINGS, []
    home = home.relative_to(once.root) if home.is_relative_to(once.root) else home
    for values in parameters.values():
        for name, value in values.items():
            for other in _OTHER.findall(value) if isinstance(value, str) else ():
                reads.append(_folder(other, repeat))
                values[name] = value.replace(f"{{settings}}/{other}/", f"{home.as_posix()}/{reads[-1]}/")
    return parameters, tuple(reads)


def _folder(name: str, repeat: str) -> str:
    return safe_name("-".join(filter(None, (name, repeat))).replace(" ", "_"))


def _merged(*parts: Mapping[str, Mapping[str, object]]) -> dict[str, dict[str, object]]:
    return {stage: {k: v for p in parts for k, v in p.get(stage, {}).items()} for p in parts for stage in p}


def _key(plan: Plan, stage: str) -> str:
    """Equal for stages that compute the same: same values here and in all stages before."""
    return repr([(s, sorted(plan.values[s].items())) for s in plan.stages if s <= stage])
