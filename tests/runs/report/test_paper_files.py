"""Tables and figures as files named by the paper's numbers, from a run of the toy project."""

import pandas as pd

from m2s_lib.evaluation.paper.styled import styled_table
from m2s_lib.io import write_json
from m2s_lib.runs.report import paper_files
from m2s_lib.runs.report.paper_files import publish, write_figures, write_table, write_tables


def test_intervals_and_counts_stand_below_their_value_in_html(tmp_path):
    shown = pd.DataFrame(
        {"place": ["26.3 [19.8, 32.8] (n = 167, 3 seeds)"], "year": [4.5]}, index=["Ours (co-watch)"]
    )
    write_table(tmp_path, "table1", shown, styled_table(shown))
    page = (tmp_path / "table1.html").read_text()
    assert ">26.3<br>[19.8, 32.8]<br>(n = 167, 3 seeds)</td>" in page
    assert ">Ours (co-watch)</th>" in page
    assert ">4.5</td>" in page
    assert page.startswith("<!doctype html>")
    assert "26.3 [19.8, 32.8] (n = 167, 3 seeds)" in (tmp_path / "table1.tex").read_text()
    write_table(tmp_path / "again", "table1", shown, styled_table(shown))
    assert (tmp_path / "again/table1.html").read_text() == page  # the same table gives the same bytes


def test_tables_as_csv_html_and_latex_escape_what_they_hold(tmp_path):
    numbers = pd.DataFrame({"model": ["<b>ours</b> & co_watch"], "value": [0.5]})
    write_tables(tmp_path, {"table1": numbers}, {"table1": styled_table(numbers.set_index("model"))})
    assert (tmp_path / "table1.csv").read_text() == "model,value\n<b>ours</b> & co_watch,0.5\n"
    assert "&lt;b&gt;ours&lt;/b&gt; &amp; co_watch" in (tmp_path / "table1.html").read_text()
    assert r"\& co\_watch" in (tmp_path / "table1.tex").read_text()


def test_figures_come_from_the_stages_and_missing_ones_say_so(done, tmp_path, monkeypatch):
    wanted = (("Fig. 2: numbers", "fig2", "02", "numbers"), ("Fig. 9: none", "fig9", "02", "other"))
    monkeypatch.setattr(paper_files, "FIGURES", wanted)
    table = write_figures(tmp_path, done / "runs/toy", done)
    drawn = done / "runs/toy/02_sums/figures"
    for kind in ("png", "pdf", "csv"):
        assert (tmp_path / f"fig2.{kind}").read_bytes() == (drawn / f"numbers.{kind}").read_bytes()
    assert table["drawn"].tolist() == ["yes", "no: 02_sums of this run has not drawn other"]
    assert table["alt"][0] == 'Numbers & "more"'
    assert pd.read_csv(tmp_path / "figures.csv")["file"].tolist() == ["fig2", "fig9"]


def test_the_link_moves_with_the_run(tmp_path):
    run = tmp_path / "run"
    (run / "09_x/paper").mkdir(parents=True)
    write_json(run / "09_x/paper/a.json", {})
    publish(run, run / "09_x/paper")
    publish(run, run / "09_x/paper")  # twice is harmless
    run.rename(tmp_path / "moved")
    assert (tmp_path / "moved/paper/a.json").is_file()


def test_the_projects_figures_are_drawn_by_its_notebooks():
    """Every entry names a figure that its notebook saves."""
    from m2s_lib.runs.project import project_root

    for _, _, number, drawn_as in paper_files.FIGURES:
        notebook = next((project_root() / "notebooks").glob(f"{number}_*.ipynb"))
        text = notebook.read_text()
        numbered = ("supp_fig{number}_{name}", 'f\\"supp_fig{number}\\"')
        assert f'\\"{drawn_as}\\"' in text or any(n in text for n in numbered), drawn_as
