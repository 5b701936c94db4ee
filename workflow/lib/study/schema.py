"""The shape of a study file, by JSON Schema, with errors that a person can act on and the line where they are."""

import math
import unicodedata
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import jsonschema
import yaml

from methods.contract.params import brief, nearest, show
from workflow.lib.errors import UserError, one_line

Key = str | int
_TEMPLATES = "__use_yte__"  # the key with which Snakemake takes a file for a template, with Python expressions in it
_MOST_VALUES = 100_000
WORDS = {
    "object": "a mapping",
    "array": "a list",
    "string": "a text",
    "integer": "a whole number",
    "number": "a number",
    "boolean": "true or false",
}
# JSON Schema counts 1.0 as an integer and NaN as a number; as a number of shots or minutes they are mistakes.
_TYPES = jsonschema.Draft202012Validator.TYPE_CHECKER.redefine_many(
    {
        "integer": lambda _, value: type(value) is int,
        "number": lambda _, value: type(value) in (int, float) and math.isfinite(value),
    }
)
_Validator: Any = jsonschema.validators.extend(  # type: ignore[no-untyped-call]  # its types leave it out
    jsonschema.Draft202012Validator, type_checker=_TYPES
)


def check(config: Mapping[str, Any], schema_file: Path, error: Callable[[Sequence[Key], str], Exception]) -> None:
    """Raise `error(keys, message)` for the first place of `config` that the schema doesn't allow."""
    schema = yaml.safe_load(schema_file.read_text(encoding="utf-8"))
    problems = sorted(_Validator(schema).iter_errors(config), key=lambda problem: list(map(str, problem.absolute_path)))
    if problems:
        raise error(*explain(problems[0]))


def finite(config: Mapping[str, Any], error: Callable[[Sequence[Key], str], Exception]) -> None:
    """Raise `error(keys, message)` for anchors that contain themselves or multiply into more than anybody writes."""
    if _written_out(config, {}) > _MOST_VALUES:
        raise error([], f"found anchors that stand for more than {_MOST_VALUES} values, allowed: fewer")


def printable(config: Mapping[str, Any], error: Callable[[Sequence[Key], str], Exception]) -> None:
    """Raise `error(keys, message)` for a text with control characters: texts become paths, labels and commands."""
    for keys, text in _texts(config, []):
        if any(unicodedata.category(character) in ("Cc", "Cs") for character in text):
            raise error(keys, f"found {brief(text)}, allowed: a text of one line without control characters")


def _written_out(value: Any, known: dict[int, float]) -> float:
    """How many values it has with its anchors written out; infinitely many where it contains itself."""
    if not isinstance(value, dict | list):
        return 1
    if id(value) not in known:
        known[id(value)] = math.inf
        parts = value.values() if isinstance(value, dict) else value
        known[id(value)] = 1 + sum(_written_out(part, known) for part in parts)
    return known[id(value)]


def _texts(value: Any, keys: list[Key]) -> Iterator[tuple[list[Key], str]]:
    """Every text in it, keys too, with the keys that lead there."""
    if isinstance(value, str):
        yield keys, value
    if isinstance(value, dict):
        yield from (([*keys, key], key) for key in value if isinstance(key, str))
    pairs = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, part in pairs:
        yield from _texts(part, [*keys, key if isinstance(key, int) else str(key)])


def explain(problem: jsonschema.ValidationError) -> tuple[list[Key], str]:
    """The keys that lead to a problem, and what was found and what is allowed, in one line."""
    keys: list[Key] = list(problem.absolute_path)
    schema: Any = problem.schema
    instance: Any = problem.instance
    value: Any = problem.validator_value
    if problem.validator == "additionalProperties":
        known = list(schema["properties"])
        wrong = next(str(key) for key in instance if key not in known)
        return [*keys, wrong], f"no such key; allowed: {', '.join(known)}{nearest(wrong, known)}"
    if problem.validator == "required":
        missing = next(name for name in value if name not in instance)
        close = nearest(missing, [key for key in instance if key not in schema["properties"]])
        return keys, f"the key '{missing}' is missing{close}"
    if "propertyNames" in problem.absolute_schema_path:
        keys.append(str(instance))
    return keys, f"found {brief(problem.instance)}, allowed: {_allowed(problem)}"


def _allowed(problem: jsonschema.ValidationError) -> str:
    value: Any = problem.validator_value
    close = nearest(problem.instance, value) if problem.validator == "enum" else ""
    words: dict[str, Callable[[], str]] = {
        "type": lambda: WORDS[value if isinstance(value, str) else value[0]],
        "enum": lambda: "one of " + ", ".join(map(show, value)) + close,
        "minimum": lambda: f"at least {value}",
        "maximum": lambda: f"at most {value}",
        "maxLength": lambda: f"at most {value} characters",
        "minItems": lambda: "a list with something in it",
        "minProperties": lambda: "at least one entry",
        "uniqueItems": lambda: "a list in which nothing stands twice",
        "anyOf": lambda: _one_of_several(problem),
        "pattern": lambda: PATTERNS[value],
    }
    return words[str(problem.validator)]()


