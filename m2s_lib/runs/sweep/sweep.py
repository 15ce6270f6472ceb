"""One profile as several settings, what Table 1 calls rows, and repeats with other seeds, in one run folder.

A setting is a run of its own, `settings/<name>/`, with a profile of its own beside it; the `base` setting of
a profile is the run's own folder. Stages that two settings would compute alike are computed once, by the
first of them; the others have a link to its folder.
"""

import os
import shutil
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import replace
from functools import partial
from pathlib import Path
from statistics import fmean
from typing import TextIO

import pandas as pd
import yaml

from m2s_lib.errors import M2SError
from m2s_lib.io import atomic_path, read_parquet, write_parquet
from m2s_lib.runs.parameters.profiles import Profile, without_settings
from m2s_lib.runs.pipeline.pipeline import StageFailed, run_profile
from m2s_lib.runs.records import record
from m2s_lib.runs.records.locks import FolderLock
from m2s_lib.runs.sweep.sweep_plan import SETTINGS, Setting, plan_sweep
from m2s_lib.runs.sweep.sweep_process import SettingRunner, ended_together, setting_runner

TABLE = "settings.parquet"
COLUMNS = ("setting", "repeat", "folder", "stage", "status", "shared_with", "seconds", "compute_s", "reason")


def run_sweep(
    profile: Profile,
    run_dir: str | os.PathLike | None = None,
    overrides: Sequence[str] = (),
    fresh: bool = False,
    *,
    names: Sequence[str] = (),
    jobs: int = 1,
    root: str | os.PathLike | None = None,
    stream: TextIO | None = None,
    engine=None,
) -> Path:
    """Runs all settings, then what is run once; returns the run directory.

    What is up to date is skipped, so an interrupted run goes on. A setting that fails is in the table with
    its reason, and so are those that share the stage that failed; the others are run.

    Args:
        profile, run_dir, overrides, root, names: as `plan_sweep`. fresh, stream: as `run_profile`.
        jobs: settings at once; each is then a process of its own, and waits for those that it shares with.
        engine: of `open_engine`; on Ray each setting is a task, by default one for each GPU, or for each
            machine where there are none. All machines have to see the run directory.

    Writes settings.parquet (`COLUMNS`: a line for each setting and stage; seconds are those of the setting
    that computed it).

    Raises StageFailed when a setting failed, after all others are done.
    """
    tell = partial(print, file=stream or sys.stdout, flush=True)
    once, settings = plan_sweep(profile, run_dir, overrides, root, names)
    # the base setting locks its own folder
    locked = once.run_dir / SETTINGS if profile.base else once.run_dir
    with FolderLock(locked / ".lock", f"m2s run {profile.name}").acquire():
        computed, total = sum(len(s.own) for s in settings), sum(len(s.owners) for s in settings)
        tell(
            f"{profile.name}: {len(settings)} settings into {once.run_dir / SETTINGS}; of {total} stages "
            f"{computed} are computed, {total - computed} shared"
        )
        for setting in settings:
            _prepare(setting, once.run_dir / SETTINGS / setting.folder)
        with setting_runner(engine, jobs, once.run_dir) as run_one:
            failed = _run_all(settings, fresh, run_one, tell)
        write_parquet(settings_table(settings, failed), once.run_dir / TABLE)
    if once.selected and profile.summary:
        last = replace(without_settings(profile), stages=profile.summary)
        run_profile(last, once.run_dir, fresh=fresh, root=root, stream=stream)
    if failed:
        reasons = "\n".join(f"  - {folder}: {reason}" for folder, reason in failed.items())
        raise StageFailed(
            f"{len(failed)} of {len(settings)} settings failed, the others are done:\n{reasons}\n"
            f"To go on when that is mended: {once.resume_command()}"
        )
    return once.run_dir


