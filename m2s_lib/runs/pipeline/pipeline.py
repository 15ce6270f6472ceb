"""The notebooks in order, each skipped when up to date, else executed by papermill in a fresh kernel."""

import contextlib
import errno
import os
import shutil
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TextIO

from m2s_lib.errors import M2SError
from m2s_lib.io import remove_temporaries, write_json
from m2s_lib.runs.parameters.parameters import RUN_DIR, listed
from m2s_lib.runs.parameters.plan import Plan, missing_paths, plan_run
from m2s_lib.runs.parameters.profiles import Profile
from m2s_lib.runs.pipeline import fork_server
from m2s_lib.runs.records import record
from m2s_lib.runs.records.locks import FolderLock
from m2s_lib.runs.records.provenance import source_state
from m2s_lib.runs.records.stage import BEGUN, PIPELINE


class StageFailed(M2SError):
    """A notebook stopped; the message says where, why and how to go on."""


def run_profile(
    profile: str | os.PathLike | Profile,
    run_dir: str | os.PathLike | None = None,
    only: Sequence[str] = (),
    from_: str | None = None,
    overrides: Sequence[str] = (),
    fresh: bool = False,
    *,
    root: str | os.PathLike | None = None,
    stream: TextIO | None = None,
    url: str = "",
    after: Callable[[], None] = lambda: None,
) -> Path:
    """Runs a profile's notebooks in order; returns the run directory.

    A stage is skipped when it is done, its parameters are the same, its inputs have the same fingerprints
    and its outputs are there. A stage that runs again and writes the same bytes leaves the later ones up to
    date. What a killed run had begun starts again and goes on from the films that are done.

    Args:
        profile, run_dir, only, from_, overrides, root: as `plan_run`.
        fresh: empty the folders of the selected stages and run them whatever their state.
        stream: where progress goes; None is standard output.
        url: what run_dir is a mirror of, for the command that goes on.
        after: called when a stage has run, failed ones included.

    Raises:
        M2SError: something about the request is wrong; nothing was run.
        StageFailed: a notebook failed; the stages before it are kept.
    """
    stream = stream or sys.stdout
    plan = replace(plan_run(profile, run_dir, only, from_, overrides, root), url=url)
    if problems := missing_paths(plan):
        raise M2SError(listed("nothing was run", problems))
    with FolderLock(plan.run_dir / ".lock", f"m2s run {plan.profile.name}").acquire():
        _tell(stream, f"{plan.profile.name}: {len(plan.selected)} stage(s) into {url or plan.run_dir}")
        for stage in plan.selected:
            try:
                _run_stage(plan, stage, fresh, stream)
            except BaseException:
                try:
                    after()
                except M2SError as error:  # the stage's own end matters more
                    _tell(stream, str(error))
                raise
            after()
    return plan.run_dir


def _run_stage(plan: Plan, stage: str, fresh: bool, stream: TextIO) -> None:
    reason = "--fresh" if fresh else record.why_stale(plan.run_dir, stage, plan.values[stage], plan.root)
    if not reason:
        state = source_state(plan.notebook(stage))
        newer = record.code_changed(record.read_record(plan.run_dir, stage), state)
        note = f"; {newer} changed since, --fresh recomputes" if newer else ""
        _tell(stream, f"{stage}  skipped (up to date{note})")
        return
    _tell(stream, f"{stage}  started {time.strftime('%H:%M:%S')} ({reason})")
    start = time.monotonic()
    try:
        _execute(plan, stage, fresh, stream)
    except StageFailed:
        raise
    except M2SError as error:  # a file of ours that could not be written
        raise _failed(plan, stage, str(error)) from error
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        full = f"no space left on the disk of {plan.run_dir}: free some, what is already written is kept"
        raise _failed(plan, stage, full) from error
    memory = record.read_record(plan.run_dir, stage)["peak_memory_mb"]
    _tell(stream, f"{stage}  done in {time.monotonic() - start:.1f} s, peak memory {memory:,.0f} MB")


