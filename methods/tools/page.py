"""docs/methods.md, from the declarations: `python -m methods page`."""

import inspect

from methods.contract.params import show
from methods.tools.registry import Entry, Registry

HEAD = """# Methods

Made from the declarations by `make docs`; a test keeps it current. Notation: support `F (N, D)` with one-hot labels
`Y (N, K)`, a query `f (D,)`, class text `T (K, D)`, all of unit length unless said otherwise; `s` is exp(logit_scale);
a hat means made unit again.
"""


def markdown(registry: Registry) -> str:
    """The built-in methods: what each is, what it needs, its parameters, its paper."""
    built_in = {name: entry for name, entry in registry.methods.items() if entry.where == "built-in"}
    index = "\n".join(f"- [`{name}`](#{name}): {entry.method.summary()}" for name, entry in built_in.items())
    return "\n".join([HEAD, index, *(_section(name, entry) for name, entry in built_in.items())])


def _section(name: str, entry: Entry) -> str:
    method = entry.method()
    needs = ", ".join(sorted(method.needs(entry.method.defaults({}))))
    facts = [f"Needs {needs}. Runs on {'a GPU or the CPU' if method.gpu else 'the CPU'}."]
    if method.paper:
        facts.append(f"Paper: [{method.paper}](https://arxiv.org/abs/{method.paper.removeprefix('arXiv:')}).")
    lines = [f"\n## {name}\n", inspect.getdoc(entry.method) or "", "", " ".join(facts)]
    if method.departs:
        lines += ["", f"Not done of the official recipe: {method.departs}."]
    if method.params:
        lines += ["", "| parameter | default | allowed | meaning |", "|---|---|---|---|"]
    for key, param in method.params.items():
        lines.append(f"| `{key}` | {show(param.default)} | {param.allowed()} | {param.help.replace('|', '/')} |")
    return "\n".join(lines)