def _prepare(setting: Setting, listed: Path) -> None:
    """Makes the setting's folder (`listed`, which is a link to the run's own for the base setting), its
    profile as a file, and links to what it shares."""
    folder = setting.plan.run_dir
    folder.mkdir(parents=True, exist_ok=True)
    if setting.base and not listed.is_symlink():
        if listed.exists():
            raise M2SError(
                f"{listed} is a setting's own folder, and {setting.name!r} is now the run's: move it away"
            )
        listed.symlink_to("..", target_is_directory=True)
    about = {
        "description": f"Setting {setting.plan.profile.name!r}",
        "run_dir": str(folder),
        "stages": [s[:2] for s in setting.plan.stages],
        "parameters": {s[:2]: setting.plan.values[s] for s in setting.plan.stages},
    }
    with atomic_path(folder / "setting.yaml") as temporary:
        temporary.write_text(yaml.safe_dump(about, sort_keys=False, allow_unicode=True), encoding="utf-8")
    for stage, owner in setting.owners.items():
        link, target = folder / stage, Path("..") / owner / stage
        if link.is_symlink() and (owner == setting.folder or Path(os.readlink(link)) != target):
            link.unlink()
        if owner != setting.folder and not link.is_symlink():
            if (link / record.RECORD).is_file():  # computed by itself, with values that it no longer has
                shutil.rmtree(link)
            link.symlink_to(target, target_is_directory=True)


def _run_all(
    settings: Sequence[Setting], fresh: bool, run_one: SettingRunner, tell: Callable[[str], None]
) -> dict[str, str]:
    """Runs every setting as soon as those that it shares with are done; returns folder -> reason of those
    that failed."""
    jobs, failed, start = run_one.at_once, {}, time.monotonic()
    done, waiting, running = set(), list(settings), {}
    with ThreadPoolExecutor(max_workers=jobs) as pool, ended_together(run_one):
        submit = pool.submit if jobs > 1 else _at_once
        while waiting or running:
            for setting in _ready(waiting, done, jobs)[: jobs - len(running)]:
                waiting.remove(setting)
                tell(f"{setting.folder}: computes {', '.join(s[:2] for s in setting.own) or 'nothing'}")
                running[submit(_run_setting, setting, dict(failed), fresh, run_one, tell)] = setting
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                setting, reason = running.pop(future), future.result()
                done.add(setting.folder)
                failed |= {setting.folder: reason} if reason else {}
                minutes = (time.monotonic() - start) / 60
                left = seconds_left(settings, done, fresh) / 60 / jobs
                tell(
                    f"{setting.folder}: {'failed' if reason else 'done'}; {len(done)} of {len(settings)} "
                    f"settings, {minutes:.1f} min so far" + f", about {left:.0f} min left" * (left > 0)
                )
    return failed


def _ready(waiting: Sequence[Setting], done: set[str], jobs: int) -> list[Setting]:
    """Returns the settings that can begin; of several at once those that most others wait for go first, or
    the last of them runs alone."""
    needed = Counter(folder for s in waiting for folder in s.needs)
    ready = [s for s in waiting if s.needs <= done]
    return sorted(ready, key=lambda s: -needed[s.folder]) if jobs > 1 else ready


def _at_once(work: Callable, *arguments) -> Future:
    """Does `work` here and now, in the thread that an interrupt reaches."""
    future: Future = Future()
    future.set_result(work(*arguments))
    return future


def seconds_left(settings: Sequence[Setting], done: Collection[str], fresh: bool) -> float:
    """Returns the seconds that what is left would take, stage after stage, if each takes as long as the same
    stage did in other settings, or as stages do on average where no setting has it yet.

    done: folders of the settings that have ended. fresh: what other settings have was computed before and
    does not count.
    """
    took, left = defaultdict(list), Counter()
    for setting in settings:
        current = setting.folder in done or not fresh
        for stage in setting.plan.stages:
            about = record.read_record(setting.plan.run_dir, stage)
            same = not record.changed_parameters(about, setting.plan.values[stage])
            current = current and about.get("status") == "done" and same
            if setting.owners[stage] != setting.folder:
                continue
            if current:
                took[stage].append(about["seconds"])
            elif setting.folder not in done:
                left[stage] += 1
    every = [s for seconds in took.values() for s in seconds] or [0.0]
    return sum(n * fmean(took.get(stage, every)) for stage, n in left.items())


