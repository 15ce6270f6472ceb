"""The m2s command. It starts light: pandas, papermill and torch load only when a command needs them."""

import argparse
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
  m2s run my_films.yaml --run-dir D     a profile of your own
  m2s run claims --jobs 2               a profile of several rows, two at once
  m2s run ablation --engine ray --address auto    its rows as tasks of a Ray cluster
  m2s run films --run-dir s3://bucket/run         a run that lies at a URL
  m2s params 03                         what notebook 03 can be told

exit status: 0 done, 1 a stage failed, 2 the request is wrong (nothing was run), 130 interrupted"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point of `m2s`; returns the exit status."""
    options = _parser().parse_args(arguments)
    if parent := os.environ.pop("M2S_PARENT", ""):  # see row_process.py
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

    run = commands.add_parser("run", help="run a profile's notebooks; what is up to date is skipped")
    _profile_options(run)
    run.add_argument(
        "--only", action="append", default=[], metavar="NN", help="run this stage only (repeat for more)"
    )
    run.add_argument("--from", dest="from_", metavar="NN", help="run this stage and those after it")
    run.add_argument(
        "--fresh", action="store_true", help="empty the folders of the selected stages and run them again"
    )
    run.add_argument(
        "--row", action="append", default=[], metavar="NAME", help="of a profile with rows, this one (repeat)"
    )
    run.add_argument(
        "--jobs", type=int, default=1, metavar="N", help="of a profile with rows, so many at once"
    )
    run.add_argument(
        "--engine", choices=("local", "ray"), help="of a profile with rows: run them here, or as Ray tasks"
    )
    run.add_argument(
        "--address", default="", metavar="A", help="of an existing Ray cluster, for --engine ray"
    )
    run.add_argument(
        "--cache", metavar="D", help="where runs at URLs are mirrored (default: $M2S_CACHE or ~/.cache/m2s)"
    )
    run.set_defaults(command=_run)

    params = commands.add_parser("params", help="list the notebooks' parameters")
    params.add_argument("stage", nargs="?", metavar="NN", help="of this notebook only")
    params.set_defaults(command=_params)

    commands.add_parser("profiles", help="list the profiles").set_defaults(command=_profiles)

    report = commands.add_parser("report", help="write report.html and summary.json of a run directory")
    report.add_argument("run_dir", metavar="RUN_DIR")
    report.set_defaults(command=_report)

    prepare = commands.add_parser(
        "prepare", help="write the notebooks with a profile's values, unexecuted (for nbval)"
    )
    _profile_options(prepare)
    prepare.add_argument("--out", required=True, metavar="DIR", help="folder for the prepared notebooks")
    prepare.set_defaults(command=_prepare)
    return parser


def _profile_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "profile", metavar="PROFILE", help="name of a profile (m2s profiles) or path of a YAML file"
    )
    parser.add_argument(
        "--run-dir", metavar="D", help="folder or URL of the run (default: the profile's, or runs/PROFILE)"
    )
    parser.add_argument(
        "-p",
        dest="overrides",
        action="append",
        default=[],
        metavar="NN.NAME=VALUE",
        help="set a parameter (m2s params lists them)",
    )


def _run(options: argparse.Namespace) -> int:
    from m2s_lib.runs.parameters import load_profile, one_run
    from m2s_lib.runs.pipeline import run_profile
    from m2s_lib.runs.plan import plan_run
    from m2s_lib.runs.project import is_url, shown_url
    from m2s_lib.runs.remote import opened_run_dir
    from m2s_lib.runs.report import summary_table, write_report

    profile = load_profile(options.profile)
    if profile.rows or profile.repeats:
        url = profile.base and is_url(options.run_dir)  # its rows would share folders there
        one = profile.base and (options.only or options.from_)
        if not (url or one or (options.only and {o[:2] for o in options.only} <= set(profile.summary))):
            return _run_rows(profile, options)
        profile = one_run(profile)
    if options.row or options.jobs != 1 or options.engine or options.address:
        raise M2SError(
            f"--row, --jobs, --engine and --address are for profiles with rows, {profile.name} has none; "
            "the engine of one run is -p 01.engine=ray -p 01.ray_address=..."
        )
    signal.signal(signal.SIGTERM, _on_terminate)
    wanted = options.run_dir or profile.run_dir or None
    with opened_run_dir(wanted, f"m2s run {profile.name}", options.cache) as (folder, push):
        place = shown_url(wanted) if is_url(wanted) else ""
        chosen = (profile, folder if place else options.run_dir)
        chosen += (options.only, options.from_, options.overrides)
        try:
            run_dir = run_profile(*chosen, options.fresh, place=place, after=push)
        except KeyboardInterrupt:
            _interrupted(replace(plan_run(*chosen), place=place))
            raise
        write_report(run_dir)
    print(f"\n{summary_table(run_dir)}")
    return 0


