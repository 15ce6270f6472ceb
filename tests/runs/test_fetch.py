"""Downloads against a server on this machine that breaks off, refuses, or sends something else."""

import hashlib
import http.server
import threading

import numpy as np
import pytest
import yaml

from m2s_lib.errors import M2SError
from m2s_lib.runs.fetch import fetch_films
from tests.conftest import ROOT

FILM = np.random.default_rng(0).bytes(3_000_000)
SUM = hashlib.sha256(FILM).hexdigest()


class Server(http.server.BaseHTTPRequestHandler):
    """/film: with ranges; /broken: ends early the first time; /other: another file; else 404."""

    asked: list = []
    broken_once: list = []

    def do_GET(self):
        self.asked.append((self.path, self.headers.get("Range")))
        body = {"/film": FILM, "/broken": FILM, "/plain": FILM, "/other": b"x" * 10}.get(self.path)
        if body is None:
            return self.send_error(404)
        start = self.headers.get("Range") if self.path != "/plain" else None
        begun = int(start.removeprefix("bytes=").rstrip("-")) if start else 0
        if begun >= len(body):
            return self.send_error(416)
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(body) - begun))
        self.end_headers()
        body = body[begun:]
        if self.path == "/broken" and not self.broken_once:
            self.broken_once.append(1)
            body = body[: len(body) // 2]
        self.wfile.write(body)

    def log_message(self, *_):
        pass


@pytest.fixture
def address():
    Server.asked, Server.broken_once = [], []
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Server)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()


def manifest(folder, *addresses):
    film = {"file": "film.mp4", "sha256": SUM, "addresses": list(addresses)}
    (folder / "m.yaml").write_text(yaml.safe_dump({"films": {"film": film}}))
    return folder / "m.yaml"


@pytest.mark.parametrize("kind", ["film", "broken", "plain"])
def test_a_film_is_fetched_whole(tmp_path, address, kind):
    (file,) = fetch_films([], tmp_path / "films", manifest(tmp_path, f"{address}/{kind}"))
    assert file.read_bytes() == FILM
    assert [p.name for p in (tmp_path / "films").iterdir()] == ["film.mp4"]
    asked = len(Server.asked)
    fetch_films(["film"], tmp_path / "films", manifest(tmp_path, f"{address}/{kind}"))
    assert len(Server.asked) == asked, "a film that is there is not asked for"
    if kind == "broken":
        assert Server.asked[1][1] == f"bytes={len(FILM) // 2}-"


def test_what_is_there_in_part_goes_on(tmp_path, address):
    (tmp_path / "film.mp4.part").write_bytes(FILM[:1_000_000])
    (file,) = fetch_films([], tmp_path, manifest(tmp_path, f"{address}/film"))
    assert file.read_bytes() == FILM
    assert Server.asked == [("/film", "bytes=1000000-")]


def test_the_next_address_is_asked_when_one_refuses_or_sends_another_file(tmp_path, address):
    path = manifest(tmp_path, f"{address}/nowhere", f"{address}/other", f"{address}/film")
    (file,) = fetch_films([], tmp_path, path)
    assert file.read_bytes() == FILM


def test_no_address_that_answers_is_said_with_every_reason(tmp_path, address):
    path = manifest(tmp_path, f"{address}/nowhere", f"{address}/other", "http://127.0.0.1:9/film")
    with pytest.raises(M2SError) as error:
        fetch_films([], tmp_path, path)
    text = str(error.value)
    assert "/nowhere: 404 Not Found" in text
    assert "/other: the file has the sum " in text
    assert "127.0.0.1:9/film: " in text
    assert f"or put the file at {tmp_path / 'film.mp4'}" in text


def test_an_unknown_film_names_the_films(tmp_path):
    with pytest.raises(M2SError, match="there is no film 'x'; the films are sintel, tears-of-steel, eleph"):
        fetch_films(["x"], tmp_path)


def test_the_manifest_is_whole():
    films = yaml.safe_load((ROOT / "data_manifests/open_films.yaml").read_text())["films"]
    for film in films.values():
        assert len(film["sha256"]) == 64
        assert all(a.startswith("https://") and a.endswith(film["file"]) for a in film["addresses"])
