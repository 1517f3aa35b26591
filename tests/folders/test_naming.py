"""Names of results: numbered where photos share one, kept from earlier runs."""

import os
import time
from pathlib import Path

from sgdbd_jax.folders.inputs import Photo
from sgdbd_jax.folders.naming import LONGEST, fitting, name_results


def names(*places, kept=None):
    return name_results([Photo(Path(f"/{at}.jpg"), place) for at, place in enumerate(places)], kept or {})


def test_photos_of_one_name_get_numbers_in_their_order():
    assert names("a", "trip/a", "a", "a", "trip/a") == ["a", "trip/a", "a-2", "a-3", "trip/a-2"]
    assert names("a", "a", "a-2") == ["a", "a-2", "a-2-2"]
    assert names("a-2", "a", "a") == ["a-2", "a", "a-3"]


def test_a_photo_and_its_clip_share_a_name_as_their_results_have_other_endings():
    both = [Photo(Path("/IMG_1.jpg"), "IMG_1"), Photo(Path("/IMG_1.MOV"), "IMG_1", clip=True)]
    assert name_results(both, {}) == name_results(both[::-1], {}) == ["IMG_1"] * 2
    assert name_results(both, {"/x/IMG_1.mp4": "IMG_1"}) == ["IMG_1", "IMG_1-2"]


def test_names_that_some_file_systems_take_for_one_are_told_apart():
    assert names("IMG", "img", "Straße", "STRASSE") == ["IMG", "img-2", "Straße", "STRASSE-2"]
    assert names("\u00e9", "e\u0301") == ["\u00e9", "e\u0301-2"]


def test_names_of_earlier_runs_stay_and_are_not_given_again():
    assert names("a", "a", "a", kept={"/1.jpg": "a", "/elsewhere.jpg": "a-2"}) == ["a-3", "a", "a-4"]
    assert names("b", "a", kept={"/1.jpg": "a-7"}) == ["b", "a-7"]


def test_a_name_that_leaves_no_room_for_its_ending_is_cut():
    assert len(".overlay.png") + LONGEST == 255
    assert names("x" * LONGEST) == ["x" * LONGEST]
    (name,) = names("x" * (LONGEST + 1))
    assert name.startswith("x" * (LONGEST - 9) + "-") and len(name) == LONGEST
    assert fitting(name) == name
    (below,) = names(f"{'y' * 250}/{'x' * 250}")
    assert below == f"{'y' * 250}/{names('x' * 250)[0]}"  # folders need no room


def test_a_cut_falls_between_characters_and_digits_tell_names_apart():
    long = "夕日" * 50
    pair = names(long, long + "!")
    assert pair[0][:-8] == pair[1][:-8] and pair[0] != pair[1]
    for name in pair:
        assert LONGEST - 3 <= len(os.fsencode(name)) <= LONGEST
        assert name.startswith("夕日") and "\N{REPLACEMENT CHARACTER}" not in os.fsencode(name).decode()
    raw = "a" + "\udce5" * 300  # a byte each
    assert len(os.fsencode(names(raw)[0])) == LONGEST


def test_names_cut_alike_are_numbered_as_others_are():
    first, second, third = names("x" * 300, "x" * 300, "x" * 300)
    assert (second[-2:], third[-2:]) == ("-2", "-3")
    assert first[-8:] == second[-10:-2] == third[-10:-2]
    assert {len(name) for name in (first, second, third)} == {LONGEST}
    just = "x" * LONGEST  # fits, but has no room for a number
    assert names(just, just)[0] == just and len(names(just, just)[1]) == LONGEST


def test_a_name_of_an_earlier_run_that_was_too_long_is_not_kept():
    assert names("x" * 250, kept={"/0.jpg": "x" * 250}) == [fitting("x" * 250)]


def test_many_photos_of_one_name_take_no_longer_each():
    start = time.perf_counter()
    assert names(*["a"] * 20_000)[-1] == "a-20000"
    assert time.perf_counter() - start < 20  # with each count begun anew it would be minutes
