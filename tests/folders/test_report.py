"""The report of a folder: every photo in every file, names that are no plain words, and what a second run finds."""

import base64
import csv
import dataclasses
import io
import json
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from sgdbd_jax.detection.focus import FLAGS, Focus
from sgdbd_jax.errors import UserError
from sgdbd_jax.folders import report
from sgdbd_jax.folders.record import Record
from sgdbd_jax.folders.report import read, write


def jpeg(level: int) -> bytes:
    file = io.BytesIO()
    Image.fromarray(np.full((24, 32, 3), level, np.uint8)).save(file, "JPEG")
    return file.getvalue()


PHOTO, OVERLAY = jpeg(200), jpeg(90)
FOCUS = Focus(0.25, 0.6789, (10, 20, 330, 480), (123.4, 250.0), 0.125, ("nothing_sharp", "low_confidence"))
DONE = Record("trip/a.jpg", "trip/a", 640, 480, "done", "", 1.25, FOCUS, PHOTO, OVERLAY, "weights abc")
FAILED = Record("trip/b.jpg", "trip/b", 0, 0, "failed", "empty file (0 bytes)", 0.0, None, b"", b"")
EMPTY = dataclasses.replace(
    DONE, path="c.png", name="c", focus=Focus(0.0, 0.0, None, None, 1.0, ("nothing_sharp",)), overlay=jpeg(10)
)
AWKWARD = [
    "a b.jpg",
    "two\nlines\r.jpg",
    "say \"cheese\", <b>&amp; 'x'.jpg",
    "夕日 \u2028 \x85.jpg",
    "=1+1.jpg",
    "-rf.jpg",
    "@x.jpg",
    "+1.jpg",
    "\tx.jpg",
    "not-utf8-\udcff.jpg",
    "back\\slash \\udcff.jpg",
    "</article></script><script>alert(1)</script>.jpg",
    '"><img class="photo" src="data:image/jpeg;base64,AAAA">.jpg',
    "{place} %s.jpg",
    "",
]


