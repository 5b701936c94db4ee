"""Streams: rows of a file are read slice by slice, flat, in the order in which they were chosen."""

import numpy as np

from workflow.lib.features import tensorfile
from workflow.lib.features.stream import Joined, Stream
from workflow.lib.features.tensorfile import TensorFile


def test_rows_in_a_file_are_flat_and_read_when_they_are_taken(tmp_path):
    images = np.random.default_rng(0).integers(256, size=(9, 4, 5, 3)).astype(np.uint8)
    tensorfile.write(tmp_path / "x", {"train_pixels": images}, {})
    held = TensorFile(tmp_path / "x")["train_pixels"]
    stream = Stream(held)
    assert (len(stream), stream.shape, stream.dtype) == (9, (9, 60), np.uint8)
    np.testing.assert_array_equal(stream[2:6], images[2:6].reshape(4, 60))
    np.testing.assert_array_equal(stream[np.array([7, 0, 7])], images[[7, 0, 7]].reshape(3, 60))
    assert stream[4:4].shape == (0, 60)


def test_some_of_them_keep_their_order_and_may_be_chosen_from_again():
    rows = np.arange(24, dtype=np.float32).reshape(6, 2, 2)
    some = Stream(rows, np.array([5, 1, 3]))
    assert some.shape == (3, 4)
    np.testing.assert_array_equal(some[:2], rows[[5, 1]].reshape(2, 4))
    np.testing.assert_array_equal(Stream(some, np.array([2, 0]))[:], rows[[3, 5]].reshape(2, 4))


def test_several_tensors_are_one_after_the_other_and_no_more_than_is_taken_is_read(tmp_path):
    images = np.random.default_rng(0).integers(256, size=(9, 4, 5, 3)).astype(np.uint8)
    tensorfile.write(tmp_path / "x", {"train_pixels": images[:4], "test_pixels": images[4:]}, {})
    held = TensorFile(tmp_path / "x")
    joined = Joined([held["train_pixels"], held["test_pixels"]])
    assert (len(joined), joined.shape, joined.dtype) == (9, (9, 4, 5, 3), np.uint8)
    np.testing.assert_array_equal(joined[:], images)
    np.testing.assert_array_equal(joined[2:6], images[2:6])
    np.testing.assert_array_equal(joined[np.array([8, 0, 4, 3, 8])], images[[8, 0, 4, 3, 8]])
    np.testing.assert_array_equal(Stream(joined, np.array([5, 1]))[:], images[[5, 1]].reshape(2, 60))
    assert joined[4:4].shape == (0, 4, 5, 3)
