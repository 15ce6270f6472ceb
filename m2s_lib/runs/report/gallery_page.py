"""The page for visitors, with films, pairs, search and map: `make gallery` starts it.

Voilà serves one cell, `CELL`. It reads files and opens no stage, so a visit neither runs a stage again, nor
writes into its folder, nor waits for a lock; every visitor has a kernel of its own. On this machine only,
with a token, unless options of Voilà say otherwise.
"""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from m2s_lib.errors import M2SError
from m2s_lib.quick_imports import quick_jsonschema
from m2s_lib.runs.project import project_root, run_folder

STAGE = "08_retrieval_gallery"
TITLE = "Films and scenes"  # of the page
CELL = """\
from functools import partial

from m2s_lib.display.page.page import open_page
from m2s_lib.stages.screens import read_collection, read_pair_views

run_dir = {run_dir!r}
open_page(read_collection(run_dir), partial(read_pair_views, run_dir), root={root!r})
"""
UNUSED = ["jupyterlab-plotly", "jupyterlab_pygments"]  # megabytes of scripts for outputs of other kinds
IDLE_S = 1800  # seconds after which the kernel of a page that nobody uses ends


def page_notebook(run_dir: str | os.PathLike):
    """The page as the one cell that its server runs; `run_dir` is absolute."""
    import nbformat

    cell = nbformat.v4.new_code_cell(CELL.format(run_dir=str(run_dir), root=str(project_root())))
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    return nbformat.v4.new_notebook(cells=[cell], metadata={**kernel, "title": TITLE})


def check_run(run_dir: Path, root: Path) -> None:
    """M2SError with the next command when there is no finished gallery in the run directory."""
    if (run_dir / STAGE / "encoders.json").is_file():
        return
    shown = run_dir.relative_to(root) if run_dir.is_relative_to(root) else run_dir
    if shown == Path("runs", "demo"):
        next_step = "make it first: make demo"
    elif (run_dir / "01_shot_encoding").is_dir():
        next_step = f"finish it first: m2s run PROFILE --run-dir {shown}"
    else:
        next_step = "name a run that has one, for example: make gallery RUN=runs/demo (after make demo)"
    raise M2SError(f"there is no gallery in {shown} yet; {next_step}")


def serve(run_dir: str | os.PathLike, options: Sequence[str] = ()) -> None:
    """Serve the page until it is stopped.

    Args:
        run_dir: a run whose stage 08 has finished; relative paths are seen from the project's root.
        options: of Voilà, for example "--port=8900" or "--theme=dark".
    """
    root = project_root()
    run_dir = run_folder(run_dir, root)
    check_run(run_dir, root)
    notebook = root / "notebooks" / f"{STAGE}.ipynb"
    os.environ["JUPYTER_PATH"] = os.pathsep.join(
        [str(Path(__file__).parent), *filter(None, [os.environ.get("JUPYTER_PATH")])]
    )
    try:
        with quick_jsonschema():
            from traitlets.config import Config
            from voila.app import Voila
    except ImportError as error:
        raise M2SError(f"Voilà is not installed ({error}): pip install -e '.[browser]'") from error
    config = Config()
    config.Voila.ip, config.Voila.auto_token = "127.0.0.1", True
    config.Voila.open_browser = False
    config.VoilaConfiguration.template = "m2s"
    config.VoilaConfiguration.allow_template_override = "NO"
    config.VoilaConfiguration.file_allowlist = ["$^"]  # no file of the folder is served
    config.VoilaConfiguration.extension_denylist = UNUSED
    config.VoilaConfiguration.prelaunch_hook = lambda request, notebook, cwd: page_notebook(run_dir)
    config.MappingKernelManager.cull_idle_timeout = IDLE_S
    config.MappingKernelManager.cull_interval = 60
    Voila.launch_instance([str(notebook), *options], config=config)


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line: RUN_DIR, then options of Voilà; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m m2s_lib.runs.report.gallery_page", description=__doc__)
    parser.add_argument("run_dir", nargs="?", default="runs/demo", help="a finished run (default: runs/demo)")
    options, for_voila = parser.parse_known_args(arguments)
    try:
        serve(options.run_dir, for_voila)
    except M2SError as error:
        print(f"gallery: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
