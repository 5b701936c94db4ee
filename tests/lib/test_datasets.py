"""Datasets: where images come from, and the index that says which they are."""

import http.server
import io
import json
import os
import socket
import tarfile
import threading
from collections import Counter

import numpy as np
import pytest
import torchvision.datasets
from PIL import Image
from sklearn.datasets import load_digits

from workflow.lib import datasets, planes
from workflow.lib.datasets import SOURCES, Index, read_index, write_index
from workflow.lib.errors import UserError

# --- options ---------------------------------------------------------------------------------------------------------


def test_options_get_their_defaults():
    source, options = datasets.resolve({"source": "fgvc_aircraft", "templates": ["a {}."]})
    assert source is SOURCES["fgvc_aircraft"]
    assert options == {"annotation_level": "variant", "root": None}


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({}, "source: None is unknown"),
        ({"source": "digit"}, r"source: 'digit' is unknown; did you mean digits\? \(known: digits, planes, fgvc"),
        ({"source": ["digits"]}, "source: .* is unknown"),
        ({"source": "digits", "path": "x"}, r"path: not an option of source digits \(known: none\)"),
        ({"source": "fgvc_aircraft", "anotation_level": "x"}, "did you mean annotation_level"),
        ({"source": "fgvc_aircraft", "annotation_level": "maker"}, "'maker' is none of variant, family, manufacturer"),
        ({"source": "fgvc_aircraft", "root": 3}, "root: 3 is no str"),
        ({"source": "folder"}, "path: is wanted: the folder that holds"),
    ],
)
def test_wrong_options_are_named_with_what_is_allowed(spec, message):
    with pytest.raises(UserError, match=message):
        datasets.resolve(spec)


def test_every_source_with_images_has_templates():
    for source in SOURCES.values():
        assert all("{}" in template for template in source.templates)
        assert bool(source.templates) == (source.prepare is not None)


def test_features_have_no_images_to_prepare(tmp_path):
    with pytest.raises(UserError, match="source features has no images"):
        datasets.prepare({"source": "features"}, tmp_path, threads=1)


# --- the index -------------------------------------------------------------------------------------------------------

SOUND = {"classnames": ["a", "b"], "root": ".", "splits": {"train": [["x/1.png", 0], ["2.png", 1]]}}


def test_an_index_is_read_as_it_was_written(tmp_path):
    index = Index(("a", "b"), tmp_path / "images", {"train": [("1.png", 0), ("2.png", 1)], "test": [("3.png", 1)]})
    write_index(tmp_path / "index.json", index)
    assert read_index(tmp_path / "index.json") == index


def test_images_beside_the_index_may_move_with_it(tmp_path):
    write_index(tmp_path / "a" / "index.json", Index(("a",), tmp_path / "a" / "images", {"train": [("1.png", 0)]}))
    (tmp_path / "a").rename(tmp_path / "b")
    assert read_index(tmp_path / "b" / "index.json").root == tmp_path / "b" / "images"


def test_images_elsewhere_are_found_from_any_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_index("data/index.json", Index(("a",), tmp_path / "mine", {"train": [("1.png", 0)]}))
    monkeypatch.chdir("/")
    assert read_index(tmp_path / "data" / "index.json").root == tmp_path / "mine"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"classnames": []}, "classnames: one name for each class"),
        ({"classnames": ["a", "a"]}, "'a' stands there twice"),
        ({"classnames": ["a", "b", "c"]}, "train has no image of class 'c'"),
        ({"splits": {"test": [["1.png", 0]]}}, "splits are test; train is wanted"),
        ({"splits": SOUND["splits"] | {"trian": []}}, "splits are train, trian"),
        ({"splits": SOUND["splits"] | {"val": []}}, "val has no images"),
        ({"splits": {"train": [["1.png", 2]]}}, "'1.png' has label 2; labels go from 0 to 1"),
        ({"splits": {"train": [["1.png", -1]]}}, "label -1"),
        ({"splits": {"train": [["1.png", True]]}}, "label True"),
        ({"splits": {"train": [["1.png", 0.0]]}}, "label 0.0"),
        ({"splits": {"train": [["../1.png", 0]]}}, "'../1.png' is no path inside the root"),
        ({"splits": {"train": [["a/../../1.png", 0]]}}, "is no path inside the root"),
        ({"splits": {"train": [["/etc/1.png", 0]]}}, "'/etc/1.png' is no path inside the root"),
        ({"splits": {"train": [["", 0]]}}, "'' is no path inside the root"),
        ({"splits": {"train": [[7, 0]]}}, "7 is no path inside the root"),
        ({"splits": {"train": [["1.png"]]}}, "not an index of images"),
        ({"splits": None}, "not an index of images"),
        ({"root": 4}, "not an index of images"),
    ],
)
def test_a_wrong_index_is_one_line(tmp_path, change, message):
    path = tmp_path / "index.json"
    path.write_text(json.dumps(SOUND | change))
    with pytest.raises(UserError, match=message) as error:
        read_index(path)
    assert str(error.value).startswith(f"{path}: ")
    assert "\n" not in str(error.value)


