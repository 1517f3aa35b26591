"""Sidecars: ratings and keywords, what a person's hand has changed, and files that are kept whole."""

import dataclasses
import errno
import os
from pathlib import Path

import pytest
from PIL import Image

from sgdbd_jax.detection.focus import Focus
from sgdbd_jax.errors import UserError
from sgdbd_jax.folders.record import Record
from sgdbd_jax.folders.sidecars import KEYWORDS, Sidecars, keywords, merge
from sgdbd_jax.folders.xmp import EMPTY, Packet

SHARP = Focus(0.3, 0.66, None, None, 0.0, (), 0.4)
DONE = Record("/a.jpg", "a", 6, 4, "done", "", 0.1, SHARP)
ALL, BURST = "focus: all sharp", "focus: burst"


def packet(*, rating=None, words=(), data=EMPTY):
    """As a person or another program would change it."""
    edited = Packet(data)
    if rating is not None:
        edited.set_value("xmp:Rating", rating)
    edited.change_items("dc:subject", add=words)
    return edited.data()


def told(data):
    read = Packet(data)
    return read.value("xmp:Rating"), read.items("dc:subject")


@pytest.mark.parametrize(
    ("score", "flags", "rating"),
    [
        (0.3, (), 1),
        (0.5, (), 2),
        (0.639, (), 3),
        (0.64, (), 4),
        (0.7, ("all_sharp",), 5),
        (0.9, ("nothing_sharp",), -1),
    ],
)
def test_the_rating_goes_by_the_score_and_nothing_sharp_is_rejected(score, flags, rating):
    assert Sidecars().rating(dataclasses.replace(SHARP, score=score, flags=flags)) == rating


def test_thresholds_can_be_set():
    assert Sidecars(ratings=(0.1, 0.2, 0.3, 0.67)).rating(SHARP) == 4


def test_keywords_are_the_flags_and_the_burst():
    flags = ("nothing_sharp", "low_confidence")
    record = dataclasses.replace(DONE, focus=dataclasses.replace(SHARP, flags=flags), burst=3)
    assert keywords(record) == ["focus: nothing sharp", "focus: low confidence", BURST]
    assert keywords(dataclasses.replace(DONE, burst=1, best=True)) == [BURST, "focus: best of burst"]
    assert keywords(DONE) == []


def test_names_are_those_that_other_programs_look_for():
    photo = Path("trip/a.b.JPG")
    assert Sidecars().path(photo) == Path("trip/a.b.JPG.xmp")
    assert Sidecars("adobe").path(photo) == Path("trip/a.b.xmp")


def test_a_raw_file_comes_before_the_jpeg_that_would_share_its_sidecar():
    photos = [Path(name) for name in ("1.jpg", "1.CR2", "2.nef", "2.jpg", "3.jpg", "3.png")]
    chosen = Sidecars("adobe").chosen(photos, asked=photos)
    assert {path.name: photo.name for path, photo in chosen.items()} == {
        "1.xmp": "1.CR2",
        "2.xmp": "2.nef",
        "3.xmp": "3.jpg",
    }
    assert len(Sidecars().chosen(photos, asked=photos)) == 6


def test_a_jpeg_stands_for_a_raw_file_that_failed_and_not_for_one_that_was_not_asked_for(tmp_path):
    raw, jpeg = tmp_path / "a.NEF", tmp_path / "a.jpg"
    raw.touch()
    assert Sidecars("adobe").chosen([jpeg], asked=[raw, jpeg]) == {tmp_path / "a.xmp": jpeg}
    assert Sidecars("adobe").chosen([jpeg], asked=[jpeg]) == {}
    assert Sidecars().chosen([jpeg], asked=[jpeg]) == {tmp_path / "a.jpg.xmp": jpeg}


# Merging.


@pytest.mark.parametrize("before", [EMPTY, packet(rating="0"), packet(rating="0.0"), packet(rating="", words=["sea"])])
def test_a_photo_without_a_rating_gets_one(before):
    merged = merge(before, 4, [ALL], overwrite=False)
    assert told(merged) == ("4", [*(Packet(before).items("dc:subject") or []), ALL])
    assert merge(merged, 4, [ALL], overwrite=False) == merged


