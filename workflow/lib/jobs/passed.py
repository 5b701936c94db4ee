"""Which plugins have passed `python -m methods check` on this machine: a small file for each, named by their code.

An edited plugin, or a check that asks for more, has another name and so has not passed yet.
"""

from workflow.lib.jobs import code, user_cache

KIND = "checked"
BUILT_IN = "built-in"  # where methods of this project come from: the tests check them


def key(method: str, file: str, where: str) -> str:
    """What stands for a method's code, that of its siblings and of the check; an empty text for a built-in method."""
    if where == BUILT_IN:
        return ""
    check = code.ROOT / "methods" / "tools" / "check.py"
    return f"{method}-{code.code_hash(file, check, without=['workflow'])}"


def has(key: str) -> bool:
    """Whether what has this key has passed."""
    return not key or (user_cache.folder(KIND) / key).is_file()


def note(key: str) -> None:
    """Remember that it has. Raises OSError where nothing can be written."""
    if key:
        folder = user_cache.folder(KIND)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / key).touch()


def command(method: str, where: str) -> str:
    """How one has it checked."""
    return f"python -m methods check {where if where.endswith('.py') else method}"
