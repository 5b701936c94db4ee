"""What the page says about each method: nothing is missing, and what can be computed is true."""

import re
from dataclasses import replace

import pytest

from methods import Method, Replica
from methods.contract.facts import Facts, scaled, shown
from methods.tools.page import described, markdown
from methods.tools.problems import as_needed, defaults, problem
from methods.tools.registry import load
from methods.tools.stand_in import DEPTH, WIDTH
from workflow.lib.evaluation import engines

BUILT_IN = {name: entry for name, entry in load().methods.items() if entry.where == "built-in"}
PAGE = markdown(load())


@pytest.mark.parametrize("name", BUILT_IN)
def test_no_method_lacks_a_fact(name: str) -> None:
    facts = BUILT_IN[name].method.facts
    assert facts is not None, f"methods/{name}.py: declare `facts = Facts(...)`, as its neighbours do"
    for field, value in vars(facts).items():
        assert value or field == "passes", f"{name}: {field}"
    assert 1900 < facts.year < 2100
    for sentence in (facts.use, facts.fails):
        assert sentence.endswith("."), sentence
    for cost in (facts.learned, facts.fit, facts.memory):
        assert facts.at(cost) >= 0


@pytest.mark.parametrize("name", BUILT_IN)
def test_a_row_and_a_section_of_the_page_say_them(name: str) -> None:
    method = BUILT_IN[name].method
    (row,) = re.findall(rf"^\| \[`{name}`\]\(#{name}\) \|.*\|$", PAGE, re.MULTILINE)
    section = PAGE.split(f"\n## {name}\n")[1].split("\n## ")[0]
    facts = method.facts
    assert facts is not None
    assert row.endswith(f"| {facts.year} |")
    for need in method().needs(method.defaults({})):
        assert need in row
    for parameter in method.params:
        assert f"`{parameter}`" in row
    for said in (facts.formula, facts.training, facts.use, facts.fails, shown(facts.fit), shown(facts.memory)):
        assert said in section


@pytest.mark.parametrize("name", BUILT_IN)
def test_it_learns_as_many_numbers_as_it_says(name: str) -> None:
    method = BUILT_IN[name].method
    facts, one = method.facts, Replica("-", defaults(method), 0)
    assert facts is not None
    task = replace(as_needed(method, problem(5, [4] * 5).task, one), engine=engines.engine(method))
    sizes = {"N": 20, "D": 16, "K": 5, "W": WIDTH, "L": DEPTH}
    if "model" in method().needs(defaults(method)):
        return  # the made towers are another model; tests/towers/test_tuned_methods.py counts those of ViT-B/32
    if "pre" in method().needs(defaults(method)):
        sizes["Dp"] = task.last_layer().weight.shape[0]
    assert method().trainable(task, defaults(method)) == facts.at(facts.learned, **sizes)


def test_a_fit_of_the_plain_head_takes_as_many_products_as_it_says() -> None:
    """Forward and back, both 2 N D K, in every pass."""
    facts = BUILT_IN["taskres"].method.facts
    assert facts is not None
    assert facts.at(facts.fit, N=10, D=4, K=3) == facts.passes * 2 * (2 * 10 * 4 * 3)


def test_a_plugin_without_facts_is_described_without_them() -> None:
    assert described(Method()) == []


def test_costs_are_written_as_by_hand() -> None:
    assert shown("E * N * (4 * D**2 + 2 * Dp)") == "E N (4 D² + 2 D′)"
    assert [scaled(value) for value in (0, 512, 51_200, 8.53e11)] == ["0", "512", "51.2 k", "853 G"]


def test_a_cost_can_use_nothing_but_sizes() -> None:
    facts = Facts(2020, "f", "none", "0", "0", "0", "Always.", "Never.")
    with pytest.raises(NameError):
        facts.at("open('x')")
