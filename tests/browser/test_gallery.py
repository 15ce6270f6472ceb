"""Notebook 08 in JupyterLab: all ways to ask, to go on and back, with mouse and keys, in both themes."""

import pytest

from m2s_lib.io import write_json
from m2s_lib.stages.screens import read_collection
from tests.helpers.lab_pages import least_contrast, measured_ms, open_notebook, run_all, watch
from tests.helpers.servers import start_page, status_of

NOTEBOOK = "08_retrieval_gallery.ipynb"
GALLERY = ".m2s-retrieval .m2s-gallery"
QUERY = f"{GALLERY} .m2s-query .m2s-strip"
FOUND = f"{GALLERY} .m2s-column:first-child .m2s-result .m2s-strip"
LIMIT_MS = 1000  # a busy machine renders in software; the time is printed


@pytest.fixture
def gallery(open_page, lab):
    page = open_page()
    open_notebook(page, lab, NOTEBOOK)
    run_all(page, FOUND)
    page.locator(GALLERY).scroll_into_view_if_needed()
    return page


def scene(page, selector: str, at: int = 0) -> tuple[str, int]:
    """Film and first shot of a filmstrip."""
    strip = page.locator(selector).nth(at)
    return strip.get_attribute("data-film"), int(strip.get_attribute("data-shot"))


def test_a_result_becomes_the_query_and_the_way_leads_back(gallery, finished_run):
    page, collection = gallery, read_collection(finished_run)
    begun, result = scene(page, QUERY), scene(page, FOUND, 1)
    assert begun != result
    assert page.locator(f"{QUERY} img").count() == 9
    watch(page, ".m2s-retrieval")
    page.locator(f"{GALLERY} .m2s-column:first-child [data-act=scene-of]").nth(1).click()
    page.wait_for_function(f"document.querySelector('{QUERY}').dataset.film === '{result[0]}'")
    took = measured_ms(page)
    print(f"\nuse as query: {took:.0f} ms from the click to the painted filmstrips")
    assert took < LIMIT_MS
    assert scene(page, QUERY) == result
    store = collection.stores[result[0]]
    distance, rows = collection.nearest(collection.encoders[0], store, result[1], 9, 2)
    expected = [(str(f), int(s)) for f, s in collection.scenes[["film_id", "shot"]].iloc[rows].to_numpy()]
    assert [scene(page, FOUND, i) for i in range(2)] == expected
    nearness = page.locator(f"{GALLERY} .m2s-column:first-child .m2s-near").first
    assert nearness.get_attribute("title") == f"distance {distance[0]:.3g}"
    assert nearness.inner_text().startswith("the nearest of")
    page.locator(f"{GALLERY} [data-act=back]").click()
    page.wait_for_function(f"document.querySelector('{QUERY}').dataset.film === '{begun[0]}'")
    assert scene(page, QUERY) == begun
    assert page.locator(f"{GALLERY} [data-act=back]").is_disabled()


def test_keys_lead_through_results_and_scenes(gallery):
    page = gallery
    begun, result = scene(page, QUERY), scene(page, FOUND)
    page.locator(f"{QUERY} .m2s-title").click()
    page.keyboard.press("1")
    page.wait_for_function(f"document.querySelector('{QUERY}').dataset.film === '{result[0]}'")
    assert scene(page, QUERY) == result
    page.keyboard.press("b")
    page.wait_for_function(f"document.querySelector('{QUERY}').dataset.film === '{begun[0]}'")
    assert scene(page, QUERY) == begun


