"""Where the work is done: on this machine ("local"), or on a Ray cluster ("ray"; engine_ray.py).

Both engines run the same functions (parallel.py). Two kinds of work exist:

- `apart`: each item in a process of its own that may crash or be stopped (decoding a film);
- `prepared`: `make(device)` builds the work once for each worker, with what all items share (an encoder).
"""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from m2s_lib.errors import M2SError
from m2s_lib.parallel import Work, results


class LocalEngine:
    """This machine: films in processes, everything else in this process."""

    name = "local"

    def __repr__(self) -> str:
        return "engine: this machine"

    def apart(
        self, work: Work, items: Sequence, folder: Path, *, workers: int = 0, timeout_s: float = 7200.0
    ) -> Iterator[tuple[int, object]]:
        """Each item in a process of its own: (index, result or `parallel.Lost`), in the order they end.

        Args:
            work: can be pickled.
            workers: items at once, 0 for one per core. timeout_s: seconds that one item may take.

        Raises what an item raised.
        """
        yield from results(work, [(item, folder) for item in items], workers, timeout_s)

    def prepared(
        self,
        make: Callable[[object], Work],
        items: Sequence,
        folder: Path | None,
        *,
        device: object = None,
        attach: Callable[[object], object] | None = None,
        whole_machine: bool = False,
    ) -> Iterator[tuple[int, object]]:
        """Each item by work that `make(device)` builds once for each worker: (index, result), as they end.

        Args:
            folder: where the work writes; None for work that only returns.
            device: of this machine; a cluster's workers use a GPU where it has any.
            attach: an item whose inputs a worker does not see (`Unseen`) -> the item with them in it.
            whole_machine: an item uses all cores of a machine (or its GPU), as on this one; else one core.
        """
        work = make(device)
        for index, item in enumerate(items):
            yield index, work(item, folder)

    def close(self) -> None:
        """Nothing to end."""


def open_engine(name: str = "local", address: str = "", device: str = "auto"):
    """The engine of a run.

    Args:
        name: 'local' or 'ray'.
        address: of an existing Ray cluster ('auto' finds one that this machine belongs to, or host:port);
            '' starts Ray on this machine.
        device: the run's; with 'cpu' no GPU of a cluster is asked for.

    Raises M2SError for another name, without the ray extra, or when there is no cluster at the address.
    """
    if name == "local":
        if address:
            raise M2SError(f"ray_address is {address!r}, but engine is 'local': set engine to 'ray'")
        return LocalEngine()
    if name != "ray":
        raise M2SError(f"engine is {name!r}: choose 'local' or 'ray'")
    from m2s_lib.engine_ray import RayEngine

    return RayEngine(address, device)
