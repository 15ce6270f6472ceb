"""What a training loop is: its text, and what its names mean."""

import linecache
import sys

import pytest
import torch

from m2s_lib.errors import M2SError
from m2s_lib.training.loop import Loop, _read


class Run:
    """Says which loop it is called by, as a Training does."""

    def batches(self):
        self.loop = Loop.of(sys._getframe(1), self)
        return iter(())


def loop_in(cell: str, **names) -> Loop:
    """The loop of a cell that is executed as a kernel does it."""
    file, run = f"<cell {hash(cell)}>", Run()
    linecache.cache[file] = (len(cell), None, cell.splitlines(keepends=True), file)
    exec(compile(cell, file, "exec"), {"run": run, **names})
    return run.loop


CELL = """
m, tau = 0.9, 0.1
for query in run.batches():  # a comment
    loss = distance(query, tau) + offset
    total += loss
run.done = True
"""


def test_the_loop_is_the_statement_without_comments_and_the_names_it_reads():
    loop = loop_in(CELL, distance=max, offset=3, unused=4, total=0)
    assert loop.text.splitlines() == [
        "for query in run.batches():",
        "    loss = distance(query, tau) + offset",
        "    total += loss",
    ]
    assert set(loop.names) == {"run", "tau", "distance", "offset", "total"}


def test_a_loop_in_a_function_reads_its_locals():
    run, tau = Run(), 0.5
    for query in run.batches():
        print(query, tau)
    assert run.loop.text == "for query in run.batches():\n    print(query, tau)"
    assert run.loop.names == {"run": run, "tau": 0.5}


def own(source: str):
    """A function of a notebook."""
    names = {"__name__": "__main__"}
    exec(source, names)
    return names["distance"]


def test_numbers_and_functions_of_the_notebook_belong_to_its_meaning():
    squares, sums = (own(f"def distance(q, tau): return q {sign} tau") for sign in "*+")
    same = own("def distance(q, tau):\n    # a comment\n    return q * tau")
    first = loop_in(CELL, distance=squares, offset=3, total=0).meaning
    assert first == loop_in(CELL.replace("  # a comment", ""), distance=same, offset=3, total=0).meaning
    assert first == loop_in(CELL, distance=squares, offset=3, total=0, more=torch.ones(2)).meaning
    others = [
        loop_in(CELL, distance=sums, offset=3, total=0),
        loop_in(CELL, distance=squares, offset=4, total=0),
        loop_in(CELL.replace("0.1", "0.2"), distance=squares, offset=3, total=0),
        loop_in(CELL.replace("+ offset", "- offset"), distance=squares, offset=3, total=0),
    ]
    assert len({first, *(other.meaning for other in others)}) == 5


def test_a_call_without_a_loop_is_refused():
    with pytest.raises(M2SError, match="is for a `for` statement in a notebook's cell or in a file"):
        Run().batches()
    with pytest.raises(M2SError, match="is for a `for` statement"):
        exec("for x in run.batches(): pass", {"run": Run()})  # nobody knows this text


def test_names_that_a_loop_sets_itself_are_not_read():
    import ast

    (loop,) = ast.parse("for x in run.batches():\n    y = f(x)\n    n += 1\n    z[y] = n").body
    assert _read(loop) == {"run", "f", "n", "z"}
