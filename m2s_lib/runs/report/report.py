"""What came out of a run: report.html, summary.json and a table for the terminal."""

import os
import re
import textwrap
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import quote

from m2s_lib.errors import M2SError
from m2s_lib.io import atomic_path, write_json
from m2s_lib.runs.project import STAGE_NAME
from m2s_lib.runs.records.record import RECORD, UNCOUNTED, read_record
from m2s_lib.runs.report.paper_files import FIGURES, FOLDER, shown_tables
from m2s_lib.words import encoder_words

_FILES = {  # what a stage's folder may hold that the report links to
    "executed notebook": "notebook.html",
    "notebook file": "notebook.ipynb",
    "notebook up to the failure": "notebook.failed.ipynb",
    "record": RECORD,
}
_MATH = re.compile(  # code is left as it is; a dollar before a space or a digit ends no equation
    r"(```.*?```|`[^`]*`)|\$\$(.+?)\$\$|(?<![\\$])\$(?=\S)([^$\n]+?)(?<=[^\s\\])\$(?!\d)", re.S
)
_TITLES = {f"{number} {drawn}": title for title, _, number, drawn in FIGURES}  # of the paper's figures
_FETCHED = ("require_js", "mathjax", "jquery", "mermaid_js", "mermaid_layout_elk_js", "widget_renderer")


def read_stages(run_dir: str | os.PathLike) -> dict[str, dict]:
    """Records of the stages in a run directory, in run order.

    Raises M2SError when the folder is missing or no stage has run in it.
    """
    run_dir = Path(run_dir)
    folders = sorted(p for p in run_dir.glob("*") if STAGE_NAME.fullmatch(p.name) and (p / RECORD).is_file())
    stages = {p.name: read_record(run_dir, p.name) for p in folders}
    if not stages:
        raise M2SError(
            f"{run_dir} is not a run directory: it holds no NN_name/run.json (m2s run PROFILE makes one)"
        )
    return stages


def headline(record: dict) -> dict[str, object]:
    """The metrics to show first: what the stage put under `headline`, else its first four plain ones."""
    metrics = record.get("metrics") or {}
    plain = {k: v for k, v in metrics.items() if isinstance(v, int | float | str) and k not in UNCOUNTED}
    return metrics.get("headline") or dict(list(plain.items())[:4])


def show(value: object) -> str:
    """A metric as text: 1,234 and 0.4567 and yes."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 10_000 else f"{value:.4g}"
    return "not measured" if value is None else str(value)


# -- the terminal and the machine --


def summary_table(run_dir: str | os.PathLike) -> str:
    """A short table: stage, status, seconds, main metrics; then the sentences of the last stage that has some,
    and where the report is."""
    rows, stages = [("stage", "status", "seconds", "what came out")], read_stages(run_dir)
    for stage, record in stages.items():
        main = ", ".join(f"{key} {value}" for key, value in _plain_headline(record))
        rows.append((stage, record.get("status", "unreadable"), _seconds(record), main))
    widths = [max(len(row[i]) for row in rows) for i in range(3)]
    lines = []
    for stage, status, seconds, main in rows:
        start = f"{stage:<{widths[0]}}  {status:<{widths[1]}}  {seconds:>{widths[2]}}  "
        wrapped = textwrap.wrap(main, 110, initial_indent=start, subsequent_indent=" " * len(start))
        lines += wrapped or [start.rstrip()]
    said = [line for sentence in last_sentences(stages) for line in ["", textwrap.fill(str(sentence), 110)]]
    return "\n".join([*lines, *said, "", f"report: {Path(run_dir) / 'report.html'}"])


def _plain_headline(record: dict) -> list[tuple[str, str]]:
    """`headline` as people say it; a value that is a key, such as 'cowatch', is one of these words, too."""
    texts = ((str(key), show(value)) for key, value in headline(record).items())
    return [(encoder_words(k), encoder_words(v) if v.isidentifier() else v) for k, v in texts]


def last_sentences(stages: Mapping[str, dict]) -> list[str]:
    """What the run found, in the sentences of its last stage that has some."""
    found = [(record.get("metrics") or {}).get("sentences") for record in stages.values()]
    return [str(sentence) for sentence in next(filter(None, reversed(found)), [])]


def write_summary(run_dir: str | os.PathLike) -> Path:
    """Write summary.json: the stages' metrics under `summary`, merged, and `stages` with their times."""
    summary: dict = {}
    stages = read_stages(run_dir)
    for record in stages.values():
        for key, value in ((record.get("metrics") or {}).get("summary") or {}).items():
            both = isinstance(value, dict) and isinstance(summary.get(key), dict)
            summary[key] = {**summary[key], **value} if both else value
    kept = ("seconds", "peak_memory_mb", "status")
    summary["stages"] = {stage: {k: record.get(k) for k in kept} for stage, record in stages.items()}
    path = Path(run_dir) / "summary.json"
    write_json(path, summary)
    return path


