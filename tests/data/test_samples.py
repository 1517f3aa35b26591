"""What is white in samples of each kind."""

import numpy as np
import pytest

from sgdbd_jax.data.samples import to_levels

LEVELS = np.array([[0, 1, 100, 128, 254, 255]], np.uint8)


@pytest.mark.parametrize(
    "kind", ["u1", "u2", "u4", "u8", "i1", "i2", "i4", "i8", "f2", "f4", "f8", ">u2", ">i2", ">f4"]
)
def test_the_range_of_each_kind_becomes_that_of_8_bits(kind):
    dtype = np.dtype(kind)
    white = 1 if dtype.kind == "f" else int(np.iinfo(dtype).max)
    exact = [level / 255 if white == 1 else (level * white + 127) // 255 for level in LEVELS[0].tolist()]
    levels = to_levels(np.array([exact], dtype), dark=lambda text: pytest.fail(text))
    assert levels.dtype == np.uint8
    tolerance = 1 if dtype.kind == "i" else 0  # of 127 levels, and of what is rounded down
    np.testing.assert_allclose(levels.astype(int), LEVELS, atol=tolerance)


def test_truth_values_are_black_and_white():
    np.testing.assert_array_equal(to_levels(np.array([[False, True]])), [[0, 255]])


def test_grey_of_16_bits_is_rounded_and_of_colours_the_upper_8_bits_are_taken():
    np.testing.assert_array_equal(to_levels(np.array([[257 * 100 + 128, 257 * 100 + 129]], np.uint16)), [[100, 101]])
    np.testing.assert_array_equal(to_levels(np.array([[[0x64FF, 0x8000, 0xFFFF]]], np.uint16)), [[[100, 128, 255]]])


def test_wide_integers_of_no_more_than_16_bits_count_as_such():
    np.testing.assert_array_equal(to_levels(np.array([[257, 65535]], np.int32)), [[1, 255]])


def test_white_is_what_the_file_says_unless_a_sample_exceeds_it():
    samples = np.array([[0, 2048, 4095]], np.uint16)
    np.testing.assert_array_equal(to_levels(samples, peak=4095), [[0, 128, 255]])
    np.testing.assert_array_equal(to_levels(samples, peak=1023), to_levels(samples))


@pytest.mark.parametrize(
    ("kind", "high", "said"),
    [
        ("u2", 255, "nearly black: its samples use 8 of 16 bits"),
        ("u2", 4095, "nearly black: its samples use 12 of 16 bits"),
        ("u2", 16383, "dark: its samples use 14 of 16 bits"),
        ("u2", 16384, ""),
        ("i2", 255, "nearly black: its samples use 8 of 15 bits"),
        ("u4", 255, "nearly black: its samples use 8 of 16 bits"),
        ("u2", 0, ""),
        ("u1", 10, ""),
    ],
)
def test_a_range_whose_upper_bits_are_empty_is_said(kind, high, said):
    notes: list[str] = []
    samples = np.array([[0, high]], kind)
    np.testing.assert_array_equal(to_levels(samples, dark=notes.append), to_levels(samples))
    assert [note.split(";")[0] for note in notes] == [said] * bool(said)


@pytest.mark.parametrize(
    ("samples", "found"),
    [
        (np.array([[-1, 5]], np.int16), "below 0"),
        (np.array([[0, 70000]], np.int32), "deeper than 16 bits, of whose 31 bits they use 17"),
        (np.array([[0, 2**24]], np.uint32), "deeper than 16 bits, of whose 32 bits they use 25"),
        (np.array([[0, 1.5]], np.float16), "outside"),
        (np.array([[-0.1, 1]]), "outside"),
        (np.array([[np.nan, 1]], np.float32), "outside"),
        (np.array([[np.inf, 1]], np.float32), "outside"),
        (np.array([[1j]]), "complex"),
    ],
)
def test_samples_whose_white_is_not_known_are_refused(samples, found):
    with pytest.raises(ValueError, match=found):
        to_levels(samples)
