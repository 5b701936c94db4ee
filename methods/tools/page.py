"""docs/methods.md, from the declarations: `python -m methods page`."""

import inspect
from collections.abc import Iterator, Mapping

from methods.contract.base import Method
from methods.contract.facts import SIZES, Facts, scaled, shown
from methods.contract.params import show
from methods.tools.registry import Entry, Registry

HEAD = """# Methods

Made from the declarations by `make docs`; a test keeps it current. Notation: support `F (N, D)` with one-hot labels
`Y (N, K)`, a query `f (D,)`, class text `T (K, D)`, all of unit length unless said otherwise; `s` is exp(logit_scale);
a hat means made unit again.

Needs: `image` is an image's embedding and `text` the class texts; `text_each` are the prompts of a class one by one,
`pre` and `spatial_logits` [arrays beside the features](data.md#arrays-beside-the-features), which some backbones have
not, and `text_encoder` the model's text tower. Where one is missing the method is n/a, and the table says why. Its
parameters are [set, swept or chosen](study_file.md#methods) in the study file. Which method does best on your images,
and how sure that is, [a run says last](results.md#which-row-to-use).

Costs are of one fit with the defaults, in N images, D dimensions, K classes, P prompts of a class, D′ dimensions before
the last projection, W the width of the text tower, L its blocks and G its operations on one prompt, I those of the
image tower on one image, and E passes over the support.
`fit` counts floating-point operations, `memory` numbers of 4 bytes that are held beside the features. The figures are
for FGVC-Aircraft with 16 shots and ViT-B/32: {sizes}.
"""
COLUMNS = ("method", "needs", "training", "learned numbers", "fit", "memory", "hyperparameters", "year")


def markdown(registry: Registry) -> str:
    """The built-in methods: all in one table, then what each is, what it needs and costs, its parameters, its paper."""
    built_in = {name: entry for name, entry in registry.methods.items() if entry.where == "built-in"}
    sizes = ", ".join(f"{shown(name)} = {scaled(size) if size > 10**6 else size}" for name, size in SIZES.items())
    sections = [_section(name, entry) for name, entry in built_in.items()]
    return "\n".join([HEAD.format(sizes=sizes), *_table(built_in), *sections])


def _table(built_in: Mapping[str, Entry]) -> Iterator[str]:
    yield f"| {' | '.join(COLUMNS)} |"
    yield "|---" * len(COLUMNS) + "|"
    for name, entry in built_in.items():
        parameters = ", ".join(f"`{key}`" for key in entry.method.params) or "none"
        facts = entry.method.facts
        costs = [""] * 5 if facts is None else [facts.training, *_figures(facts), str(facts.year)]
        training, learned, fit, memory, year = costs
        cells = [f"[`{name}`](#{name})", _needs(entry), training, learned, fit, memory, parameters, year]
        yield f"| {' | '.join(cells)} |"


def _figures(facts: Facts) -> list[str]:
    """Learned numbers, operations of a fit and numbers held, at SIZES."""
    return [scaled(facts.at(one)) for one in (facts.learned, facts.fit, facts.memory)]


def _needs(entry: Entry) -> str:
    return ", ".join(sorted(entry.method().needs(entry.method.defaults({}))))


def _section(name: str, entry: Entry) -> str:
    method = entry.method()
    facts = [f"Needs {_needs(entry)}. Runs on {'a GPU or the CPU' if method.gpu else 'the CPU'}."]
    if method.paper:
        facts.append(f"Paper: [{method.paper}](https://arxiv.org/abs/{method.paper.removeprefix('arXiv:')}).")
    lines = [f"\n## {name}\n", inspect.getdoc(entry.method) or "", "", *described(method), " ".join(facts)]
    if method.departs:
        lines += ["", f"Not done of the official recipe: {method.departs}."]
    if method.params:
        lines += ["", "| parameter | default | allowed | meaning |", "|---|---|---|---|"]
    for key, param in method.params.items():
        lines.append(f"| `{key}` | {show(param.default)} | {param.allowed()} | {param.help.replace('|', '/')} |")
    return "\n".join(lines)


def described(method: Method) -> list[str]:
    """The facts of a method as a list; nothing of one that has none."""
    facts = method.facts
    if facts is None:
        return []
    learned, fit, memory = _figures(facts)
    passes = f", E = {facts.passes}" if "E" in facts.fit else ""
    learns = "" if learned == "0" else f" It learns {_cost(facts.learned, learned)} numbers."
    return [
        f"- Formula: `{facts.formula}`",
        f"- Training: {facts.training}.{learns}",
        f"- Cost: {_cost(facts.fit, fit)} operations{passes}; {_cost(facts.memory, memory)} numbers held.",
        f"- When to take it: {facts.use}",
        f"- Known to fail: {facts.fails}",
        "",
    ]


def _cost(expression: str, figure: str) -> str:
    """`4 E N D K` with its figure, unless it is a number itself."""
    return figure if expression.isdigit() else f"`{shown(expression)}` ({figure})"
