"""What workers run in the fault tests, films named for their fate; spawned processes import it by name."""

import os
import signal
import time
from pathlib import Path

from m2s_lib.errors import M2SError
from m2s_lib.films.store.ingest import ingest_film


def fated(job):
    """crash*: the process dies; hang*: it never ends; full*: the disk is full; anything else is ingested."""
    if job.film_id.startswith("crash"):
        os.kill(os.getpid(), signal.SIGKILL)
    if job.film_id.startswith("hang"):
        (Path(job.out_dir) / "shots" / f".{job.film_id}.arrow.{os.getpid()}.tmp").write_bytes(b"half")
        time.sleep(600)
    if job.film_id.startswith("full"):
        time.sleep(2)  # let the others finish
        raise M2SError("no space left while writing here: free some disk and run the same command again")
    return ingest_film(job)


def logged(job):
    """Note in out_dir/log that a film was worked on, then do it."""
    with open(Path(job.out_dir) / "log", "a") as f:
        f.write(f"{job.film_id}\n")
    return ingest_film(job)
