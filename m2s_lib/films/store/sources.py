"""Films that do not come as video: MovieNet's keyframe folders, and shots with ready features (such as OVSD).

Layouts are described where they are read; `film_table.read_film_table(source=...)` finds the films.
"""

import os
import re
from pathlib import Path

import numpy as np
import pandas as pd

from m2s_lib.errors import M2SError
from m2s_lib.films.video.decoding import SHOT_COLUMNS, ScanConfig, ScannedFilm, keyframe_positions
from m2s_lib.films.video.shot_boundaries import read_ovsd_shots
from m2s_lib.films.video.shot_pictures import Encode, ShotPictures, preview_size
from m2s_lib.io import read_npy

_IMAGE = re.compile(r"shot_(\d{4,})_img_(\d+)\.jpg", re.IGNORECASE)


def scan_keyframe_folder(
    folder: str | os.PathLike,
    config: ScanConfig | None = None,
    shot_table: str | os.PathLike = "",
    encode: Encode | None = None,
) -> ScannedFilm:
    """One film of MovieNet: `<film>/shot_0000_img_0.jpg` ..., usually first, middle and last image of a shot.

    Args:
        folder: the film's folder. Shot ids count from 0 without gaps; every shot has the same images.
        config: `frames_per_shot` k of the images are taken, evenly spaced (k = 1: the middle one), and scaled
            to `frame_size` squares (bilinear, anti-aliased, as for video).
        shot_table: '' or MovieNet's shot_movie318/<film>.txt, one line per shot: 'start end keyframe keyframe
            keyframe'. Without it the frame numbers are the shot numbers.

        encode: gives features of the keyframes, at the encoder's own size.

    Returns:
        ScannedFilm; times, fps and duration are NaN, because the folder does not know them.

    Raises:
        M2SError: no images, an image missing (film, shot and name given), unreadable, or too few per shot.
    """
    from PIL import Image

    folder, config = Path(folder), config or ScanConfig()
    images = _images_by_shot(folder)
    per_shot = len(images[0])
    if config.frames_per_shot > per_shot:
        raise M2SError(
            f"film {folder.name}: {config.frames_per_shot} keyframes per shot were asked for, the folder has "
            f"{per_shot}"
        )
    chosen = keyframe_positions(0, per_shot - 1, config.frames_per_shot)
    size = config.frame_size
    keyframes = np.empty((len(images), len(chosen), size, size, 3), dtype=np.uint8)
    also: ShotPictures | None = None
    for shot, names in enumerate(images):
        for i, image in enumerate(chosen):
            try:
                with Image.open(folder / names[image]) as picture:
                    width, height = picture.size
                    if also is None:
                        preview = preview_size(width, height, width / height, config.preview_width)
                        also = ShotPictures(preview if config.preview_width else None, encode)
                    whole = picture.convert("RGB")
                    small, *others = (
                        np.asarray(whole.resize(s, Image.Resampling.BILINEAR))
                        for s in [(size, size), *also.sizes]
                    )
            except (OSError, SyntaxError, Image.DecompressionBombError) as error:
                raise M2SError(
                    f"film {folder.name}, shot {shot}: {names[image]} cannot be read ({error})"
                ) from error
            keyframes[shot, i] = small
            also.add(shot * len(chosen) + i, others)
    bounds = _movienet_bounds(folder.name, shot_table, len(images))
    return ScannedFilm(
        shots=_untimed_shots(bounds), keyframes=keyframes, fps=float("nan"), duration_s=float("nan"),
        width=width, height=height, aspect=width / height,
        previews=also.previews(len(chosen)), features=also.features(len(chosen)),
    )  # fmt: skip


