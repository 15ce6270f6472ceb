"""What the stages and settings of a run left, read for a later stage: tables, parameters, encoders.

`evaluation` takes tables and plain values; these functions take an open stage, read the files for it and
record them as its inputs.
"""

import os
from pathlib import Path

import numpy as np
import pandas as pd

from m2s_lib.errors import M2SError
from m2s_lib.evaluation.encoders.compared import compared_encoders
from m2s_lib.evaluation.encoders.encoders import Encoder
from m2s_lib.evaluation.paper.repeats import FIRST
from m2s_lib.evaluation.results import RESULT_COLUMNS, result_table
from m2s_lib.evaluation.scene_vectors import Sources
from m2s_lib.io import read_parquet
from m2s_lib.method.device import pick_device
from m2s_lib.method.scene_encoder import SceneEncoderConfig
from m2s_lib.runs.records import record
from m2s_lib.stages import paths


def run_encoders(stage, *, beside: str | os.PathLike = "") -> tuple[list[str | Encoder], Sources]:
    """`compared_encoders` with what a run's stages 01, 02 and 04 recorded and wrote.

    Args:
        stage: an open stage (`m2s_lib.runs.open_stage`) after 04.
        beside: a second E_scene whose features are put beside the first's (Table 1, row 13), '' for none.
    """
    first, fourth = stage.earlier("01"), stage.earlier("04")
    asked, made = fourth.parameters, fourth.metrics
    has_shot_encoder = (stage.run_dir / paths.SHOT_ENCODER).is_file()
    return compared_encoders(
        compared=asked.compared,
        source=stage.earlier("02").metrics["source"],
        scene_encoder=stage.input(paths.SCENE_ENCODER) if made["trained"] else None,
        shot_encoder=stage.input(paths.SHOT_ENCODER) if has_shot_encoder else None,
        beside=beside,
        trained_dir=stage.input(paths.BASELINES) if made["comparators"] else "",
        weights_dir=stage.given(asked.weights_dir),
        features_dir=stage.given(asked.features_dir),
        hub=asked.hub,
        device=pick_device(first.parameters.device),
        shape=scene_shape(asked.scene_encoder, first.parameters.frame_size),
    )


def scene_shape(preset: str, frame_size: int) -> SceneEncoderConfig:
    """The shape of a run's E_scene: MViTv2 scales its frames, a ViT takes them as 01 stored them.

    Baselines that learn from pixels beside shot tokens have the shape "tiny".
    """
    preset = "tiny" if preset == "shot_tokens" else preset
    how = {"resize": True} if preset.startswith("mvitv2") else {"image_size": frame_size}
    return SceneEncoderConfig.preset(preset, **how)


def run_settings(stage) -> pd.DataFrame:
    """Every setting, repeat and stage of a run, a row each.

    Returns:
        setting, repeat, folder, stage, status, reason, compute_s (seconds, NaN: not known) and path: the
        stage's folder seen from the run. A run of one setting is `FIRST`, its repeat ''.
    """
    folder, name = _settings(stage.run_dir)
    if name:
        table = stage.read_parquet(name, ["repeat", "folder", "stage", "status", "reason"])
        table = table.rename(columns={"row": "setting"})
        return table.assign(path=f"{folder}/" + table["folder"] + "/" + table["stage"])
    stages = [p.name for p in sorted(stage.run_dir.glob("[0-9][0-9]_*")) if p.name < stage.name]
    status = [record.read_record(stage.run_dir, name).get("status", "done") for name in stages]
    table = pd.DataFrame({"stage": stages, "path": stages, "status": status}, dtype=object)
    table["reason"] = [
        "" if s == "done" else f"{n} has not finished" for n, s in zip(stages, status, strict=True)
    ]
    return table.assign(setting=FIRST, repeat="", folder="", compute_s=np.nan)


def _settings(run_dir: Path) -> tuple[str, str]:
    """Folder and table of a run's settings; ('', '') where it has none."""
    return next((names for names in paths.SETTINGS if (run_dir / names[1]).is_file()), ("", ""))


def measured_results(stage, settings: pd.DataFrame) -> pd.DataFrame:
    """results.parquet of all stages of a run and of all its settings: the contract's columns, setting,
    repeat, stage. Without a row where nothing was measured.

    Args:
        stage: an open stage. settings: of `run_settings`.
    """
    tables = stage_tables(stage, settings, "", paths.RESULTS)
    tables = [(about, table) for about, table in tables if about["stage"] < stage.name]
    for about, table in tables:
        if missing := sorted(set(RESULT_COLUMNS) - set(table.columns)):
            raise M2SError(f"{about['path']}/{paths.RESULTS} lacks the columns {missing}")
    columns = ["setting", "repeat", "stage"]
    parts = [t[list(RESULT_COLUMNS)].assign(**{c: a[c] for c in columns}) for a, t in tables]
    return pd.concat(parts or [result_table([]).assign(**dict.fromkeys(columns, ""))], ignore_index=True)


def stage_tables(stage, settings: pd.DataFrame, number: str, name: str) -> list[tuple[dict, pd.DataFrame]]:
    """A table that a stage writes in each setting and repeat, where it is there and has a row.

    Args:
        stage: an open stage; what is read becomes its input. settings: of `run_settings`.
        number: of the stage that writes it, such as "03"; '' for all. name: of the file.

    Returns:
        The row of `settings` as a dict, and the table.
    """
    tables = []
    for about in settings.to_dict("records"):
        path = f"{about['path']}/{name}"
        if (
            about["stage"].startswith(number)
            and about["status"] == "done"
            and (stage.run_dir / path).is_file()
        ):
            table = stage.read_parquet(path)
            if len(table):
                tables.append((about, table))
    return tables


def stage_parameters(stage, settings: pd.DataFrame, number: str) -> dict[str, dict]:
    """Parameters of a stage in each setting, as its record has them: setting -> name -> value.

    Args:
        stage: an open stage. settings: of `run_settings`. number: of the stage, such as "04".
    """
    parameters = {}
    for row in settings[settings["status"] == "done"].itertuples():
        if row.stage.startswith(number):
            parameters[row.setting] = stage.read_json(f"{row.path}/{record.RECORD}")["parameters"]
    return parameters


def first_folder(run_dir: Path) -> Path:
    """The folder whose stages' figures stand for the run: its own, or its first setting's that is done."""
    folder, name = _settings(run_dir)
    if not name:
        return run_dir
    settings = read_parquet(run_dir / name)
    done = settings.groupby("folder", sort=False)["status"].agg(lambda s: (s == "done").all())
    folders = [*done.index[done], *done.index]
    return run_dir / folder / folders[0]


def optional_input(stage, path: str) -> Path | None:
    """Path of an earlier stage's file, recorded as an input; None where it was not written."""
    return stage.input(path) if (stage.run_dir / path).is_file() else None


def read_optional(stage, path: str) -> pd.DataFrame:
    """A table of an earlier stage, recorded as an input; without a row where it was not written."""
    return stage.read_parquet(path) if (stage.run_dir / path).is_file() else pd.DataFrame()