def test_filters_and_the_second_encoder(gallery, finished_run):
    page, collection = gallery, read_collection(finished_run)
    assert page.locator(f"{GALLERY} .m2s-column").count() == 2
    theme = sorted({t for t in collection.scenes.theme if t})[0]
    page.select_option(".m2s-retrieval .m2s-theme select", theme)
    page.wait_for_selector(f"{GALLERY} >> text=scenes pass the filters")
    films = [scene(page, FOUND, i) for i in range(page.locator(FOUND).count())]
    table = collection.scenes.set_index(["film_id", "shot"])
    assert films
    assert {table.at[key, "theme"] for key in films} == {theme}
    page.select_option(".m2s-retrieval .m2s-second select", "none")
    page.wait_for_function(f"document.querySelectorAll('{GALLERY} .m2s-column').length === 1")


def test_a_stretch_of_a_file_is_asked_and_plays(gallery, finished_run):
    page, collection = gallery, read_collection(finished_run)
    film = next(p for p in collection.media.values() if p)
    page.locator(".m2s-retrieval button.m2s-file").click()
    page.fill(".m2s-retrieval .m2s-path input", film)
    page.fill(".m2s-retrieval .m2s-to input", "12")
    page.locator(".m2s-retrieval button.m2s-clip").click()
    page.wait_for_selector(".m2s-retrieval .m2s-notice >> text=found from 0 to 12 s", timeout=60_000)
    page.locator(f"{GALLERY} .m2s-query [data-act=play]").click()
    page.wait_for_function(
        f"(document.querySelector('{GALLERY} video') || {{}}).currentTime > 0.2", timeout=60_000
    )
    page.fill(".m2s-retrieval .m2s-path input", "no such film.mp4")
    page.locator(".m2s-retrieval button.m2s-clip").click()
    page.wait_for_selector(".m2s-retrieval .m2s-error >> text=there is no such file")


def test_the_explorers_scene_arrives(gallery, finished_run):
    page, collection = gallery, read_collection(finished_run)
    film, shot = collection.scenes.iloc[-1][["film_id", "shot"]]
    query = {"film_id": film, "shot": int(shot), "n_shots": int(collection.scenes.n_shots.iloc[-1])}
    write_json(finished_run / "query.json", query)
    page.locator(".m2s-retrieval button.m2s-explorer").click()
    page.wait_for_selector(".m2s-retrieval .m2s-notice >> text=the explorer's scene")
    assert scene(page, QUERY) == (film, int(shot))


@pytest.mark.parametrize("theme", ["JupyterLab Light", "JupyterLab Dark"])
def test_both_themes_are_readable(open_page, lab, theme):
    lab.use_theme(theme)
    page = open_page(width=760)
    open_notebook(page, lab, NOTEBOOK)
    run_all(page, FOUND)
    page.locator(GALLERY).scroll_into_view_if_needed()
    worst = least_contrast(page, GALLERY)
    assert worst["ratio"] >= 4.5, worst
    for width in (760, 1400, 1920):
        page.set_viewport_size({"width": width, "height": 1000})
        assert page.evaluate("document.querySelector('.m2s-retrieval').scrollWidth") <= width
    lab.use_theme("JupyterLab Light")


def test_the_page_for_others_has_no_code_and_asks_for_its_token(open_page, finished_run, tmp_path):
    with start_page(finished_run, tmp_path) as server:
        assert server.token
        assert status_of(f"{server.url}/voila/files/run.json?token={server.token}") in (403, 404)
        page = open_page()
        page.goto(f"{server.url}/?token={server.token}#tab=search")
        page.wait_for_selector(FOUND, timeout=120_000)
        assert page.locator(".jp-InputArea-editor, .jp-CodeMirrorEditor").count() == 0
        before = scene(page, QUERY)
        page.locator(f"{GALLERY} .m2s-column:first-child [data-act=scene-of]").first.click()
        page.wait_for_function(
            f"JSON.stringify([document.querySelector('{QUERY}').dataset.film,"
            f" document.querySelector('{QUERY}').dataset.shot]) !== '[\"{before[0]}\",\"{before[1]}\"]'"
        )
        page.close()  # before its server
        stranger = open_page()
        stranger.goto(server.url)
        assert stranger.locator(GALLERY).count() == 0
        assert "login" in stranger.url
        stranger.close()
