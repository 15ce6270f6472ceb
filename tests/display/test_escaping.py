"""Words out of other people's tables never become markup, wherever they are shown."""

from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import matplotlib.figure
import nbformat
import pandas as pd
import pytest

from m2s_lib.display import scene_html
from m2s_lib.display.explorer.draw import cards_html, pair_html
from m2s_lib.display.explorer.state import call_text, chosen, open_state
from m2s_lib.display.gallery.data import films_of
from m2s_lib.display.gallery.draw import gallery_html, static_html
from m2s_lib.display.gallery.state import open_state as open_gallery_state
from m2s_lib.display.playback import Clip
from m2s_lib.display.screen import Players, view_html
from m2s_lib.display.style import text_at
from m2s_lib.display.timelines import Cut, timeline_text
from m2s_lib.evaluation.paper.styled import styled_table
from m2s_lib.evaluation.retrieval.collection import SceneCollection
from m2s_lib.films.video.decoding import ScanConfig
from m2s_lib.runs.pipeline.kernel import write_notebook
from m2s_lib.runs.report.paper_files import write_tables
from m2s_lib.runs.report.report import _export_notebook
from tests.helpers.display_stores import make_store
from tests.helpers.explorer_films import N, make_scenes

EVIL = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "' onmouseover='alert(1)",
    "</figure></style><iframe src=javascript:alert(1)>",
    "&lt;script&gt; & <!--",
]
TAGS = {"script", "iframe", "object", "embed", "link", "meta", "base", "form", "svg"}


class Page(HTMLParser):
    """What a browser would make of a text."""

    def __init__(self, text: str):
        super().__init__()
        self.tags, self.wrong = [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.wrong += [f"<{tag}>"] if tag in TAGS else []
        for name, value in attributes:
            if name.startswith("on") or (value or "").strip().lower().startswith("javascript:"):
                self.wrong.append(f"{tag} {name}={value}")
            if name == "src" and not value.startswith("data:image/"):
                self.wrong.append(f"{tag} {name}={value}")


def check(text: str, evil: str) -> None:
    assert Page(text).wrong == []
    if "<" in evil:
        assert evil not in text


@pytest.mark.parametrize("evil", EVIL)
def test_parts_of_live_screens(tmp_path, evil):
    store = make_store(tmp_path, "a", n=4)
    for text in (
        scene_html.filmstrip_html(store, 0, 2, evil, actions=[(evil, evil, evil)]),
        scene_html.button_html(evil, evil, evil, hint=evil),
        scene_html.chip_html(evil, evil),
        scene_html.messages_html(evil, evil),
        scene_html.code_html(evil, evil),
        scene_html.clip_html(evil, evil, evil),
        scene_html.clip_html(Clip(Path(evil), 2.0, False), evil, evil),
    ):
        check(text, evil)


@pytest.mark.parametrize("evil", EVIL)
def test_the_explorer(tmp_path, evil):
    scenes = make_scenes(tmp_path, titles={"a": evil, "b": evil, "c": evil, "short": evil})
    state = open_state(scenes, "a", "b", second="second")
    a, b = chosen(scenes, state)
    state = replace(state, playing=(a, b), viewed=(a._replace(n=1), b._replace(n=1)), shows_call=True)
    players = Players(scenes.library, state, {a: evil})
    for text in (
        pair_html(scenes, state, players),
        cards_html(scenes, state),
        view_html(scenes.library, state, players),
    ):
        check(text, evil)
    compile(call_text(replace(state, film_a=evil, encoder=evil)), "pasted", "exec")  # names stay text


@pytest.mark.parametrize("evil", EVIL)
def test_the_gallery(tmp_path, evil):
    stores = {film: make_store(tmp_path, film, n=12) for film in "ab"}
    scenes = pd.DataFrame(
        [(f, s, N) for f in "ab" for s in (0, 4, 8)], columns=["film_id", "shot", "n_shots"]
    )
    scenes = scenes.assign(start_s=scenes.shot * 5.0, end_s=(scenes.shot + N) * 5.0, theme=evil, place=evil)
    films = pd.DataFrame({"film_id": ["a", "b"], "title": [evil, evil], "path": ["a.mp4", "b.mp4"]})
    vectors = {evil: scenes[["shot"]].to_numpy("float32")}
    collection = SceneCollection(
        tmp_path, scenes, films, stores, vectors, None, ScanConfig(32), tmp_path / "truth"
    )
    state = open_gallery_state(collection, "a", 0)
    players = Players(films_of(collection, state.query), state, {})
    for text in (gallery_html(collection, state, players), static_html(collection, state)):
        check(text, evil)


@pytest.mark.parametrize("evil", [*EVIL, r"\input{/etc/passwd} 50% $x$ a_b #1 {"])
def test_tables_of_the_paper(tmp_path, evil):
    numbers = pd.DataFrame({"model": [evil], evil: [0.5]})
    write_tables(tmp_path, {"t": numbers}, {"t": styled_table(numbers.set_index("model"))})
    page = (tmp_path / "t.html").read_text()
    check(page[page.index("<table") :], evil)  # before it stands the page's own head
    tex = (tmp_path / "t.tex").read_text()
    assert r"\input" not in tex
    for sign in "%$_#":
        assert tex.count(sign) == tex.count(f"\\{sign}"), (sign, tex)


@pytest.mark.parametrize("evil", EVIL)
def test_executed_notebooks_as_pages(tmp_path, evil):
    output = nbformat.v4.new_output("stream", text=evil)
    value = nbformat.v4.new_output("execute_result", data={"text/plain": evil}, execution_count=1)
    cell = nbformat.v4.new_code_cell(f"title = {evil!r}", outputs=[output, value], execution_count=1)
    write_notebook(nbformat.v4.new_notebook(cells=[cell]), tmp_path / "notebook.ipynb")
    _export_notebook(tmp_path)
    body = (tmp_path / "notebook.html").read_text()
    body = body[body.index("<main") :]
    check(body, evil)


@pytest.mark.parametrize("evil", EVIL)
def test_titles_in_figures_and_edit_lists_are_only_text(evil):
    figure = matplotlib.figure.Figure(figsize=(4, 1))
    text_at(figure, 0.1, 0.1, f"{evil} $\\frac{{1}}{{0}}$")
    figure.canvas.draw()  # not read as mathematics
    cut = Cut(f"a\n{evil}", evil, f"{evil}\n001  AX V C", 24.0, 0.0, 1.0, evil, 0.5, f"{evil}\n002")
    cuts = [cut, replace(cut, film_id="b")]
    text = timeline_text("edl", cuts, f"{evil}\n003")
    assert [line[:3] for line in text.splitlines() if line[:3].isdigit()] == ["001", "002"]
    names = {
        clip.get("name") for clip in ElementTree.fromstring(timeline_text("fcpxml", cuts, evil)).iter("clip")
    }
    assert names == {f"{evil}: {evil}".replace("'", "’")}
