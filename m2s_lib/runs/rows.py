"""One profile as several rows: repeats with other seeds, or the settings of an ablation, in one run folder.

A row is a run of its own, `rows/<row>/`, with a profile of its own beside it; the `base` row of a profile is
the run's own folder. Stages that two rows would compute alike are computed once, by the first of them; the
others have a link to its folder.
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
from m2s_lib.runs import record
from m2s_lib.runs.locks import FolderLock
from m2s_lib.runs.pipeline import StageFailed, run_profile
from m2s_lib.runs.profiles import Profile, without_settings
from m2s_lib.runs.row_plan import ROWS, Row, plan_rows
from m2s_lib.runs.row_process import RowRunner, row_runner, rows_end

TABLE = "rows.parquet"
COLUMNS = ("row", "repeat", "folder", "stage", "status", "shared_with", "seconds", "compute_s", "reason")


def run_rows(
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
    """Run all rows, then what is run once; returns the run directory.

    What is up to date is skipped, so an interrupted run goes on. A row that fails is a row of the table that
    says why, and so are those that share the stage that failed; the others are run.

    Args:
        profile, run_dir, overrides, root, names: as `plan_rows`. fresh, stream: as `run_profile`.
        jobs: rows at once; each is then a process of its own, and waits for the rows that it shares with.
        engine: of `open_engine`; on Ray each row is a task, by default one for each GPU, or for each machine
            where there are none. All machines have to see the run directory.

    Writes rows.parquet (`COLUMNS`: a line for each row and stage; seconds are those of the row that computed
    it).

    Raises StageFailed when a row failed, after all others are done.
    """
    stream = stream or sys.stdout
    whole, rows = plan_rows(profile, run_dir, overrides, root, names)
    locked = whole.run_dir / ROWS if profile.base else whole.run_dir  # the base row locks its own folder
    with FolderLock(locked / ".lock", f"m2s run {profile.name}").acquire():
        computed = sum(len(r.own) for r in rows)
        total = sum(len(r.plan.stages) for r in rows)
        print(
            f"{profile.name}: {len(rows)} rows into {whole.run_dir / ROWS}; of {total} stages {computed} are "
            f"computed, {total - computed} shared",
            file=stream,
            flush=True,
        )
        for row in rows:
            _prepare(row, whole.run_dir / ROWS / row.folder)
        with row_runner(engine, jobs, whole.run_dir) as run_row:
            failed = _run_all(rows, fresh, run_row, stream)
        table = rows_table(rows, failed)
        write_parquet(table, whole.run_dir / TABLE)
    if whole.selected and profile.summary:
        once = replace(without_settings(profile), stages=profile.summary)
        run_profile(once, whole.run_dir, fresh=fresh, root=root, stream=stream)
    if failed:
        told = "\n".join(f"  - {folder}: {reason}" for folder, reason in failed.items())
        raise StageFailed(
            f"{len(failed)} of {len(rows)} rows failed, the others are done:\n{told}\n"
            f"To go on when that is mended: {whole.resume_command()}"
        )
    return whole.run_dir


def _prepare(row: Row, place: Path) -> None:
    """The row's folder (`place`, which is a link to the run's own for the base row), its profile as a file,
    and links to what it shares."""
    folder = row.plan.run_dir
    folder.mkdir(parents=True, exist_ok=True)
    if row.base and not place.is_symlink():
        if place.exists():
            raise M2SError(f"{place} is a row's own folder, and {row.name!r} is now the run's: move it away")
        place.symlink_to("..", target_is_directory=True)
    parameters = {s[:2]: row.plan.values[s] for s in row.plan.stages}
    about = {
        "description": f"Row {row.plan.profile.name!r}",
        "run_dir": str(folder),
        "stages": [s[:2] for s in row.plan.stages],
        "parameters": parameters,
    }
    with atomic_path(folder / "row.yaml") as temporary:
        temporary.write_text(yaml.safe_dump(about, sort_keys=False, allow_unicode=True), encoding="utf-8")
    for stage, owner in row.owners.items():
        place, target = folder / stage, Path("..") / owner / stage
        if place.is_symlink() and (owner == row.folder or Path(os.readlink(place)) != target):
            place.unlink()
        if owner != row.folder and not place.is_symlink():
            if (place / record.RECORD).is_file():  # computed by itself, with values that it no longer has
                shutil.rmtree(place)
            place.symlink_to(target, target_is_directory=True)


def _run_all(rows: Sequence[Row], fresh: bool, run_row: RowRunner, stream: TextIO) -> dict[str, str]:
    """Run every row as soon as those that it shares with are done; folder -> reason of those that failed."""
    jobs = run_row.at_once
    failed: dict[str, str] = {}
    start, done, waiting, running = time.monotonic(), set(), list(rows), {}
    with ThreadPoolExecutor(max_workers=jobs) as pool, rows_end(run_row):
        submit = pool.submit if jobs > 1 else _at_once
        while waiting or running:
            ready = [r for r in waiting if r.needs <= done]
            if jobs > 1:  # those that most others wait for go first, or the last of them runs alone
                needed = Counter(folder for r in waiting for folder in r.needs)
                ready.sort(key=lambda r: -needed[r.folder])
            for row in ready[: jobs - len(running)]:
                waiting.remove(row)
                own = ", ".join(s[:2] for s in row.own) or "nothing"
                print(f"{row.folder}: computes {own}", file=stream, flush=True)
                running[submit(_run_one, row, dict(failed), fresh, run_row, stream)] = row
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                row, reason = running.pop(future), future.result()
                done.add(row.folder)
                failed |= {row.folder: reason} if reason else {}
                minutes = (time.monotonic() - start) / 60
                left = seconds_left(rows, done, fresh) / 60 / jobs
                state = "failed" if reason else "done"
                print(
                    f"{row.folder}: {state}; {len(done)} of {len(rows)} rows, {minutes:.1f} min so far"
                    + f", about {left:.0f} min left" * (left > 0),
                    file=stream,
                    flush=True,
                )
    return failed


def seconds_left(rows: Sequence[Row], done: Collection[str], fresh: bool) -> float:
    """Seconds that what is left would take, stage after stage, if each takes as long as the same stage did in
    other rows, or as stages do on average where no row has it yet.

    done: folders of the rows that have ended. fresh: what other rows have was computed before and does not
    count.
    """
    took, left = defaultdict(list), Counter()
    for row in rows:
        current = row.folder in done or not fresh
        for stage in row.plan.stages:
            found = record.read_record(row.plan.run_dir, stage)
            same = not record.changed_parameters(found, row.plan.values[stage])
            current = current and found.get("status") == "done" and same
            if row.owners[stage] != row.folder:
                continue
            if current:
                took[stage].append(found["seconds"])
            elif row.folder not in done:
                left[stage] += 1
    every = [s for seconds in took.values() for s in seconds] or [0.0]
    return sum(n * fmean(took.get(stage, every)) for stage, n in left.items())


def _at_once(work: Callable, *arguments) -> Future:
    """`work` here and now, in the thread that an interrupt reaches."""
    future: Future = Future()
    future.set_result(work(*arguments))
    return future


def _run_one(row: Row, failed: Mapping[str, str], fresh: bool, run_row: RowRunner, stream: TextIO) -> str:
    """Run one row; why it failed, '' when it did not."""
    for owner in sorted(row.needs & set(failed)):
        if lost := _lost(row, owner):
            return f"it shares {lost} with {owner}, which failed"
        if owner in row.reads:
            return f"it reads what {owner} writes, which failed"
    try:
        if row.own:
            if run_row.apart:
                tell = partial(print, f"{row.folder}:", file=stream, flush=True)
                run_row(row.plan.run_dir, [s[:2] for s in row.own], fresh, row.plan.root, tell)
            else:
                _here(row, fresh, stream)
    except M2SError as error:
        if row.base:  # there is nothing to compare the others with
            how = "" if not run_row.apart else f"\nTo go on when that is mended: {row.plan.resume_command()}"
            raise StageFailed(f"{error}{how}") from error
        return " ".join(line.strip() for line in str(error).splitlines()[:2])  # where, and why
    return ""


def _lost(row: Row, owner: str) -> str:
    """The first stage of another row's that this one needs and that is not done, '' when all are."""
    for stage in row.plan.stages:
        done = record.read_record(row.plan.run_dir, stage).get("status") == "done"
        if row.owners[stage] == owner and not done:
            return stage
    return ""