def _run_setting(
    setting: Setting, failed: Mapping[str, str], fresh: bool, run_one: SettingRunner, tell: Callable
) -> str:
    """Runs one setting; returns why it failed, '' when it did not."""
    plan = setting.plan
    for owner in sorted(setting.needs & set(failed)):
        if lost := _lost(setting, owner):
            return f"it shares {lost} with {owner}, which failed"
        if owner in setting.reads:
            return f"it reads what {owner} writes, which failed"
    try:
        if setting.own and run_one.apart:
            words = partial(tell, f"{setting.folder}:")
            run_one(plan.run_dir, [s[:2] for s in setting.own], fresh, plan.root, words)
        elif setting.own:
            how = {"fresh": fresh, "root": plan.root, "stream": tell.keywords["file"]}
            only = () if setting.base else setting.own
            run_profile(plan.profile, plan.run_dir, only, overrides=plan.overrides, **how)
    except M2SError as error:
        if setting.base:  # there is nothing to compare the others with
            how = f"\nTo go on when that is mended: {plan.resume_command()}" if run_one.apart else ""
            raise StageFailed(f"{error}{how}") from error
        return " ".join(line.strip() for line in str(error).splitlines()[:2])  # where, and why
    return ""


def _lost(setting: Setting, owner: str) -> str:
    """Returns the first stage of another setting's that this one needs and that is not done, '' when all
    are."""
    shared = [s for s in setting.plan.stages if setting.owners[s] == owner]
    status = {s: record.read_record(setting.plan.run_dir, s).get("status") for s in shared}
    return next((s for s in shared if status[s] != "done"), "")


def settings_table(settings: Sequence[Setting], failed: Mapping[str, str]) -> pd.DataFrame:
    """Returns a line for each setting and stage, see `COLUMNS`; status 'done', 'failed', 'not run'.

    compute_s are seconds of the CPUs where no GPU was used, which other work on the machine does not stretch,
    else those of a clock.
    """
    lines = []
    for setting in settings:
        for stage, owner in setting.owners.items():
            about = record.read_record(setting.plan.run_dir, stage)
            status, seconds = about.get("status", "not run"), about.get("seconds")
            worked = about.get("cpu_seconds", seconds) if about.get("device", "cpu") == "cpu" else seconds
            shared = "" if owner == setting.folder else owner
            reason = "" if status == "done" else str(about.get("error") or failed.get(setting.folder, ""))
            where = setting.name, setting.repeat, setting.folder, stage
            lines.append((*where, status, shared, seconds, worked, reason))
    return pd.DataFrame(lines, columns=list(COLUMNS))


def sweep_summary(run_dir: str | os.PathLike) -> str:
    """Returns a short table of a run's settings: how each went, the seconds of all its stages, shared ones
    included, and what it computed beside the first setting, as Table 1 counts it."""
    lines, first = [], None
    for folder, stages in read_parquet(Path(run_dir) / TABLE).groupby("folder", sort=False):
        bad, worked = stages[stages["status"] != "done"], stages["compute_s"].sum()
        first = first or max(worked, 1e-9)
        status = f"{bad['status'].iloc[0]} in {bad['stage'].iloc[0][:2]}" if len(bad) else "done"
        shared = ", ".join(s[:2] for s in stages.loc[stages["shared_with"] != "", "stage"]) or "-"
        lines.append((folder, status, f"{stages['seconds'].sum():,.0f}", f"{worked / first:.2f}", shared))
    titles = ["setting", "status", "seconds", "of the first", "shared"]
    return pd.DataFrame(lines, columns=titles).to_string(index=False)
