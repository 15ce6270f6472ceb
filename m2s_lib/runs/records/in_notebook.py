"""A stage in its notebook: the rest is skipped, a figure is shown once, the cells are kept."""

import base64
import sys
from collections.abc import Mapping
from pathlib import Path

BEGINS = "open_stage("  # the cell from which a notebook runs again


class StageEnded(Exception):
    """A stage without data ended; only raised where no IPython runs the cells."""


def skip_the_rest() -> None:
    """Makes IPython skip the cells that follow, until a cell opens a stage again.

    An exception would count as a failure everywhere, and a notebook has no other way to stop.
    """
    shell = _shell()
    if shell is None:
        raise StageEnded

    def skip(lines: list[str]) -> list[str]:
        if any(BEGINS in line for line in lines):
            shell.input_transformers_cleanup.remove(skip)
            return lines
        return ["\n"]

    shell.input_transformers_cleanup.append(skip)


def show_once(figure) -> None:
    """The cell shows the returned figure: keep pyplot from showing it again, and teach IPython PNG."""
    pyplot = sys.modules.get("matplotlib.pyplot")
    if pyplot is not None:
        pyplot.close(figure)
    shell = _shell()
    if shell is None:
        return
    try:
        shell.display_formatter.formatters["image/png"].lookup(figure)
    except KeyError:  # without pyplot nobody has told IPython how to draw a Figure
        from IPython.core.pylabtools import select_figure_formats

        select_figure_formats(shell, {"png"})


def notebook_by_hand(path: Path, values: Mapping[str, object]):
    """Returns a notebook as this kernel has run it: its cells, the values, and what each cell has shown.

    Args:
        path: the notebook. values: of its parameters; they stand in a cell of their own.

    The outputs are those that IPython remembers of the cells that were run as they stand in the file; the
    cell that is running now has none.
    """
    import nbformat

    node = nbformat.read(path, as_version=4)
    shown = _outputs_by_source()
    for cell in node.cells:
        if cell.cell_type == "code":
            cell.execution_count, cell.outputs = shown.get(cell.source.strip(), (None, []))
    lines = ["# Parameters", *(f"{name} = {value!r}" for name, value in values.items())]
    injected = nbformat.v4.new_code_cell("\n".join(lines) + "\n", id="injected-parameters")
    injected.metadata["tags"] = ["injected-parameters"]
    at = next(i for i, c in enumerate(node.cells) if "parameters" in c.metadata.get("tags", []))
    node.cells.insert(at + 1, injected)
    return node


def _outputs_by_source() -> dict[str, tuple[int, list]]:
    """Returns the source of each cell that was run -> its number and outputs; {} outside IPython."""
    history = getattr(_shell(), "history_manager", None)
    if not hasattr(history, "outputs"):
        return {}
    sources = list(enumerate(history.input_hist_raw))[1:]
    return {source.strip(): (n, [_output(o, n) for o in history.outputs.get(n, [])]) for n, source in sources}


def _output(output, number: int):
    from nbformat.v4 import new_output

    kind, bundle = output.output_type, output.bundle
    if kind in ("out_stream", "err_stream"):
        name = "stdout" if kind == "out_stream" else "stderr"
        return new_output("stream", name=name, text="".join(bundle["stream"]))
    data = {k: base64.b64encode(v).decode() if isinstance(v, bytes) else v for k, v in bundle.items()}
    more = {"execution_count": number} if kind == "execute_result" else {}
    return new_output(kind, data=data, **more)


def _shell():
    """Returns IPython's shell in this process, None outside IPython; IPython is not imported for it."""
    ipython = sys.modules.get("IPython")
    return ipython.get_ipython() if ipython else None