def test_what_is_no_index_is_named(tmp_path):
    with pytest.raises(UserError, match=r"index.json: no such index"):
        read_index(tmp_path / "index.json")
    (tmp_path / "index.json").write_text('{"classnames": ["a')
    with pytest.raises(UserError, match=r"index.json: not an index of images \(JSONDecodeError"):
        read_index(tmp_path / "index.json")


# --- digits ----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    return datasets.prepare({"source": "digits"}, tmp_path_factory.mktemp("digits"), threads=1)


def numbers(index, split):
    return [int(file.split("/")[1].removesuffix(".png")) for file, _ in index.splits[split]]


def test_digits_are_split_in_half_and_quarters(digits):
    assert {split: len(entries) for split, entries in digits.splits.items()} == {"train": 898, "val": 449, "test": 450}
    everything = [number for split in digits.splits for number in numbers(digits, split)]
    assert sorted(everything) == list(range(1797))


def test_every_split_of_digits_has_its_share_of_every_class(digits):
    whole = Counter(load_digits().target.tolist())
    for split, share in {"train": 0.5, "val": 0.25, "test": 0.25}.items():
        counts = Counter(label for _, label in digits.splits[split])
        assert all(abs(counts[label] - share * whole[label]) <= 1 for label in range(10))


def test_the_split_of_digits_is_always_the_same(digits):
    assert numbers(digits, "train")[:8] == [3, 5, 7, 8, 9, 13, 14, 15]
    assert numbers(digits, "val")[:8] == [2, 6, 17, 24, 28, 30, 32, 37]


def test_digits_are_scikit_learns_pixels_with_their_labels(digits):
    source = load_digits()
    for number, (file, label) in list(zip(numbers(digits, "test"), digits.splits["test"], strict=True))[:50]:
        with Image.open(digits.root / file) as image:
            np.testing.assert_array_equal(np.asarray(image), np.round(source.images[number] * 255 / 16))
        assert label == source.target[number]
    assert digits.classnames[7] == "seven"


# --- planes ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("threads", [1, 2])
def test_planes_are_drawn_into_every_split(tmp_path, monkeypatch, threads):
    monkeypatch.setattr(planes, "VARIANTS", planes.VARIANTS[:3])
    monkeypatch.setattr(planes, "IMAGES_PER_CLASS", 2)
    index = datasets.prepare({"source": "planes"}, tmp_path, threads)
    assert index.classnames == tuple(variant.name for variant in planes.VARIANTS)
    assert {split: len(entries) for split, entries in index.splits.items()} == {"train": 6, "val": 6, "test": 6}
    for split, entries in index.splits.items():
        file, label = entries[3]
        with Image.open(index.root / file) as image:
            assert image.tobytes() == planes.image(label, split, 1).tobytes()


# --- FGVC-Aircraft ---------------------------------------------------------------------------------------------------

VARIANTS = {"707-320": "Boeing 707", "A300B4": "A300", "F/A-18": "F/A-18"}


def jpeg(seed):
    pixels = np.random.default_rng(seed).integers(0, 256, (24, 32, 3), dtype=np.uint8)
    content = io.BytesIO()
    Image.fromarray(pixels).save(content, "JPEG")
    return content.getvalue()


def official_files():
    """FGVC-Aircraft in small: 3 variants, two photographs of each for training, one for val and one for test."""
    data = "fgvc-aircraft-2013b/data"
    files = {f"{data}/variants.txt": "\n".join(VARIANTS), f"{data}/families.txt": "\n".join(VARIANTS.values())}
    number = 34000
    for split, each in {"train": 2, "val": 1, "test": 1}.items():
        lists = {"variant": "", "family": ""}
        for variant in [*VARIANTS] * each:
            number += 1
            files[f"{data}/images/{number:07d}.jpg"] = jpeg(number)
            lists["variant"] += f"{number:07d} {variant}\n"
            lists["family"] += f"{number:07d} {VARIANTS[variant]}\n"
        files |= {f"{data}/images_{level}_{split}.txt": lines for level, lines in lists.items()}
    return {name: content if isinstance(content, bytes) else content.encode() for name, content in files.items()}


def official_folder(root):
    for name, content in official_files().items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)
    return root


