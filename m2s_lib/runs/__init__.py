"""Running the notebooks: parameters, stages and their records, the papermill pipeline, the report, the m2s
command.

Notebooks need two names, ``open_stage`` and ``project_root``; they load on first use so that ``m2s --help``
is quick.
"""

__all__ = ["open_stage", "project_root"]


def __getattr__(name: str):
    if name == "open_stage":
        from m2s_lib.runs.opening import open_stage

        return open_stage
    if name == "project_root":
        from m2s_lib.runs.project import project_root

        return project_root
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
