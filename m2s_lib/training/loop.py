"""The training loop of a notebook, as other processes run it: its text, and what its names mean.

With several processes, each executes the `for` statement that stands in the notebook's cell, just as it was
executed there, with a `Training` of its own. So a loss that was changed in the cell is the loss of them all.
"""

import ast
import builtins
import copy
import hashlib
import io
import linecache
import pickle
from types import FrameType, FunctionType

import cloudpickle

from m2s_lib.errors import M2SError

_FILE = "<training loop>"
_PARTS = ("f", "g", "queue", "optimizer", "encoder", "key_encoder")  # of a Training; each process has its own


class Loop:
    """A `for` statement over `Training.batches()`.

    Attributes:
        text: the statement, without comments and layout.
        meaning: hash of the text and of the numbers, texts and notebook functions that it names.
    """

    def __init__(self, text: str, names: dict[str, object], run):
        self.text, self.names, self.run = text, names, run
        values = [(n, _value(v)) for n, v in sorted(names.items())]
        self.meaning = hashlib.blake2b(repr((text, values)).encode(), digest_size=8).hexdigest()

    @classmethod
    def of(cls, frame: FrameType, run) -> "Loop":
        """The loop that `frame` is at.

        Raises M2SError when there is none, or its text is not known.
        """
        lines = linecache.getlines(frame.f_code.co_filename, frame.f_globals)
        loops = [
            node
            for node in ast.walk(ast.parse("".join(lines)))
            if isinstance(node, ast.For) and node.iter.lineno <= frame.f_lineno <= node.iter.end_lineno
        ]
        if not loops:
            raise M2SError(
                "run.batches() is for a `for` statement in a notebook's cell or in a file: its body is the "
                "training, and belongs to the checkpoint"
            )
        known = {**vars(builtins), **frame.f_globals, **frame.f_locals}
        names = {n: known[n] for n in _read(loops[-1]) if n in known and not hasattr(builtins, n)}
        return cls(ast.unparse(loops[-1]), names, run)

    def packed(self) -> bytes:
        """The loop for another process: the text, a Training's arguments, and what the other names mean.

        Raises M2SError when something cannot be sent.
        """
        run = self.run
        encoder = copy.deepcopy(run.encoder).cpu()
        arguments = (encoder, run.pairs, run.config, run.checkpoint.absolute())
        parts = {id(getattr(run, name)): name for name in _PARTS} | {id(run): ""}
        buffer = io.BytesIO()
        try:
            training = cloudpickle.dumps((type(run), arguments, {"title": run.title}))
            _Packer(buffer, parts).dump(self.names)
        except (pickle.PicklingError, TypeError) as error:
            raise M2SError(
                f"the training loop names something that other processes cannot be sent ({error}): make it "
                "in the loop, or train with train_workers 1"
            ) from error
        return pickle.dumps((self.text, training, buffer.getvalue()))


def run_packed(packed: bytes, device: object) -> None:
    """Execute a packed loop in this process, which trains on `device` with the others."""
    text, training, names = pickle.loads(packed)
    make, arguments, options = pickle.loads(training)
    run = make(*arguments, **options, device=device)
    unpacker = pickle.Unpickler(io.BytesIO(names))
    unpacker.persistent_load = lambda name: getattr(run, name) if name else run
    linecache.cache[_FILE] = (len(text), None, text.splitlines(keepends=True), _FILE)
    exec(compile(text, _FILE, "exec"), unpacker.load())


class _Packer(cloudpickle.Pickler):
    """Sends parts of a Training by their name."""

    def __init__(self, buffer: io.BytesIO, parts: dict[int, str]):
        super().__init__(buffer)
        self.parts = parts

    def persistent_id(self, value: object) -> str | None:
        return self.parts.get(id(value))


def _read(loop: ast.For) -> set[str]:
    """Names that a loop reads and does not set itself."""
    names = [n for n in ast.walk(loop) if isinstance(n, ast.Name)]
    kept = {n.target.id for n in ast.walk(loop) if isinstance(n, ast.AugAssign) and hasattr(n.target, "id")}
    own = {n.id for n in names if isinstance(n.ctx, ast.Store)} - kept
    return {n.id for n in names} - own


def _value(value: object) -> object:
    """What of a value belongs to the loop's meaning: numbers and texts, and functions of the notebook."""
    if isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, FunctionType) and value.__module__ == "__main__":
        return value.__code__.co_code.hex(), repr(value.__code__.co_consts)
    return None
