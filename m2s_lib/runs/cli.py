"""The m2s command. It starts light: pandas, papermill and torch load only when a command needs them."""

import argparse
import contextlib
import logging
import os
import signal
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from m2s_lib import __version__
from m2s_lib.errors import M2SError
from m2s_lib.parallel import end_with_parent

BAD_REQUEST, FAILED, INTERRUPTED, TERMINATED = 2, 1, 130, 143

_EPILOG = """examples:
  m2s run demo                          the demo, into runs/demo
  m2s run demo -p 03.shots_per_scene=4  with another value; only what depends on it runs again
  m2s run demo --only 03 --fresh        one stage from nothing
  m2s open DIR                          your own films: read, encoded, and shown as a page
  m2s run films --films-dir DIR         the same without the page, wherever the films are now
  m2s fetch open-films sintel           an open film to try it with, into films/
  m2s run my_films.yaml --run-dir D     a profile of your own
  m2s run claims --jobs 2               a profile of several settings, two at once
  m2s run ablation --engine ray --address auto    its settings as tasks of a Ray cluster
  m2s run films --run-dir s3://bucket/run         a run that lies at a URL
  m2s params 03                         what notebook 03 can be told

exit status: 0 done, 1 a stage failed, 2 the request is wrong (nothing was run), 130 interrupted"""
_PROFILE = {  # options of `run` and `prepare`
    "profile": dict(metavar="PROFILE", help="name of a profile (m2s profiles) or path of a YAML file"),
    "--run-dir": dict(metavar="D", help="folder or URL of the run (default: the profile's, or runs/PROFILE)"),
    "-p": dict(dest="overrides", metavar="NN.NAME=VALUE", help="set a parameter (m2s params lists them)"),
}
_RUN = {
    "--films-dir": dict(metavar="DIR", help="where the films are, or are now: a run keeps what it computed"),
    "--only": dict(metavar="NN", help="run this stage only (repeat for more)"),
    "--from": dict(dest="from_", metavar="NN", help="run this stage and those after it"),
    "--fresh": dict(action="store_true", help="empty the folders of the selected stages, run them again"),
    "--setting": dict(metavar="NAME", help="of a profile with settings, this one (repeat for more)"),
    "--jobs": dict(type=int, default=1, metavar="N", help="of a profile with settings, so many at once"),
    "--engine": dict(choices=("local", "ray"), help="for settings: run them here, or as Ray tasks"),
    "--address": dict(default="", metavar="A", help="of an existing Ray cluster, for --engine ray"),
    "--cache": dict(metavar="D", help="mirror of runs at URLs (default: $M2S_CACHE or ~/.cache/m2s)"),
    "--row": dict(dest="row", help=argparse.SUPPRESS),
}
_OPEN = {
    "folder": dict(metavar="DIR", help="the films, sub-folders included"),
    "--run-dir": dict(metavar="D", help="folder of the run (default: runs/ and the folder's name)"),
    "-p": _PROFILE["-p"],
    "--port": dict(type=int, metavar="N", help="of the page (default: any that is free)"),
    "--no-page": dict(action="store_true", help="only read and encode"),
}
_FETCH = {
    "what": dict(choices=("open-films",), help="what to download"),
    "names": dict(nargs="*", metavar="NAME", help="these films only (data_manifests/open_films.yaml)"),
    "--out": dict(default="films", metavar="DIR", help="where to (default: films)"),
}
_REPEATED = ("-p", "--only", "--setting", "--row")


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point of `m2s`; returns the exit status."""
    options = _parser().parse_args(arguments)
    if parent := os.environ.pop("M2S_PARENT", ""):  # see sweep_process.py
        end_with_parent(int(parent))
    try:
        return options.command(options)
    except M2SError as error:
        print(f"m2s: {error}", file=sys.stderr)
        return FAILED if type(error).__name__ == "StageFailed" else BAD_REQUEST
    except OSError as error:
        print(f"m2s: {error}", file=sys.stderr)
        return FAILED
    except _Terminated:
        return TERMINATED
    except KeyboardInterrupt:
        print("\nm2s: interrupted", file=sys.stderr)
        return INTERRUPTED


class _Terminated(KeyboardInterrupt):
    """SIGTERM, as a batch system sends it: ends like Ctrl-C, kernels included."""


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="m2s",
        description="Movies2Scenes: run the notebooks in order, list their parameters, report results.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"m2s {__version__}")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    stage = {"stage": dict(nargs="?", metavar="NN", help="of this notebook only")}
    out = {"--out": dict(required=True, metavar="DIR", help="folder for the prepared notebooks")}
    for name, command, options, about in (
        ("run", _run, _PROFILE | _RUN, "run a profile's notebooks; what is up to date is skipped"),
        ("open", _open, _OPEN, "read and encode a folder of films, then show it as a page on this machine"),
        ("fetch", _fetch, _FETCH, "download open films; a download that was stopped goes on"),
        ("params", _params, stage, "list the notebooks' parameters"),
        ("profiles", _profiles, {}, "list the profiles"),
        ("report", _report, {"run_dir": {}}, "write report.html and summary.json of a run directory"),
        ("prepare", _prepare, _PROFILE | out, "write the notebooks with a profile's values, unexecuted"),
    ):
        one = commands.add_parser(name, help=about, description=about)
        for option, settings in options.items():
            repeated = dict(action="append", default=[]) if option in _REPEATED else {}
            one.add_argument(option, **repeated, **settings)
        one.set_defaults(command=command)
    return parser


def _run(options: argparse.Namespace) -> int:
    from m2s_lib.runs.parameters.profiles import load_profile, one_run
    from m2s_lib.runs.project import is_url

    if options.row:
        raise M2SError(f"--row is now --setting: m2s run {options.profile} --setting {options.row[0]!r}")
    signal.signal(signal.SIGTERM, _on_terminate)
    profile = load_profile(options.profile)
    if profile.settings or profile.repeats:
        url = profile.base and is_url(options.run_dir)  # its settings would share folders there
        one = profile.base and (options.only or options.from_)
        if not (url or one or (options.only and {o[:2] for o in options.only} <= set(profile.summary))):
            return _run_settings(profile, options)
        profile = one_run(profile)
    if options.setting or options.jobs != 1 or options.engine or options.address:
        raise M2SError(
            f"--setting, --jobs, --engine and --address are for profiles with settings, {profile.name} has "
            "none; the engine of one run is -p 01.engine=ray -p 01.ray_address=..."
        )
    return _run_one(profile, options)


def _films(folder: str) -> str:
    """Returns --films-dir, seen from the current folder, as the parameter."""
    from m2s_lib.runs.parameters.plan import FILMS
    from m2s_lib.runs.project import project_root

    path, root = Path(os.path.abspath(os.path.expanduser(folder))), project_root()
    if folder != "embedded":
        folder = path.relative_to(root).as_posix() if path.is_relative_to(root) else str(path)
    return f"{FILMS}={folder}"


def _films_or_move(films_dir: str, request: tuple) -> list[str]:
    """Returns --films-dir as a parameter; notes a move when the run's films are no longer where they were.

    What was computed from films that have moved stays valid: the parameter keeps the folder's first name.
    """
    from m2s_lib.runs.parameters.plan import FILMS, plan_run
    from m2s_lib.runs.records.record import moved_films, read_record

    plan = plan_run(*request)
    first = next(s for s in plan.values if s[:2] == FILMS[:2])
    before = read_record(plan.run_dir, first).get("parameters", {}).get("films_dir", "")
    if before in ("", "embedded") or (plan.root / before).exists():
        return [_films(films_dir)] if first in plan.selected else []
    moved_films(plan.run_dir, before, films_dir)
    return [f"{FILMS}={before}"] if first in plan.selected else []


def _run_one(profile, options: argparse.Namespace) -> int:
    from m2s_lib.runs.parameters.plan import plan_run
    from m2s_lib.runs.pipeline.pipeline import StageFailed, run_profile
    from m2s_lib.runs.project import is_url, shown_url
    from m2s_lib.runs.remote.remote import opened_run_dir

    wanted = options.run_dir or profile.run_dir or None
    with opened_run_dir(wanted, f"m2s run {profile.name}", options.cache) as (folder, push):
        url = shown_url(wanted) if is_url(wanted) else ""
        request = profile, folder if url else options.run_dir, options.only, options.from_
        films = _films_or_move(options.films_dir, request) if options.films_dir else []
        request += ([*films, *options.overrides],)
        try:
            run_dir = run_profile(*request, options.fresh, url=url, after=push)
        except KeyboardInterrupt:
            _interrupted(replace(plan_run(*request), url=url))
            raise
        except StageFailed:
            with contextlib.suppress(OSError, M2SError):  # a full disk may be why; that message comes next
                _show(plan_run(*request).run_dir)
            raise
        _show(run_dir)
    return 0


def _show(run_dir: Path) -> None:
    from m2s_lib.runs.report.report import summary_table, write_report

    write_report(run_dir)
    print(f"\n{summary_table(run_dir)}", flush=True)


def _run_settings(profile, options: argparse.Namespace) -> int:
    from m2s_lib.engine import open_engine
    from m2s_lib.runs.pipeline.pipeline import StageFailed
    from m2s_lib.runs.project import is_url
    from m2s_lib.runs.sweep.sweep import run_sweep, sweep_summary
    from m2s_lib.runs.sweep.sweep_plan import plan_sweep

    if options.only or options.from_:
        how = "choose with --setting; --only and --from are for one run"
        raise M2SError(f"profile {profile.name} has settings: {how}")
    if options.jobs < 1:
        raise M2SError(f"--jobs is {options.jobs}, expected 1 or more")
    if is_url(options.run_dir or profile.run_dir):
        how = "which share folders: its run_dir has to be a folder, not a URL"
        raise M2SError(f"profile {profile.name} has settings, {how}")
    films = [_films(options.films_dir)] if options.films_dir else []
    request = profile, options.run_dir, [*films, *options.overrides]
    engine = open_engine(options.engine or "local", options.address)
    how = dict(fresh=options.fresh, names=options.setting, jobs=options.jobs, engine=engine)
    try:
        run_sweep(*request, **how)
    except KeyboardInterrupt:
        _interrupted(plan_sweep(*request)[0])
        raise
    except StageFailed:
        print(f"\n{sweep_summary(plan_sweep(*request)[0].run_dir)}", flush=True)
        raise
    run_dir = plan_sweep(*request)[0].run_dir
    print(f"\n{sweep_summary(run_dir)}")
    if profile.summary:
        _show(run_dir)
    return 0


def _interrupted(plan) -> None:
    # nbclient's pending tasks end with the interrupt too, and asyncio would report each at exit
    logging.getLogger("asyncio").setLevel(logging.CRITICAL + 1)
    print(f"\nm2s: interrupted; to go on: {plan.resume_command()}", file=sys.stderr)


def _on_terminate(*_) -> None:
    raise _Terminated


def _open(options: argparse.Namespace) -> int:
    """Runs the stages that a person's own films need, then serves the page until it is stopped."""
    from m2s_lib.io import safe_name
    from m2s_lib.runs.project import project_root

    folder = Path(os.path.abspath(os.path.expanduser(options.folder)))
    if not folder.is_dir():
        raise M2SError(f"{options.folder} is not a folder: m2s open FOLDER takes a folder of video files")
    run_dir = options.run_dir or str(project_root() / "runs" / safe_name(folder.name))
    stages = [f"--only={number}" for number in ("01", "02", "03", "04", "08")]
    changes = [f"-p={change}" for change in options.overrides]
    request = ["run", "films", "--films-dir", str(folder), "--run-dir", run_dir, *stages, *changes]
    status = main(request)
    if status or options.no_page:
        return status
    from m2s_lib.runs.report.gallery_page import serve

    print("The gallery; stop it with Ctrl-C. The same command shows it again at once:", flush=True)
    serve(run_dir, [f"--port={options.port}"] if options.port else [])
    return 0


