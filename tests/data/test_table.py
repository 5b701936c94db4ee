"""`source: table`: lists as people have them, and one clear line for each thing that may be wrong in one."""

import json
import logging
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests.data.pictures import cloth
from workflow.lib.data import contents, datasets
from workflow.lib.data.index import Index, read_index, write_index
from workflow.lib.errors import UserError

FILES = {f"{fault}_{number}.jpg": fault for fault in ("local", "nominal") for number in range(4)}


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """Eight pictures in `photos/`, and nothing that says what they are."""
    (tmp_path / "photos").mkdir()
    for name, fault in FILES.items():
        cloth(fault, int(name[-5])).save(tmp_path / "photos" / name)
    return tmp_path


def prepare(home: Path, **options: Any) -> Index:
    """The index, as written and read again."""
    made = datasets.prepare({"source": "table", **options}, home / "own", threads=1)
    write_index(home / "own" / "index.json", made)
    return read_index(home / "own" / "index.json")


def table(home: Path, content: str | bytes, name: str = "list.csv", **options: Any) -> Index:
    """The index of a list with this content."""
    (home / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    return prepare(home, path=str(home / name), **options)


def lines(form: str = "photos/{file},{fault},{split}", header: str = "image,label,split") -> str:
    """A list of the pictures: of each class two in train and two in test."""
    rows = [
        form.format(file=file, fault=fault, split="test" if int(file[-5]) > 1 else "train")
        for file, fault in FILES.items()
    ]
    return "\n".join([header, *rows] if header else rows) + "\n"


def assert_whole(index: Index) -> None:
    assert index.classnames == ("local", "nominal")
    for split, numbers in {"train": "01", "test": "23"}.items():
        found = {(file.split("/")[-1], index.classnames[label]) for file, label in index.splits[split]}
        assert found == {(f"{fault}_{n}.jpg", fault) for fault in ("local", "nominal") for n in numbers}
        assert all((index.root / file).is_file() for file, _ in index.splits[split])


# --- what is read -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "name"),
    [
        (lines(), "list.csv"),
        (lines().replace(",", ";"), "european.csv"),
        (lines().replace(",", "\t"), "list.tsv"),
        (lines().replace(",", "\t"), "tabs.csv"),
        (lines().replace(",", " "), "list.txt"),
        (lines().replace(",", ", "), "spaced.csv"),
        (lines().replace("\n", "\r\n"), "windows.csv"),
        (lines().replace("photos/", "photos\\"), "slashes.csv"),
        (lines().replace("photos/", "./photos/../photos/"), "dots.csv"),
        ("\ufeff" + lines(), "bom.csv"),
        (lines().replace(",", "\t").encode("utf-16"), "excel.txt"),
        (lines('"photos/{file}","{fault}","{split}"'), "quoted.csv"),
        (lines("photos/{file},{fault},{split},x,", "image,label,split,note,"), "more.csv"),
        ("\n" + lines().replace("\n", "\n\n") + ",,\n", "blank_lines.csv"),
        (lines().replace("train", "Training").replace("test", "TEST"), "spelt.csv"),
    ],
)
def test_a_list_is_read_whatever_program_wrote_it(home: Path, content: str | bytes, name: str) -> None:
    assert_whole(table(home, content, name))


def test_columns_have_names_of_their_own_and_paths_a_root(home: Path) -> None:
    content = lines("{split},{file},{fault}", "part,file,species")
    assert_whole(
        table(
            home,
            content,
            columns={"image": "file", "label": "species", "split": "part"},
            root=str(home / "photos"),
        )
    )


def test_absolute_paths_and_paths_above_the_list_are_followed(home: Path) -> None:
    (home / "lists").mkdir()
    content = lines("../photos/{file},{fault},{split}").replace("../photos/local_0", f"{home}/photos/local_0")
    assert_whole(table(home, content, "lists/list.csv"))