def test_a_rating_that_was_written_last_follows_the_photo():
    first = merge(EMPTY, 4, [], overwrite=False)
    assert told(merge(first, -1, [], overwrite=False))[0] == "-1"


@pytest.mark.parametrize("given", ["5", "1", "-1", "0", ""])
def test_a_rating_that_a_person_gave_or_took_stays_unless_it_shall_not(given):
    ours = merge(EMPTY, 4, [], overwrite=False)
    theirs = packet(rating=given, data=ours)
    assert merge(theirs, 3, [], overwrite=False) == theirs
    assert told(merge(theirs, 3, [], overwrite=True))[0] == "3"
    if given not in ("0", ""):
        alone = packet(rating=given)
        assert merge(alone, 3, [], overwrite=False) == alone


def test_keywords_of_ours_follow_the_photo_and_those_of_others_stay():
    first = merge(packet(words=["sea", "sky"]), 3, [ALL, BURST], overwrite=False)
    assert told(first)[1] == ["sea", "sky", ALL, BURST]
    second = merge(first, 3, [BURST, "focus: best of burst"], overwrite=False)
    assert told(second)[1] == ["sea", "sky", BURST, "focus: best of burst"]


def test_a_keyword_that_a_person_took_away_does_not_come_back_and_one_that_a_person_gave_stays():
    first = merge(EMPTY, 3, [ALL, BURST], overwrite=False)
    edited = Packet(first)
    edited.change_items("dc:subject", add=["focus: low confidence"], remove=[ALL])
    theirs = edited.data()
    assert merge(theirs, 3, [ALL, BURST], overwrite=False) == theirs
    assert told(merge(theirs, 3, [ALL], overwrite=False))[1] == ["focus: low confidence"]
    assert told(merge(theirs, 3, [ALL], overwrite=True))[1] == [ALL]


def test_lists_of_tags_with_their_places_get_the_keywords_too_where_they_are():
    """Programs that find such a list do not read the plain one."""
    edited = Packet(packet(words=["sea"]))
    edited.change_items("lr:hierarchicalSubject", add=["nature|sea"])
    edited.change_items("digiKam:TagsList", add=["nature/sea"])
    merged = Packet(merge(edited.data(), 3, [ALL], overwrite=False))
    assert merged.items("lr:hierarchicalSubject") == ["nature|sea", ALL]
    assert merged.items("digiKam:TagsList") == ["nature/sea", ALL]
    assert merged.items("dc:subject") == ["sea", ALL]


def test_keywords_can_be_kept_in_one_text():
    assert not any(";" in word or "|" in word or "/" in word for word in KEYWORDS)


def test_exiv2_reads_what_is_written_and_keeps_what_tells_ours_from_others(tmp_path):
    """The library by which darktable and digiKam read sidecars, and write them anew.

    Its binding is in no extra, since it is under the GPL: `pip install pyexiv2` runs this.
    """
    pyexiv2 = pytest.importorskip("pyexiv2")
    path = tmp_path / "a.xmp"
    path.write_bytes(merge(EMPTY, 4, [ALL, BURST], overwrite=False))
    with pyexiv2.Image(str(path)) as image:
        tags = image.read_xmp()
        image.modify_xmp({"Xmp.dc.source": "elsewhere"})
    assert tags["Xmp.xmp.Rating"] == "4" and tags["Xmp.dc.subject"] == [ALL, BURST]
    path.write_bytes(merge(path.read_bytes(), -1, [BURST], overwrite=False))
    with pyexiv2.Image(str(path)) as image:
        tags = image.read_xmp()
    assert (tags["Xmp.xmp.Rating"], tags["Xmp.dc.subject"], tags["Xmp.dc.source"]) == ("-1", [BURST], "elsewhere")


# Files.


@pytest.mark.parametrize(("inside", "rating"), [(packet(rating="2"), None), (packet(rating="0"), "4"), (b"<x", "4")])
def test_a_rating_in_the_photo_s_own_file_stays_in_force_unless_it_shall_not(tmp_path, inside, rating):
    photo, path = tmp_path / "a.jpg", tmp_path / "a.jpg.xmp"
    Image.new("RGB", (8, 8)).save(photo, xmp=inside)
    record = dataclasses.replace(DONE, path=str(photo), burst=1)
    assert Sidecars().write(path, record)
    assert told(path.read_bytes()) == (rating, [BURST])
    Sidecars(overwrite=True).write(path, record)
    assert told(path.read_bytes()) == ("4", [BURST])