def _here(row: Row, fresh: bool, stream: TextIO) -> None:
    only = () if row.base else row.own
    plan = row.plan
    run_profile(
        plan.profile, plan.run_dir, only, overrides=plan.overrides, fresh=fresh, root=plan.root, stream=stream
    )


def rows_table(rows: Sequence[Row], failed: Mapping[str, str]) -> pd.DataFrame:
    """A line for each row and stage, see `COLUMNS`; status 'done', 'failed', 'not run'; compute_s are seconds
    of the CPUs where no GPU was used, which other work on the machine does not stretch, else those of a
    clock."""
    lines = []
    for row in rows:
        for stage in row.plan.stages:
            found = record.read_record(row.plan.run_dir, stage)
            status = found.get("status", "not run")
            shared = "" if row.owners[stage] == row.folder else row.owners[stage]
            reason = "" if status == "done" else str(found.get("error") or failed.get(row.folder, ""))
            seconds = found.get("seconds")
            worked = found.get("cpu_seconds", seconds) if found.get("device", "cpu") == "cpu" else seconds
            values = (row.name, row.repeat, row.folder, stage, status, shared, seconds, worked, reason)
            lines.append(dict(zip(COLUMNS, values, strict=True)))
    return pd.DataFrame(lines, columns=list(COLUMNS))


def rows_summary(run_dir: str | os.PathLike) -> str:
    """A short table of a run's rows: how each went, the seconds of all its stages, shared ones included, and
    what it computed beside the first row, as Table 1 counts it."""
    table = read_parquet(Path(run_dir) / TABLE)
    lines = [("row", "status", "seconds", "of the first", "shared")]
    of_rows = table.groupby("folder", sort=False)
    seconds, worked = of_rows["seconds"].sum(), of_rows["compute_s"].sum()
    for folder, stages in of_rows:
        bad = stages[stages["status"] != "done"]
        status = f"{bad['status'].iloc[0]} in {bad['stage'].iloc[0][:2]}" if len(bad) else "done"
        shared = ", ".join(s[:2] for s in stages.loc[stages["shared_with"] != "", "stage"]) or "-"
        ratio = worked[folder] / max(worked.iloc[0], 1e-9)
        lines.append((folder, status, f"{seconds[folder]:,.0f}", f"{ratio:.2f}", shared))
    widths = [max(len(line[i]) for line in lines) for i in range(5)]
    return "\n".join("  ".join(c.ljust(w) for c, w in zip(x, widths, strict=True)).rstrip() for x in lines)