def official_archive():
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w:gz") as tar:
        for name, file in official_files().items():
            member = tarfile.TarInfo(name)
            member.size = len(file)
            tar.addfile(member, io.BytesIO(file))
    return content.getvalue()


ARCHIVE = "fgvc-aircraft-2013b.tar.gz"
WHOLE = official_archive()
CUT = WHOLE[:2000]


@pytest.fixture
def server(monkeypatch):
    """Serves `server.bodies` one after the other under the address that torchvision downloads from.

    Where `server.promised` is set, that is the length it announces, and it hangs up after less.
    """

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            httpd.requests += 1
            # torchvision asks once for where the address leads and once more for the content
            body = httpd.bodies[0] if httpd.requests % 2 else httpd.bodies.pop(0)
            self.send_response(200)
            self.send_header("Content-Length", str(httpd.promised or len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    httpd = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    httpd.bodies, httpd.requests, httpd.promised = [], 0, 0
    threading.Thread(target=httpd.serve_forever, args=(0.01,), daemon=True).start()
    url = f"http://127.0.0.1:{httpd.server_port}/{ARCHIVE}"
    monkeypatch.setattr(torchvision.datasets.FGVCAircraft, "_URL", url)
    yield httpd
    httpd.shutdown()
    httpd.server_close()


@pytest.fixture
def no_network(monkeypatch):
    """An address whose port is closed."""
    with socket.create_server(("127.0.0.1", 0)) as closed_soon:
        port = closed_soon.getsockname()[1]
    monkeypatch.setattr(torchvision.datasets.FGVCAircraft, "_URL", f"http://127.0.0.1:{port}/{ARCHIVE}")


def aircraft(folder, **options):
    return datasets.prepare({"source": "fgvc_aircraft", **options}, folder, threads=1)


def assert_complete(index):
    assert index.classnames == tuple(VARIANTS)
    assert [label for _, label in index.splits["train"]] == [0, 1, 2, 0, 1, 2]
    assert {split: len(entries) for split, entries in index.splits.items()} == {"train": 6, "val": 3, "test": 3}
    assert all((index.root / file).is_file() for entries in index.splits.values() for file, _ in entries)


@pytest.mark.parametrize("inside", ["", "fgvc-aircraft-2013b", "fgvc-aircraft-2013b/data"])
def test_a_folder_in_the_official_layout_is_used_as_it_is(tmp_path, no_network, inside):
    official_folder(tmp_path / "mine")
    index = aircraft(tmp_path / "data", root=str(tmp_path / "mine" / inside))
    assert_complete(index)
    assert index.root == tmp_path / "mine/fgvc-aircraft-2013b/data"
    assert list((tmp_path / "data").iterdir()) == []


def test_the_index_agrees_with_torchvision(tmp_path, no_network):
    index = aircraft(official_folder(tmp_path))
    for split in ("train", "val", "test"):
        theirs = torchvision.datasets.FGVCAircraft(tmp_path, split=split)
        ours = [(str(index.root / file), label) for file, label in index.splits[split]]
        assert ours == list(zip(theirs._image_files, theirs._labels, strict=True))


def test_classes_may_be_families(tmp_path, no_network):
    assert aircraft(official_folder(tmp_path), annotation_level="family").classnames == tuple(VARIANTS.values())


def test_without_a_network_the_error_says_what_from_where_and_what_instead(tmp_path, no_network):
    with pytest.raises(UserError) as error:
        aircraft(tmp_path)
    text = str(error.value)
    assert f"could not download {torchvision.datasets.FGVCAircraft._URL}" in text
    assert "Connection refused" in text
    assert "give the dataset `root:` with the folder that holds fgvc-aircraft-2013b/data/images" in text
    assert "\n" not in text
    assert list(tmp_path.iterdir()) == []


def test_a_root_that_does_not_exist_is_named_and_not_made(tmp_path, no_network):
    with pytest.raises(UserError, match="root: no folder .*/nowhere"):
        aircraft(tmp_path, root=str(tmp_path / "nowhere"))
    assert not (tmp_path / "nowhere").exists()


def test_what_is_not_there_is_downloaded_once(tmp_path, server):
    server.bodies = [WHOLE]
    assert_complete(aircraft(tmp_path))
    assert_complete(aircraft(tmp_path))
    assert server.bodies == []
    assert sorted(os.listdir(tmp_path)) == ["fgvc-aircraft-2013b", ARCHIVE]


def test_a_truncated_archive_is_fetched_again(tmp_path, server):
    (tmp_path / ARCHIVE).write_bytes(CUT)
    server.bodies = [WHOLE]
    assert_complete(aircraft(tmp_path))
    assert (tmp_path / ARCHIVE).read_bytes() == WHOLE


def test_a_connection_that_breaks_off_is_noticed_and_repaired(tmp_path, server):
    server.bodies, server.promised = [CUT, WHOLE], len(WHOLE)
    assert_complete(aircraft(tmp_path))
    assert server.bodies == []


@pytest.mark.parametrize("damaged", [CUT, b"<html>moved</html>", b""])
def test_an_archive_that_is_damaged_twice_is_an_error_and_removed(tmp_path, server, damaged):
    server.bodies = [damaged, damaged]
    with pytest.raises(UserError, match="was damaged again on arrival .*give the dataset `root:`"):
        aircraft(tmp_path)
    assert not (tmp_path / ARCHIVE).exists()


def test_the_rest_of_an_interrupted_download_is_not_taken_for_the_archive(tmp_path, server):
    (tmp_path / f"{ARCHIVE}.part").write_bytes(CUT)
    server.bodies = [WHOLE]
    assert_complete(aircraft(tmp_path))
    assert not (tmp_path / f"{ARCHIVE}.part").exists()


@pytest.mark.parametrize("lost", ["images/0034003.jpg", "images_variant_val.txt", "variants.txt"])
def test_an_interrupted_unpacking_is_repaired_from_the_archive(tmp_path, no_network, lost):
    (tmp_path / ARCHIVE).write_bytes(WHOLE)
    aircraft(tmp_path)
    (tmp_path / "fgvc-aircraft-2013b/data" / lost).unlink()
    assert_complete(aircraft(tmp_path))


def test_missing_images_of_a_folder_of_ones_own_are_counted_and_the_first_named(tmp_path, no_network):
    data = official_folder(tmp_path) / "fgvc-aircraft-2013b/data"
    (data / "images/0034009.jpg").unlink()
    (data / "images/0034002.jpg").unlink()
    with pytest.raises(UserError, match=r"2 of 12 images are missing, the first is .*/images/0034002.jpg"):
        aircraft(tmp_path)


@pytest.mark.parametrize("file", ["variants.txt", "images_variant_train.txt"])
def test_a_missing_list_of_a_folder_of_ones_own_is_named(tmp_path, no_network, file):
    (official_folder(tmp_path) / "fgvc-aircraft-2013b/data" / file).unlink()
    with pytest.raises(UserError, match=f"{file} is missing"):
        aircraft(tmp_path)


def test_a_list_with_an_unknown_class_is_named_with_its_line(tmp_path, no_network):
    path = official_folder(tmp_path) / "fgvc-aircraft-2013b/data/images_variant_test.txt"
    path.write_text("0034010 707-321\n")
    with pytest.raises(UserError, match=r"images_variant_test.txt: '0034010 707-321' does not end in a known class"):
        aircraft(tmp_path)


# --- a folder of one's own -------------------------------------------------------------------------------------------


def own_folder(root, **splits):
    for split, names in splits.items():
        for name in names:
            (root / split / name / "more").mkdir(parents=True)
            (root / split / name / "b.jpg").write_bytes(jpeg(1))
            (root / split / name / "more" / "a.PNG").write_bytes(b"")
            (root / split / name / "notes.txt").write_text("")
    return {"source": "folder", "path": str(root)}


def test_a_folder_is_read_as_torchvision_reads_it(tmp_path):
    index = datasets.prepare(own_folder(tmp_path / "mine", train=["owl", "elk"], test=["owl"]), tmp_path, threads=1)
    theirs = torchvision.datasets.ImageFolder(str(tmp_path / "mine/train"))
    assert index.classnames == tuple(theirs.classes) == ("elk", "owl")
    assert [(str(index.root / file), label) for file, label in index.splits["train"]] == theirs.imgs
    assert index.splits["test"] == [("test/owl/b.jpg", 1), ("test/owl/more/a.PNG", 1)]
    assert "val" not in index.splits


@pytest.mark.parametrize(
    ("splits", "message"),
    [
        ({"test": ["owl"]}, "no folder .*/train"),
        ({"train": ["owl"], "val": ["elk"]}, "val/elk is of a class that .*/train does not have"),
    ],
)
def test_a_wrong_folder_is_named(tmp_path, splits, message):
    with pytest.raises(UserError, match=message):
        datasets.prepare(own_folder(tmp_path, **splits), tmp_path, threads=1)


def test_a_class_without_images_is_named(tmp_path):
    spec = own_folder(tmp_path, train=["owl"])
    (tmp_path / "train" / "elk").mkdir()
    with pytest.raises(UserError, match="train has no image of class 'elk'"):
        write_index(tmp_path / "index.json", datasets.prepare(spec, tmp_path, threads=1))
