"""Streams: rows of a file are read slice by slice, flat, in the order in which they were chosen."""

import numpy as np

from workflow.lib.features import tensorfile
from workflow.lib.features.stream import Stream
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
