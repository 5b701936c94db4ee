"""Names of classes in prompts: folders' in words, those of the study, of a file, of WordNet."""

import json
from pathlib import Path
from typing import Any

import pytest

from workflow.lib.data import names
from workflow.lib.data.index import Index
from workflow.lib.errors import UserError


def index(*folders: str) -> Index:
    return Index(folders, Path(), {"train": [(f"{label}.jpg", label) for label in range(len(folders))]})


def applied(folders: list[str], given: Any = None, by_folders: bool = True) -> list[list[str]]:
    return names.apply(index(*folders), given, by_folders).prompt_names()


def test_underscores_become_spaces_in_folders_names_alone() -> None:
    folders = ["golden_retriever", "_a__b_", "F-16", "elk"]
    assert applied(folders) == [["golden retriever"], ["a b"], ["F-16"], ["elk"]]
    assert applied(folders, by_folders=False) == [[name] for name in folders]


def test_a_mapping_may_name_some_and_several_for_one_class() -> None:
    made = names.apply(index("a_b", "elk", "owl"), {"elk": ["moose", "elk"], "owl": " night owl "}, True)
    assert made.classnames == ("a b", "moose", "night owl")
    assert made.prompt_names() == [["a b"], ["moose", "elk"], ["night owl"]]


FILES = {
    "n.csv": "folder,name\nelk,moose,elk\n001.owl,night owl\nyak,grunting ox\n",
    "n.tsv": "elk\tmoose\n\nelk\telk\n001.owl\tnight owl\n",
    "n.yaml": "elk: [moose, elk]\n001.owl: night owl\n",
    "n.yml": "elk:\n- moose\n- elk\n'001.owl': night owl\nno: norway\n",
    "n.json": json.dumps({"elk": ["moose", "elk"], "001.owl": "night owl"}),
}


@pytest.mark.parametrize("name", FILES)
def test_a_file_names_every_class_and_may_name_more(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("\ufeff" + FILES[name])
    assert applied(["001.owl", "elk"], str(tmp_path / name)) == [["night owl"], ["moose", "elk"]]
    with pytest.raises(UserError, match=f"classnames: {tmp_path / name} has no name for 002.owl; did you mean 001.owl"):
        applied(["002.owl", "elk"], str(tmp_path / name))


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("n.csv", "elk\n", "'elk': a folder and a name are wanted in every row"),
        ("n.csv", "", "names no class"),
        ("n.csv", "elk,\x00\n", "found"),
        ("n.yaml", "elk: {a: b}\n", "n.yaml: elk: found {'a': 'b'}, allowed: a text of one line"),
        ("n.yaml", "elk: a\nelk: b\n", "the key 'elk' stands there twice"),
        ("n.yaml", "elk: [\n", "can't be read"),
        ("n.yaml", "elk: []\n", r"elk: found \[\], allowed"),
        ("n.json", '{"elk": 3}', "elk: found 3, allowed"),
        ("n.json", '{"elk": "a", "elk": "b"}', "the key 'elk' stands twice"),
    ],
)
def test_a_wrong_file_is_one_line(tmp_path: Path, name: str, content: str, message: str) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(UserError, match=f"^classnames: .*{message}") as error:
        applied(["elk"], str(tmp_path / name))
    assert str(tmp_path / name) in str(error.value)


def test_leaves_are_named_by_their_path_or_their_own_name() -> None:
    folders = ["fruit/apple", "fruit/pear", "tree/pear"]
    given = {"apple": "an apple", "fruit/pear": "pear", "tree/pear": "pear tree"}
    assert applied(folders, given) == [["an apple"], ["pear"], ["pear tree"]]


def test_wordnet_ids_get_the_words_that_open_clip_tests_with_or_wordnet_s_own() -> None:
    folders = ["n01440764", "n02012849", "x/n03126707", "n00005787"]
    assert applied(folders, "wordnet") == [["tench"], ["crane bird"], ["construction crane"], ["benthos"]]
    with pytest.raises(UserError, match="classnames: wordnet has no name for elk"):
        applied(["elk", "n01440764"], "wordnet")


def remarks(folders: list[str], given: Any = None) -> list[str]:
    return names.remarks(folders, names.apply(index(*folders), given, True), given)


def test_what_looks_like_no_name_is_pointed_out() -> None:
    numbered = remarks(["001.Black_footed_Albatross", "002.Laysan_Albatross", "elk"])
    assert numbered[0].startswith("class names: 2 of 3 are not the folders', as '001.Black footed Albatross' for ")
    assert "underscores as spaces; `classnames` gives others" in numbered[0]
    assert numbered[1].startswith(
        "class names: 2 of 3 begin with a number, as '001.Black footed Albatross', and so they stand"
    )
    assert "`classnames: wordnet`" in remarks(["n01440764", "elk"])[0]
    assert remarks(["elk", "owl", "707", "3D printer", "747-400"]) == []
    assert remarks(["elk", "owl"], {"elk": "moose"}) == [
        "class names: 1 of 2 are not the folders', as 'moose' for 'elk': as `classnames` says"
    ]
