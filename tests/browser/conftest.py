"""A real browser on a real JupyterLab, over a small run that is made once.

Without Chromium or playwright these tests skip and say why; M2S_NEED_BROWSER=1 makes that a failure.
"""

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.helpers.servers import start_lab

CHROMIUM = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
STAGES = ("01", "02", "03", "04", "08")  # that the two screens need
_SIZE = {"width": 1400, "height": 1000}
_ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-dev-shm-usage",
              "--disable-background-networking", "--disable-component-update", "--disable-sync"]  # fmt: skip


def find_chromium() -> str:
    """Path of Chromium or Chrome, '' where there is none; M2S_CHROMIUM names one."""
    return os.environ.get("M2S_CHROMIUM") or next(filter(None, map(shutil.which, CHROMIUM)), "")


def missing() -> str:
    """What keeps these tests from running, '' when nothing does."""
    if not find_chromium():
        return "no Chromium found: apt-get install chromium, or name one in M2S_CHROMIUM"
    lacking = [name for name in ("playwright", "voila") if importlib.util.find_spec(name) is None]
    return f"{' and '.join(lacking)} not installed: pip install -e '.[browser]'" if lacking else ""


def pytest_collection_modifyitems(items):
    here = Path(__file__).parent
    mine = [item for item in items if here in item.path.parents]
    for item in mine:
        item.add_marker("browser")
        item.add_marker(pytest.mark.timeout(300))
    if mine and (why := missing()):
        if os.environ.get("M2S_NEED_BROWSER"):
            raise pytest.UsageError(f"the browser tests were asked for, but {why}")
        for item in mine:
            item.add_marker(pytest.mark.skip(reason=why))


@pytest.fixture(scope="session")
def finished_run(tmp_path_factory) -> Path:
    """A run directory with the stages of `STAGES` done; M2S_BROWSER_RUN names one that is there already."""
    given = os.environ.get("M2S_BROWSER_RUN", "")
    run_dir = Path(given) if given else tmp_path_factory.mktemp("browser") / "run"
    if not (run_dir / "08_retrieval_gallery" / "encoders.json").exists():
        only = [word for stage in STAGES for word in ("--only", stage)]
        _m2s("run", "smoke", "--run-dir", str(run_dir), *only)
    return run_dir


@pytest.fixture(scope="session")
def notebooks(tmp_path_factory, finished_run) -> Path:
    """The notebooks as JupyterLab opens them, copies with the run's values: the browser saves them."""
    folder = tmp_path_factory.mktemp("lab") / "notebooks"
    _m2s("prepare", "smoke", "--run-dir", str(finished_run), "--out", str(folder))
    return folder


def _m2s(*words: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "m2s_lib.runs.cli", *words], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]


@pytest.fixture(scope="session")
def lab(tmp_path_factory, notebooks):
    """JupyterLab over `notebooks`, on loopback with a token."""
    with start_lab(notebooks, tmp_path_factory.mktemp("jupyter")) as server:
        yield server


@pytest.fixture(scope="session")
def chromium():
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=find_chromium(), headless=True, args=_ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture
def open_page(chromium):
    """Opens pages; the test fails when one wrote an error to its console or fetched from elsewhere."""
    pages, said = [], []

    def heard(message):
        if message.type == "error":
            said.append(f"console: {message.text} ({message.location.get('url', '')})")

    def fetched(request):
        if not request.url.startswith(("http://127.0.0.1:", "ws://127.0.0.1:", "data:", "blob:")):
            said.append(f"another host: {request.url}")

    def open_one(**size):
        page = chromium.new_page(viewport=_SIZE | size)
        page.on("console", heard)
        page.on("pageerror", lambda error: said.append(f"page error: {error}"))
        page.on("request", fetched)
        page.set_default_timeout(30_000)
        pages.append(page)
        return page

    yield open_one
    for page in pages:
        page.close()
    assert said == []
