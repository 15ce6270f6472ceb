"""What the notebooks can be told: the parameters cells read without running them, and the profiles.

One line of a cell tagged `parameters` is one parameter::

    shots_per_scene = 9  # shots, 1..64 | scene length (supp. 1.1c)

that is `name = literal  # <unit or kind>[, <range>] | <description>`, where the range is one of `1..64`,
`>= 1`, `> 0`, `(0, 1]`, `[0, 1)` or `one of: a, b, c`. The range of a list holds for each item. Text may be
empty when its kind is file, folder or text, or when `''` is among the choices.
"""

import ast
import io
import json
import os
import re
import tokenize
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import yaml

from m2s_lib.errors import M2SError
from m2s_lib.runs.project import project_root, stage_names
from m2s_lib.runs.values import MAY_BE_EMPTY, Range, fit, format_text, parse_range, type_name

RUN_DIR = "run_dir"  # in every notebook, set by --run-dir alone
GRAMMAR = "name = literal  # <unit or kind>[, <range>] | <description>"


@dataclass(frozen=True)
class Parameter:
    """One line of a parameters cell."""

    notebook: str
    name: str
    default: object
    type: str  # bool, int, float, str, list[int], ..., list
    unit: str
    range: Range | None
    description: str

    @property
    def key(self) -> str:
        """How the command line names it: 03.shots_per_scene."""
        return f"{self.notebook[:2]}.{self.name}"

    @property
    def meaning(self) -> str:
        """Unit, range and description, as in the comment."""
        return f"{self.unit}{f', {self.range.text}' if self.range else ''} | {self.description}"

    def expected(self) -> str:
        """Type and example, for messages."""
        return f"{self.type}, such as {format_text(self.default) or repr('')} (the default)"

    def check(self, value: object) -> object:
        """`value` as this parameter's type.

        Raises M2SError saying what would be right, for a wrong type or an impossible value.
        """
        try:
            value = fit(value, self.type)
        except TypeError:
            raise M2SError(f"{self.key} = {value!r}: expected {self.expected()}; {self.meaning}") from None
        except ValueError:
            raise M2SError(f"{self.key} = {value!r}: expected a finite number; {self.meaning}") from None
        wrong = [v for v in (value if isinstance(value, list) else [value]) if not self._allows(v)]
        if wrong:
            limit = f"must be {_in_words(self.range)}" if self.range else "must not be empty"
            what = (
                f"{wrong[0]!r} in {self.key} = {value!r}"
                if isinstance(value, list)
                else f"{self.key} = {value!r}"
            )
            raise M2SError(f"{what}: {limit}, such as {format_text(self.default)}; {self.meaning}")
        return value

    def _allows(self, value: object) -> bool:
        if value == "" and self.unit.split()[0] in MAY_BE_EMPTY:
            return True
        return self.range.holds(value) if self.range else value != ""


def _in_words(limit: Range) -> str:
    if limit.choices is not None or limit.text[0] in "<>":
        return limit.text
    return f"in {limit.text}"


def read_parameters(notebooks_dir: str | os.PathLike | None = None) -> dict[str, dict[str, Parameter]]:
    """Parameters of all notebooks, by stage and name, in their order; nothing is executed.

    Raises M2SError listing every line that breaks the grammar, every name that lives in two notebooks, and
    every notebook without a run_dir.
    """
    folder = project_root() / "notebooks" if notebooks_dir is None else Path(notebooks_dir)
    found, problems, home = {}, [], {}
    for stage in stage_names(folder):
        found[stage], wrong = read_notebook_parameters(folder / f"{stage}.ipynb")
        problems += wrong
        for name in found[stage]:
            if name != RUN_DIR and name in home:
                problems.append(f"{stage}: {name} lives in {home[name]} already; a parameter has one home")
            home.setdefault(name, stage)
    if problems:
        raise M2SError(listed(f"{len(problems)} problem(s) in the parameters cells of {folder}", problems))
    return found


def read_notebook_parameters(path: Path) -> tuple[dict[str, Parameter], list[str]]:
    """Parameters of one notebook and the problems of its parameters cell."""
    stage = path.stem
    try:
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
        tagged = [c for c in cells if "parameters" in c.get("metadata", {}).get("tags", [])]
        sources = ["".join(c["source"]) for c in tagged]
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        said = f"{type(error).__name__}: {error}"
        return {}, [f"{stage}: {path} cannot be read as a notebook ({said})"]
    if len(sources) != 1:
        return {}, [f"{stage}: needs one cell tagged 'parameters', has {len(sources)}"]
    found, problems = parse_cell(sources[0], stage)
    if RUN_DIR not in found and not problems:
        problems.append(f"{stage}: the parameters cell lacks run_dir, the folder of the run")
    return found, problems


