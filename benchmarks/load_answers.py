"""How long explorer, gallery and page take to answer on a run of many films, without a browser.

Each action goes the way a click goes, from the widget's handler to the HTML that the browser is sent.
"""

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd

from m2s_lib.io import read_parquet

COLUMNS = ["screen", "action", "ms", "worst_ms"]
_TURNS = 5


def time_answers(run_dir: Path, seed: int = 0) -> pd.DataFrame:
    """Time the screens on a run whose stages 03 and 08 are done.

    Returns:
        screen, action, ms (the best of five, each on other films or scenes, as a busy machine is no fault of
        theirs), worst_ms.
    """
    rng = np.random.default_rng(seed)
    rows = []
    for screen, actions in (("explorer", _explorer), ("gallery", _gallery), ("page", _page)):
        for action, call in actions(run_dir, rng):
            taken = []
            for _ in range(_TURNS):
                start = time.perf_counter()
                call()
                taken.append(1000 * (time.perf_counter() - start))
            rows.append((screen, action, min(taken), max(taken)))
    return pd.DataFrame(rows, columns=COLUMNS)


def _explorer(run_dir: Path, rng: np.random.Generator) -> Iterator[tuple[str, Callable]]:
    """The explorer of notebook 03 and what is done with it."""
    from m2s_lib.display.explorer import state as states
    from m2s_lib.display.explorer.explorer import Explorer, ScenePairs
    from m2s_lib.films.store.features import read_features
    from m2s_lib.films.store.shot_store import open_stores
    from m2s_lib.method.movie_encoder import load_movie_encoder
    from m2s_lib.mining.pair_view import PairView

    first, second = run_dir / "01_shot_encoding", run_dir / "02_movie_similarity"
    films = read_parquet(first / "films.parquet").set_index("film_id")
    pairs = read_parquet(second / "film_pairs.parquet")
    stores = open_stores(first / "shots").only(sorted(set(pairs["film_a"]) | set(pairs["film_b"])))
    features = read_features(first / "features", stores)
    encoder = load_movie_encoder(second / "movie_encoder.safetensors").encoder
    views = {"E_movie": PairView(features, encoder=encoder), "raw E_shot": PairView(features)}
    scenes = ScenePairs(films, stores, views, pairs, 9, run_dir)
    screen = Explorer(scenes, states.open_state(scenes, second="raw E_shot"))

    def choose() -> None:
        screen.films["a"].value = str(rng.choice([f for _, f in screen.films["a"].options]))

    def search() -> None:
        screen.search["a"].value = f"film {rng.integers(10)}"

    def cell() -> None:
        b = scenes.scores(screen.state.encoder, screen.state.film_a, screen.state.film_b).b
        screen.change(states.choose_cell, int(rng.integers(b.shape[0])), int(rng.integers(b.shape[1])))

    yield "search for a film", search
    yield "choose a film", choose
    yield "click a cell", cell
    yield "next scene pair", lambda: screen.press("n")
    yield "open it", lambda: Explorer(scenes, states.open_state(scenes, second="raw E_shot"))


def _gallery(run_dir: Path, rng: np.random.Generator) -> Iterator[tuple[str, Callable]]:
    """The gallery of notebook 08 and what is done with it."""
    from m2s_lib.display.gallery import state as states
    from m2s_lib.display.gallery.gallery import Gallery
    from m2s_lib.stages.screens import read_collection

    collection = read_collection(run_dir)
    beside = collection.encoders[-1]
    screen = Gallery(collection, states.open_state(collection, second=beside))
    films = collection.scenes["film_id"].unique()

    def other_film() -> None:
        screen.control("film", str(rng.choice(films)))

    def filtered() -> None:
        screen.control("title", f"film {rng.integers(1, 100)}")

    yield "ask for a film", other_film
    yield "use a result as query", lambda: screen.change(states.ask_result, int(rng.integers(1, 4)))
    yield "next scene", lambda: screen.change(states.ask_scene, screen.state.query.film_id, 9)
    yield "filter by title", filtered
    yield "open it", lambda: Gallery(read_collection(run_dir), states.open_state(collection, second=beside))


def _page(run_dir: Path, rng: np.random.Generator) -> Iterator[tuple[str, Callable]]:
    """The visitors' page, as its addresses open it."""
    from m2s_lib.display.page.page import Page
    from m2s_lib.stages.screens import read_collection

    collection = read_collection(run_dir)
    page = Page(collection, dict)
    films = collection.scenes["film_id"].unique()

    def map_opens() -> None:
        Page(collection, dict).visit("tab=map")

    yield "open it", lambda: Page(read_collection(run_dir), dict)
    yield "open a film", lambda: page.visit(f"tab=films&film={rng.choice(films)}")
    yield "scenes like one", lambda: page.visit(f"tab=search&film={rng.choice(films)}&scene=9")
    yield "open the map", map_opens
    yield "a scene on the map", lambda: page.visit(f"tab=map&film={rng.choice(films)}&scene=9")