class Page(HTMLParser):
    """What a browser would find in a sheet."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[tuple[str, str]] = []  # with the tag before it
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        if self.tags and data.strip():
            self.text.append((self.tags[-1][0], data))

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


def sheet(folder) -> Page:
    return Page((folder / "report.html").read_text("utf-8"))


def table(folder) -> list[dict[str, str]]:
    with (folder / "report.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def awkward() -> list[Record]:
    return [dataclasses.replace(DONE, path=name, name=name, thumbnail=jpeg(i)) for i, name in enumerate(AWKWARD)]


def test_a_row_of_the_table_is_a_photo(tmp_path):
    write(tmp_path, [DONE, FAILED, EMPTY])
    assert (tmp_path / "report.csv").read_text("utf-8").splitlines() == [
        "path,name,status,error,width,height,score,share,unknown,left,top,right,bottom,centre_x,centre_y,flags,seconds",
        "trip/a.jpg,trip/a,done,,640,480,0.6789,0.25,0.125,10,20,330,480,123.4,250.0,nothing_sharp low_confidence,1.25",
        "trip/b.jpg,trip/b,failed,empty file (0 bytes),,,,,,,,,,,,,0.0",
        "c.png,c,done,,640,480,0.0,0.0,1.0,,,,,,,nothing_sharp,1.25",
    ]


def test_a_line_is_an_object_that_people_can_read(tmp_path):
    write(tmp_path, [DONE, FAILED])
    lines = (tmp_path / "report.jsonl").read_text("utf-8").splitlines()
    assert lines[0] == (
        '{"path": "trip/a.jpg", "name": "trip/a", "width": 640, "height": 480, "status": "done", "error": "",'
        ' "seconds": 1.25, "focus": {"share": 0.25, "score": 0.6789, "box": [10, 20, 330, 480],'
        ' "centre": [123.4, 250.0], "unknown": 0.125, "flags": ["nothing_sharp", "low_confidence"]},'
        ' "settings": "weights abc"}'
    )
    assert json.loads(lines[1])["focus"] is None


def test_numbers_are_rounded(tmp_path):
    focus = dataclasses.replace(FOCUS, score=2 / 3, share=1 / 3, unknown=1 / 7, centre=(100 / 3, 200 / 3))
    write(tmp_path, [dataclasses.replace(DONE, focus=focus, seconds=1 / 3)])
    (row,) = table(tmp_path)
    names = ("score", "share", "unknown", "centre_x", "centre_y", "seconds")
    assert [row[name] for name in names] == ["0.6667", "0.3333", "0.1429", "33.3", "66.7", "0.333"]


def test_what_was_written_is_read_with_its_pictures(tmp_path):
    write(tmp_path, [DONE, FAILED, EMPTY])
    assert read(tmp_path) == {"trip/a.jpg": DONE, "trip/b.jpg": FAILED, "c.png": EMPTY}
    assert list(read(tmp_path)) == ["trip/a.jpg", "trip/b.jpg", "c.png"]


def test_a_report_read_and_written_again_is_the_same(tmp_path):
    focus = dataclasses.replace(FOCUS, score=2 / 3, centre=(100 / 3, 200 / 3))
    write(tmp_path / "first", [*awkward(), dataclasses.replace(DONE, focus=focus, seconds=1 / 3), FAILED])
    write(tmp_path / "second", list(read(tmp_path / "first").values()))
    for name in ("report.csv", "report.jsonl", "report.html"):
        assert (tmp_path / "second" / name).read_bytes() == (tmp_path / "first" / name).read_bytes()


def test_any_name_is_read_as_it_was(tmp_path):
    write(tmp_path, awkward())
    assert list(read(tmp_path).values()) == awkward()
    assert (tmp_path / "report.jsonl").read_bytes().count(b"\n") == len(AWKWARD)


def test_any_name_is_one_cell_of_the_table_and_no_formula(tmp_path):
    """An apostrophe tells a spreadsheet that text follows; bytes that are no Unicode are shown as such."""
    write(tmp_path, awkward())
    expected = [name.replace("\udcff", r"\udcff") for name in AWKWARD]
    expected = [f"'{name}" if name[:1] in tuple("=-@+\t") else name for name in expected]
    assert [row["path"] for row in table(tmp_path)] == expected
    write(tmp_path, [dataclasses.replace(FAILED, error="=cmd()")])
    assert table(tmp_path)[0]["error"] == "'=cmd()"


def test_any_name_is_only_text_in_the_sheet(tmp_path):
    write(tmp_path, [*awkward(), dataclasses.replace(FAILED, path="<i>", error="<script>alert(1)</script>")])
    page = sheet(tmp_path)
    paths = [name for name in AWKWARD if name]
    found = "".join(text for tag, text in page.text if tag == "p")
    for name in paths:
        assert name.replace("\udcff", r"\udcff").replace("\r", "\n") in found.replace("\r", "\n")
    assert len(page.all("article")) == len(AWKWARD)
    assert len(page.all("script")) == 1
    assert len(page.all("img")) == 2 * len(AWKWARD)
    assert not page.all("i")
    cells = [text for tag, text in page.text if tag == "td"]
    assert cells == ["<i>", "<script>alert(1)</script>\n"]


def test_the_sheet_needs_nothing_beside_it(tmp_path):
    """Neither pictures, styles nor scripts; only the masks are linked to."""
    write(tmp_path, [DONE, FAILED, EMPTY])
    page = sheet(tmp_path)
    assert [
        base64.b64decode((image["src"] or "").removeprefix("data:image/jpeg;base64,")) for image in page.all("img")
    ] == [
        *(PHOTO, OVERLAY),
        *(PHOTO, jpeg(10)),
    ]
    assert {image["loading"] for image in page.all("img")} == {"lazy"}
    assert all(not script for script in page.all("script"))
    assert not page.all("link")
    assert [link["href"] for link in page.all("a")] == ["#failed", *2 * ["trip/a.mask.png"], *2 * ["c.mask.png"]]
    assert "http" not in (tmp_path / "report.html").read_text("utf-8")


@pytest.mark.parametrize(
    ("name", "link"),
    [
        ("my trip/#1?", "my%20trip/%231%3F.mask.png"),
        ("javascript:alert(1)", "javascript%3Aalert%281%29.mask.png"),
        ("\udcff", "%FF.mask.png"),  # as the file system has it
    ],
)
def test_a_link_to_a_mask_leads_to_its_file(tmp_path, name, link):
    write(tmp_path, [dataclasses.replace(DONE, name=name)])
    assert {a["href"] for a in sheet(tmp_path).all("a")} == {link}


def test_the_sheet_can_be_sorted(tmp_path):
    """Each order is a number that every card has, and a direction."""
    write(tmp_path, [FAILED, DONE, EMPTY])
    page = sheet(tmp_path)
    cards = page.all("article")
    assert [(card["data-place"], card["data-score"], card["data-share"]) for card in cards] == [
        ("1", "0.6789", "0.25"),
        ("2", "0.0", "0.0"),
    ]
    orders = [(option["value"] or "").split() for option in page.all("option")]
    assert ["score", "-1"] in orders and ["score", "1"] in orders
    assert all(f"data-{key}" in card and sign in ("1", "-1") for key, sign in orders for card in cards)


def test_a_card_tells_the_numbers_and_marks_box_and_centre(tmp_path):
    write(tmp_path, [DONE])
    page = sheet(tmp_path)
    texts = [text.strip() for _, text in page.text]
    for text in ("0.68", "25% in focus, 12% unknown", "640 x 480; box 10, 20 to 330, 480; centre 123, 250"):
        assert text in texts
    assert [text for tag, text in page.text if tag == "b"] == ["nothing sharp", "low confidence"]
    assert page.all("svg")[0]["viewbox"] == "0 0 640 480"
    (box,) = page.all("rect")
    assert [box[key] for key in ("x", "y", "width", "height")] == ["10", "20", "320", "460"]


def test_the_sheet_says_what_every_flag_means(tmp_path):
    write(tmp_path, [])
    texts = [text.strip() for tag, text in sheet(tmp_path).text if tag in ("dt", "dd")]
    for flag, meaning in FLAGS.items():
        assert flag.replace("_", " ") in texts
        assert f"{meaning}." in texts


def test_failed_photos_are_listed_with_their_reason_and_counted(tmp_path):
    write(tmp_path, [DONE, FAILED])
    page = sheet(tmp_path)
    assert [text.strip() for tag, text in page.text if tag == "td"] == ["trip/b.jpg", "empty file (0 bytes)"]
    assert "1 failed" in [text for tag, text in page.text if tag == "a"]
    write(tmp_path, [DONE])
    assert not sheet(tmp_path).all("table")


def test_without_a_report_there_are_no_records(tmp_path):
    assert read(tmp_path) == read(tmp_path / "none") == {}


@pytest.mark.parametrize("cut", [1, 2, 40, 100])
def test_a_damaged_line_is_left_out(tmp_path, cut):
    write(tmp_path, [DONE, FAILED])
    path = tmp_path / "report.jsonl"
    path.write_bytes(b'\xff\n[1]\n7\n{"path": "x"}\n{"path": 7, "focus": null}\n' + path.read_bytes()[:-cut])
    assert read(tmp_path) == ({"trip/a.jpg": DONE} | ({"trip/b.jpg": FAILED} if cut == 1 else {}))


def test_without_the_sheet_pictures_alone_are_lost(tmp_path):
    write(tmp_path, [DONE])
    (tmp_path / "report.html").unlink()
    bare = dataclasses.replace(DONE, thumbnail=b"", overlay=b"")
    assert read(tmp_path) == {DONE.path: bare}
    write(tmp_path, [bare])
    assert not sheet(tmp_path).all("img")


def test_a_record_with_a_damaged_picture_is_left_out(tmp_path):
    write(tmp_path, [DONE, EMPTY])
    path = tmp_path / "report.html"
    path.write_text(path.read_text("utf-8").replace(base64.b64encode(OVERLAY).decode(), "/9j/A"), "utf-8")
    assert read(tmp_path) == {EMPTY.path: EMPTY}


def test_lines_come_last_so_that_what_they_call_done_has_its_pictures(tmp_path, monkeypatch):
    write(tmp_path, [DONE])
    monkeypatch.setattr(report, "LINES", "missing/../report.jsonl")
    (tmp_path / "missing").write_text("")  # where a folder is needed
    with pytest.raises(UserError, match="cannot be written"):
        write(tmp_path, [DONE, EMPTY])
    monkeypatch.undo()
    assert read(tmp_path) == {DONE.path: DONE}


def test_a_folder_that_cannot_be_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"file/report\.csv: cannot be written"):
        write(tmp_path / "file", [DONE])
