"""The tray: scenes that people keep, with a note each, in one file of the run."""

import os
from pathlib import Path

import filelock
import pandas as pd

from m2s_lib.display.export import write_export
from m2s_lib.display.filmstrips import poster_shot
from m2s_lib.display.gallery.data import title_of
from m2s_lib.display.gallery.export import scene_cuts
from m2s_lib.display.scene_html import button_html, export_buttons, picture_html
from m2s_lib.display.screen_state import Films, SceneKey
from m2s_lib.display.text import escape_html
from m2s_lib.errors import M2SError
from m2s_lib.io import read_json, write_json

FILE = "tray.json"
_WAIT_S = 10
_PICTURE_PX = 96


class Tray:
    """Scenes in the order in which they were kept; the file is read again before every change.

    Args:
        run_dir: the run; the file is tray.json there: {"scenes": [{"film_id", "shot", "n_shots", "note"}]}.
    """

    def __init__(self, run_dir: str | os.PathLike):
        self.path = Path(run_dir) / FILE
        self.notes = self._read()

    def __contains__(self, scene: SceneKey) -> bool:
        return scene in self.notes

    def __len__(self) -> int:
        return len(self.notes)

    def known(self, films: Films) -> dict[SceneKey, str]:
        """The scenes that these films have, with their notes; others stay in the file."""
        return {
            scene: note
            for scene, note in self.notes.items()
            if scene.film_id in films.stores and scene.shot + scene.n <= films.store(scene.film_id).n_shots
        }

    def toggle(self, scene: SceneKey) -> None:
        """Keep a scene, or take it out."""
        with self._lock():
            self.notes = self._read()
            if scene in self.notes:
                del self.notes[scene]
            else:
                self.notes[scene] = ""
            self._write()

    def note(self, scene: SceneKey, words: str) -> None:
        """Another note on a scene, which is kept by that."""
        with self._lock():
            self.notes = self._read() | {scene: words.strip()}
            self._write()

    def _lock(self) -> filelock.FileLock:
        lock = self.path.parent / ".cache" / "tray.lock"
        lock.parent.mkdir(parents=True, exist_ok=True)
        return filelock.FileLock(lock, timeout=_WAIT_S)

    def _read(self) -> dict[SceneKey, str]:
        if not self.path.is_file():
            return {}
        try:
            rows = read_json(self.path)["scenes"]
            return {
                SceneKey(str(r["film_id"]), int(r["shot"]), int(r["n_shots"])): str(r["note"]) for r in rows
            }
        except (KeyError, TypeError, ValueError) as error:
            raise M2SError(f"{self.path} is no tray ({error!r}): move it away and begin a new one") from error

    def _write(self) -> None:
        rows = [
            {"film_id": s.film_id, "shot": s.shot, "n_shots": s.n, "note": n} for s, n in self.notes.items()
        ]
        write_json(self.path, {"scenes": rows})


def tray_html(tray: Tray, films: Films) -> str:
    """The scenes with their notes, and what can be done with them."""
    scenes = tray.known(films)
    if not scenes:
        return '<p class="m2s-note">The tray is empty: press ☆ keep at any scene.</p>'
    items = "".join(_item_html(films, scene, note) for scene, note in scenes.items())
    head = f'<div class="m2s-bar"><h3>Tray</h3>{export_buttons("the tray")}</div>'
    return f'{head}<div class="m2s-cards">{items}</div>'


def _item_html(films: Films, scene: SceneKey, note: str) -> str:
    label, store, value = films.label(scene), films.store(scene.film_id), escape_html(scene)
    picture = picture_html(store, poster_shot(store, scene.shot, scene.n), label, _PICTURE_PX)
    return (
        f'<div class="m2s-kept"><button type="button" class="m2s-button m2s-pick" data-act="open" '
        f'data-value="{value}">{picture}</button><small>{escape_html(label)}</small>'
        f'<div class="m2s-bar"><input data-act="note" data-value="{value}" value="{escape_html(note)}" '
        f'placeholder="note" aria-label="note on {escape_html(label)}">'
        f"{button_html('star', str(scene), '✕', hint='take it out of the tray')}</div></div>"
    )


def export_scenes(collection, scenes: dict[SceneKey, str], name: str, title: str, kind: str) -> Path:
    """Write scenes and their notes as one of `export.KINDS` into run_dir/exports; returns the path.

    Args:
        scenes: scene -> note. name: of the file. title: of the timeline. Errors: as `write_export`.
    """
    rows = []
    for scene, note in scenes.items():
        shots = collection.stores[scene.film_id].shots
        start, end = shots["start_s"].iloc[scene.shot], shots["end_s"].iloc[scene.shot + scene.n - 1]
        about = {"film_id": scene.film_id, "title": title_of(collection, scene.film_id)}
        rows.append(
            about | {"shot": scene.shot, "n_shots": scene.n, "start_s": start, "end_s": end, "note": note}
        )
    table = pd.DataFrame(rows)
    path = Path(collection.run_dir) / "exports" / f"{name}.{kind}"
    return write_export(path, table, scene_cuts(collection, table), title)
