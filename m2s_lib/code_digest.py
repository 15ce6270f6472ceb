"""What a piece of code does, as bytes to hash: a result that is kept belongs to the code that made it."""

import sys
from collections.abc import Callable
from types import CodeType


def caller_code(depth: int = 2) -> bytes:
    """The code that calls the function which calls this: a notebook's cell (or its statement), or a function.

    Args:
        depth: 1 is the function that calls this, 2 its caller.
    """
    return code_bytes(sys._getframe(depth).f_code)


def code_bytes(code: CodeType | Callable) -> bytes:
    """The instructions, names and constants of a function or a piece of code, but not where it stands.

    What it reads from elsewhere, such as a global variable, is in it by name only.
    """
    code = getattr(code, "__code__", code)
    if not isinstance(code, CodeType):  # a built-in, or an object that can be called
        return repr(type(code)).encode()
    constants = [code_bytes(c) if isinstance(c, CodeType) else c for c in code.co_consts]
    return code.co_code + repr((code.co_names, constants)).encode()
