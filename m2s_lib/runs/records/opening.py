"""How a notebook begins its stage: parameters are checked and, by hand, compared with the run's record."""

import os
from collections.abc import Mapping
from pathlib import Path

from m2s_lib.errors import M2SError
from m2s_lib.runs.parameters.parameters import RUN_DIR, Parameter, listed, read_notebook_parameters
from m2s_lib.runs.project import root_or_default, run_folder, stage_names, unknown_stage
from m2s_lib.runs.records import record
from m2s_lib.runs.records.provenance import source_state
from m2s_lib.runs.records.stage import Stage, by_hand


def open_stage(
    name: str,
    namespace: dict[str, object],
    *,
    use: str = "",
    fresh: bool = False,
    root: str | os.PathLike | None = None,
) -> Stage:
    """Begins a stage, in the cell after the parameters cell: `stage = open_stage("03_scene_mining",
    globals())`.

    Takes the values of the notebook's own parameters from `namespace` and validates them. By hand it also
    says whether the stage is up to date: then what it computed is read, and nothing is computed or written.

    Args:
        name: the notebook's name without .ipynb.
        namespace: the notebook's globals.
        use: by hand, where the run was made with other values than the cell has: "record" puts the run's
            values into `namespace`, "cell" computes the stage again with the cell's.
        fresh: by hand, computes the stage again from nothing.
        root: the project's root; None finds it.

    Raises M2SError for an unknown notebook, a missing or impossible value, or values that differ from those
    of the run's record while `use` does not say which hold.
    """
    root = root_or_default(root)
    notebook = root / "notebooks" / f"{name}.ipynb"
    if not notebook.is_file():
        raise M2SError(unknown_stage(name, stage_names(notebook.parent)))
    if use not in ("", "record", "cell"):
        raise M2SError(f'use={use!r}: expected "record" or "cell"')
    known, problems = read_notebook_parameters(notebook)
    values = _take(known, namespace, problems)
    if problems:
        raise M2SError(listed(f"{len(problems)} problem(s) with the parameters of {name}", problems))
    if not by_hand():
        return Stage(name, values, root)
    run_dir = run_folder(values[RUN_DIR], root)
    before = record.read_record(run_dir, name)
    if before and use != "cell":
        values = _settled(name, run_dir, before, values, known, use)
    if use == "record":
        namespace.update(values)
    own = {k: v for k, v in values.items() if k != RUN_DIR}
    why = "fresh=True" if fresh else record.why_stale(run_dir, name, own, root)
    print(_in_words(run_dir, before, why, notebook))
    return Stage(name, values, root, done=not why, fresh=fresh)


def _take(known: Mapping[str, Parameter], namespace: Mapping[str, object], problems: list[str]) -> dict:
    values = {}
    for parameter in known.values():
        if parameter.name not in namespace:
            problems.append(f"{parameter.name} is not set: run the parameters cell first")
            continue
        try:
            values[parameter.name] = parameter.check(namespace[parameter.name])
        except M2SError as error:
            problems.append(str(error))
    return values


def _settled(name: str, run_dir: Path, before: dict, values: dict, known: Mapping, use: str) -> dict:
    """Returns the values that hold: the cell's where the run's are the same, else the run's where `use` says
    so."""
    recorded = {n: v for n, v in before.get("parameters", {}).items() if n in known}
    own = {n: v for n, v in values.items() if n != RUN_DIR and n in recorded}
    differ = record.changed_parameters({"parameters": recorded}, own)
    if differ and not use:
        raise M2SError(_difference(name, run_dir, recorded, own, differ))
    return values | {n: known[n].check(recorded[n]) for n in differ}


def _difference(name: str, run_dir: Path, recorded: dict, own: dict, differ: list[str]) -> str:
    rows = [("parameter", "the run", "the cell"), *((n, repr(recorded[n]), repr(own[n])) for n in differ)]
    widths = [max(len(row[i]) for row in rows) for i in range(2)]
    table = "\n".join(f"  {a:<{widths[0]}}  {b:<{widths[1]}}  {c}" for a, b, c in rows)
    call = f'open_stage("{name}", globals(), use='
    return (
        f"{name} was run in {run_dir} with other values than the parameters cell has. Nothing was computed "
        f"or written.\n\n{table}\n\nSay in the set-up cell which hold:\n"
        f'  stage = {call}"record")  # the run\'s; they are put into this notebook\n'
        f'  stage = {call}"cell")    # the cell\'s; the stage is computed again\n'
        "or set run_dir to a folder of its own."
    )


def _in_words(run_dir: Path, before: dict, why: str, notebook: Path) -> str:
    if why:
        return f"{notebook.stem} is computed in {run_dir} ({why})."
    newer = record.code_changed(before, source_state(notebook))
    note = f" {newer} changed since; fresh=True in open_stage computes it again." if newer else ""
    return (
        f"{notebook.stem} is up to date in {run_dir}: what it computed at {before['started']} is read, "
        f"nothing is computed or written.{note}"
    )
