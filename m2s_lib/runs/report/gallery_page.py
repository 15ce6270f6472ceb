"""The gallery of notebook 08 as a page for others: `make gallery` starts it.

Voilà serves 08 itself, cut to what shows a finished run: the section `PAGE` with the imports and parameters
that it needs. Its cells read files and open no stage, so a visit neither runs the stage again, nor writes
into its folder, nor waits for a lock; every visitor has a kernel of its own. On this machine only, with a
token, unless options of Voilà say otherwise.
"""

import argparse
import ast
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import nbformat

from m2s_lib.errors import M2SError
from m2s_lib.runs.project import project_root, run_folder
from m2s_lib.runs.records.record import read_record

STAGE = "08_retrieval_gallery"
PAGE = "## The gallery, live"  # heading of the section that is served
IDLE_S = 1800  # seconds after which the kernel of a page that nobody uses ends


def page_notebook(notebook: nbformat.NotebookNode, run_dir: str | os.PathLike) -> nbformat.NotebookNode:
    """Notebook 08 cut to its page: title, values, imports, and the section `PAGE`.

    Args:
        notebook: 08. run_dir: absolute; takes the place of the parameter's value, as the values that the run
            recorded do.

    Raises:
        M2SError: the notebook has no such section.
    """
    cells = notebook.cells
    starts = [i for i, c in enumerate(cells) if c.cell_type == "markdown" and c.source.startswith(PAGE)]
    if not starts:
        raise M2SError(f"{STAGE}.ipynb has no section {PAGE!r}: it is what the page shows")
    section = [cells[starts[0]]]
    for cell in cells[starts[0] + 1 :]:
        if cell.cell_type == "markdown" and cell.source.startswith("## ") or "checks" in _tags(cell):
            break
        section.append(cell)
    values = next(c.source for c in cells if "parameters" in _tags(c))
    recorded = read_record(Path(run_dir), STAGE).get("parameters", {})
    values = "\n".join([values, *(f"{name} = {value!r}" for name, value in recorded.items())])
    imports = [s for c in cells if c.cell_type == "code" for s in ast.parse(c.source).body]
    imports = [ast.unparse(s) for s in imports if isinstance(s, ast.Import | ast.ImportFrom)]
    names = {
        n.id for c in section if c.cell_type == "code" for n in ast.walk(ast.parse(c.source)) if _is_name(n)
    }
    needed = [line for line in map(lambda text: _of(text, names), imports) if line]
    setup = nbformat.v4.new_code_cell("\n".join([values, f"run_dir = {str(run_dir)!r}", *needed]))
    page = nbformat.v4.new_notebook(cells=[setup, *section], metadata=notebook.metadata)
    return page


def _is_name(node: ast.AST) -> bool:
    return isinstance(node, ast.Name)


def _of(text: str, names: set[str]) -> str:
    """An import statement with only those names that are used, '' when none is."""
    (statement,) = ast.parse(text).body
    statement.names = [a for a in statement.names if (a.asname or a.name).partition(".")[0] in names]
    return ast.unparse(statement) if statement.names else ""


def _tags(cell: nbformat.NotebookNode) -> list[str]:
    return cell.metadata.get("tags", [])


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
    page_notebook(nbformat.read(notebook, as_version=4), run_dir)  # an error now, not at the first visit
    os.environ["JUPYTER_PATH"] = os.pathsep.join(
        [str(Path(__file__).parent), *filter(None, [os.environ.get("JUPYTER_PATH")])]
    )
    try:
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
    config.VoilaConfiguration.prelaunch_hook = lambda _, notebook, cwd: page_notebook(notebook, run_dir)
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
