"""What the notebooks can be told: the parameters cells, read without running them.

One assignment in a cell tagged `parameters` is one parameter::

    # -- scenes --
    shots_per_scene = 9  # shots, 1..64 | scene length (supp. 1.1c)
    films_share = 1.0  # share, (0, 1] | of the films, drawn by `pair_seed`; film pairs are looked for among
    #   these alone (Table 1, rows 2 to 4)

that is `name = literal  # <unit or kind>[, <range>] | <description>`, where the range is one of `1..64`,
`>= 1`, `> 0`, `(0, 1]`, `[0, 1)` or `one of: a, b, c`. The range of a list holds for each item. Text may be
empty when its kind is file, folder or text, or when `''` is among the choices. Comments right below that are
indented by three spaces go on with the sentence. A heading such as `# -- scenes --` names the group of those
below it. (papermill reads such cells too, but passes over a line with a second "=", as in `>= 1`, without a
word.)

Type and range become a pydantic type, which is the only check of a value.
"""

import ast
import contextlib
import itertools
import json
import os
import re
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Annotated, Literal

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError

from m2s_lib.errors import M2SError
from m2s_lib.runs.parameters.values import format_text
from m2s_lib.runs.project import project_root, stage_names

RUN_DIR = "run_dir"  # in every notebook, set by --run-dir alone
GRAMMAR = "name = literal  # <unit or kind>[, <range>] | <description>"
# parameters that are gone: their name, and what to write instead ('04.other_name', or a sentence)
REPLACED: dict[str, str] = {}
MAY_BE_EMPTY = {"file", "files", "folder", "folders", "text"}  # kinds for which '' means "none given"
_SCALARS = {kind.__name__: kind for kind in (bool, int, float, str)}
_COMMENT = re.compile(r"#\s*([^,|]*[^,|\s])\s*(?:,([^|]*))?\|\s*(.*\S)\s*")
_MORE = re.compile(r"#\s{3}(.*\S)\s*")  # of the comment above
_HEADING = re.compile(r"#\s*-+\s*(.*?[^-\s])\s*-+\s*")
_NUMBER = r"([-+\w.]+)"
_RANGES = (  # how a range is written, and the limits that its numbers are
    (rf"{_NUMBER}\.\.{_NUMBER}", "ge", "le"),
    (rf"\({_NUMBER},\s*{_NUMBER}\]", "gt", "le"),
    (rf"\[{_NUMBER},\s*{_NUMBER}\)", "ge", "lt"),
    (rf">=\s*{_NUMBER}", "ge"),
    (rf">\s*{_NUMBER}", "gt"),
)


@dataclass(frozen=True)
class Parameter:
    """One assignment of a parameters cell."""

    notebook: str
    name: str
    default: object
    unit: str
    range: str  # as in the comment, '' when there is none
    description: str
    group: str = ""  # of the heading above it
    item: object = field(default=None, repr=False, compare=False)  # pydantic's type of the value or its items

    @property
    def key(self) -> str:
        """How the command line names it: 03.shots_per_scene."""
        return f"{self.notebook[:2]}.{self.name}"

    @property
    def type(self) -> str:
        """bool, int, float, str, list[int], ..., list."""
        return _type_name(self.default)

    @property
    def meaning(self) -> str:
        """Unit, range and description, as in the comment."""
        return f"{self.unit}{f', {self.range}' if self.range else ''} | {self.description}"

    @cached_property
    def _type(self) -> TypeAdapter:
        annotation = list[self.item] if isinstance(self.default, list) else self.item
        return TypeAdapter(annotation, config=ConfigDict(strict=True, allow_inf_nan=False))

    def check(self, value: object) -> object:
        """Returns `value` as this parameter's type, an int as a float where that is asked for.

        Raises M2SError saying what would be right, for a wrong type or an impossible value.
        """
        try:
            return self._type.validate_python(value)
        except ValidationError as error:
            raise M2SError(self._refusal(value, error.errors()[0])) from None

    def _refusal(self, value: object, error: dict) -> str:
        wrong, kind = error["input"], error["type"]
        such_as = f"such as {format_text(self.default) or repr('')}"
        if kind == "finite_number":
            return f"{self.key} = {value!r}: expected a finite number; {self.meaning}"
        if kind.endswith("_type") or (kind == "literal_error" and _type_name(wrong) not in self.type):
            return f"{self.key} = {value!r}: expected {self.type}, {such_as} (the default); {self.meaning}"
        subject = f"{wrong!r} in {self.key}" if isinstance(value, list) else self.key
        limit = f"be {'' if self.range[0] in '>o' else 'in '}{self.range}" if self.range else "not be empty"
        return f"{subject} = {value!r}: must {limit}, {such_as}; {self.meaning}"