def _run_rows(profile, options: argparse.Namespace) -> int:
    from m2s_lib.engine import open_engine
    from m2s_lib.runs.project import is_url
    from m2s_lib.runs.report import summary_table, write_report
    from m2s_lib.runs.row_plan import plan_rows
    from m2s_lib.runs.rows import rows_summary, run_rows

    if options.only or options.from_:
        raise M2SError(
            f"profile {profile.name} has rows: choose with --row; --only and --from are for one run"
        )
    if options.jobs < 1:
        raise M2SError(f"--jobs is {options.jobs}, expected 1 or more")
    if is_url(options.run_dir or profile.run_dir):
        raise M2SError(
            f"profile {profile.name} has rows, which share folders: its run_dir has to be a folder, not a URL"
        )
    signal.signal(signal.SIGTERM, _on_terminate)
    chosen = (profile, options.run_dir, options.overrides)
    engine = open_engine(options.engine or "local", options.address)
    how = dict(fresh=options.fresh, names=options.row, jobs=options.jobs, engine=engine)
    try:
        run_dir = run_rows(*chosen, **how)
    except KeyboardInterrupt:
        _interrupted(plan_rows(*chosen)[0])
        raise
    print(f"\n{rows_summary(run_dir)}")
    if profile.summary:
        write_report(run_dir)
        print(f"\n{summary_table(run_dir)}")
    return 0


def _interrupted(plan) -> None:
    # nbclient's pending tasks end with the interrupt too, and asyncio would report each at exit
    logging.getLogger("asyncio").setLevel(logging.CRITICAL + 1)
    print(f"\nm2s: interrupted; to go on: {plan.resume_command()}", file=sys.stderr)


def _on_terminate(*_) -> None:
    raise _Terminated


def _params(options: argparse.Namespace) -> int:
    from m2s_lib.runs.parameters import RUN_DIR, read_parameters
    from m2s_lib.runs.project import find_stage, unknown_stage
    from m2s_lib.runs.values import format_text

    known = read_parameters()
    if options.stage is not None:
        stage = find_stage(options.stage, known)
        if stage is None:
            raise M2SError(unknown_stage(options.stage, known))
        known = {stage: known[stage]}
    for stage, found in known.items():
        rows = [
            (
                p.key,
                format_text(p.default) or "''",
                ", ".join(filter(None, (p.unit, p.range and p.range.text))),
                p.description,
            )
            for p in found.values()
            if p.name != RUN_DIR
        ]
        print(f"{stage}\n{_table([('name', 'default', 'unit and range', 'description'), *rows])}\n")
    return 0


def _table(rows: list[tuple[str, ...]]) -> str:
    widths = [min(max(len(row[i]) for row in rows), 40) for i in range(len(rows[0]))]
    return "\n".join(
        "  " + "  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip() for row in rows
    )


def _profiles(_: argparse.Namespace) -> int:
    from m2s_lib.runs.parameters import load_profile, profile_names
    from m2s_lib.runs.project import project_root

    folder = project_root() / "data_manifests" / "profiles"
    rows = []
    for name in profile_names(folder):
        try:
            rows.append((name, " ".join(load_profile(name, folder).description.split())))
        except M2SError as error:
            rows.append((name, f"(cannot be used: {error})"))
    print(_table([("profile", "what it is for"), *rows]) if rows else f"no profiles in {folder}")
    return 0


def _report(options: argparse.Namespace) -> int:
    from m2s_lib.runs.report import summary_table, write_report

    write_report(Path(options.run_dir))
    print(summary_table(options.run_dir))
    return 0


def _prepare(options: argparse.Namespace) -> int:
    from m2s_lib.runs.pipeline import prepare_notebooks

    written = prepare_notebooks(options.profile, options.out, options.run_dir, overrides=options.overrides)
    print(f"{len(written)} notebooks in {options.out}; run them with: pytest --nbval-lax {options.out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
