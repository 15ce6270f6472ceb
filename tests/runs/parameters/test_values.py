"""Values as text, and what the comment of a parameter allows."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from m2s_lib.errors import M2SError
from m2s_lib.runs.parameters.parameters import Parameter, parse_cell
from m2s_lib.runs.parameters.values import format_text, load_yaml, parse_text

finite = st.floats(allow_nan=False, allow_infinity=False)
text = st.text(st.characters(exclude_categories=["Cs"]))
scalars = {"bool": st.booleans(), "int": st.integers(), "float": finite, "str": text}
values = st.sampled_from(sorted(scalars)).flatmap(
    lambda kind: st.one_of(
        st.tuples(st.just(kind), scalars[kind]),
        st.tuples(st.just(f"list[{kind}]"), st.lists(scalars[kind], min_size=1)),
    )
)


def parameter(default: object, about: str = "text") -> Parameter:
    """A parameter as a notebook has it."""
    parameters, problems = parse_cell(f"x = {default!r}  # {about} | why", "01_a")
    assert problems == []
    return parameters["x"]


def allows(one: Parameter, value: object) -> bool:
    try:
        one.check(value)
    except M2SError:
        return False
    return True


@given(values)
def test_every_value_comes_back_from_its_command_line_text(case):
    kind, value = case
    back = parse_text(format_text(value), kind)
    assert back == value
    assert type(back) is type(value)
    assert allows(
        Parameter(
            "01_a",
            "x",
            value,
            "text",
            "",
            "why",
            item=type((value or [0])[0] if kind[:4] == "list" else value),
        ),
        back,
    )


@given(finite, finite, finite)
def test_ranges_hold_what_comparisons_hold(low, high, x):
    low, high = min(low, high), max(low, high)
    assert allows(parameter(low, f"m, {low!r}..{high!r}"), x) == (low <= x <= high)
    if low < high:
        assert allows(parameter(high, f"m, ({low!r}, {high!r}]"), x) == (low < x <= high)
        assert allows(parameter(low, f"m, [{low!r}, {high!r})"), x) == (low <= x < high)
        assert allows(parameter(high, f"m, > {low!r}"), x) == (x > low)
    assert allows(parameter(low, f"m, >= {low!r}"), x) == (x >= low)


@pytest.mark.parametrize("words", ["5..1", "(1, 0]", "one of:", "one of: a,", ">= x", "> nan", "a..b", "1-3"])
def test_what_is_not_a_range(words):
    (problem,) = parse_cell(f"x = 1  # shots, {words} | why", "01_a")[1]
    assert "is not a range; write 1..64" in problem


def test_choices_are_of_the_parameter_s_type():
    texts, numbers = parameter("", "kind, one of: '', cowatch, 128"), parameter(128, "px, one of: 128, 64")
    assert [allows(texts, v) for v in ("", "cowatch", "128", "Cowatch", "''", 128)] == [True] * 3 + [
        False
    ] * 3
    assert [allows(numbers, v) for v in (128, 64, 32, "64")] == [True, True, False, False]


@pytest.mark.parametrize(
    ("words", "kind"),
    [
        ("x", "int"),
        ("4.0", "int"),
        ("true", "int"),
        ("", "int"),
        ("x", "float"),
        ("1", "bool"),
        ("yes", "bool"),
        ("3", "list[int]"),
        ("[1, x]", "list[int]"),
        ("[[1]]", "list[int]"),
        ("[1", "list[str]"),
        ("{a: 1}", "list[str]"),
        ("[1.5]", "list[int]"),
    ],
)
def test_texts_of_another_type_are_refused(words, kind):
    defaults = {"int": 1, "float": 1.0, "bool": True, "list[int]": [1], "list[str]": ["a"]}
    with pytest.raises(M2SError, match=r"expected .*, such as"):
        parameter(defaults[kind]).check(parse_text(words, kind))


def test_texts_are_read_by_the_type_asked_for():
    assert parse_text("4", "float") == 4.0
    assert parse_text("1e-4", "float") == 1e-4
    assert parse_text("True", "bool") is True
    assert parse_text("[no, 010, 'a, b']", "list[str]") == ["no", "010", "a, b"]
    assert parse_text("[1, 2]", "list[str]") == ["1", "2"]
    assert parse_text("[1e-4, 2]", "list[float]") == [1e-4, 2.0]
    assert parse_text("[]", "list[int]") == []


def test_types_are_strict_but_for_int_to_float():
    assert type(parameter(1.0).check(4)) is float
    assert parameter([1.0]).check([1, 2.5]) == [1.0, 2.5]
    assert parameter([1, 2.5]).type == "list[float]"
    for default, value in [
        (1, True),
        (True, 1),
        (1, 1.0),
        (1, "1"),
        ("", None),
        ([1], (1,)),
        ([1], [True]),
        (1.0, "1"),
        (1.0, True),
        ([], [[1]]),
    ]:
        with pytest.raises(M2SError, match="expected"):
            parameter(default).check(value)
    for value in (math.nan, math.inf):
        with pytest.raises(M2SError, match="expected a finite number"):
            parameter(1.0).check(value)


def test_yaml_reads_small_numbers_as_numbers_and_keys_once():
    assert load_yaml("[1e-4, 2E+3, -1.5e2, '1e-4', e1, 1]") == [1e-4, 2e3, -150.0, "1e-4", "e1", 1]
    with pytest.raises(Exception, match="written twice: a"):
        load_yaml("{a: 1, a: 2}")