def read_parameters(notebooks_dir: str | os.PathLike | None = None) -> dict[str, dict[str, Parameter]]:
    """Returns the parameters of all notebooks, by stage and name, in their order; nothing is executed.

    Raises M2SError listing every line that breaks the grammar, every name that lives in two notebooks, and
    every notebook without a run_dir.
    """
    folder = project_root() / "notebooks" if notebooks_dir is None else Path(notebooks_dir)
    known, problems, home = {}, [], {}
    for stage in stage_names(folder):
        known[stage], wrong = read_notebook_parameters(folder / f"{stage}.ipynb")
        problems += wrong
        for name in known[stage]:
            if name != RUN_DIR and name in home:
                problems.append(f"{stage}: {name} lives in {home[name]} already; a parameter has one home")
            home.setdefault(name, stage)
    if problems:
        raise M2SError(listed(f"{len(problems)} problem(s) in the parameters cells of {folder}", problems))
    return known


def read_notebook_parameters(path: Path) -> tuple[dict[str, Parameter], list[str]]:
    """Returns the parameters of one notebook and the problems of its parameters cell."""
    stage = path.stem
    try:
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
        tagged = [c for c in cells if "parameters" in c.get("metadata", {}).get("tags", [])]
        sources = ["".join(c["source"]) for c in tagged]
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        return {}, [f"{stage}: {path} cannot be read as a notebook ({type(error).__name__}: {error})"]
    if len(sources) != 1:
        return {}, [f"{stage}: needs one cell tagged 'parameters', has {len(sources)}"]
    parameters, problems = parse_cell(sources[0], stage)
    if RUN_DIR not in parameters and not problems:
        problems.append(f"{stage}: the parameters cell lacks run_dir, the folder of the run")
    return parameters, problems


def parse_cell(source: str, stage: str) -> tuple[dict[str, Parameter], list[str]]:
    """Returns the parameters in the source of a cell, and what is wrong with it, line by line."""
    try:
        statements = ast.parse(source).body
    except (SyntaxError, ValueError) as error:
        return {}, [f"{stage}: the parameters cell is not Python ({error})"]
    lines = re.split(r"\r\n|\n|\r|\f", source)  # as Python counts them
    headings = {n: m[1] for n, line in enumerate(lines, 1) if (m := _HEADING.fullmatch(line.strip()))}
    parameters, problems = {}, []
    for statement in statements:
        number = statement.lineno
        comment = _comment(statement, lines)
        group = next((text for n, text in sorted(headings.items(), reverse=True) if n < number), "")
        try:
            parameter = _parse_line(statement, comment, stage, group)
            if parameter.name in parameters:
                raise M2SError(f"{parameter.name} is set twice")
            parameters[parameter.name] = parameter
        except M2SError as error:
            problems.append(f"{stage}, parameters cell, line {number}: {error}")
    return parameters, problems


def _comment(statement: ast.stmt, lines: list[str]) -> str:
    """What stands after a statement, and in the indented comments right below it, as one line."""
    last = statement.end_lineno
    begun = lines[last - 1].encode()[statement.end_col_offset :].decode(errors="replace").strip()
    more = itertools.takewhile(bool, (_MORE.fullmatch(line) for line in lines[last:] if begun))
    return " ".join([begun, *(matched[1].strip() for matched in more)])


