"""What the tabs of films and map have in common: a screen over a collection, and a scene that is open."""

from collections.abc import Callable

from m2s_lib.display.scene_html import filmstrip_html
from m2s_lib.display.screen import Players, Screen
from m2s_lib.display.screen_state import Films, SceneKey, ScreenState
from m2s_lib.display.text import escape_html


class CollectionScreen(Screen):
    """A screen over a collection.

    Args:
        collection: see `gallery.data`. state, name, tray: see `Screen`.
        ask: called with the scene that is to be searched for.
    """

    def __init__(self, collection, state: ScreenState, name: str, tray, ask: Callable[[SceneKey], None]):
        self._ask, self._films = ask, films_of(collection)
        super().__init__(collection, state, name, tray)

    def library(self) -> Films:
        return self._films

    def acts(self, act: str, value: str) -> None:
        if act == "like":
            self._ask(SceneKey.parse(value))


def films_of(collection) -> Films:
    """The films of a collection."""
    return Films(collection.stores, collection.titles, collection.media, collection.run_dir)


def scene_html(films: Films, scene: SceneKey, players: Players, said: str = "") -> str:
    """All shots of a scene, its buttons and its player, and what is said in it."""
    key, store = str(scene), films.store(scene.film_id)
    play = "■ stop" if scene in players.playing else "▶ play"
    actions = [("like", key, players.like), ("play", key, play), *players.star(scene)]
    strip = filmstrip_html(store, scene.shot, scene.n, films.title(scene.film_id), actions=actions)
    words = f'<blockquote class="m2s-said">{escape_html(said)}</blockquote>' if said else ""
    return f'<section class="m2s-open" data-plays="1">{strip}{players.html(scene)}{words}</section>'
