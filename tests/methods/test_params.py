"""Parameters of methods: what is allowed, how a mistake reads, and how a sweep becomes variants."""

from typing import Any

import pytest

from methods.contract.params import Param, brief, expand, label, nearest, show

RATIO = Param(0.2, "", low=0, high=1)
RATE = Param(1e-4, "", above=0)
EPOCHS = Param(10, "", low=1)
RECIPE = Param("study", "", choices=("study", "paper"))
NORM = Param(True, "")
TEXT = Param("", "")
FOLDS = Param(2, "", choices=(2, 5))


@pytest.mark.parametrize(
    ("param", "value", "expected"),
    [
        (RATIO, 0.5, 0.5),
        (RATIO, 0, 0.0),
        (RATIO, 1, 1.0),
        (RATE, "1e-4", 1e-4),  # what YAML makes of a number without a dot
        (RATE, "3", 3.0),
        (EPOCHS, 1, 1),
        (NORM, False, False),
        (RECIPE, "paper", "paper"),
        (TEXT, "", ""),
        (FOLDS, 5, 5),
    ],
)
def test_a_right_value_comes_back_in_the_declared_type(param: Param, value: Any, expected: Any) -> None:
    checked = param.check(value)
    assert (checked, type(checked)) == (expected, type(param.default))


@pytest.mark.parametrize(
    ("param", "value", "message"),
    [
        (RATIO, 1.01, "found 1.01, allowed: a number ≥ 0 and ≤ 1"),
        (RATIO, -1, "found -1, allowed: a number ≥ 0 and ≤ 1"),
        (RATIO, True, "found true, allowed: a number ≥ 0 and ≤ 1"),
        (RATIO, "half", "found 'half', allowed: a number ≥ 0 and ≤ 1"),
        (RATIO, float("nan"), "found nan, allowed: a number ≥ 0 and ≤ 1"),
        (RATE, "nan", "found 'nan', allowed: a number > 0"),
        (RATE, float("inf"), "found inf, allowed: a number > 0"),
        (RATE, 0.0, "found 0.0, allowed: a number > 0"),
        (RATE, None, "found nothing, allowed: a number > 0"),
        (RATE, [1.0], "found [1.0], allowed: a number > 0"),
        (EPOCHS, 0, "found 0, allowed: a whole number ≥ 1"),
        (EPOCHS, 3.0, "found 3.0, allowed: a whole number ≥ 1"),
        (EPOCHS, True, "found true, allowed: a whole number ≥ 1"),
        (EPOCHS, "3", "found '3', allowed: a whole number ≥ 1"),
        (NORM, 1, "found 1, allowed: true or false"),
        (NORM, "true", "found 'true', allowed: true or false"),
        (RECIPE, "papr", "found 'papr', allowed: one of 'study', 'paper'; did you mean 'paper'?"),
        (RECIPE, True, "found true, allowed: one of 'study', 'paper'"),
        (TEXT, 3, "found 3, allowed: a text"),
        (FOLDS, 3, "found 3, allowed: one of 2, 5"),
        (FOLDS, 2.0, "found 2.0, allowed: one of 2, 5"),
    ],
)
def test_a_wrong_value_is_named_with_what_is_allowed(param: Param, value: Any, message: str) -> None:
    with pytest.raises(ValueError, match="found") as caught:
        param.check(value)
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("value", "shown"),
    [(True, "true"), (None, "nothing"), (3, "3"), (3.0, "3.0"), (1e-4, "0.0001"), ("x", "'x'"), ([1], "[1]")],
)
def test_values_are_shown_as_one_writes_them(value: Any, shown: str) -> None:
    assert show(value) == shown


@pytest.mark.parametrize(("value", "shown"), [(10**59, str(10**59)), (10**60, f"{10**56}..."), ("a\n  b", "'a b'")])
def test_in_an_error_a_value_has_one_line_of_at_most_60_characters(value: Any, shown: str) -> None:
    assert brief(value) == shown
    assert len(shown) <= 60


@pytest.mark.parametrize(
    ("word", "known", "hint"),
    [
        ("ratoi", ["ratio", "lr"], "; did you mean 'ratio'?"),
        ("xgboost", ["ratio", "lr"], ""),
        ("ratio", [], ""),
        (3, [2, 30], "; did you mean '30'?"),
    ],
)
def test_the_nearest_name_is_offered_where_one_is_near(word: Any, known: list[Any], hint: str) -> None:
    assert nearest(word, known) == hint


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, "-"),
        ({"ratio": 0.1}, "ratio=0.1"),
        ({"alpha": 1.0, "lr": 1e-5}, "alpha=1, lr=1e-05"),
        ({"inputs": "image+logits", "norm": True, "n": 4}, "inputs=image+logits, norm=true, n=4"),
        ({"beta": 0.123456789}, "beta=0.123456789"),
    ],
)
def test_a_variant_is_named_by_what_is_swept(settings: dict[str, Any], expected: str) -> None:
    assert label(settings) == expected


def test_different_values_have_different_names() -> None:
    values = [0.1, 0.1 + 1e-9, 1.0, 1.0000001, 1e22, 1e22 + 1e7]
    assert len({label({"x": value}) for value in values}) == len(values)


def test_without_a_list_there_is_one_variant() -> None:
    assert expand({"ratio": 0.1}) == [("-", {"ratio": 0.1})]
    assert expand({}) == [("-", {})]


def test_several_lists_are_their_product_in_order_and_the_rest_is_fixed() -> None:
    assert expand({"a": [1, 2], "fixed": True, "b": ["x", "y"]}) == [
        ("a=1, b=x", {"a": 1, "fixed": True, "b": "x"}),
        ("a=1, b=y", {"a": 1, "fixed": True, "b": "y"}),
        ("a=2, b=x", {"a": 2, "fixed": True, "b": "x"}),
        ("a=2, b=y", {"a": 2, "fixed": True, "b": "y"}),
    ]