def test_a_quoted_comma_is_part_of_a_name(home: Path) -> None:
    index = table(home, lines().replace(",local,", ',"spot, local",'))
    assert index.classnames == ("nominal", "spot, local")


def test_json_lines(home: Path) -> None:
    rows = [
        {"image": f"photos/{file}", "label": fault, "split": "test" if int(file[-5]) > 1 else "train", "box": [1, 2]}
        for file, fault in FILES.items()
    ]
    assert_whole(table(home, "\n".join(map(json.dumps, rows)) + "\n\n", "list.jsonl"))


def test_parquet(home: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    rows = [
        {"image": f"photos/{file}", "label": fault, "split": "test" if int(file[-5]) > 1 else "train", "raw": b"x"}
        for file, fault in FILES.items()
    ]
    parquet.write_table(pyarrow.Table.from_pylist(rows), home / "list.parquet")
    assert_whole(prepare(home, path=str(home / "list.parquet")))
    parquet.write_table(pyarrow.Table.from_pylist([*rows, {**rows[0], "label": None}]), home / "gap.parquet")
    with pytest.raises(UserError, match=r"gap.parquet, row 9: label is empty"):
        prepare(home, path=str(home / "gap.parquet"))


def test_without_pyarrow_the_line_says_how_to_get_it(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(UserError, match="Parquet needs pyarrow, which is not installed: python -m pip install pyarrow"):
        table(home, b"PAR1", "list.parquet")


def test_the_lists_of_grocery_store(home: Path) -> None:
    """`path, fine class, coarse class` without a header, a list for each split, and a list of names."""
    fine = {file: 10 * ("nominal" in file) + int(file[-5]) % 2 for file in FILES}
    for split, numbers in {"train": "01", "val": "2", "test": "3"}.items():
        rows = [f"photos/{f}, {c}, {c // 10}" for f, c in fine.items() if f[-5] in numbers]
        (home / f"{split}.txt").write_text("\n".join(rows) + "\n")
    (home / "classes.csv").write_text(
        "Class Name (str),Class ID (int),Coarse Class Name (str),Coarse Class ID (int),Iconic Image Path (str)\n"
        "Small-Spot,0,Spot,0,a.jpg\nLarge-Spot,1,Spot,0,b.jpg\nPlain,10,Weave,1,c.jpg\nTwill,11,Weave,1,d.jpg\n"
    )
    lists = {split: str(home / f"{split}.txt") for split in ("train", "val", "test")}
    names = {"path": str(home / "classes.csv"), "label": "Class ID (int)", "name": "Class Name (str)"}
    index = prepare(home, path=lists, header=False, names=names)
    assert index.classnames == ("Small-Spot", "Large-Spot", "Plain", "Twill")
    assert {split: len(own) for split, own in index.splits.items()} == {"train": 4, "val": 2, "test": 2}
    assert ("local_1.jpg", 1) in index.splits["train"]
    coarse = names | {"label": "Coarse Class ID (int)", "name": "Coarse Class Name (str)"}
    index = prepare(home, path=lists, header=False, columns={"label": 3}, names=coarse)
    assert index.classnames == ("Spot", "Weave")


def test_names_one_a_line(home: Path) -> None:
    (home / "classes.txt").write_text("spot\nweave\n")
    content = lines().replace(",local,", ",0,").replace(",nominal,", ",1,")
    assert table(home, content, names=str(home / "classes.txt")).classnames == ("spot", "weave")


def test_labels_that_are_numbers_are_in_the_order_of_numbers(home: Path) -> None:
    index = table(home, lines().replace(",local,", ",10,").replace(",nominal,", ",9,"))
    assert index.classnames == ("9", "10")


def test_labels_out_of_file_names(home: Path) -> None:
    content = lines("photos/{file},{split}", "image,split")
    assert_whole(table(home, content, label_from=r"([a-z]+)_\d+\.jpg$"))
    assert_whole(table(home, content, label_from=r"[a-z]+(?=_\d)"))


def test_a_folder_without_any_list_goes_by_its_file_names(home: Path) -> None:
    (home / "photos" / "notes.txt").write_text("no image")
    index = prepare(home, path=str(home / "photos"), label_from="^[a-z]+", split={"test": 0.5})
    assert index.classnames == ("local", "nominal")
    assert {split: len(own) for split, own in index.splits.items()} == {"train": 4, "test": 4}
    with pytest.raises(UserError, match=r"columns: label: .*photos has no column 'label'; it has 'image'"):
        prepare(home, path=str(home / "photos"), split={"test": 0.5})


def test_a_list_without_a_split_gets_one(home: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        index = table(home, lines("photos/{file},{fault}", "image,label"), split={"test": 0.5})
    assert {split: Counter(label for _, label in own) for split, own in index.splits.items()} == {
        "train": {0: 2, 1: 2},
        "test": {0: 2, 1: 2},
    }
    assert "split: train 4, test 4" in caplog.text


@pytest.mark.parametrize(
    ("header", "groups"), [("burst", "burst"), ("group", None), ("image_number", r"\d(?=\.jpg)"), ("x", r"_(\d)")]
)
def test_groups_are_a_column_or_an_expression(home: Path, header: str, groups: str | None) -> None:
    content = "\n".join([f"image,label,{header}", *(f"photos/{f},{fault},{f[-5]}" for f, fault in FILES.items())])
    made = table(home, content, split={"test": 0.5}, **({"groups": groups} if groups else {}))
    sides = [{file[-5] for file, _ in own} for own in made.splits.values()]
    assert [len(side) for side in sides] == [2, 2]
    assert not sides[0] & sides[1]


def test_groups_on_two_sides_of_a_list_with_splits_are_counted(home: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        table(home, lines("photos/{file},{fault},{split},{fault}", "image,label,split,group"))
    assert "2 of 2 groups have images in two splits or more, the first is local" in caplog.text


# --- what is wrong ----------------------------------------------------------------------------------------------------

WRONG: list[tuple[str, str | bytes, dict[str, Any], str]] = [
    ("a blank label", lines().replace(",local,test", ",,test", 1), {}, "list.csv, row 4: label is empty"),
    ("a blank image", lines().replace("photos/local_0.jpg", " "), {}, "list.csv, row 2: image is empty"),
    ("a blank split", lines().replace("local,train", "local,", 1), {}, "list.csv, row 2: split is empty"),
    (
        "a missing file",
        lines().replace("nominal_3", "n_3"),
        {},
        "list.csv, row 9: no such image: HOME/photos/n_3.jpg; 1 of 8",
    ),
    (
        "another suffix",
        lines().replace("nominal_3.jpg", "nominal_3.JPEG"),
        {},
        "list.csv, row 9: no such image: HOME/photos/nominal_3.JPEG (there is nominal_3.jpg); 1 of 8 images",
    ),
    (
        "a wrong root",
        lines(),
        {"root": "HOME/photos"},
        "list.csv, row 2: no such image: HOME/photos/photos/local_0.jpg; 8",
    ),
    ("no root", lines(), {"root": "HOME/nowhere"}, "root: no folder HOME/nowhere"),
    (
        "two labels",
        lines() + "photos/local_0.jpg,nominal,train\n",
        {},
        "list.csv, row 10: 'photos/local_0.jpg' has the label 'nominal', but 'local' in row 2",
    ),
    (
        "two splits",
        lines() + "photos//local_0.jpg,local,test\n",
        {},
        "list.csv, row 10: 'photos//local_0.jpg' has the split 'test', but 'train' in row 2",
    ),
    (
        "a row twice",
        lines() + "photos/local_0.jpg,local,train\n",
        {},
        "list.csv, row 10: 'photos/local_0.jpg' stands in row 2 already; remove one of the two",
    ),
    (
        "a split",
        lines().replace("train", "fit", 1),
        {},
        "list.csv, row 2: the split is 'fit', allowed: train, val, test",
    ),
    (
        "a Windows path",
        lines().replace("photos/local_1", "C:\\photos\\local_1"),
        {},
        "list.csv, row 3: 'C:\\\\photos\\\\local_1.jpg' is a Windows path; write paths relative to the list",
    ),
    (
        "an address",
        lines().replace("photos/", "https://x.org/", 1),
        {},
        "row 2: 'https://x.org/local_0.jpg' is an address",
    ),
    (
        "a comma",
        lines().replace("local,", "spot, local,", 1),
        {},
        "list.csv, row 2: 4 cells, where the first row has 3; a",
    ),
    ("a short row", lines() + "photos/x.jpg\n", {}, "list.csv, row 10: 1 cells, where the first row has 3"),
    (
        "an open quote",
        lines().replace("photos/local_1", '"photos/local_1'),
        {},
        "list.csv, row 3: not to be read as a table",
    ),
    (
        "not UTF-8",
        lines().replace("local,", "löcal,").encode("latin-1"),
        {},
        "list.csv, row 2: not UTF-8; save the list",
    ),
    ("no rows", "image,label,split\n", {}, "path: HOME/list.csv has no rows below its header"),
    ("empty", "", {}, "path: HOME/list.csv has no rows"),
    (
        "no such column",
        lines(),
        {"columns": {"label": "lable"}},
        "columns: label: HOME/list.csv has no column 'lable'; it",
    ),
    (
        "no image",
        lines(header="file,label,split"),
        {},
        "columns: image: HOME/list.csv has no column 'image'; it has 'file'",
    ),
    (
        "a number",
        lines(),
        {"columns": {"label": 4}},
        "columns: label: found 4, but HOME/list.csv has 3 columns, counted",
    ),
    ("zero", lines(), {"columns": {"label": 0}}, "columns: label: found 0, but HOME/list.csv has 3 columns, counted"),
    (
        "a key",
        lines(),
        {"columns": {"lable": "x"}},
        "columns: found the key 'lable', allowed: image, label, split, group; d",
    ),
    (
        "a kind",
        lines(),
        {"columns": {"label": [1]}},
        "columns: label: found [1], allowed: a column's name, or its number",
    ),
    ("columns twice", lines(header="image,label,label"), {}, "list.csv, row 1: two columns are named 'label'"),
    ("no header", lines(header=""), {}, "header: the first row of HOME/list.csv is no header (photos/local_0.jpg, "),
    (
        "names without a header",
        lines(header=""),
        {"header": False, "columns": {"split": "split"}},
        "columns: split: HOME/list.csv is read without a header; give the number of a column, from 1",
    ),
    (
        "no split",
        lines("photos/{file},{fault}", "image,label"),
        {},
        "split: HOME/list.csv has no column for it; name it",
    ),
    (
        "two splits",
        lines(),
        {"split": {"test": 0.5}},
        "split: the list has splits of its own (test, train); leave split:",
    ),
    ("no train", lines().replace("train", "val"), {}, "columns: split: no row is of train; there are test, val"),
    (
        "a class of test",
        lines().replace("local,test", "spot,test"),
        {},
        "list.csv, row 4: the class 'spot' has no image in t",
    ),
    (
        "one class",
        lines().replace("nominal,", "local,"),
        {},
        "list.csv, row 2: all images are of the class 'local'; two",
    ),
    ("groups", lines(), {"groups": "label"}, "groups: goes with `split`"),
    (
        "a group",
        lines("photos/{file},{fault}", "image,label"),
        {"groups": "patient", "split": {"test": 0.5}},
        "list.csv, row 2: groups: 'patient' is no column and, as an expression, finds nothing in 'photos/local_0.jpg'",
    ),
    (
        "a label",
        lines(),
        {"label_from": "^x"},
        "list.csv, row 2: label_from: '^x' finds no label in 'photos/local_0.jpg'",
    ),
    ("an expression", lines(), {"label_from": "("}, "label_from: '(' is no regular expression: missing )"),
    (
        "two labels said",
        lines(),
        {"label_from": "x", "columns": {"label": "label"}},
        "label_from: the column of the label is named too; keep one of the two",
    ),
    ("a path", lines(), {"path": "HOME/nowhere.csv"}, "path: no such file: HOME/nowhere.csv"),
    ("a sheet", lines(), {"path": "HOME/list.xlsx"}, "path: no such file: HOME/list.xlsx"),
    (
        "a split's path",
        lines(),
        {"path": {"training": "x"}},
        "path: found the key 'training', allowed: train, val, test",
    ),
    ("paths", lines(), {"path": {"test": "x"}}, "path: a path for each split is wanted, train among them"),
    ("a type", lines(), {"path": 3}, "path: found 3, allowed: text or mapping: the list, one for each split"),
    ("a delimiter", lines(), {"delimiter": ","}, "delimiter: ',' is none of comma, semicolon, tab, space"),
    ("names", lines(), {"names": "HOME/nowhere.txt"}, "names: no such file: HOME/nowhere.txt"),
    (
        "names that lack one",
        lines(),
        {"names": "HOME/list.csv"},
        "list.csv, row 2: names: no name for the label 'local'",
    ),
    (
        "names half",
        lines(),
        {"names": {"path": "x"}},
        "names: the key 'label' is missing: {path: classes.csv, label: col",
    ),
]


@pytest.mark.parametrize(("content", "options", "message"), [one[1:] for one in WRONG], ids=[one[0] for one in WRONG])
def test_what_is_wrong_in_a_list_is_one_line_with_its_row(
    home: Path, content: str | bytes, options: dict[str, Any], message: str
) -> None:
    def placed(value: Any) -> Any:
        return value.replace("HOME", str(home)) if isinstance(value, str) else value

    (home / "list.csv").write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(UserError) as error:
        prepare(home, **{"path": str(home / "list.csv"), **{key: placed(value) for key, value in options.items()}})
    text = str(error.value)
    assert message.replace("HOME", str(home)) in text
    assert "\n" not in text


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", "list.jsonl, row 2: no JSON"),
        ("[1]", "list.jsonl, row 2: found [1], where an object is wanted"),
        ('{"image": "photos/local_1.jpg", "label": "local"}', "list.jsonl, row 2: split is empty"),
        (
            '{"image": ["a"], "label": "local", "split": "train"}',
            "list.jsonl, row 2: image is a list, where text is wanted",
        ),
        ('{"image": "photos/local_1.jpg", "label": null, "split": "train"}', "list.jsonl, row 2: label is empty"),
    ],
)
def test_what_is_wrong_in_json_lines_is_one_line_with_its_row(home: Path, line: str, message: str) -> None:
    with pytest.raises(UserError) as error:
        table(home, '{"image": "photos/local_0.jpg", "label": "local", "split": "train"}\n' + line, "list.jsonl")
    assert message in str(error.value)


def test_a_label_that_has_changed_is_noticed_though_no_image_has(home: Path) -> None:
    spec = {"source": "table", "path": str(home / "list.csv")}
    table(home, lines())
    before = datasets.look(spec)
    (home / "list.csv").write_text(lines().replace("_0.jpg,local", "_0.jpg,nominal"))
    after = datasets.look(spec)
    assert before is not None
    assert after is not None
    assert contents.token(home / "own", before) == contents.known_token(home / "own")
    assert contents.token(home / "own", after) != contents.known_token(home / "own")


def test_a_list_that_is_no_list_is_named_with_what_is(home: Path) -> None:
    with pytest.raises(UserError, match=r"list.xlsx is no list that can be read; allowed: .csv, .tsv, .txt, .jsonl"):
        table(home, b"PK", "list.xlsx")
    (home / "classes.csv").write_text("label,name\n0,spot\n0,weave\n")
    names = {"path": str(home / "classes.csv"), "label": "label", "name": "name"}
    with pytest.raises(UserError, match=r"classes.csv, row 3: the label '0' is 'weave', but 'spot' further up"):
        table(home, lines().replace(",local,", ",0,"), names=names)