def parse_cell(source: str, stage: str) -> tuple[dict[str, Parameter], list[str]]:
    """Parameters in the source of a cell, and what is wrong with it, line by line."""
    try:
        statements = ast.parse(source).body
        tokens = list(tokenize.generate_tokens(io.StringIO(source).readline))
    except (SyntaxError, tokenize.TokenError) as error:
        return {}, [f"{stage}: the parameters cell is not Python ({error})"]
    comments = {t.start[0]: t.string for t in tokens if t.type == tokenize.COMMENT}
    found, problems = {}, []
    for statement in statements:
        line = f"{stage}, parameters cell, line {statement.lineno}"
        try:
            parameter = _parse_line(statement, comments.get(statement.lineno, ""), stage)
            if parameter.name in found:
                raise M2SError(f"{parameter.name} is set twice")
            found[parameter.name] = parameter
        except M2SError as error:
            problems.append(f"{line}: {error}")
    return found, problems


def _parse_line(statement: ast.stmt, comment: str, stage: str) -> Parameter:
    plain = (
        isinstance(statement, ast.Assign)
        and len(statement.targets) == 1
        and isinstance(statement.targets[0], ast.Name)
    )
    if not plain or statement.lineno != statement.end_lineno:
        raise M2SError(f"only lines of the form `{GRAMMAR}` may stand here, one parameter a line")
    name = statement.targets[0].id
    try:
        default = ast.literal_eval(statement.value)
    except ValueError:
        raise M2SError(f"{name} is not a plain literal; derived values go into the next cell") from None
    kind = type_name(default)
    if kind is None or name.startswith("_"):
        raise M2SError(
            f"{name} = {default!r}: a parameter is a bool, int, float, str or a list of them, not private"
        )
    unit, limit, description = _parse_comment(comment, name)
    if limit and limit.choices is None and kind.removeprefix("list[").rstrip("]") in ("str", "bool"):
        raise M2SError(
            f"{name}: the range {limit.text} is for numbers, the default is {kind}; use `one of: a, b`"
        )
    parameter = Parameter(stage, name, default, kind, unit, limit, description)
    parameter.check(default)
    return parameter


def _parse_comment(comment: str, name: str) -> tuple[str, Range | None, str]:
    left, bar, description = comment.removeprefix("#").partition("|")
    unit, comma, limit = (part.strip() for part in left.partition(","))
    if not bar or not unit or not description.strip() or parse_range(unit):
        raise M2SError(
            f"{name} needs a comment `# <unit or kind>[, <range>] | <description>`, has {comment!r}"
        )
    parsed = parse_range(limit) if comma else None
    if comma and parsed is None:
        raise M2SError(
            f"{name}: {limit!r} is not a range; write 1..64, >= 1, > 0, (0, 1], [0, 1) or `one of: a, b`"
        )
    return unit, parsed, description.strip()


@dataclass(frozen=True)
class Profile:
    """What a named run changes: data_manifests/profiles/<name>.yaml."""

    name: str
    source: str
    description: str
    run_dir: str = ""  # '' means runs/<name>
    stages: tuple[str, ...] = ()  # () means all notebooks
    parameters: dict[str, dict[str, object]] = field(default_factory=dict)  # by '03' or '03_scene_mining'
    rows: dict[str, dict[str, dict[str, object]]] = field(default_factory=dict)  # name -> what it changes
    repeats: dict[str, dict[str, dict[str, object]]] = field(default_factory=dict)  # each with all rows
    row_stages: dict[str, tuple[str, ...]] = field(default_factory=dict)  # of rows that have fewer
    base: str = ""  # the row whose stages lie in the run's own folder, '' when all are in rows/
    summary: tuple[str, ...] = ()  # stages that are run once, after all rows


class _OnceLoader(yaml.SafeLoader):
    """YAML in which a key may be written once only: the second would silently win."""

    def construct_mapping(self, node, deep=False):
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        twice = sorted({str(k) for k in keys if keys.count(k) > 1})
        if twice:
            raise yaml.constructor.ConstructorError(
                None, None, f"written twice: {', '.join(twice)}", node.start_mark
            )
        return super().construct_mapping(node, deep)


def load_profile(name_or_path: str | os.PathLike, profiles_dir: str | os.PathLike | None = None) -> Profile:
    """Read a profile by its name in data_manifests/profiles or by the path of a YAML file.

    Only the file's own form is checked here; `m2s_lib.runs.plan.plan_run` compares it with the notebooks.
    Raises M2SError listing all that is wrong, or the profiles there are.
    """
    path = _profile_path(str(name_or_path), profiles_dir)
    try:
        content = yaml.load(path.read_text(encoding="utf-8"), Loader=_OnceLoader)
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise M2SError(f"the profile {path} cannot be read: {error}") from error
    problems = _profile_problems(content)
    if problems:
        raise M2SError(listed(f"{len(problems)} problem(s) in the profile {path}", problems))
    return Profile(
        name=path.stem,
        source=str(path),
        description=content["description"].strip(),
        run_dir=content.get("run_dir") or "",
        stages=tuple(_two_digits(s) for s in content.get("stages") or ()),
        parameters=_by_notebook(content.get("parameters")),
        rows={str(k): _by_notebook(_without_stages(v)) for k, v in (content.get("rows") or {}).items()},
        row_stages={
            str(k): tuple(_two_digits(s) for s in v["stages"])
            for k, v in (content.get("rows") or {}).items()
            if v and "stages" in v
        },
        base=content.get("base") or "",
        repeats={str(k): _by_notebook(v) for k, v in (content.get("repeats") or {}).items()},
        summary=tuple(_two_digits(s) for s in content.get("summary") or ()),
    )


