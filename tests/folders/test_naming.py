"""Names of results: numbered where photos share one, kept from earlier runs."""

from pathlib import Path

from sgdbd_jax.folders.inputs import Photo
from sgdbd_jax.folders.naming import name_results


def names(*places, kept=None):
    return name_results([Photo(Path(f"/{at}.jpg"), place) for at, place in enumerate(places)], kept or {})


def test_photos_of_one_name_get_numbers_in_their_order():
    assert names("a", "trip/a", "a", "a", "trip/a") == ["a", "trip/a", "a-2", "a-3", "trip/a-2"]
    assert names("a", "a", "a-2") == ["a", "a-2", "a-2-2"]
    assert names("a-2", "a", "a") == ["a-2", "a", "a-3"]


def test_names_that_some_file_systems_take_for_one_are_told_apart():
    assert names("IMG", "img", "Straße", "STRASSE") == ["IMG", "img-2", "Straße", "STRASSE-2"]
    assert names("\u00e9", "e\u0301") == ["\u00e9", "e\u0301-2"]


def test_names_of_earlier_runs_stay_and_are_not_given_again():
    assert names("a", "a", "a", kept={"/1.jpg": "a", "/elsewhere.jpg": "a-2"}) == ["a-3", "a", "a-4"]
    assert names("b", "a", kept={"/1.jpg": "a-7"}) == ["b", "a-7"]
