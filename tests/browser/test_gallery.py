"""Notebook 08 in JupyterLab: all ways to ask, to go on and back, with mouse and keys, in both themes."""

import pytest

from m2s_lib.evaluation.scene_collection import read_collection
from tests.browser.lab_pages import measured_ms, open_notebook, run_all, watch

NOTEBOOK = "08_retrieval_gallery.ipynb"
GALLERY = ".m2s-retrieval .m2s-gallery"
QUERY = f"{GALLERY} .m2s-query .m2s-strip"
FOUND = f"{GALLERY} .m2s-column:first-child .m2s-result .m2s-strip"
LIMIT_MS = 300


@pytest.fixture(scope="module", autouse=True)
def _module():
    """One page for the whole module would hide errors: each test opens its own."""


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
    watch(page, GALLERY)
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
    first = page.locator(f"{GALLERY} .m2s-column:first-child .m2s-result").first.inner_text()
    assert f"distance {distance[0]:.3g}" in first
    page.locator(f"{GALLERY} [data-act=back]").click()
    page.wait_for_function(f"document.querySelector('{QUERY}').dataset.film === '{begun[0]}'")
    assert scene(page, QUERY) == begun
    assert page.locator(f"{GALLERY} [data-act=back]").is_disabled()