def _failed(plan: Plan, stage: str, message: str) -> StageFailed:
    return StageFailed(f"{stage}: {message}\nTo go on when that is mended: {plan.resume_command(stage)}")


def _execute(plan: Plan, stage: str, fresh: bool, stream: TextIO) -> None:
    env = _environment(plan.root)
    fork_server.start(env, [plan.notebook(s) for s in plan.selected if s >= stage])  # imports as we do
    from m2s_lib.runs.pipeline.kernel import NotebookFailed, execute, parameterized

    folder = plan.run_dir / stage
    if fresh and (folder / record.RECORD).is_file():  # only a folder that a stage has made
        shutil.rmtree(folder)
    folder.mkdir(parents=True, exist_ok=True)
    remove_temporaries(folder)
    for name in record.NOTEBOOKS:
        (folder / name).unlink(missing_ok=True)
    kept = folder / "notebook.failed.ipynb"
    try:
        execute(parameterized(plan.notebook(stage), _injected(plan, stage)), folder, plan.root, env, stream)
        if record.read_record(plan.run_dir, stage).get("status") != "done":
            (folder / "notebook.ipynb").rename(kept)
            raise NotebookFailed("the notebook ended without stage.finish(metrics)")
    except NotebookFailed as failure:
        _record_failure(plan, stage, str(failure))
        look = f"\nThe notebook so far: {kept}" if kept.is_file() else ""
        raise _failed(plan, stage, f"{failure}{look}") from failure


def _injected(plan: Plan, stage: str) -> dict[str, object]:
    """What the injected cell sets: every value, so that the executed notebook says what it ran with."""
    inside = plan.run_dir.is_relative_to(plan.root)
    run_dir = plan.run_dir.relative_to(plan.root).as_posix() if inside else str(plan.run_dir)
    return {RUN_DIR: run_dir, **plan.values[stage]}


def _environment(root: Path) -> dict[str, str]:
    """Environment of a kernel: figures inline, one hash seed, this project, the lock held by us."""
    inline = {"MPLBACKEND": "module://matplotlib_inline.backend_inline"}  # the caller's may draw nowhere
    ours = {PIPELINE: "1", BEGUN: str(time.time()), "M2S_ROOT": str(root), "PYTHONHASHSEED": "0"}
    return {**os.environ, **inline, **ours}


def _record_failure(plan: Plan, stage: str, message: str) -> None:
    before = {"stage": stage, "parameters": plan.values[stage], **record.read_record(plan.run_dir, stage)}
    with contextlib.suppress(OSError, M2SError):  # a full disk may be what failed; the message is shown
        ended = {**before, "status": "failed", "error": message}
        write_json(plan.run_dir / stage / record.RECORD, ended)


def prepare_notebooks(
    profile: str | os.PathLike | Profile,
    out_dir: str | os.PathLike,
    run_dir: str | os.PathLike | None = None,
    *,
    overrides: Sequence[str] = (),
    root: str | os.PathLike | None = None,
) -> list[Path]:
    """Writes the profile's notebooks with its values, unexecuted, for `pytest --nbval-lax OUT` or for
    JupyterLab.

    Returns their paths, in run order.
    """
    from m2s_lib.runs.pipeline.kernel import parameterized, write_notebook

    plan = plan_run(profile, run_dir, overrides=overrides, root=root)
    out = Path(out_dir)
    if out.resolve() == (plan.root / "notebooks").resolve():
        raise M2SError(f"{out} holds the notebooks themselves: prepare them into another folder")
    for stage in plan.stages:
        values = {RUN_DIR: str(plan.run_dir), **plan.values[stage]}
        write_notebook(parameterized(plan.notebook(stage), values), out / f"{stage}.ipynb")
    return [out / f"{stage}.ipynb" for stage in plan.stages]


def _tell(stream: TextIO, text: str) -> None:
    print(text, file=stream, flush=True)
