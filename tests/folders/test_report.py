"""The report of a folder: every photo in every file, names that are no plain words, and what a second run finds."""

import base64
import csv
import dataclasses
import io
import json
import tracemalloc
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sgdbd_jax.detection.focus import FLAGS, Focus
from sgdbd_jax.errors import UserError
from sgdbd_jax.files import Identity
from sgdbd_jax.folders import report
from sgdbd_jax.folders.record import Record
from sgdbd_jax.folders.report import append, read, show, write
from sgdbd_jax.folders.thumbnails import photo_key, thumbnail_name, write_thumbnails


def jpeg(level: int) -> bytes:
    file = io.BytesIO()
    Image.fromarray(np.full((24, 32, 3), level, np.uint8)).save(file, "JPEG")
    return file.getvalue()


PHOTO, OVERLAY = jpeg(200), jpeg(90)
FOCUS = Focus(0.25, 0.6789, (10, 20, 330, 480), (123.4, 250.0), 0.125, ("nothing_sharp", "low_confidence"), 0.4321)
FILE = Identity(1234, 5, 6, "0123456789abcdef")
TAKEN = "2026-05-04T12:34:56.250000"
DONE = Record(
    *("trip/a.jpg", "trip/a", 640, 480, "done", "", 1.25, FOCUS, "weights abc", FILE, {".mask.png": 70}),
    *(TAKEN, 3, True),
)
FAILED = Record("trip/b.jpg", "trip/b", 0, 0, "failed", "empty file (0 bytes)", 0.0, None)
EMPTY = dataclasses.replace(
    DONE, path="c.png", name="c", focus=Focus(0.0, 0.0, None, None, 1.0, ("nothing_sharp",)), taken="", best=False
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


def sheet(folder, name="report.html") -> Page:
    return Page((folder / name).read_text("utf-8"))


def pictures(folder, page) -> list[bytes]:
    return [(folder / (image["src"] or "")).read_bytes() for image in page.all("img")]


def table(folder) -> list[dict[str, str]]:
    with (folder / "report.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def awkward() -> list[Record]:
    return [dataclasses.replace(DONE, path=name, name=name) for name in AWKWARD]


def test_a_row_of_the_table_is_a_photo(tmp_path):
    write(tmp_path, [DONE, FAILED, EMPTY])
    assert (tmp_path / "report.csv").read_text("utf-8").splitlines() == [
        "path,name,status,error,width,height,score,share,unknown,left,top,right,bottom,centre_x,centre_y,flags,seconds,"
        "sharpness,taken,burst,best",
        "trip/a.jpg,trip/a,done,,640,480,0.6789,0.25,0.125,10,20,330,480,123.4,250.0,nothing_sharp low_confidence,1.25,"
        "0.4321,2026-05-04T12:34:56.250000,3,yes",
        "trip/b.jpg,trip/b,failed,empty file (0 bytes),,,,,,,,,,,,,0.0,,,,",
        "c.png,c,done,,640,480,0.0,0.0,1.0,,,,,,,nothing_sharp,1.25,,,3,no",
    ]


def test_a_line_is_an_object_that_people_can_read(tmp_path):
    write(tmp_path, [DONE, FAILED])
    lines = (tmp_path / "report.jsonl").read_text("utf-8").splitlines()
    assert lines[0] == (
        '{"path": "trip/a.jpg", "name": "trip/a", "width": 640, "height": 480, "status": "done", "error": "",'
        ' "seconds": 1.25, "focus": {"share": 0.25, "score": 0.6789, "box": [10, 20, 330, 480],'
        ' "centre": [123.4, 250.0], "unknown": 0.125, "flags": ["nothing_sharp", "low_confidence"],'
        ' "sharpness": 0.4321}, "settings": "weights abc", "photo": {"bytes": 1234, "modified": 5, "changed": 6,'
        ' "sha256": "0123456789abcdef"}, "files": {".mask.png": 70},'
        ' "taken": "2026-05-04T12:34:56.250000", "burst": 3, "best": true}'
    )
    assert json.loads(lines[1])["focus"] is None


def test_numbers_are_rounded(tmp_path):
    focus = dataclasses.replace(FOCUS, score=2 / 3, share=1 / 3, unknown=1 / 7, centre=(100 / 3, 200 / 3))
    write(tmp_path, [dataclasses.replace(DONE, focus=focus, seconds=1 / 3)])
    (row,) = table(tmp_path)
    names = ("score", "share", "unknown", "centre_x", "centre_y", "seconds")
    assert [row[name] for name in names] == ["0.6667", "0.3333", "0.1429", "33.3", "66.7", "0.333"]


def test_what_was_written_is_read(tmp_path):
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
    for name in AWKWARD:
        write_thumbnails(tmp_path, name, (PHOTO, OVERLAY))
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


def test_the_sheet_needs_nothing_but_its_pictures_beside_it(tmp_path):
    """Neither styles nor scripts; only the masks are linked to."""
    write_thumbnails(tmp_path, DONE.path, (PHOTO, OVERLAY))
    write_thumbnails(tmp_path, EMPTY.path, (PHOTO, jpeg(10)))
    write(tmp_path, [DONE, FAILED, EMPTY])
    page = sheet(tmp_path)
    assert pictures(tmp_path, page) == [PHOTO, OVERLAY, PHOTO, jpeg(10)]
    assert {(image["src"] or "").split("/")[0] for image in page.all("img")} == {"report_thumbnails"}
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
    write_thumbnails(tmp_path, DONE.path, (PHOTO, OVERLAY))
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


def test_the_sheet_is_sorted_by_burst_with_what_is_in_none_at_the_end(tmp_path):
    single = dataclasses.replace(DONE, path="d.jpg", burst=None, best=False)
    write(tmp_path, [DONE, single, EMPTY])
    page = sheet(tmp_path)
    first, last, second = (int(card["data-burst"] or "") for card in page.all("article"))
    assert (first, second) == (3, 3) and last > 10**6
    assert ["burst", "1"] in [(option["value"] or "").split() for option in page.all("option")]
    assert [text for tag, text in page.text if tag == "i"] == ["burst 3"]
    write(tmp_path, [single])  # as where bursts were not asked for
    assert not any("burst" in text for tag, text in sheet(tmp_path).text if tag in ("option", "dt"))


def test_bursts_are_noted_in_the_lines_in_their_order(tmp_path):
    write(tmp_path, [DONE, FAILED, EMPTY])
    report.note_bursts(tmp_path, {EMPTY.path: (7, True)})
    rest = dataclasses.replace(DONE, burst=None, best=False)
    assert list(read(tmp_path).values()) == [rest, FAILED, dataclasses.replace(EMPTY, burst=7, best=True)]


def test_a_card_tells_the_numbers_and_marks_box_and_centre(tmp_path):
    write_thumbnails(tmp_path, DONE.path, (PHOTO, OVERLAY))
    write(tmp_path, [DONE])
    page = sheet(tmp_path)
    texts = [text.strip() for _, text in page.text]
    for text in ("0.68", "25% in focus, 12% unknown", "640 x 480; box 10, 20 to 330, 480; centre 123, 250"):
        assert text in texts
    assert [text for tag, text in page.text if tag == "b"] == ["nothing sharp", "low confidence", "best of burst 3"]
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
    show(tmp_path)
    assert [row["path"] for row in table(tmp_path)] == list(read(tmp_path))


@pytest.mark.parametrize("value", ["[" * 100_000, '{"path": "a", "name": "a", "focus": {"share": "much"}}'])
def test_a_line_that_is_no_record_is_left_out(tmp_path, value):
    write(tmp_path, [DONE])
    with (tmp_path / "report.jsonl").open("a") as file:
        file.write(value + "\n")
    assert read(tmp_path) == {DONE.path: DONE}


def test_a_line_with_no_text_for_a_time_is_left_out(tmp_path):
    write(tmp_path, [DONE, FAILED])
    path = tmp_path / "report.jsonl"
    path.write_text(path.read_text().replace(f'"{TAKEN}"', "null"))
    assert read(tmp_path) == {FAILED.path: FAILED}


def test_without_its_thumbnails_a_photo_has_its_numbers(tmp_path):
    write(tmp_path, [DONE])
    assert not sheet(tmp_path).all("img")
    assert len(sheet(tmp_path).all("article")) == 1


# Lines that are added.


def test_added_lines_are_there_at_once_and_of_a_path_the_last_counts(tmp_path):
    """Of a process killed at any moment nothing is lost but the line that it was writing."""
    write(tmp_path, [DONE, FAILED])
    redone = dataclasses.replace(DONE, seconds=9.0)
    with append(tmp_path) as lines:
        lines.add(EMPTY)
        assert list(read(tmp_path).values()) == [DONE, FAILED, EMPTY]
        lines.add(redone)
        assert list(read(tmp_path).values()) == [FAILED, EMPTY, redone]
    assert (tmp_path / "report.jsonl").read_bytes().count(b"\n") == 4
    show(tmp_path)
    assert [row["seconds"] for row in table(tmp_path)] == ["0.0", "1.25", "9.0"]
    assert len(sheet(tmp_path).all("article")) == 2


def test_a_line_costs_the_same_however_many_there_are(tmp_path, monkeypatch):
    """It is written alone, by one call of the system, and nothing else is opened."""
    write(tmp_path, [DONE])
    with append(tmp_path) as lines:
        for method in ("open", "read_bytes", "read_text", "write_bytes"):
            monkeypatch.setattr(Path, method, lambda *_, **__: pytest.fail("opened"))
        size = (tmp_path / "report.jsonl").stat().st_size
        for number in range(20):
            lines.add(dataclasses.replace(DONE, path=f"{number:02}"))
    grown = (tmp_path / "report.jsonl").stat().st_size - size
    assert grown == 20 * (size - len("trip/a.jpg") + 2)


def test_a_report_that_was_removed_meanwhile_is_not_added_to(tmp_path):
    """Nobody would ever read what is written into it; nor may it go into another's."""
    write(tmp_path / "out", [DONE])
    with append(tmp_path / "out") as lines:
        (tmp_path / "out").rename(tmp_path / "moved")
        with pytest.raises(UserError, match=r"report\.jsonl: cannot be written"):
            lines.add(EMPTY)
        write(tmp_path / "out", [FAILED])
        with pytest.raises(UserError, match=r"report\.jsonl: cannot be written \(another file is there now\)"):
            lines.add(EMPTY)
    assert list(read(tmp_path / "out").values()) == [FAILED]


def test_a_full_disk_is_told_and_its_torn_line_is_not_read(tmp_path):
    if not Path("/dev/full").exists():
        pytest.skip("needs a device that is full")
    (tmp_path / "report.jsonl").symlink_to("/dev/full")
    with append(tmp_path) as lines, pytest.raises(UserError, match=r"cannot be written \(No space left on device\)"):
        lines.add(DONE)


# Pages.


def many(count: int) -> list[Record]:
    """Of these every fifth failed."""
    return [dataclasses.replace(FAILED if at % 5 == 4 else DONE, path=f"{at}.jpg", name=f"{at}") for at in range(count)]


@pytest.fixture
def small_pages(monkeypatch):
    monkeypatch.setattr(report, "PAGE", 6)


def test_pages_hold_no_more_than_their_number_and_link_to_each_other(tmp_path, small_pages):
    write(tmp_path, many(14))
    names = ["report.html", "report-2.html", "report-3.html"]
    assert sorted(path.name for path in tmp_path.glob("*.html")) == sorted(names)
    shown = []
    for name in names:
        page = sheet(tmp_path, name)
        cards = [text.strip() for tag, text in page.text if tag == "h2" and text.strip().endswith(".jpg")]
        failed = [text for tag, text in page.text if tag == "td" and text.endswith(".jpg")]
        assert len(cards) == len(page.all("article")) and len(cards) + len(failed) <= 6
        shown += cards + failed
        links = [(link["href"], "aria-current" in link) for link in page.all("a") if "html" in (link["href"] or "")]
        assert links == [(other, other == name) for other in names]
        texts = [text.strip() for _, text in page.text]
        assert {"1 to 6 (1 failed)", "7 to 12 (1 failed)", "13 to 14"} <= set(texts)
        assert any(text.startswith("12 photos") for text in texts)
        assert "Order of this page" in texts
    assert sorted(shown) == sorted(f"{at}.jpg" for at in range(14))
    assert len(table(tmp_path)) == 14


def test_few_photos_have_one_page_without_links_to_others(tmp_path, small_pages):
    write(tmp_path, many(6))
    page = sheet(tmp_path)
    assert not page.all("nav") and not list(tmp_path.glob("report-*"))
    assert "Order" in [text.strip() for _, text in page.text]


def test_pages_of_a_longer_report_go_and_files_of_others_stay(tmp_path, small_pages):
    write(tmp_path, many(20))
    for name in ("report-9.html", "report-x.html"):
        (tmp_path / name).write_text("<title>mine</title>")
    (tmp_path / "report-3.html").unlink()  # a kill leaves gaps
    write(tmp_path, many(3))
    assert sorted(path.name for path in tmp_path.glob("*.html")) == ["report-9.html", "report-x.html", "report.html"]


def test_memory_grows_by_paths_not_by_photos(tmp_path):
    """A page is held at a time, whatever the number of pages; of the lines, where they begin."""

    def peak(count: int) -> int:
        records = (dataclasses.replace(DONE, path=f"{at:05}.jpg", error="x" * 5000) for at in range(count))
        tracemalloc.start()
        write(tmp_path, records)
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return most

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(report, "PAGE", 50)
        few, more = peak(100), peak(600)
    assert (more - few) / 500 < 1000  # bytes a photo, of whom each line has more than 5,000


# Reports of earlier versions.

LINE = """\
{"path": "trip/a.jpg", "name": "trip/a", "width": 640, "height": 480, "status": "done", "error": "", "seconds": 1.25,\
 "focus": {"share": 0.25, "score": 0.6789, "box": [10, 20, 330, 480], "centre": [123.4, 250.0], "unknown": 0.125,\
 "flags": ["nothing_sharp", "low_confidence"]}, "settings": "weights abc"}
"""
CARD = """\
<article id="{key}" data-place="0" data-score="0.6789" data-share="0.25">
<div class="pictures">
<a href="trip/a.mask.png"><img class="photo" src="data:image/jpeg;base64,{photo}" alt="photo" loading="lazy"></a>
<a href="trip/a.mask.png"><img class="overlay" src="data:image/jpeg;base64,{overlay}" alt="overlay" loading="lazy"></a>
</div>
"""


def earlier_report(folder: Path, photo: str = base64.b64encode(PHOTO).decode()) -> None:
    (folder / "report.jsonl").write_text(LINE)
    overlay = base64.b64encode(OVERLAY).decode()
    (folder / "report.html").write_text(CARD.format(key=photo_key(DONE.path), photo=photo, overlay=overlay))


def test_pictures_that_a_page_of_an_earlier_version_holds_are_kept(tmp_path):
    earlier_report(tmp_path)
    focus = dataclasses.replace(FOCUS, sharpness=None)
    earlier = dataclasses.replace(DONE, focus=focus, photo=None, files={}, taken="", burst=None, best=False)
    assert read(tmp_path) == {DONE.path: earlier}
    write(tmp_path, read(tmp_path).values())
    for _ in range(2):  # the second time there is none in the page
        assert pictures(tmp_path, sheet(tmp_path)) == [PHOTO, OVERLAY]
        show(tmp_path)


def test_a_page_s_picture_does_not_replace_a_newer_one_nor_does_a_damaged_one_count(tmp_path):
    earlier_report(tmp_path, photo="/9j/A")
    newer = tmp_path / thumbnail_name(photo_key(DONE.path), "overlay")
    newer.parent.mkdir(parents=True)
    newer.write_bytes(jpeg(1))
    show(tmp_path)
    assert pictures(tmp_path, sheet(tmp_path)) == [jpeg(1)]


def test_a_folder_that_cannot_be_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"file/report\.jsonl: cannot be written"):
        write(tmp_path / "file", [DONE])
