"""What workers run in the tests of the engines; processes import it by name."""

import dataclasses
import os
import signal
from collections.abc import Callable
from pathlib import Path

from m2s_lib.films.store.ingest import ingest_film
from m2s_lib.parallel import unseen


@dataclasses.dataclass(frozen=True)
class KillsItsWorker:
    """A film's task that, the first time it meets `film`, kills the Ray worker that it runs for."""

    film: str
    flag: str
    signal: int = int(signal.SIGKILL)

    def __call__(self, job):
        if job.film_id == self.film and first_time(self.flag):
            os.kill(os.getppid(), self.signal)
        return ingest_film(job)


@dataclasses.dataclass
class KillsItsself:
    """Work of an engine that, the first time it is built and asked, ends its process."""

    make: Callable
    flag: str

    def __call__(self, device):
        work = self.make(device)

        def deadly(item, folder):
            if first_time(self.flag):
                os.kill(os.getpid(), signal.SIGKILL)
            return work(item, folder)

        return deadly


def first_time(flag: str) -> bool:
    """Whether this is the first call with this flag, in all processes."""
    try:
        os.close(os.open(flag, os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        return False
    return True


def writes(item, folder: Path):
    """Two files of the item, in the folder; what is odd is an error."""
    if item == 13:
        raise ValueError("thirteen")
    for name in (f"{item}.txt", f"more/{item}.bin"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(str(item))
    return item * 2


def makes_reader(device):
    """Work that reads the file that the item names, or uses what travelled with it."""

    def work(item, folder):
        path, content = item
        if content is None and not Path(path).exists():
            raise unseen(path)
        return content or Path(path).read_text()

    return work
