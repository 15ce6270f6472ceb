"""Notebooks 02, 03 and 08 in one process without a kernel, and the most memory each had of its own:
`python -m tests.helpers.load_stages RUN_DIR PROFILE`.

The two caches that are bounded by design are made small enough to be full at any size, so that only what has
no bound can grow.
"""

import os
import resource
import sys
import threading
import time
from pathlib import Path

from m2s_lib.films.store import features
from m2s_lib.method import movie_corpus
from m2s_lib.mining import miner as pair_miner
from m2s_lib.runs.parameters.parameters import RUN_DIR
from m2s_lib.runs.parameters.plan import plan_run
from m2s_lib.runs.pipeline.kernel import parameterized

STAGES = ("02", "03", "08")
FEW_FILES = 320


def main(run_dir: str, profile: str) -> None:
    os.environ |= {"M2S_PIPELINE": "1", "MPLBACKEND": "agg"}
    resource.setrlimit(resource.RLIMIT_NOFILE, (FEW_FILES, FEW_FILES))
    pair_miner._CACHE_BYTES["cpu"] = movie_corpus._HOST_BYTES = 4 << 20
    features.OPEN = 16
    # a small batch: it holds the same number of films whatever there are
    plan = plan_run(profile, run_dir, only=STAGES, overrides=["02.movie_batch=8"])
    most, done = [0], threading.Event()

    def watch() -> None:
        while not done.is_set():
            most[0] = max(most[0], own_kb())
            time.sleep(0.01)

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    for stage in plan.selected:
        most[0] = 0
        node = parameterized(plan.notebook(stage), {RUN_DIR: run_dir, **plan.values[stage]})
        namespace = {"__name__": stage}
        for cell in node.cells:
            if cell.cell_type == "code":
                exec(compile(cell.source, stage, "exec"), namespace)
        print(f"own_mb {stage[:2]} {max(most[0], own_kb()) / 1024:.1f}")
    done.set()
    watcher.join()


def own_kb() -> int:
    """Memory of this process that no file backs, kB."""
    return int(Path("/proc/self/status").read_text().split("RssAnon:")[1].split()[0])


if __name__ == "__main__":
    main(*sys.argv[1:])
