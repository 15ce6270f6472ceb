"""Ranges, types and command-line texts."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from m2s_lib.runs.values import fit, fit_yaml, format_text, parse_range, parse_text, type_name

finite = st.floats(allow_nan=False, allow_infinity=False)
text = st.text(st.characters(exclude_categories=["Cs"]))
scalars = {"bool": st.booleans(), "int": st.integers(), "float": finite, "str": text}
values = st.sampled_from(sorted(scalars)).flatmap(
    lambda kind: st.one_of(
        st.tuples(st.just(kind), scalars[kind]),
        st.tuples(st.just(f"list[{kind}]"), st.lists(scalars[kind])),
    )
)


@given(values)
def test_every_value_comes_back_from_its_command_line_text(case):
    kind, value = case
    back = parse_text(format_text(value), kind)
    assert back == value
    assert type_name(back) == type_name(value)


@given(finite, finite, finite, st.booleans(), st.booleans())
def test_intervals_hold_what_comparisons_hold(low, high, x, low_open, high_open):
    low, high = min(low, high), max(low, high)
    limit = parse_range(f"{'(' if low_open else '['}{low!r}, {high!r}{')' if high_open else ']'}")
    assert limit.holds(x) == ((low < x if low_open else low <= x) and (x < high if high_open else x <= high))
    assert parse_range(f"{low!r}..{high!r}").holds(x) == (low <= x <= high)
    assert parse_range(f">= {low!r}").holds(x) == (x >= low)
    assert parse_range(f"> {low!r}").holds(x) == (x > low)
    assert parse_range(f"<= {low!r}").holds(x) == (x <= low)
    assert parse_range(f"< {low!r}").holds(x) == (x < low)


@pytest.mark.parametrize(
    "words", ["", "1", "5..1", "(1, 0]", "one of:", "one of: a,", ">= x", "> nan", "a..b", "1-3"]
)
def test_what_is_not_a_range(words):
    assert parse_range(words) is None


def test_choices_compare_by_kind():
    limit = parse_range("one of: '', cowatch, 128, true")
    assert [limit.holds(v) for v in ("", "cowatch", 128, 128.0, True, "128")] == [True] * 6
    assert [limit.holds(v) for v in ("Cowatch", 64, False, "''")] == [False] * 4


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
    ]
    + [
        ("[1, x]", "list[int]"),
        ("[[1]]", "list[int]"),
        ("[1", "list[str]"),
        ("{a: 1}", "list[str]"),
        ("[1.5]", "list[int]"),
    ],
)
def test_texts_of_another_type_are_refused(words, kind):
    with pytest.raises(TypeError):
        parse_text(words, kind)


def test_texts_are_read_by_the_type_asked_for():
    assert parse_text("4", "float") == 4.0
    assert parse_text("1e-4", "float") == 1e-4
    assert parse_text("True", "bool") is True
    assert parse_text("[no, 010, 'a, b']", "list[str]") == ["no", "010", "a, b"]
    assert parse_text("[1e-4, 2]", "list[float]") == [1e-4, 2.0]
    assert parse_text("[]", "list[int]") == []


def test_fit_is_strict_but_for_int_to_float():
    assert type(fit(4, "float")) is float
    assert fit([1, 2.5], "list[float]") == [1.0, 2.5]
    assert fit_yaml("1e-4", "float") == 1e-4  # YAML reads 1e-4 as text
    assert fit_yaml(["1e-4", 1], "list[float]") == [1e-4, 1.0]
    for value, kind in [
        (True, "int"),
        (1, "bool"),
        (1.0, "int"),
        ("1", "int"),
        (None, "str"),
        ((1,), "list[int]"),
        ([True], "list[int]"),
    ]:
        with pytest.raises(TypeError):
            fit(value, kind)
    for value in (math.nan, math.inf):
        with pytest.raises(ValueError):
            fit(value, "float")


def test_types_that_a_parameter_cannot_have():
    assert [type_name(v) for v in (None, (1,), {}, [1, "a"], [[1]], [None], 1j)] == [None] * 7
    assert [type_name(v) for v in ([], [1], [1, 2.0], ["a"], True)] == [
        "list",
        "list[int]",
        "list[float]",
        "list[str]",
        "bool",
    ]
