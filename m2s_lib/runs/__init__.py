"""Running the notebooks: parameters, stages and their records, the papermill pipeline, the report, the m2s
command.

Notebooks need two names, ``open_stage`` and ``project_root``; they load on first use so that ``m2s --help``
is quick.
"""

import importlib

_HOME = {"open_stage": "m2s_lib.runs.records.opening", "project_root": "m2s_lib.runs.project"}
__all__ = ["open_stage", "project_root"]


def __getattr__(name: str):
    if name in _HOME:
        return getattr(importlib.import_module(_HOME[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