def _images_by_shot(folder: Path) -> list[list[str]]:
    """File names per shot, in image order; the same images for every shot, no shot missing."""
    if not folder.is_dir():
        raise M2SError(f"film folder {folder} is missing: expected images named shot_0000_img_0.jpg")
    found: dict[int, dict[int, str]] = {}
    for name in sorted(p.name for p in folder.iterdir()):
        if match := _IMAGE.fullmatch(name):
            found.setdefault(int(match.group(1)), {})[int(match.group(2))] = name
    if not found:
        raise M2SError(f"film {folder.name}: no image named like shot_0000_img_0.jpg in {folder}")
    last, which = max(found), sorted({i for images in found.values() for i in images})
    for shot in range(last + 1):
        if missing := [i for i in which if i not in found.get(shot, {})]:
            raise M2SError(
                f"film {folder.name}, shot {shot}: shot_{shot:04d}_img_{missing[0]}.jpg is missing; the "
                f"folder has images {which} of {len(found)} shots, the last is {last}"
            )
    return [[found[shot][i] for i in which] for shot in range(last + 1)]


def _movienet_bounds(film: str, shot_table: str | os.PathLike, n_shots: int) -> np.ndarray:
    """Inclusive frames int64 [n_shots, 2]: from the shot table, or the shot numbers themselves."""
    if not str(shot_table):
        return np.repeat(np.arange(n_shots, dtype=np.int64)[:, None], 2, axis=1)
    bounds = read_ovsd_shots(shot_table)
    if len(bounds) != n_shots:
        raise M2SError(f"film {film}: {shot_table} lists {len(bounds)} shots, the folder has {n_shots}")
    return bounds


def _untimed_shots(bounds: np.ndarray) -> pd.DataFrame:
    """Shot table of int64 [n_shots, 2] bounds whose times nobody knows."""
    shots = pd.DataFrame(bounds, columns=["start_frame", "end_frame"])
    shots["shot"] = np.arange(len(bounds), dtype=np.int64)
    shots["start_s"] = shots["end_s"] = np.nan
    return shots[SHOT_COLUMNS]


def read_ready_features(folder: str | os.PathLike) -> tuple[pd.DataFrame, np.ndarray]:
    """One film whose shots and features exist: `shots.txt` ('start end' lines) and one .npy or .txt file.

    OVSD has this layout: name.txt, shots.txt, scenes.txt, features_vgg19.npy.

    Returns:
        shots: the shot table, times NaN. features: float32 [n_shots, d].

    Raises:
        M2SError: files missing or several, as many features as shots expected (both numbers given), NaN or
            infinite values (shot given).
    """
    folder = Path(folder)
    shots = _untimed_shots(read_ovsd_shots(folder / "shots.txt"))
    others = {"shots.txt", "scenes.txt", "name.txt"}
    files = sorted(p for p in folder.iterdir() if p.suffix in (".npy", ".txt") and p.name not in others)
    if len(files) != 1:
        raise M2SError(
            f"film {folder.name}: expected one feature file (.npy or .txt) beside shots.txt, found "
            f"{[p.name for p in files] or 'none'} in {folder}"
        )
    features = _read_matrix(files[0], folder.name)
    if len(features) != len(shots):
        raise M2SError(
            f"film {folder.name}: {files[0].name} has {len(features)} rows, shots.txt has {len(shots)} shots"
        )
    good = np.isfinite(features).all(axis=1)
    if not good.all():
        raise M2SError(
            f"film {folder.name}: the features of shot {int(np.argmin(good))} in {files[0].name} are NaN or "
            f"infinite ({int((~good).sum())} such shots); compute them again"
        )
    return shots, np.ascontiguousarray(features, dtype=np.float32)


def _read_matrix(path: Path, film: str) -> np.ndarray:
    """A numeric matrix [rows, d]; arrays of objects are refused, nothing is unpickled."""
    try:
        features = read_npy(path) if path.suffix == ".npy" else np.loadtxt(path, ndmin=2)
    except (OSError, ValueError, EOFError) as error:
        raise M2SError(f"film {film}: {path.name} cannot be read as a feature matrix ({error})") from error
    if features.ndim != 2 or features.dtype.kind not in "fiu":
        raise M2SError(
            f"film {film}: {path.name} must be [n_shots, d], it is {features.dtype} {features.shape}"
        )
    return features
