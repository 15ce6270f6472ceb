"""JupyterLab and Voilà as people start them: on loopback, with a token, without the user's own settings."""

import contextlib
import json
import os
import re
import secrets
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.conftest import ROOT

_TRACKER = "notebook-extension/tracker.jupyterlab-settings"
_APPUTILS = "apputils-extension"


@dataclass(frozen=True)
class Server:
    """A running server: its address, its token, and where JupyterLab reads its user's settings."""

    url: str
    token: str
    settings: Path

    def use_theme(self, name: str) -> None:
        """'JupyterLab Light' or 'JupyterLab Dark', from the next page on."""
        _write(self.settings, f"{_APPUTILS}/themes.jupyterlab-settings", {"theme": name})


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


@contextlib.contextmanager
def start_lab(folder: Path, home: Path) -> Iterator[Server]:
    """JupyterLab with `folder` as its root; `home` takes everything that it writes."""
    port, token, settings = free_port(), secrets.token_hex(16), home / "settings"
    _write(settings, _TRACKER, {"windowingMode": "none", "autosaveInterval": 3600})
    _write(settings, f"{_APPUTILS}/notification.jupyterlab-settings",
           {"fetchNews": "false", "checkForUpdates": False})  # fmt: skip
    command = [
        sys.executable, "-m", "jupyter", "lab", "--no-browser", "--allow-root", "--ip=127.0.0.1",
        f"--port={port}",
        "--ServerApp.port_retries=0", f"--IdentityProvider.token={token}", f"--ServerApp.root_dir={folder}",
        "--LabApp.extension_manager=readonly", "--LabApp.news_url=None",
    ]  # fmt: skip
    with _running(command, home, {"JUPYTERLAB_SETTINGS_DIR": str(settings)}) as process:
        server = Server(f"http://127.0.0.1:{port}", token, settings)
        _wait(process, f"{server.url}/api?token={token}", home)
        yield server


@contextlib.contextmanager
def start_page(run_dir: Path, home: Path, *options: str) -> Iterator[Server]:
    """The gallery as a page, as `make gallery` starts it; the token is the one that it prints."""
    port = free_port()
    command = [sys.executable, "-m", "m2s_lib.runs.report.gallery_page", str(run_dir), f"--port={port}"]
    with _running([*command, *options], home, {}) as process:
        url = f"http://127.0.0.1:{port}"
        _wait(process, f"{url}/login", home)
        token = re.search(r"\?token=(\w+)", (home / "log").read_text())
        yield Server(url, token[1] if token else "", home)


@contextlib.contextmanager
def _running(command: list[str], home: Path, env: dict[str, str]) -> Iterator[subprocess.Popen]:
    own = {f"JUPYTER_{k}_DIR": str(home / k.lower()) for k in ("CONFIG", "DATA", "RUNTIME")}
    own |= {"JUPYTERLAB_WORKSPACES_DIR": str(home / "workspaces"), "M2S_ROOT": str(ROOT), **env}
    quiet = {k: v for k, v in os.environ.items() if not k.startswith(("PYTEST", "M2S_", "JPY_"))}
    with open(home / "log", "w") as log:
        process = subprocess.Popen(
            command, cwd=ROOT, stdout=log, stderr=subprocess.STDOUT, env=quiet | own, start_new_session=True
        )
        try:
            yield process
        finally:
            process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(20)
            process.kill()


def _wait(process: subprocess.Popen, url: str, home: Path, seconds: float = 60) -> None:
    until = time.monotonic() + seconds
    while True:
        with contextlib.suppress(OSError):
            urllib.request.urlopen(url, timeout=5).close()
            return
        assert process.poll() is None, (home / "log").read_text()[-3000:]
        assert time.monotonic() < until, (home / "log").read_text()[-3000:]
        time.sleep(0.2)


def status_of(url: str) -> int:
    """The HTTP status of an address, redirections followed."""
    try:
        with urllib.request.urlopen(url, timeout=10) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        return error.code


def _write(settings: Path, name: str, value: dict) -> None:
    path = settings / "@jupyterlab" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value))