def without_rows(profile: Profile) -> Profile:
    """The same without rows and repeats, and without the stages that are run once after them."""
    return replace(profile, rows={}, row_stages={}, base="", repeats={}, summary=())


def one_run(profile: Profile) -> Profile:
    """The same as a run without rows: its stages and those that are run once after the rows."""
    stages = (*profile.stages, *profile.summary) if profile.stages else ()
    return replace(without_rows(profile), stages=stages)


def _without_stages(row: Mapping | None) -> dict:
    return {k: v for k, v in (row or {}).items() if k != "stages"}


def _by_notebook(parameters: Mapping | None) -> dict[str, dict[str, object]]:
    return {_two_digits(k): dict(v or {}) for k, v in (parameters or {}).items()}


def _profile_path(text: str, profiles_dir: str | os.PathLike | None) -> Path:
    if text.endswith((".yaml", ".yml")) or "/" in text or os.sep in text:
        return Path(text).expanduser()
    folder = project_root() / "data_manifests" / "profiles" if profiles_dir is None else Path(profiles_dir)
    known = profile_names(folder)
    if text not in known:
        raise M2SError(
            f"there is no profile {text!r}; the profiles are {', '.join(known) or '(none)'} (in {folder}), "
            "or give the path of a YAML file"
        )
    return folder / f"{text}.yaml"


def profile_names(profiles_dir: str | os.PathLike) -> list[str]:
    """Names of the profiles in a folder."""
    return sorted(p.stem for p in Path(profiles_dir).glob("*.yaml"))


def _profile_problems(content: object) -> list[str]:
    known = ("description", "run_dir", "stages", "parameters", "rows", "base", "repeats", "summary")
    if not isinstance(content, dict):
        return [f"it has to be a mapping with the keys {', '.join(known)}"]
    problems = [
        f"unknown key {key!r}; the keys are {', '.join(known)}" for key in content if key not in known
    ]
    if not isinstance(content.get("description"), str) or not content["description"].strip():
        problems.append("description is missing: one sentence that says what the run is for")
    if not isinstance(content.get("run_dir") or "", str):
        problems.append(f"run_dir has to be text, such as runs/demo; got {content['run_dir']!r}")
    for key in ("stages", "summary"):
        if not isinstance(content.get(key) or [], list):
            problems.append(f"{key} has to be a list, such as ['01', '02']; got {content[key]!r}")
    if not _maps(content.get("parameters"), 1):
        problems.append('parameters has to map notebooks to values, such as {"03": {shots_per_scene: 4}}')
    rows = content.get("rows")
    if isinstance(rows, dict) and all(isinstance(row or {}, dict) for row in rows.values()):
        for name, row in rows.items():
            if not isinstance((row or {}).get("stages") or [], list):
                problems.append(f"row {name!r}: stages has to be a list, such as ['01', '02']")
        rows = {name: _without_stages(row) for name, row in rows.items()}
    if content.get("base") and content["base"] != next(iter(rows or {}), None):
        problems.append(f"base has to name the first of the rows; got {content['base']!r}")
    if content.get("base") and content.get("repeats"):
        problems.append("a run with a base row cannot have repeats: its folder holds one row")
    for key, value in (("rows", rows), ("repeats", content.get("repeats"))):
        if not _maps(value, 2):
            problems.append(
                f'{key} has to map names to parameters, such as {{"4": {{"03": {{shots_per_scene: 4}}}}}}'
            )
    if content.get("summary") and not (content.get("rows") or content.get("repeats")):
        problems.append("summary names stages to run once after rows or repeats, and there are none")
    return problems


def _maps(value: object, depth: int) -> bool:
    """Whether `value` is mappings in mappings, `depth` times; what is empty may be left out."""
    if not depth or value is None:
        return value is None or isinstance(value, dict)
    return isinstance(value, dict) and all(_maps(v, depth - 1) for v in value.values())


def _two_digits(key: object) -> str:
    """YAML reads an unquoted 03 as the number 3."""
    return (
        f"{key:02d}"
        if isinstance(key, int) and not isinstance(key, bool)
        else re.sub(r"^(\d)$", r"0\1", str(key))
    )


def listed(title: str, problems: list[str]) -> str:
    return title + ":\n" + "\n".join(f"  - {p}" for p in problems)
