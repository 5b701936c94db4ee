"""Shards: cut at batches, each a file of its own, and gathered to the same bytes as in one go."""

import sys
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from tests.encoding import tiny
from workflow.lib.data.index import Index, write_index
from workflow.lib.encoding import backbones, extraction, open_tower, shards
from workflow.lib.encoding.shards import Part, Shard
from workflow.lib.errors import UserError
from workflow.lib.features import arrays, store
from workflow.lib.jobs import entry
from workflow.scripts import features as extract_script
from workflow.scripts import gather as gather_script

TEMPLATES = ["a photo of a {}.", "a drawing of the {}."]
BATCH = 4


@pytest.fixture(scope="module")
def spec(tmp_path_factory):
    return tiny.make(tmp_path_factory.mktemp("tinyclip")) | {"batch_size": BATCH}


@pytest.fixture(scope="module")
def index(tmp_path_factory):
    """29 images in three splits, none of which ends with a batch."""
    root = tmp_path_factory.mktemp("images")
    rng = np.random.default_rng(0)
    for number in range(29):
        Image.fromarray(rng.integers(0, 256, (40, 50, 3), dtype=np.uint8)).save(root / f"{number}.png")
    entries = [(f"{number}.png", number % 2) for number in range(29)]
    return Index(("owl", "elk"), root, {"train": entries[:15], "val": entries[15:18], "test": entries[18:]})


