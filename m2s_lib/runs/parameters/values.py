"""Values as text: the command line's, and YAML's."""

import contextlib
import json
import re

import yaml


class _Loader(yaml.SafeLoader):
    """YAML in which a key may be written once only (the second would silently win), and 1e-4 is a number."""

    def construct_mapping(self, node, deep=False):
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        if twice := sorted({str(k) for k in keys if keys.count(k) > 1}):
            problem = f"written twice: {', '.join(twice)}"
            raise yaml.constructor.ConstructorError(None, None, problem, node.start_mark)
        return super().construct_mapping(node, deep)


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"[-+]?\d[\d_]*(\.\d*)?[eE][-+]?\d+"), list("-+0123456789")
)


def load_yaml(text: str) -> object:
    """Reads YAML; yaml.YAMLError for a key that is written twice, too."""
    return yaml.load(text, Loader=_Loader)


def parse_text(text: str, kind: str) -> object:
    """Reads a command-line value as the type `kind`; a list is JSON or YAML flow, `[a, b]`.

    Returns the text itself when it is not of that type: the check of the parameter then says what is.

    >>> parse_text("4", "float"), parse_text("[1, 2]", "list[int]"), parse_text("[1, b]", "list[str]")
    (4.0, [1, 2], ['1', 'b'])
    """
    if kind.startswith("list"):
        return _parse_list(text, kind[5:-1])
    if kind == "bool":
        return {"true": True, "false": False}.get(text.strip().lower(), text)
    with contextlib.suppress(ValueError):
        return {"int": int, "float": float}.get(kind, str)(text)
    return text


def _parse_list(text: str, item: str) -> object:
    with contextlib.suppress(ValueError):
        values = json.loads(text)
        if item != "str" or (isinstance(values, list) and all(isinstance(v, str) for v in values)):
            return values
    try:
        values = yaml.load(text, Loader=yaml.BaseLoader if item else yaml.SafeLoader)
    except yaml.YAMLError:
        return text
    if not isinstance(values, list):
        return text
    return [parse_text(v, item) if item and isinstance(v, str) else v for v in values]


def format_text(value: object) -> str:
    """Returns the command-line text that `parse_text` reads back as `value`."""
    if isinstance(value, str):
        return value
    return repr(value) if isinstance(value, float) else json.dumps(value, ensure_ascii=False)
