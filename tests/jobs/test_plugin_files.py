"""What a plugin's file may import: its siblings, each plugin its own, and nothing that Python or a package has."""

import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
import yaml

from workflow.lib.jobs.plugin_files import PREFIX, import_file


def write(folder: Path, files: Mapping[str, str]) -> Path:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder


@pytest.mark.parametrize(
    "line",
    [
        "import helper; found = helper.HERE",
        "import helper as h; found = h.HERE",
        "from helper import HERE as found",
        "from helper import *; found = HERE",
        "from .helper import HERE as found",
        "from . import helper; found = helper.HERE",
        "import parts.deep; found = parts.deep.HERE",
        "from parts.deep import HERE as found",
        "from parts import deep; found = deep.HERE",
        "import loose.deep; found = loose.deep.HERE",
        "import again; found = again.HERE",
    ],
)
def test_a_sibling_is_imported(tmp_path: Path, line: str) -> None:
    files = {
        "helper.py": "HERE = 1\n",
        "parts/__init__.py": "",
        "parts/deep.py": "from helper import HERE\n",
        "loose/deep.py": "from .near import HERE\n",
        "loose/near.py": "HERE = 1\n",
        "again.py": "import parts.deep\nHERE = parts.deep.HERE\n",
        "plugin.py": f"{line}\n",
    }
    assert import_file(write(tmp_path, files) / "plugin.py").found == 1


def test_a_sibling_is_imported_when_it_is_needed(tmp_path: Path) -> None:
    files = {"plugin.py": "def late():\n    from helper import HERE\n    return HERE\n", "helper.py": "HERE = 1\n"}
    assert import_file(write(tmp_path, files) / "plugin.py").late() == 1


def test_two_plugins_have_a_sibling_of_one_name_each(tmp_path: Path) -> None:
    late = "import helper\n\n\ndef late():\n    import lazy\n    return helper.HERE, lazy.HERE\n"
    for name in ("a", "b"):
        here = f"HERE = '{name}'\n"
        write(tmp_path / name, {"plugin.py": late, "helper.py": here, "lazy.py": here})
    first, second = (import_file(tmp_path / name / "plugin.py") for name in ("a", "b"))
    assert (first.late(), second.late()) == (("a", "a"), ("b", "b"))


def test_nothing_is_hidden_and_nothing_is_left_behind(tmp_path: Path) -> None:
    """A sibling with the name of a module of Python's, of a package or of this project is none."""
    wrong = "raise RuntimeError('not this one')\n"
    files = {f"{name}.py": wrong for name in ("json", "yaml", "methods")}
    plugin = "import json, yaml, helper\nfrom methods import Method\nfound = json, yaml\n"
    before, known = list(sys.path), set(sys.modules)
    module = import_file(write(tmp_path, files | {"helper.py": "import json\n", "plugin.py": plugin}) / "plugin.py")
    assert module.found == (sys.modules["json"], yaml)
    assert sys.path == before
    assert [name for name in set(sys.modules) - known if not name.startswith(PREFIX)] == []


def test_the_current_folder_comes_after_the_siblings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, {"helper.py": "HERE = 'elsewhere'\n", "only_there.py": "HERE = 'elsewhere'\n"})
    monkeypatch.syspath_prepend(tmp_path)
    plugin = "import helper, only_there\nfound = helper.HERE, only_there.HERE\n"
    write(tmp_path / "mine", {"plugin.py": plugin, "helper.py": "HERE = 'beside'\n"})
    assert import_file(tmp_path / "mine" / "plugin.py").found == ("beside", "elsewhere")


def test_a_folder_without_code_hides_no_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The checkout of a package that is installed from it often lies beside the plugin, under the package's name."""
    write(tmp_path, {"checkout/src/lab/__init__.py": "HERE = 1\n", "lab/README": "", "plugin.py": "import lab\n"})
    monkeypatch.syspath_prepend(tmp_path / "checkout" / "src")
    assert import_file(tmp_path / "plugin.py").lab.HERE == 1


def test_an_edited_sibling_is_read_again(tmp_path: Path) -> None:
    write(tmp_path, {"plugin.py": "from helper import HERE\n", "helper.py": "HERE = 1\n"})
    assert import_file(tmp_path / "plugin.py").HERE == 1
    write(tmp_path, {"helper.py": "HERE = 'another'\n"})
    assert import_file(tmp_path / "plugin.py").HERE == "another"


def test_a_link_has_the_siblings_of_what_it_leads_to(tmp_path: Path) -> None:
    write(tmp_path / "far", {"plugin.py": "from helper import HERE\n", "helper.py": "HERE = 1\n"})
    (tmp_path / "near.py").symlink_to(tmp_path / "far" / "plugin.py")
    assert import_file(tmp_path / "near.py").HERE == 1


def test_what_is_missing_beside_it_is_named_as_it_was_written(tmp_path: Path) -> None:
    with pytest.raises(ModuleNotFoundError, match="No module named 'no_such_helper'"):
        import_file(write(tmp_path, {"plugin.py": "import no_such_helper\n"}) / "plugin.py")


def test_a_name_with_dots_is_a_file_like_any_other(tmp_path: Path) -> None:
    assert import_file(write(tmp_path, {"my.v2-final.py": "HERE = 1\n"}) / "my.v2-final.py").HERE == 1
