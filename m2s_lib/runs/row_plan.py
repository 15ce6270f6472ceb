"""The rows of a profile, settled before anything runs: their values, and which row computes which stage."""

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from m2s_lib.errors import M2SError
from m2s_lib.io import safe_name
from m2s_lib.runs.parameters import listed
from m2s_lib.runs.plan import Plan, plan_run
from m2s_lib.runs.profiles import Profile, without_settings
from m2s_lib.runs.project import stage_names

ROWS = "rows"  # folder of a run's rows
_OTHER_ROW = re.compile(r"\{rows\}/([^/]+)/")  # in a row's parameter: what another row has written


@dataclass(frozen=True)
class Row:
    """One row: its name, its repeat ('' when there is one), its plan and which row computes each stage."""

    name: str
    repeat: str
    folder: str
    plan: Plan
    owners: dict[str, str]  # stage -> folder of the row that computes it, its own or an earlier one's
    reads: tuple[str, ...] = ()  # folders of other rows whose files its parameters name
    base: bool = False  # its stages lie in the run's own folder

    @property
    def own(self) -> tuple[str, ...]:
        """Stages that this row computes itself."""
        return tuple(s for s in self.plan.stages if self.owners[s] == self.folder)

    @property
    def needs(self) -> set[str]:
        """Folders of the rows that have to be done before."""
        return {*self.owners.values(), *self.reads} - {self.folder}


def plan_rows(
    profile: Profile,
    run_dir: str | os.PathLike | None = None,
    overrides: Sequence[str] = (),
    root: str | os.PathLike | None = None,
    names: Sequence[str] = (),
) -> tuple[Plan, list[Row]]:
    """Settle all rows of a profile; nothing is run.

    Args:
        profile: with `settings` or `repeats`.
        run_dir, overrides, root: as in `plan_run`; overrides hold in every row.
        names: of the rows to run, () for all.

    Returns:
        The plan of what is run once, after the rows (the profile's `summary`), and the rows: all rows of the
        first repeat, then those of the second.

    Raises M2SError listing what is wrong with any row.
    """
    rows, repeats = profile.settings or {"": {}}, profile.repeats or {"": {}}
    if unknown := [n for n in names if n not in rows]:
        raise M2SError(f"there is no row {unknown[0]!r} in profile {profile.name}: its rows are {list(rows)}")
    plain = without_settings(profile)
    whole = plan_run(replace(plain, stages=profile.summary), run_dir, root=root)
    whole = replace(whole, overrides=tuple(overrides))
    if not profile.stages:
        known = stage_names(whole.root / "notebooks")
        plain = replace(plain, stages=tuple(s for s in known if s[:2] not in profile.summary))
    whole_stages = {s[:2] for s in plain.stages}  # a row with fewer is not told what the others are told
    planned, problems, computed = [], [], {}
    for repeat, more in repeats.items():
        for name, changes in rows.items():
            label = ", ".join(filter(None, (name, repeat)))
            folder = _folder(name, repeat)
            parameters, reads = _with_rows(_merged(profile.parameters, more, changes), whole, repeat)
            one = replace(plain, name=label, parameters=parameters)
            place, texts, base = whole.run_dir / ROWS / folder, overrides, name == profile.base
            if base:
                place, one = whole.run_dir, replace(one, name=profile.name, base=name)
            if name in profile.setting_stages:
                one = replace(one, stages=profile.setting_stages[name])
                texts = [t for t in overrides if t[:2] not in whole_stages or t[:2] in one.stages]
            try:
                plan = plan_run(one, place, overrides=texts, root=root)
            except M2SError as error:
                problems.append(str(error))
                continue
            settled = {s: dict(values) for s, values in plan.values.items()}
            told = plan.overrides if base else ()  # only the base row's messages name them
            plan = replace(plan, profile=replace(one, parameters=settled), overrides=told)
            owners = {
                s: computed.setdefault(_key(plan, s), folder) for s in plan.stages
            }  # the first row with these values computes it
            planned.append(Row(name, repeat, folder, plan, owners, reads, base))
    if problems:
        raise M2SError(listed(f"{len(problems)} row(s) of profile {profile.name} cannot be run", problems))
    if len({r.folder for r in planned}) < len(planned):
        raise M2SError(f"profile {profile.name}: two rows have the same name, once made a file's name")
    before: set[str] = set()
    for row in planned:
        if late := row.needs - before:
            raise M2SError(
                f"profile {profile.name}: row {row.name!r} needs {min(late)!r}, which no row before it is"
            )
        before.add(row.folder)
    if names:
        wanted = {r.folder for r in planned if r.name in names}
        for row in reversed(planned):  # what a row needs stands before it
            wanted |= row.needs if row.folder in wanted else set()
        planned = [r for r in planned if r.folder in wanted]
    return whole, planned


def _with_rows(parameters: dict, whole: Plan, repeat: str) -> tuple[dict, tuple[str, ...]]:
    """Parameters with "{rows}/row/" in texts replaced by that row's folder in this repeat, and the folders of
    the rows that they name."""
    place, found = whole.run_dir / ROWS, []
    inside = place.relative_to(whole.root) if place.is_relative_to(whole.root) else place
    for values in parameters.values():
        for name, value in values.items():
            for row in _OTHER_ROW.findall(value) if isinstance(value, str) else ():
                found.append(_folder(row, repeat))
                values[name] = value.replace(f"{{rows}}/{row}/", f"{inside.as_posix()}/{found[-1]}/")
    return parameters, tuple(found)


def _folder(name: str, repeat: str) -> str:
    return safe_name("-".join(filter(None, (name, repeat))).replace(" ", "_"))


def _merged(*parts: Mapping[str, Mapping[str, object]]) -> dict[str, dict[str, object]]:
    merged: dict[str, dict[str, object]] = {}
    for part in parts:
        for stage, values in part.items():
            merged[stage] = {**merged.get(stage, {}), **values}
    return merged


def _key(plan: Plan, stage: str) -> str:
    """Equal for stages that compute the same: same values here and in all stages before."""
    return repr([(s, sorted(plan.values[s].items())) for s in plan.stages if s <= stage])