def test_a_sidecar_is_written_once_and_not_touched_while_nothing_changes(tmp_path):
    path = tmp_path / "a.jpg.xmp"
    assert Sidecars().write(path, DONE)
    assert told(path.read_bytes()) == ("4", None)
    os.utime(path, (1, 1))
    assert not Sidecars().write(path, DONE) and path.stat().st_mtime == 1
    path.write_bytes(b"")  # a power failure's
    assert Sidecars().write(path, DONE) and told(path.read_bytes())[0] == "4"


def test_who_may_read_a_sidecar_and_where_a_link_leads_stays(tmp_path):
    path, link = tmp_path / "a.xmp", tmp_path / "photos" / "a.jpg.xmp"
    path.write_bytes(packet(words=["sea"]))
    path.chmod(0o640)
    link.parent.mkdir()
    link.symlink_to("../a.xmp")
    assert Sidecars().write(link, DONE)
    assert link.is_symlink() and path.stat().st_mode & 0o777 == 0o640
    assert told(path.read_bytes()) == ("4", ["sea"])


@pytest.mark.parametrize(
    ("data", "reason"),
    [(EMPTY[:-80], "not well-formed XML"), (b"<a/>", "no XMP"), (b"\xff\xd8\xff", "no text in UTF-8")],
)
def test_a_damaged_sidecar_is_named_and_stays_as_it_is(tmp_path, data, reason):
    path = tmp_path / "a.jpg.xmp"
    path.write_bytes(data)
    with pytest.raises(
        UserError, match=rf"a\.jpg\.xmp: left as it is, for it is {reason}.*; mend it, or move it away$"
    ):
        Sidecars(overwrite=True).write(path, DONE)
    assert path.read_bytes() == data


def test_a_sidecar_is_whole_after_a_full_disk(tmp_path, monkeypatch):
    path, before = tmp_path / "a.jpg.xmp", packet(words=["sea"])
    path.write_bytes(before)

    def full(file):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("sgdbd_jax.files.os.fsync", full)
    with pytest.raises(UserError, match=r"a\.jpg\.xmp: cannot be written \(No space left on device\)"):
        Sidecars().write(path, DONE)
    assert path.read_bytes() == before and os.listdir(tmp_path) == ["a.jpg.xmp"]


def test_a_folder_of_a_sidecar_s_name_is_named(tmp_path):
    with pytest.raises(UserError, match=r"left as it is, for it is no file"):
        Sidecars().write(tmp_path, DONE)


def test_what_cannot_be_a_sidecar_is_named_and_left(tmp_path, monkeypatch):
    pipe, link, large, fixed = (tmp_path / f"{name}.xmp" for name in ("pipe", "link", "large", "fixed"))
    os.mkfifo(pipe)
    link.symlink_to("gone/a.xmp")
    with large.open("wb") as file:
        file.truncate(2**26 + 1)
    fixed.write_bytes(EMPTY)
    monkeypatch.setattr("sgdbd_jax.folders.sidecars.os.access", lambda path, how: path != fixed)  # root may write all
    for path, reason in ((pipe, "no file"), (link, "leads nowhere"), (large, "larger"), (fixed, "may not be written")):
        with pytest.raises(UserError, match=f"{path.name}: left as it is, for it .*{reason}"):
            Sidecars().write(path, DONE)
    assert sorted(os.listdir(tmp_path)) == ["fixed.xmp", "large.xmp", "link.xmp", "pipe.xmp"]


def test_nothing_to_say_makes_no_sidecar(tmp_path):
    photo = tmp_path / "a.jpg"
    Image.new("RGB", (8, 8)).save(photo, xmp=packet(rating="2"))
    assert not Sidecars().write(tmp_path / "a.jpg.xmp", dataclasses.replace(DONE, path=str(photo)))
    assert os.listdir(tmp_path) == ["a.jpg"]