# --- the cut ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("images", [1, 3, 4, 5, 64, 101])
@pytest.mark.parametrize("count", [1, 2, 3, 7, 200])
@pytest.mark.parametrize("batch_size", [1, 4, 64])
def test_shards_are_every_image_once_in_whole_batches_of_nearly_the_same_number(images, count, batch_size):
    cut = [Shard(number, count).rows(images, batch_size) for number in range(1, count + 1)]
    assert [row for rows in cut for row in rows] == list(range(images))
    assert all(rows.start % batch_size == 0 for rows in cut)
    batches = [-(-len(rows) // batch_size) for rows in cut]
    assert max(batches) - min(batches) <= 1
    assert cut[0]


# --- gathered --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def whole(index, spec, tmp_path_factory):
    """Features made in one go, with views, and their file."""
    return extracted(tmp_path_factory.mktemp("whole"), index, spec, 1, views=2)


def extracted(folder, index, spec, count, **options):
    """The features file made by the jobs of so many shards, or an array beside it."""
    write_index(folder / "index.json", index)
    parts = []
    for number in range(1, count + 1):
        shard = Shard(number, count)
        part = extraction.extract(index, spec, TEMPLATES, {"dataset": "beasts"}, 2, "cpu", shard=shard, **options)
        parts.append(folder / f"{number}.safetensors")
        shards.write(parts[-1], part)
    sys_argv = ["gather", "--index", str(folder / "index.json"), "--out", str(folder / "all"), *map(str, parts)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", sys_argv)
        gather_script.main()
    return folder / "all"


@pytest.mark.parametrize("count", [2, 3, 5, 12])
def test_gathered_features_are_the_bytes_of_one_go(whole, index, spec, tmp_path, count):
    assert extracted(tmp_path, index, spec, count, views=2).read_bytes() == whole.read_bytes()


def test_gathered_features_without_views_are_the_bytes_that_the_plain_job_writes(index, spec, tmp_path):
    part = extraction.extract(index, spec, TEMPLATES, {"dataset": "beasts"}, 1, "cpu")
    store.write(tmp_path / "plain", shards.gather(index, [part]))
    assert extracted(tmp_path, index, spec, 3).read_bytes() == (tmp_path / "plain").read_bytes()
    assert store.read(tmp_path / "plain").train_views is None


@pytest.mark.parametrize("array", ["pre", "spatial_logits", "pixels", "blocks1"])
def test_an_array_beside_them_is_the_same_bytes_from_any_number_of_shards(whole, index, spec, tmp_path, array):
    views = 2 if array == "pre" else 0
    paths = []
    for count in (1, 3):
        (tmp_path / str(count)).mkdir()
        paths.append(extracted(tmp_path / str(count), index, spec, count, views=views, array=array))
    assert paths[0].read_bytes() == paths[1].read_bytes()
    features = store.read(whole)
    found = arrays.added(features, arrays.read(paths[0]), "here")
    train = found.splits["train"]
    if array == "pre":
        weight, bias = found.projection
        np.testing.assert_allclose(train.pre[:] @ weight + bias, train.x[:], rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(found.views_pre[:] @ weight + bias, features.train_views[:], rtol=1e-4, atol=1e-5)
    elif array == "spatial_logits":
        assert train.spatial_logits.shape == (15, 2, 2)
    else:
        shape, kind = {"pixels": ((15, 32, 32, 3), np.uint8), "blocks1": ((15, 5, 32), np.float32)}[array]
        assert (train.images[array].shape, train.images[array].dtype) == (shape, kind)


def test_an_array_of_images_that_is_larger_than_allowed_is_absent_and_says_what_allows_it(index, spec, tmp_path):
    path = extracted(tmp_path, index, spec, 1, array="blocks2", most_gb=29 * 640 / 1e9 - 1e-9)
    assert arrays.read(path).absent == (
        "29 images of 640 bytes each take 1.86e-05 GB, and 1.86e-05 are allowed: `array_gb` in the dataset's entry"
        " allows more"
    )
    assert not arrays.read(extracted(tmp_path, index, spec, 1, array="blocks2", most_gb=29 * 640 / 1e9)).absent


def test_more_blocks_than_a_tower_has_are_absent_with_the_reason(index, spec, tmp_path):
    absent = arrays.read(extracted(tmp_path, index, spec, 1, array="blocks3")).absent
    assert absent == "its image tower has 2 blocks, and the last 3 are asked for"


def test_a_tower_that_has_no_such_array_makes_a_file_that_says_so(whole, index, spec, tmp_path, monkeypatch):
    monkeypatch.setattr(open_tower, "VisionTransformer", type(None))
    path = extracted(tmp_path, index, spec, 2, array="pre")
    lacking = arrays.added(store.read(whole), arrays.read(path), "here").lacking
    assert lacking["pre"].startswith("its image tower, a VisionTransformer, has no last projection")


def test_texts_are_encoded_once(index, spec, monkeypatch):
    encoded = []
    monkeypatch.setattr(backbones.Backbone, "encode_tokens", lambda self, tokens: encoded.append(len(tokens)))
    assert extraction.extract(index, spec, TEMPLATES, {}, 1, "cpu", shard=Shard(2, 3)).text is None
    assert encoded == []


def test_a_shard_for_which_no_batch_is_left_loads_no_model_and_says_so(index, spec, monkeypatch, caplog):
    monkeypatch.setattr(backbones, "load", None)
    with caplog.at_level("INFO", logger="workflow"):
        assert extraction.extract(index, spec, TEMPLATES, {}, 1, "cpu", shard=Shard(9, 9)) == Part()
    assert caplog.messages == ["shard 9 of 9: no batch is left for it: 29 images in batches of 4"]


# --- parts that don't fit --------------------------------------------------------------------------------------------


def parts(index, metadata=None):
    """Two parts, of 20 and of 9 images."""
    x = np.random.default_rng(0).standard_normal((29, 4), np.float32)
    made = metadata or {"device": "cpu"}
    return [Part(0, x[:20], logit_scale=9.0, metadata=made), Part(20, x[20:], logit_scale=9.0, metadata=made)]


def test_joined_rows_are_those_of_the_pieces(index):
    made = shards.gather(index, parts(index))
    x = np.concatenate([part.x for part in parts(index)])
    np.testing.assert_array_equal(made.splits["test"].x, x[18:])
    np.testing.assert_array_equal(made.splits["test"].x[1:4], x[19:22])
    np.testing.assert_array_equal(made.splits["val"].x, x[15:18])
    assert [len(split.x) for split in made.splits.values()] == [15, 3, 11]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda a, b: [a], "don't make up the 29 images of the index: after 20"),
        (lambda a, b: [b], "don't make up the 29 images of the index: after 0"),
        (lambda a, b: [b, a], "don't make up the 29 images"),
        (lambda a, b: [a, a], "don't make up the 29 images"),
        (lambda a, b: [a, replace(b, x=b.x[1:])], "don't make up the 29 images of the index: after 28"),
        (lambda a, b: [a, b, replace(b, start=29)], "don't make up the 29 images"),
        (lambda a, b: [a, replace(b, metadata={"device": "cuda"})], "device is 'cpu' in one and 'cuda' in another"),
        (lambda a, b: [replace(a, views=np.ones((9, 2, 4), np.float32)), b], "the 15 images with views of the index"),
    ],
)
def test_parts_that_do_not_fit_together_are_not_gathered(index, change, message):
    with pytest.raises(UserError, match=message) as error:
        shards.gather(index, change(*parts(index)))
    assert "--forcerun shard" in str(error.value)


def test_a_part_is_not_taken_for_features_nor_features_for_a_part(whole, index, tmp_path):
    shards.write(tmp_path / "part", parts(index)[0])
    with pytest.raises(UserError, match="part: a part of features, made by one of several shards"):
        store.read(tmp_path / "part")
    with pytest.raises(UserError, match="all: not the part of a shard"):
        shards.read(whole)


def test_a_damaged_part_is_named_and_nothing_is_written(index, tmp_path, monkeypatch, capsys):
    write_index(tmp_path / "index.json", index)
    for number, part in enumerate(parts(index)):
        shards.write(tmp_path / str(number), part)
    content = bytearray((tmp_path / "1").read_bytes())
    content[-200] ^= 1
    (tmp_path / "1").write_bytes(content)
    arguments = ["--index", str(tmp_path / "index.json"), "--out", str(tmp_path / "all")]
    monkeypatch.setattr(sys, "argv", ["gather", *arguments, str(tmp_path / "0"), str(tmp_path / "1")])
    with pytest.raises(SystemExit):
        entry.run(gather_script.main)
    assert f"error: {tmp_path / '1'}: damaged: " in capsys.readouterr().err
    assert not (tmp_path / "all").exists()


def test_gathered_features_get_their_name_where_the_file_system_has_no_links(tmp_path, monkeypatch):
    (tmp_path / "gathered").write_bytes(b"made")
    for number, link in enumerate([extract_script.os.link, None]):
        monkeypatch.setattr(extract_script.os, "link", link or refuse)
        extract_script.rename(tmp_path / "gathered", tmp_path / str(number))
        assert (tmp_path / str(number)).read_bytes() == b"made"


def refuse(*_):
    raise OSError("no links here")
