"""Which photos arguments stand for, and what their results are called."""

import codecs
import functools
import os
import re
from pathlib import Path

import pytest
from PIL import Image

from sgdbd_jax.errors import UserError, shown
from sgdbd_jax.folders.inputs import find_photos
from sgdbd_jax.folders.naming import MADE_HERE


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def touch(*names):
    for name in names:
        path = Path(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def photos(*arguments, recursive=False, stdin=b""):
    """Paths and places of the photos, where nothing is refused."""
    inputs = find_photos(arguments, recursive=recursive, read_list=lambda: stdin)
    assert inputs.refused == {}
    return [(str(photo.path), photo.place) for photo in inputs.photos]


def refused(*arguments, stdin=b""):
    inputs = find_photos(arguments, recursive=False, read_list=lambda: stdin)
    assert inputs.photos == []
    return inputs.refused


# Arguments.


def test_a_folder_gives_its_photos_sorted_without_what_is_hidden_or_below(here):
    touch("trip/b.JPG", "trip/a.png", "trip/.hidden.jpg", "trip/notes.txt", "trip/day/c.jpg")
    Path("trip/folder.jpg").mkdir()
    assert photos("trip") == [("trip/a.png", "a"), ("trip/b.JPG", "b")]


def test_frames_and_masks_of_a_clip_are_left_out_by_what_stands_in_them_unless_their_folder_is_named(here):
    """Also those of a clip that failed, which has no table; the user's own in folders of such names are photos."""
    Path("trip/a.frames").mkdir(parents=True)
    Path("trip/a.masks").mkdir()
    for name in ("a.frames/a_000001.jpg", "a.masks/a_000001.jpg.png", "a.masks/a_000002.png"):
        Path("trip", name).write_bytes(b"..." + MADE_HERE)
    for name in ("a.frames/a_000002.jpg", "a.frames/frame_000001.jpg"):
        Path("trip", name).write_bytes(b"theirs")
    theirs = ["trip/a.frames/a_000002.jpg", "trip/a.frames/frame_000001.jpg"]
    for arguments in (["trip"], ["trip/**/*.jpg", "trip/**/*.png"], ["trip/a.frames/a_000001.jpg", *theirs]):
        assert [path for path, _ in photos(*arguments, recursive=True)] == theirs
    assert len(photos("trip/a.frames")) == 3


def test_clips_of_a_folder_are_taken_but_for_what_may_be_programs(here):
    touch("trip/a.VOB", "trip/b.y4m", "trip/c.ts")
    find = functools.partial(find_photos, recursive=False, read_list=bytes, clips=True)
    assert [photo.path.name for photo in find(["trip"]).photos] == ["a.VOB", "b.y4m"]
    assert [photo.clip for photo in find(["trip/c.ts"]).photos] == [True]


def test_a_folder_gives_what_is_read_when_it_is_named(here):
    """By any extension of a format that is read, or by the first bytes; results keep the name as it is written."""
    touch("trip/a.JFIF", "trip/b.hif", "trip/c.Mpo", "trip/empty", "trip/f.mov")
    decomposed = "e\u0301.jpg"
    touch(f"trip/{decomposed}")
    for name in ("IMG.1", "scan", "t.jpg_large"):
        Image.new("RGB", (3, 2)).save(Path("trip", name), "PNG")
    os.mkfifo("trip/pipe")
    assert [place for _, place in photos("trip")] == ["IMG.1", "a", "b", "c", "e\u0301", "scan", "t.jpg_large"]


def test_recursive_photos_keep_their_place_under_the_folder(here):
    touch("trip/z.jpg", "trip/day/1.c.jpg", "trip/day/night/d.png", "trip/.cache/e.jpg")
    places = {"trip/day/1.c.jpg": "day/1.c", "trip/day/night/d.png": "day/night/d", "trip/z.jpg": "z"}
    assert dict(photos("trip", recursive=True)) == places
    assert dict(photos(str(here / "trip") + "/", recursive=True)) == {str(here / k): v for k, v in places.items()}


def test_links_to_folders_are_not_followed_so_none_is_met_for_ever(here):
    touch("trip/a.jpg")
    Path("trip/again").symlink_to("../trip")
    assert photos("trip", recursive=True) == [("trip/a.jpg", "a")]


def test_a_file_is_a_photo_whatever_it_is_called(here):
    touch("scan", "v1.2", "x.y.jpeg", ".jpg")
    assert photos("scan", "v1.2", "./x.y.jpeg", ".jpg") == [
        ("scan", "scan"),
        ("v1.2", "v1.2"),
        ("x.y.jpeg", "x.y"),
        (".jpg", ".jpg"),
    ]


def test_patterns_follow_no_links_to_folders_either(here):
    """With two that lead back, each level of a walk would double."""
    touch("trip/a.jpg", "trip/.hidden/b.jpg", "trip/.c.jpg")
    for name in ("once", "again"):
        Path("trip", name).symlink_to(".")
    assert photos("trip/**/*.jpg") == [("trip/a.jpg", "a")]
    assert photos(str(here / "trip" / "**" / "*.jpg")) == [(str(here / "trip" / "a.jpg"), "a")]
    assert photos("trip/.hidden/*.jpg") == [("trip/.hidden/b.jpg", "b")]


def test_patterns_are_expanded_where_the_shell_has_not(here):
    touch("trip/b.jpg", "trip/a.jpg", "trip/a.png", "trip/day/c.jpg")
    assert [path for path, _ in photos("trip/*.jpg")] == ["trip/a.jpg", "trip/b.jpg"]
    assert [path for path, _ in photos("trip/**/*.jpg")] == ["trip/a.jpg", "trip/b.jpg", "trip/day/c.jpg"]
    assert [path for path, _ in photos("tri?")] == ["trip/a.jpg", "trip/a.png", "trip/b.jpg"]  # a folder matches too


def test_a_name_that_reads_like_a_pattern_is_that_file(here):
    touch("a[1].jpg", "a1.jpg")
    assert photos("a[1].jpg") == [("a[1].jpg", "a[1]")]
    Path("a[1].jpg").unlink()
    assert photos("a[1].jpg") == [("a1.jpg", "a1")]


def test_a_list_on_standard_input_has_a_path_a_line(here):
    touch("a b.jpg", "-c.jpg", "é.jpg", "trip/d.jpg", "last.jpg")
    listed = "a b.jpg\r\n-c.jpg\n\né.jpg\ntrip\n".encode()
    assert [path for path, _ in photos("-", "last.jpg", stdin=listed)] == [
        "a b.jpg",
        "-c.jpg",
        "é.jpg",
        "trip/d.jpg",
        "last.jpg",
    ]


def test_a_list_with_nul_bytes_has_any_names(here):
    names = [b"two\nlines.jpg", b" spaces .jpg", b"not utf-8 \xff.jpg"]
    for name in names:
        Path(os.fsdecode(name)).touch()
    assert [os.fsencode(path) for path, _ in photos("-", stdin=b"\0".join([*names, b""]))] == names
    assert [os.fsencode(path) for path, _ in photos("-", stdin=b"two\nlines.jpg\0")] == names[:1]


@pytest.mark.parametrize("end", ["\n", "\r\n", "\0"], ids=["LF", "CRLF", "NUL"])
@pytest.mark.parametrize(
    ("mark", "encoding"),
    [
        (codecs.BOM_UTF8, "utf-8"),
        (codecs.BOM_UTF16_LE, "utf-16-le"),
        (codecs.BOM_UTF16_BE, "utf-16-be"),
        (codecs.BOM_UTF32_LE, "utf-32-le"),
        (codecs.BOM_UTF32_BE, "utf-32-be"),
    ],
    ids=["8", "16le", "16be", "32le", "32be"],
)
def test_a_list_may_begin_with_a_byte_order_mark(here, mark, encoding, end):
    names = ["a b.jpg", "夕日\u2028.jpg", "é.jpg"]
    touch(*names)
    for last in (end, ""):
        assert [path for path, _ in photos("-", stdin=mark + (end.join(names) + last).encode(encoding))] == names
    assert refused("-", stdin=mark) == {}


@pytest.mark.parametrize("end", ["\n", "\0"], ids=["LF", "NUL"])
@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-32"])
def test_lists_that_were_joined_have_marks_further_down(here, encoding, end):
    """Also where the first was empty; a name that begins with the mark, as it may, is that file."""
    touch("a.jpg", "b.jpg", "\ufeffc.jpg")
    listed = b"".join(f"{name}{end}".encode(encoding) for name in ("a.jpg", "b.jpg", "c.jpg"))
    listed = "".encode(encoding) + listed
    assert [path for path, _ in photos("-", stdin=listed)] == ["a.jpg", "b.jpg", "\ufeffc.jpg"]


def test_a_list_with_a_mark_may_hold_a_name_of_other_bytes(here):
    name = os.fsdecode(b"caf\xe9.jpg")
    touch("a.jpg", name)
    assert [path for path, _ in photos("-", stdin=codecs.BOM_UTF8 + b"a.jpg\ncaf\xe9.jpg\n")] == ["a.jpg", name]


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be"])
def test_utf_16_without_a_mark_is_one_clear_line(here, encoding):
    with pytest.raises(UserError, match="-: looks like UTF-16 without a byte order mark; save the list as UTF-8"):
        photos("-", stdin="./a.jpg\n./夕日.jpg\n".encode(encoding))


def test_short_names_ended_by_nul_are_no_utf_16(here):
    touch("a", "b", "c")
    assert [path for path, _ in photos("-", stdin=b"a\0b\0c\0")] == ["a", "b", "c"]
    assert set(refused("-", stdin=b"x\0y\0")) == {"x", "y"}


@pytest.mark.parametrize("data", [b"\xff\xfea.jpg", b"\xef\xbb\xbf\xff.jpg", b"\xfe\xff\xd8\x00.jpg"])
def test_a_name_that_begins_like_a_mark_but_is_no_text_of_its_is_bytes(here, data):
    """As names may be, on Linux."""
    path = os.fsdecode(data)
    Path(path).touch() if b"\0" not in data else None
    found = find_photos(["-"], recursive=False, read_list=lambda: data)
    assert [str(photo.path) for photo in found.photos] + list(found.refused) == path.split("\0")


def test_a_photo_is_taken_once_however_it_is_named(here):
    touch("trip/a.jpg")
    Path("trip/b.jpg").symlink_to("a.jpg")
    everything = ("trip/../trip/a.jpg", "trip", "trip/*", str(here / "trip/a.jpg"), "-")
    assert photos(*everything, stdin=b"trip/b.jpg") == [("trip/../trip/a.jpg", "a")]


def test_what_gives_no_photos_is_refused_with_its_reason(here):
    Path("loop.jpg").symlink_to("loop.jpg")
    Path("broken.jpg").symlink_to("nowhere")
    touch("empty/notes.txt")
    assert refused("nowhere.jpg", "", "*.tif", "x" * 5000) == dict.fromkeys(
        ("nowhere.jpg", "", "*.tif", "x" * 5000), "no such file or folder"
    )
    assert refused("loop.jpg", "broken.jpg") == {
        "loop.jpg": "a link to loop.jpg that leads back to itself",
        "broken.jpg": "a link to nowhere that leads nowhere",
    }
    assert re.fullmatch(
        r"no photos; expected files ending in .*\.jpg.*, or --recursive for .*", refused("empty")["empty"]
    )


def test_a_link_of_a_folder_or_pattern_that_leads_nowhere_does_not_cost_the_others(here):
    touch("trip/a.jpg")
    Path("trip/b.jpg").symlink_to("c.jpg")
    Path("trip/c.jpg").symlink_to("b.jpg")
    Path("trip/d.jpg").symlink_to("../gone.jpg")
    Path("trip/e.jpg").symlink_to("a.jpg")
    for argument in ("trip", "trip/*"):
        inputs = find_photos([argument], recursive=False, read_list=bytes)
        assert [photo.place for photo in inputs.photos] == ["a"]
        assert inputs.refused == {
            "trip/b.jpg": "a link to c.jpg that leads back to itself",
            "trip/c.jpg": "a link to b.jpg that leads back to itself",
            "trip/d.jpg": "a link to ../gone.jpg that leads nowhere",
        }


def test_a_folder_that_cannot_be_listed_does_not_cost_the_others(here, monkeypatch):
    touch("trip/a.jpg", "trip/secret/b.jpg")
    scan = os.scandir

    def refuse(path):
        if os.fspath(path).endswith("secret"):
            raise PermissionError(13, "Permission denied", path)
        return scan(path)

    monkeypatch.setattr(os, "scandir", refuse)
    inputs = find_photos(["trip", "trip/secret"], recursive=True, read_list=bytes)
    assert [photo.place for photo in inputs.photos] == ["a"]
    assert inputs.refused == {"trip/secret": "cannot be listed (Permission denied)"}


def test_results_of_the_command_are_not_photos(here):
    touch("a.jpg", *(f"a.{kind}.png" for kind in ("mask", "overlay", "cutout", "binary")), "b.mask.jpg")
    inputs = find_photos([".", "a.mask.png"], recursive=False, read_list=bytes)
    assert [photo.place for photo in inputs.photos] == ["a", "b.mask"]
    assert inputs.results == {Path(f"a.{kind}.png") for kind in ("mask", "overlay", "cutout", "binary")}


def test_sidecars_beside_photos_are_not_photos(here):
    """Nor a reason to fail, where the shell gives all files of a folder."""
    touch("a.jpg", "a.jpg.xmp", "b.XMP")
    for arguments in (["a.jpg", "a.jpg.xmp", "b.XMP"], ["*"]):
        inputs = find_photos(arguments, recursive=False, read_list=bytes)
        assert [photo.place for photo in inputs.photos] == ["a"] and inputs.refused == {}
        assert inputs.results == {Path("a.jpg.xmp"), Path("b.XMP")}


def test_thumbnails_of_a_report_are_not_photos(here):
    """Also where results lie among the photos."""
    touch("a.jpg", "report_thumbnails/ab/abcd.photo.jpg")
    for arguments in ((".",), ("**/*.jpg",), (str(here),)):
        inputs = find_photos(arguments, recursive=True, read_list=bytes)
        assert [photo.path.name for photo in inputs.photos] == ["a.jpg"]
        assert inputs.refused == {}
    inputs = find_photos(["report_thumbnails/ab"], recursive=False, read_list=bytes)
    assert inputs.photos == [] and inputs.results == {Path("report_thumbnails/ab/abcd.photo.jpg")}


def test_a_path_is_shown_in_one_line():
    assert shown(Path("an é/b.jpg")) == "an é/b.jpg"
    assert shown("two\nlines") == r"'two\nlines'"
    assert shown("\udcff") == r"'\udcff'"  # a byte that is no character
