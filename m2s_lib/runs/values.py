"""Parameter values: their types, the ranges that comments state, and their text on the command line."""

import json
import math
import re
from dataclasses import dataclass

import yaml

MAY_BE_EMPTY = {"file", "files", "folder", "folders", "text"}  # kinds for which '' means "none given"
_SCALARS = {bool: "bool", int: "int", float: "float", str: "str"}


@dataclass(frozen=True)
class Range:
    """What a comment allows: an interval with open or closed ends, or a list of choices."""

    text: str
    low: float = -math.inf
    high: float = math.inf
    low_open: bool = False
    high_open: bool = False
    choices: tuple[str, ...] | None = None

    def holds(self, value: object) -> bool:
        """Whether one scalar lies in the range.

        >>> parse_range("(0, 1]").holds(0), parse_range("1..64").holds(64), parse_range("> 1").holds(2)
        (False, True, True)
        """
        if self.choices is not None:
            return any(_same(value, choice) for choice in self.choices)
        above = value > self.low if self.low_open else value >= self.low
        below = value < self.high if self.high_open else value <= self.high
        return above and below


def _same(value: object, choice: str) -> bool:
    if isinstance(value, str):
        return value == ("" if choice in ("''", '""') else choice)
    if isinstance(value, bool):
        return str(value).lower() == choice.lower()
    number = _number(choice)
    return number is not None and number == value


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def parse_range(text: str) -> Range | None:
    """Read `1..64`, `>= 1`, `> 0`, `<= 1`, `< 1`, `(0, 1]`, `[0, 1)` or `one of: a, b`; else None."""
    text = text.strip()
    if text.startswith("one of:"):
        choices = tuple(c.strip() for c in text.removeprefix("one of:").split(","))
        return Range(text, choices=choices) if all(choices) else None
    bound = re.fullmatch(r"(>=|<=|>|<)\s*(\S+)", text)
    if bound:
        sign, number = bound[1], _number(bound[2])
        if number is None or math.isnan(number):
            return None
        if sign[0] == ">":
            return Range(text, low=number, low_open=sign == ">")
        return Range(text, high=number, high_open=sign == "<")
    pair = re.fullmatch(r"([\[(])([^,]+),([^,]+)([\])])", text)
    if pair:
        return _interval(text, pair[2], pair[3], pair[1] == "(", pair[4] == ")")
    low, dots, high = text.partition("..")
    return _interval(text, low, high, False, False) if dots else None


def _interval(text: str, low: str, high: str, low_open: bool, high_open: bool) -> Range | None:
    a, b = _number(low), _number(high)
    if a is None or b is None or not a <= b:
        return None
    return Range(text, a, b, low_open, high_open)


def type_name(value: object) -> str | None:
    """'bool', 'int', 'float', 'str', 'list[int]', ... or 'list' (empty); None for other things."""
    if not isinstance(value, list):
        return _SCALARS.get(type(value))
    kinds = {type_name(v) for v in value}
    if kinds == {"int", "float"}:
        return "list[float]"
    if None in kinds or len(kinds) > 1 or any(k.startswith("list") for k in kinds):
        return None
    return f"list[{kinds.pop()}]" if kinds else "list"


def fit(value: object, kind: str) -> object:
    """`value` as the type `kind`, an int taken where a float is asked for.

    Raises TypeError when it has another type, ValueError when a number is not finite.
    """
    if kind.startswith("list"):
        if not isinstance(value, list):
            raise TypeError
        item = kind[5:-1]
        if not item and type_name(value) is None:
            raise TypeError
        return [fit(v, item or _SCALARS[type(v)]) for v in value]
    if kind == "float" and type(value) is int:
        value = float(value)
    if _SCALARS.get(type(value)) != kind:
        raise TypeError
    if kind == "float" and not math.isfinite(value):
        raise ValueError
    return value


def fit_yaml(value: object, kind: str) -> object:
    """As `fit`, for values out of YAML, which reads 1e-4 as text."""
    if kind == "float" and isinstance(value, str) and _number(value) is not None:
        value = float(value)
    if kind == "list[float]" and isinstance(value, list):
        return [fit_yaml(v, "float") for v in value]
    return fit(value, kind)


def parse_text(text: str, kind: str) -> object:
    """Read a command-line value as the type `kind`; a list is JSON or YAML flow, `[a, b]`.

    Raises TypeError when the text is not of that type; whether a number is finite is left to `fit`.

    >>> parse_text("4", "float"), parse_text("[1, 2]", "list[int]"), parse_text("[1, b]", "list[str]")
    (4.0, [1, 2], ['1', 'b'])
    """
    if kind == "str":
        return text
    text = text.strip()
    if kind.startswith("list"):
        return _parse_list(text, kind)
    if kind == "bool" and text.lower() in ("true", "false"):
        return text.lower() == "true"
    if kind == "int" and re.fullmatch(r"[+-]?\d+(_\d+)*", text):
        return int(text)
    if kind == "float" and _number(text) is not None:
        return float(text)
    raise TypeError


def _parse_list(text: str, kind: str) -> list:
    item = kind[5:-1]
    try:
        return fit(json.loads(text), kind)
    except (TypeError, ValueError):
        pass  # not JSON, or numbers where texts are asked for: YAML, item by item
    try:
        value = yaml.load(text, Loader=yaml.BaseLoader if item else yaml.SafeLoader)
    except yaml.YAMLError as error:
        raise TypeError from error
    if not isinstance(value, list) or any(isinstance(v, list | dict) for v in value):
        raise TypeError
    return [parse_text(v, item) for v in value] if item else fit(value, kind)


def format_text(value: object) -> str:
    """The command-line text that `parse_text` reads back as `value`."""
    if isinstance(value, str):
        return value
    return repr(value) if isinstance(value, float) else json.dumps(value, ensure_ascii=False)
