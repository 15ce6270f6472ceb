"""What came out of a run: report.html, summary.json and a table for the terminal."""

import os
from html import escape
from pathlib import Path
from urllib.parse import quote

from m2s_lib.errors import M2SError
from m2s_lib.io import atomic_path, write_json
from m2s_lib.runs.project import STAGE_NAME
from m2s_lib.runs.record import RECORD, UNCOUNTED, read_record

_CSS = """
:root { color-scheme: light dark; --ink: #1b1b1b; --dim: #595959; --paper: #fff; --line: #d0d0d0;
  --link: #0b57a4; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e8e8e8; --dim: #ababab; --paper: #16181b; --line: #3c4046; --link: #8ab8f0; }
}
body { font: 16px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper);
  max-width: 70rem; margin: 2rem auto; padding: 0 1rem; }
a { color: var(--link); } p, figcaption { color: var(--dim); }
table { border-collapse: collapse; width: 100%; } caption { text-align: left; color: var(--dim); }
th, td { text-align: left; vertical-align: top; padding: .3rem .8rem .3rem 0;
  border-bottom: 1px solid var(--line); }
td.number { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
figure { margin: 1.5rem 0; } figure img { max-width: 100%; height: auto; background: #fff; }
pre { overflow-x: auto; border-left: 3px solid var(--line); padding-left: 1rem; }
"""


def read_stages(run_dir: str | os.PathLike) -> dict[str, dict]:
    """Records of the stages in a run directory, in run order.

    Raises M2SError when the folder is missing or no stage has run in it.
    """
    run_dir = Path(run_dir)
    folders = sorted(p for p in run_dir.glob("*") if STAGE_NAME.fullmatch(p.name) and (p / RECORD).is_file())
    found = {p.name: read_record(run_dir, p.name) for p in folders}
    if not found:
        raise M2SError(
            f"{run_dir} is not a run directory: it holds no NN_name/run.json (m2s run PROFILE makes one)"
        )
    return found


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
    """A short table: stage, status, seconds, main metrics; then where the report is."""
    rows = [("stage", "status", "seconds", "what came out")]
    for stage, record in read_stages(run_dir).items():
        main = ", ".join(f"{k} {show(v)}" for k, v in headline(record).items())
        rows.append((stage, record.get("status", "unreadable"), _seconds(record), main))
    widths = [max(len(row[i]) for row in rows) for i in range(3)]
    lines = [f"{a:<{widths[0]}}  {b:<{widths[1]}}  {c:>{widths[2]}}  {d}".rstrip() for a, b, c, d in rows]
    return "\n".join([*lines, "", f"report: {Path(run_dir) / 'report.html'}"])


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
    """Write report.html, one HTML page per executed notebook, and summary.json; returns the report's path.

    All links are relative, so the run directory can be moved or sent; all text from records is escaped.
    """
    run_dir = Path(run_dir)
    stages = read_stages(run_dir)
    write_summary(run_dir)
    for stage in stages:
        _export_notebook(run_dir / stage)
    name = escape(Path(os.path.abspath(run_dir)).name)
    done = sum(r.get("status") == "done" for r in stages.values())
    parts = [
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">',
        f"<title>Movies2Scenes run {name}</title>",
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<style>{_CSS}</style></head><body><main>",
        f"<h1>Movies2Scenes run {name}</h1>",
        f'<p>{done} of {len(stages)} stages done. All numbers: <a href="summary.json">summary.json</a></p>',
        _stage_table(stages),
        *(_section(run_dir, stage, record) for stage, record in stages.items()),
        "</main></body></html>\n",
    ]
    path = run_dir / "report.html"
    with atomic_path(path) as temporary:
        temporary.write_text("\n".join(parts), encoding="utf-8")
    return path


def _stage_table(stages: dict[str, dict]) -> str:
    titles = ("Stage", "Status", "Seconds", "Peak memory, MB", "What came out")
    head = "".join(f'<th scope="col">{title}</th>' for title in titles)
    rows = "".join(_stage_row(stage, record) for stage, record in stages.items())
    caption = "<caption>Stages, in run order</caption>"
    return f"<table>{caption}<thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"


def _stage_row(stage: str, record: dict) -> str:
    status = escape(str(record.get("status", "unreadable")))
    memory = record.get("peak_memory_mb")
    main = "<br>".join(f"{escape(str(k))}: {escape(show(v))}" for k, v in headline(record).items())
    numbers = (_seconds(record), "" if memory is None else f"{memory:,.0f}")
    cells = "".join(f'<td class="number">{number}</td>' for number in numbers)
    return f'<tr><td><a href="#{stage}">{stage}</a></td><td>{status}</td>{cells}<td>{main}</td></tr>'


def _section(run_dir: Path, stage: str, record: dict) -> str:
    files = [("executed notebook", "notebook.html"), ("notebook file", "notebook.ipynb")]
    files += [("notebook up to the failure", "notebook.failed.ipynb"), ("record", RECORD)]
    links = [_link(f"{stage}/{file}", text) for text, file in files if (run_dir / stage / file).is_file()]
    error = f"<pre>{escape(str(record['error']))}</pre>" if record.get("error") else ""
    figures = [
        _figure(stage, f) for f in record.get("figures") or [] if (run_dir / stage / f["png"]).is_file()
    ]
    return "\n".join(
        [
            f'<section id="{stage}"><h2>{stage}</h2>',
            f"<p>{' · '.join(links)}</p>",
            error,
            *figures,
            "</section>",
        ]
    )


def _figure(stage: str, figure: dict) -> str:
    alt = escape(figure.get("alt") or f"Figure {figure['id']} of {stage}", quote=True)
    links = " · ".join(_link(f"{stage}/{figure[k]}", k.upper()) for k in ("pdf", "csv") if figure.get(k))
    source = quote(f"{stage}/{figure['png']}")
    image = f'<img src="{source}" alt="{alt}" loading="lazy">'
    return f"<figure>{image}<figcaption>{escape(figure['id'])} · {links}</figcaption></figure>"


def _link(path: str, text: str) -> str:
    return f'<a href="{quote(path)}">{escape(text)}</a>'


def _seconds(record: dict) -> str:
    return f"{record['seconds']:,.1f}" if isinstance(record.get("seconds"), int | float) else ""


def _export_notebook(folder: Path) -> None:
    """notebook.html beside notebook.ipynb, made again only when that is newer."""
    source, page = folder / "notebook.ipynb", folder / "notebook.html"
    if not source.is_file() or (page.is_file() and page.stat().st_mtime >= source.stat().st_mtime):
        return
    import nbformat
    from nbconvert import HTMLExporter

    node = nbformat.read(source, as_version=4)
    body, _ = HTMLExporter().from_notebook_node(node, resources={"metadata": {"name": folder.name}})
    with atomic_path(page) as temporary:
        temporary.write_text(body, encoding="utf-8")
