"""FGVC-Aircraft: downloaded, repaired, or read from a folder in the official layout."""

import http.server
import io
import os
import socket
import tarfile
import threading

import numpy as np
import pytest
import torchvision.datasets
from PIL import Image

from workflow.lib.data import datasets
from workflow.lib.errors import UserError

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
    with pytest.raises(UserError, match=r"root: no folder .*/nowhere"):
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
    with pytest.raises(UserError, match=r"was damaged again on arrival .*give the dataset `root:`"):
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