def _parse_line(statement: ast.stmt, comment: str, stage: str, group: str) -> Parameter:
    if not (
        isinstance(statement, ast.Assign)
        and isinstance(target := statement.targets[0], ast.Name)
        and len(statement.targets) == 1
    ):
        raise M2SError(f"only assignments of the form `{GRAMMAR}` may stand here, one for each parameter")
    name = target.id
    try:
        default = ast.literal_eval(statement.value)
    except ValueError:
        raise M2SError(f"{name} is not a plain literal; derived values go into the next cell") from None
    if not _type_name(default) or name.startswith("_"):
        kinds = "a bool, int, float, str or a list of them, not private"
        raise M2SError(f"{name} = {default!r}: a parameter is {kinds}")
    matched = _COMMENT.fullmatch(comment)
    if not matched or _limits(matched[1]):
        form = "`# <unit or kind>[, <range>] | <description>`"
        raise M2SError(f"{name} needs a comment {form}, has {comment!r}")
    unit, limit, description = matched[1], matched[2], matched[3]
    item = _item_type(name, default, unit, limit)
    parameter = Parameter(stage, name, default, unit, (limit or "").strip(), description, group, item)
    parameter.check(default)
    return parameter


def _item_type(name: str, default: object, unit: str, limit: str | None) -> object:
    """Returns pydantic's type of a value, of a list's items: type, range and choices."""
    kind = _SCALARS.get(_type_name(default).removeprefix("list[").rstrip("]"), bool | int | float | str)
    if limit is None:
        is_name = kind is str and unit.split()[0] not in MAY_BE_EMPTY
        return Annotated[str, Field(min_length=1)] if is_name else kind
    choices = [c.strip() for c in limit.strip().removeprefix("one of:").split(",")]
    if limit.strip().startswith("one of:") and all(choices):
        return Literal[tuple(_choice(c, kind) for c in choices)]
    limits = _limits(limit)
    if limits is None:
        forms = "write 1..64, >= 1, > 0, (0, 1], [0, 1) or `one of: a, b`"
        raise M2SError(f"{name}: {limit.strip()!r} is not a range; {forms}")
    if kind not in (int, float):
        problem = f"the range {limit.strip()} is for numbers, the default is {_type_name(default)}"
        raise M2SError(f"{name}: {problem}; use `one of: a, b`")
    return Annotated[kind, Field(**limits)]


def _choice(text: str, kind: type) -> object:
    if kind is not str or text in ("''", '""'):
        with contextlib.suppress(ValueError, SyntaxError):
            return ast.literal_eval(text.capitalize() if kind is bool else text)
    return text


def _limits(text: str) -> dict[str, float] | None:
    """Returns a range's limits by pydantic's names for them; None when the text is not a range.

    >>> _limits("(0, 1]"), _limits(">= 1"), _limits("1-3")
    ({'gt': 0, 'le': 1}, {'ge': 1}, None)
    """
    for form, *names in _RANGES:
        if matched := re.fullmatch(form, text.strip()):
            try:
                numbers = [int(n) if n.lstrip("+-").isdigit() else float(n) for n in matched.groups()]
            except ValueError:
                return None
            in_order = numbers[0] <= numbers[-1]  # not so for nan
            return dict(zip(names, numbers, strict=True)) if in_order else None
    return None


def _type_name(value: object) -> str:
    """Returns 'bool', 'int', 'float', 'str', 'list[int]', ... or 'list' (empty); '' for other things."""
    if not isinstance(value, list):
        return type(value).__name__ if type(value) in _SCALARS.values() else ""
    kinds = {"float" if {int, float} == {type(v) for v in value} else _type_name(v) for v in value}
    if len(kinds) > 1 or not all(kinds) or any(k.startswith("list") for k in kinds):
        return ""
    return f"list[{kinds.pop()}]" if kinds else "list"


def listed(title: str, problems: list[str]) -> str:
    """Returns a message that lists problems below its title."""
    return title + ":\n" + "\n".join(f"  - {p}" for p in problems)