# -- the page --


def write_report(run_dir: str | os.PathLike) -> Path:
    """Writes report.html, one HTML page per executed notebook, and summary.json; returns the report's path.

    A stage that failed is in it with its error. All links are relative, so the run directory can be moved or
    sent; nothing is fetched from elsewhere; all text from records is escaped.
    """
    import jinja2

    run_dir = Path(run_dir)
    stages = read_stages(run_dir)
    write_summary(run_dir)
    for stage in stages:
        _export_notebook(run_dir / stage)
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)
    template = environment.from_string(
        (Path(__file__).parent / "templates" / "report.html").read_text(encoding="utf-8")
    )
    page = template.render(
        name=Path(os.path.abspath(run_dir)).name,
        done=sum(r.get("status") == "done" for r in stages.values()),
        sentences=last_sentences(stages),
        searched=stages.get("08_retrieval_gallery", {}).get("status") == "done",
        tables=shown_tables(run_dir / FOLDER),
        stages=[_shown(run_dir, stage, record) for stage, record in stages.items()],
    )
    with atomic_path(run_dir / "report.html") as temporary:
        temporary.write_text(page, encoding="utf-8")
    return run_dir / "report.html"


def _shown(run_dir: Path, stage: str, record: dict) -> dict:
    """Returns what the page shows of a stage."""
    memory = record.get("peak_memory_mb")
    figures = [f for f in record.get("figures") or [] if (run_dir / stage / f["png"]).is_file()]
    return {
        "name": stage,
        "title": stage.replace("_", " "),
        "status": record.get("status", "unreadable"),
        "seconds": _seconds(record),
        "memory": "" if memory is None else f"{memory:,.0f}",
        "headline": _plain_headline(record),
        "links": [
            (text, quote(f"{stage}/{file}"))
            for text, file in _FILES.items()
            if (run_dir / stage / file).is_file()
        ],
        "error": record.get("error", ""),
        "figures": [_shown_figure(stage, figure) for figure in figures],
    }


def _shown_figure(stage: str, figure: dict) -> dict:
    return {
        "title": _TITLES.get(f"{stage[:2]} {figure['id']}", ""),
        "image": quote(f"{stage}/{figure['png']}"),
        "alt": figure.get("alt") or f"Figure {figure['id']} of {stage}",
        "links": [(k.upper(), quote(f"{stage}/{figure[k]}")) for k in ("pdf", "csv") if figure.get(k)],
    }


def _seconds(record: dict) -> str:
    return f"{record['seconds']:,.1f}" if isinstance(record.get("seconds"), int | float) else ""


def _export_notebook(folder: Path) -> None:
    """Writes notebook.html beside notebook.ipynb, again only when that is newer; equations are MathML."""
    source, page = folder / "notebook.ipynb", folder / "notebook.html"
    if not source.is_file() or (page.is_file() and page.stat().st_mtime >= source.stat().st_mtime):
        return
    import nbformat
    from nbconvert import HTMLExporter

    node = nbformat.read(source, as_version=4)
    for cell in node.cells:
        if cell.cell_type == "markdown":
            cell.source = _MATH.sub(_as_mathml, cell.source)
    exporter = HTMLExporter(**{f"{name}_url": "" for name in _FETCHED})
    body, _ = exporter.from_notebook_node(node, resources={"metadata": {"name": folder.name}})
    with atomic_path(page) as temporary:
        temporary.write_text(body, encoding="utf-8")


def _as_mathml(match: re.Match) -> str:
    """Returns an equation as MathML, which browsers show by themselves; as it is where it is no LaTeX."""
    from latex2mathml.converter import convert

    code, block, inline = match.groups()
    if code is not None:
        return code
    try:
        return convert(block or inline, display="block" if block else "inline")
    except Exception:  # it has kinds of its own, and a price in dollars is no equation
        return match[0]