def _fetch(options: argparse.Namespace) -> int:
    from m2s_lib.runs.fetch import fetch_films

    for path in fetch_films(options.names, options.out):
        print(path)
    print(f"To look at them: m2s open {options.out}")
    return 0


def _params(options: argparse.Namespace) -> int:
    from m2s_lib.runs.parameters.parameters import RUN_DIR, read_parameters
    from m2s_lib.runs.parameters.values import format_text
    from m2s_lib.runs.project import find_stage, unknown_stage

    known = read_parameters()
    if options.stage is not None:
        stage = find_stage(options.stage, known)
        if stage is None:
            raise M2SError(unknown_stage(options.stage, known))
        known = {stage: known[stage]}
    for stage, parameters in known.items():
        rows, group = [("name", "default", "unit and range", "description")], ""
        for p in (p for p in parameters.values() if p.name != RUN_DIR):
            if p.group != group:
                rows.append((f"-- {p.group} --",))
                group = p.group
            unit = ", ".join(filter(None, (p.unit, p.range)))
            rows.append((p.key, format_text(p.default) or "''", unit, p.description))
        print(f"{stage}\n{_table(rows)}\n")
    return 0


def _table(rows: list[tuple[str, ...]]) -> str:
    """Returns rows as aligned text; a row of one cell is a heading."""
    full = [row for row in rows if len(row) == len(rows[0])]
    widths = [min(max(len(row[i]) for row in full), 40) for i in range(len(rows[0]))]
    return "\n".join(
        "  " + "  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=False)).rstrip() for row in rows
    )


def _profiles(_: argparse.Namespace) -> int:
    from m2s_lib.runs.parameters.profiles import load_profile, profile_names
    from m2s_lib.runs.project import project_root

    folder = project_root() / "data_manifests" / "profiles"
    rows = [("profile", "what it is for")]
    for name in profile_names(folder):
        try:
            rows.append((name, " ".join(load_profile(name, folder).description.split())))
        except M2SError as error:
            rows.append((name, f"(cannot be used: {error})"))
    print(_table(rows) if rows[1:] else f"no profiles in {folder}")
    return 0


def _report(options: argparse.Namespace) -> int:
    _show(Path(options.run_dir))
    return 0


def _prepare(options: argparse.Namespace) -> int:
    from m2s_lib.runs.pipeline.pipeline import prepare_notebooks

    written = prepare_notebooks(options.profile, options.out, options.run_dir, overrides=options.overrides)
    print(f"{len(written)} notebooks in {options.out}; run them with: pytest --nbval-lax {options.out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