def _one_of_several(problem: jsonschema.ValidationError) -> str:
    """What the schema says of its alternatives in words, and the nearest of their names."""
    schema: Any = problem.schema
    lists: list[Any] = [inner.validator_value for inner in problem.context or [] if inner.validator == "enum"]
    return str(schema["description"]) + nearest(problem.instance, [name for names in lists for name in names])


PATTERNS = {
    "^[a-z0-9_]+$": "a name of a-z, 0-9 and _",
    "\\.py$": "the path of a .py file",
    "\\.json$": "the path of a .json file",
    "\\.csv$": "the path of a .csv file",
    "^[a-z0-9_]+\\.[a-z0-9_]+$": "a table's name, <dataset>.<backbone>",
    "^[^{}]+$": "the path of a folder, without { and }",
    "^[^{}]*\\{\\}[^{}]*$": "a text with one {}, where the class name goes",
}


def dotted(keys: Sequence[Key]) -> str:
    """`methods.clip_adapter.ratio[1]`."""
    parts = [f"[{key}]" if isinstance(key, int) else f".{one_line(key)[:60]}" for key in keys]
    return "".join(parts).removeprefix(".")


def place(
    config: Mapping[str, Any], files: Sequence[str | Path], keys: Sequence[Key], elsewhere: str = "--config"
) -> str:
    """`config.yaml:12`: where the keys of a mistake, or as many of them as exist, stand; of several files in the last.

    `elsewhere` where no file has them, or none has the value that is in `config`: it came from the command line.
    """
    found = [(*_find(_nodes(file), keys), file) for file in reversed(files)]
    depth, line, file = max(found, key=lambda one: one[0], default=(0, 0, ""))
    complete = depth == len(keys) > 0
    if not file or (keys and not depth) or (complete and _value(_values(file), keys) != _value(config, keys)):
        return elsewhere
    return f"{_shown(file)}:{line}"


def _nodes(file: str | Path) -> yaml.Node | None:
    """A study file as YAML nodes, which know their lines."""
    return yaml.compose(_read(file), yaml.SafeLoader)


def _values(file: str | Path) -> Any:
    """A study file as plain values."""
    return yaml.safe_load(_read(file))


def _read(file: str | Path) -> str:
    return Path(file).read_text(encoding="utf-8-sig")


def _shown(file: str | Path) -> Path:
    """The path as one would type it here."""
    path, here = Path(file), Path.cwd()
    return path.relative_to(here) if path.is_relative_to(here) else path


def _value(tree: Any, keys: Sequence[Key]) -> str:
    """What the keys lead to; nothing for a mapping, which may be merged from several places."""
    for key in keys:
        pairs = enumerate(tree) if isinstance(tree, list) else tree.items()
        tree = {str(name): value for name, value in pairs}.get(str(key))
    return "" if isinstance(tree, dict) else repr(tree)


def _find(node: yaml.Node | None, keys: Sequence[Key], depth: int = 0, line: int = 1) -> tuple[int, int]:
    """How many of the keys exist below a node, and the line of the last of them."""
    if depth == len(keys) or node is None:
        return depth, line
    key = keys[depth]
    if isinstance(node, yaml.MappingNode):
        for name, value in node.value:
            if name.value == str(key):
                return _find(value, keys, depth + 1, name.start_mark.line + 1)
    if isinstance(node, yaml.SequenceNode) and isinstance(key, int) and key < len(node.value):
        child = node.value[key]
        return _find(child, keys, depth + 1, child.start_mark.line + 1)
    return depth, line


def plain_data(files: Sequence[str | Path]) -> None:
    """Raise UserError unless study files are plain YAML: no tags of Python's, no templates, no key twice."""
    for file in files:
        try:
            nodes, values = _nodes(file), _values(file)
        except (yaml.YAMLError, ValueError, RecursionError) as error:
            raise UserError(f"{_shown(file)}: can't be read as plain YAML: {error}") from error
        if isinstance(values, dict) and _TEMPLATES in values:
            raise UserError(f"{_shown(file)}: {_TEMPLATES}: not allowed: a study is data, and Snakemake would run it")
        for key in _repeated(nodes, set()):
            raise UserError(f"{_shown(file)}:{key.start_mark.line + 1}: the key '{key.value}' stands there twice")


def _repeated(node: yaml.Node | None, seen: set[int]) -> Iterator[yaml.Node]:
    """Keys that stand twice in one mapping, of which YAML would silently take the last."""
    if id(node) in seen:  # an anchor's node, met again
        return
    seen.add(id(node))
    if isinstance(node, yaml.MappingNode):
        names = set()
        for key, value in node.value:
            if key.value in names:
                yield key
            names.add(key.value)
            yield from _repeated(value, seen)
    elif isinstance(node, yaml.SequenceNode):
        for value in node.value:
            yield from _repeated(value, seen)
