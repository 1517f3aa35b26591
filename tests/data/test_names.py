"""Names of photos: from files of many makes, and the benchmark's splits."""

import csv
import os
from collections import Counter
from pathlib import Path

import pytest

from sgdbd_jax.data.listing import photo_stem
from sgdbd_jax.data.names import cuhk_split, read_names
from sgdbd_jax.errors import UserError

SHARED_DATA = os.environ.get("SGDBD_SHARED_DATA")


@pytest.mark.parametrize(
    "text",
    [
        "b.png\n\n  c.png \n",
        "b.png\r\nc.png",
        "image\nb.png\nc.png\n",
        "image,split\nb.png,train\nc.png,train\n",
        "image, split\nb.png, train\nc.png,train\n",
        'split,"image"\ntrain,"b.png"\ntrain,c.png\ntrain\n',
        "\ufeffimage,split\nb.png,test\nc.png,test\n",  # as spreadsheets write it
    ],
)
def test_names_are_one_a_line_or_the_column_image(tmp_path, text):
    (tmp_path / "names").write_bytes(text.encode())
    assert read_names(tmp_path / "names") == ["b.png", "c.png"]


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-32", "utf-16-be"])
@pytest.mark.parametrize("text", ["é.png\r\n夕日.png\r\n", "split,image\ntrain,é.png\ntrain,夕日.png\n"])
def test_names_are_read_in_any_encoding_that_its_mark_tells(tmp_path, encoding, text):
    mark = "\ufeff" if encoding.endswith("be") else ""
    (tmp_path / "names").write_bytes((mark + text).encode(encoding))
    assert read_names(tmp_path / "names") == ["é.png", "夕日.png"]


def test_joined_lists_have_marks_further_down(tmp_path):
    (tmp_path / "names").write_bytes("a.png\n".encode("utf-8-sig") + "b.png\n".encode("utf-8-sig"))
    assert read_names(tmp_path / "names") == ["a.png", "b.png"]


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be"])
def test_utf_16_without_a_mark_is_refused_as_such(tmp_path, encoding):
    (tmp_path / "names").write_bytes("a.png\né.png\n".encode(encoding)[:22])
    with pytest.raises(UserError, match="names: looks like UTF-16 without a byte order mark; save the list as UTF-8"):
        read_names(tmp_path / "names")


@pytest.mark.parametrize("data", [b"", b"\n \n", b"image,split\n", b"\xef\xbb\xbf", b"\xff\xfe"])
def test_a_file_without_names_is_refused(tmp_path, data):
    (tmp_path / "names").write_bytes(data)
    with pytest.raises(UserError, match="names: holds no names"):
        read_names(tmp_path / "names")


def test_a_file_of_names_that_is_missing_or_no_text_is_refused(tmp_path):
    (tmp_path / "picture").write_bytes(b"\x89PNG\xff\xfe")
    for name in ("none", "picture"):
        with pytest.raises(UserError, match=f"{name}: not a readable list of names"):
            read_names(tmp_path / name)


@pytest.mark.parametrize(
    "text",
    [
        "image,split\nb.png,train\nc.png,validation\n",
        "image, split\nb.png, train\nc.png, test\n",
        "image,split\nb.png,train\nc.png,\n",
    ],
)
def test_a_table_of_several_splits_is_no_choice(tmp_path, text):
    (tmp_path / "names").write_text(text)
    with pytest.raises(UserError, match=r"names: lists photos of several splits \(.*train.*\); leave those of one"):
        read_names(tmp_path / "names")


def test_no_name_at_all_is_not_everything():
    with pytest.raises(UserError, match="names: is empty"):
        read_names("")


def test_the_splits_of_cuhk_have_their_photos():
    splits = {name: read_names(f"cuhk:{name}") for name in ("train", "validation", "test")}
    assert {name: len(names) for name, names in splits.items()} == {"train": 504, "validation": 100, "test": 100}
    assert splits["validation"][0] == "out_of_focus0001" and Counter(map(len, cuhk_split())) == {16: 704}
    with pytest.raises(UserError, match="cuhk:val: no such split; there are validation, train, test"):
        read_names("cuhk:val")


@pytest.mark.skipif(not SHARED_DATA, reason="SGDBD_SHARED_DATA does not name the folder of the CUHK photos")
def test_the_packaged_split_is_the_benchmarks():
    with (Path(SHARED_DATA) / "cuhk" / "split.csv").open() as file:
        rows = {photo_stem(row["image"]): row["split"] for row in csv.DictReader(file)}
    assert cuhk_split() == rows
