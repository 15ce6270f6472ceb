"""The report: complete, escaped, relative."""

import re
from html.parser import HTMLParser

import nbformat
import pandas as pd
import pytest

from m2s_lib.errors import M2SError
from m2s_lib.evaluation.paper.styled import styled_table
from m2s_lib.io import read_json, write_json
from m2s_lib.runs.report.paper_files import write_table
from m2s_lib.runs.report.report import headline, show, summary_table, write_report


class Page(HTMLParser):
    """Tags, links and alt texts of a page."""

    def __init__(self, text: str):
        super().__init__()
        self.tags, self.links, self.alts = [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        found = dict(attributes)
        self.tags.append(tag)
        self.links += [found[k] for k in ("href", "src") if k in found]
        self.alts += [found["alt"]] if "alt" in found else []


def test_the_report_links_what_there_is_and_escapes_what_it_shows(done):
    run = done / "runs" / "toy"
    path = write_report(run)
    text = path.read_text()
    page = Page(text)
    assert "<script" not in text
    assert "&lt;script&gt;alert(1)&lt;/script&gt;: 14" in text
    assert page.alts == ['Numbers & "more"']
    files = [link for link in page.links if not link.startswith("#")]
    assert len(files) == 1 + 3 * 3 + 3  # summary; notebook twice and record a stage; figure as png, pdf, csv
    for link in files:
        assert not link.startswith(("/", "http", "..")), link
        assert (run / link).is_file()
    assert [t for t in page.tags if t == "section"] == ["section"] * 3
    assert "color-scheme: light dark" in text
    exported = (run / "02_sums" / "notebook.html").read_text()
    assert "image/png" in exported
    assert re.search("<title>02_sums</title>", exported)


def test_names_from_records_cannot_break_out(done):
    run = done / "runs" / "toy"
    evil = '"><img src=x onerror=alert(1)>'
    for stage, changes in {
        "01_numbers": {"metrics": {"headline": {evil: evil}}, "status": evil},
        "02_sums": {"status": "failed", "error": evil},
    }.items():
        record = read_json(run / stage / "run.json")
        for figure in record["figures"]:
            figure["alt"] = evil
        write_json(run / stage / "run.json", {**record, **changes})
    page = Page(write_report(run).read_text())
    assert page.tags.count("img") == 1
    assert page.alts == [evil]
    assert "x" not in page.links


def test_what_was_found_stands_first_and_the_papers_tables_inside(done):
    run = done / "runs" / "toy"
    record = read_json(run / "03_table" / "run.json")
    record["metrics"] = {"sentences": ["It <holds>."], "headline": {"same theme, cowatch": "shot_encoder"}}
    write_json(run / "03_table" / "run.json", record)
    shown = pd.DataFrame({"place": ["<1.0>"]}, index=["Ours"])
    write_table(run / "paper", "table2", shown, styled_table(shown))
    text = write_report(run).read_text()
    places = [
        text.index(words) for words in ("It &lt;holds&gt;.", "Table 2: LVU", "&lt;1.0&gt;", "Stages, in")
    ]
    assert places == sorted(places)
    assert "same theme, co-watch: looks (E_shot)" in text
    assert text.count("Numbers &amp; &#34;more&#34;") == 2  # described, and the caption


def test_summary_json_merges_what_stages_offer(done):
    run = done / "runs" / "toy"
    record = read_json(run / "03_table" / "run.json")
    record["metrics"]["summary"] = {"sums": {"more": 1}, "new": [1, 2]}
    write_json(run / "03_table" / "run.json", record)
    write_report(run)
    summary = read_json(run / "summary.json")
    assert summary["sums"] == {"total": 14.0, "more": 1}
    assert summary["new"] == [1, 2]
    assert list(summary["stages"]) == ["01_numbers", "02_sums", "03_table"]
    assert list(summary["stages"]["01_numbers"]) == ["seconds", "peak_memory_mb", "status"]
    assert summary["stages"]["03_table"]["status"] == "done"


def test_the_table_at_the_end(done):
    run = done / "runs" / "toy"
    (run / "03_table" / "run.json").write_text("{")
    lines = summary_table(run).splitlines()
    assert re.fullmatch(r"stage +status +seconds  what came out", lines[0])
    assert re.fullmatch(r"01_numbers +done +[\d.]+  numbers 4", lines[1])
    assert re.fullmatch(r"02_sums +done +[\d.]+  total 14, of 4", lines[2])
    assert re.fullmatch(r"03_table +unreadable", lines[3])
    assert lines[-1] == f"report: {run}/report.html"
    assert "unreadable" in write_report(run).read_text()


def test_what_came_out_stays_within_its_column(done):
    record = read_json(done / "runs" / "toy" / "01_numbers" / "run.json")
    record["metrics"]["headline"] = {"not measured": "nothing says which films are similar, " * 6}
    write_json(done / "runs" / "toy" / "01_numbers" / "run.json", record)
    first, *rest = summary_table(done / "runs" / "toy").splitlines()[1:]
    margin = first.index("not measured")
    assert rest[0][:margin].isspace()
    assert rest[0][margin:].startswith(("nothing", "says", "which", "films", "are", "similar"))
    assert max(map(len, (first, *rest[:3]))) <= 110


def test_the_table_ends_with_the_last_sentences(done):
    run = done / "runs" / "toy"
    for stage, sentences in (("01_numbers", ["Too early."]), ("02_sums", ["It holds.", "word " * 40])):
        record = read_json(run / stage / "run.json")
        record["metrics"]["sentences"] = sentences
        write_json(run / stage / "run.json", record)
    text = summary_table(run)
    assert "\n\nIt holds.\n\nword word" in text
    assert "Too early" not in text
    assert all(len(line) <= 110 for line in text.splitlines() if line.startswith("word"))


def test_a_folder_that_is_no_run(tmp_path):
    for folder in (tmp_path, tmp_path / "none"):
        with pytest.raises(M2SError, match="is not a run directory: it holds no NN_name/run.json"):
            write_report(folder)


def test_metrics_as_text():
    assert [show(v) for v in (1234567, 0.45678, 123456.7, True, None, "x")] == [
        "1,234,567",
        "0.4568",
        "123,457",
        "yes",
        "not measured",
        "x",
    ]
    assert headline({"metrics": {"a": 1, "b": {}, "c": "x", "d": 2.0, "e": 3, "f": 4, "timing": {}}}) == {
        "a": 1,
        "c": "x",
        "d": 2.0,
        "e": 3,
    }
    assert headline({}) == {}


def test_a_page_fetches_nothing_and_its_equations_need_no_script(done):
    folder = done / "runs" / "toy" / "02_sums"
    node = nbformat.read(folder / "notebook.ipynb", as_version=4)
    text = "The loss is $x_1 < 2$, not `$5`:\n\n$$\n\\frac{a}{b}\n$$\n\nIt costs 3 $ and \\$4."
    node.cells.append(nbformat.v4.new_markdown_cell(text))
    nbformat.write(node, folder / "notebook.ipynb")
    write_report(folder.parent)
    page = (folder / "notebook.html").read_text()
    assert [a for a in Page(page).links if a.startswith(("http", "//"))] == []
    assert not re.search(r"(import|from|url|src|href)[ (=]*['\"]?(https?:)?//", page)
    assert page.count("<math ") == 2
    assert "<mfrac><mrow><mi>a</mi></mrow><mrow><mi>b</mi></mrow></mfrac>" in page
    assert "<code>$5</code>" in page
    assert "It costs 3 $ and" in page


def test_a_failed_stage_is_in_the_report(done):
    run = done / "runs" / "toy"
    record = read_json(run / "02_sums" / "run.json")
    write_json(run / "02_sums" / "run.json", {"stage": "02_sums", "status": "failed", "error": "cell 3: <b>"})
    (run / "02_sums" / "notebook.ipynb").rename(run / "02_sums" / "notebook.failed.ipynb")
    text = write_report(run).read_text()
    assert "<pre>cell 3: &lt;b&gt;</pre>" in text
    assert "2 of 3 stages done" in text
    assert "02_sums/notebook.failed.ipynb" in Page(text).links
    assert record["status"] == "done"
