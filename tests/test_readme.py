"""Every command that README.md tells a user to type has a test that runs it, or a reason."""

import re

import pytest

from tests.conftest import ROOT

RUN_BY = {  # command -> the file that runs it on small input, or why nothing does
    "make demo": "Makefile: nbval runs the same notebooks with the profile smoke",
    "make test": ".ci/run: calls it",
    "make test-slow": ".ci/run: calls it",
    "make test-browser": ".ci/run: calls it",
    "make test-ray": ".ci/run: calls it",
    "make lab": "tests/browser/conftest.py: starts JupyterLab",
    "make gallery": "tests/runs/report/test_gallery_page.py: serves the page",
    "make open DIR=path/to/films": "tests/notebooks/test_own_films.py: m2s open, which it calls",
    "make figures": "tests/notebooks/test_sparse_runs.py: 09, which it runs alone",
    "make figures PROFILE=paper": "tests/notebooks/test_sparse_runs.py: 09, which it runs alone",
    "make bench": "tests/benchmarks/test_benchmarks.py: every path, small",
    "make bench-gpu": "tests/benchmarks/test_benchmarks.py: the GPU's way on the CPU; a GPU is not in CI",
    "m2s open DIR --run-dir runs/mine": "tests/notebooks/test_own_films.py: on made films",
    "m2s open films": "tests/notebooks/test_own_films.py: on made films",
    "m2s run films --films-dir DIR": "tests/notebooks/test_own_films.py: on made films, one of one shot",
    "m2s fetch open-films sintel": "tests/runs/test_fetch.py: from a local server",
    "m2s run ovsd": "tests/notebooks/test_benchmark_inputs.py: ready features through the notebooks",
    "m2s run ovsd -p 01.films_dir=ovsd -p 06.bbc_dir=bbc": "tests/evaluation/movienet/test_ovsd.py: all 20 films",
    "m2s run claims --jobs 2": "tests/runs/sweep/test_sweep.py: settings and repeats, on toy notebooks",
    "m2s run ablation --jobs 2": "tests/runs/sweep/test_sweep.py: settings and repeats, on toy notebooks",
    "m2s run PROFILE -p 03.shots_per_scene=4": "tests/runs/parameters/test_parameters.py: overrides",
    ".venv/bin/m2s run paper -p 01.films_dir=path/to/films -p 02.watch_log=path/to/log": (
        "tests/notebooks/test_structure.py: planned only; it is meant for GPUs"
    ),
    "python -m benchmarks.same_scene": "tests/benchmarks/test_same_scene.py: its number, by hand",
    "python -m benchmarks.primaries --worlds 102 103 104 105 106 107": (
        "tests/benchmarks/test_primaries.py: on two small worlds of made-up features"
    ),
    "python -m benchmarks.primaries --kind shapes --worlds 100": (
        "tests/benchmarks/test_primaries.py: on two small worlds of made-up features"
    ),
    "m2s params": "tests/runs/test_cli.py: lists them",
    "m2s --help": "tests/runs/test_cli.py: prints it",
    "pip install -e '.[ray]'": "Makefile: test-ray installs it",
    "pip install -e '.[shots]'": "pyproject.toml: an extra; no CI step installs it",
    "conda env create -f environment.yml": "tests/test_environment.py: its packages are pyproject's",
}


def commands() -> set[str]:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```\w*\n(.*?)```", text, re.DOTALL)
    lines = {line.strip() for block in blocks for line in block.splitlines()}
    inline = set(re.findall(r"`([^`\n]+)`", re.sub(r"```.*?```", "", text, flags=re.DOTALL)))
    first = r"(\.venv/bin/)?(make|m2s|python|pip|conda) ."
    return {c for c in lines | inline if re.match(first, c)} - {"m2s fetch"}


def test_every_command_of_the_readme_has_an_entry():
    assert sorted(commands() - set(RUN_BY)) == [], "new in README.md: name here what runs it"
    assert sorted(set(RUN_BY) - commands()) == [], "no longer in README.md"


@pytest.mark.parametrize("command", RUN_BY)
def test_what_runs_it_is_there(command):
    place, _, how = RUN_BY[command].partition(": ")
    assert (ROOT / place).is_file()
    assert how
