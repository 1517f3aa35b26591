"""Which photos URLs stand for, how they are read, and where results are written: on disks, on the web, in a store."""

import os

import pytest

from sgdbd_jax.cluster import places
from sgdbd_jax.cluster.places import Folder, find_remote, identity_of, read
from sgdbd_jax.errors import UserError

pytest_plugins = "local_cluster"

fsspec = pytest.importorskip("fsspec")


@pytest.fixture
def store():
    """Writes objects into fsspec's own store, as `memory://photos/NAME`."""
    files = fsspec.filesystem("memory")
    files.store.clear()

    def put(*names, data=b"photo"):
        for name in names:
            files.pipe_file(f"/photos/{name}", data)

    yield put
    files.store.clear()


def find(*arguments, recursive=False, listed=b""):
    return find_remote([str(each) for each in arguments], recursive=recursive, read_list=lambda: listed)


def found(*arguments, **options):
    """URL -> place."""
    return {photo.absolute: photo.place for photo in find(*arguments, **options).photos}


# Finding.


def test_a_folder_of_a_store_gives_its_photos_with_what_tells_them_from_others(store):
    store("b.jpg", "a.PNG", "notes.txt", ".hidden.jpg", "trip/c.jpg", "a.mask.png", "clip.mp4")
    result = find("memory://photos")
    assert [(photo.absolute, photo.place) for photo in result.photos] == [
        ("memory:///photos/a.PNG", "a"),
        ("memory:///photos/b.jpg", "b"),
    ]
    assert all(photo.identity == identity_of(photo.absolute) != "" for photo in result.photos)
    assert result.results == {"memory:///photos/a.mask.png"} and result.clips_left == ["memory:///photos/clip.mp4"]
    assert found("memory://photos", recursive=True)["memory:///photos/trip/c.jpg"] == "trip/c"


def test_patterns_and_files_of_a_store_each_photo_once(store):
    store("a.jpg", "b.jpg", ".hidden.jpg", "c.png", "IMG")
    assert list(found("memory://photos/*.jpg")) == ["memory:///photos/a.jpg", "memory:///photos/b.jpg"]
    assert list(found("memory:///photos/a.jpg", "memory://photos/[ab].jpg")) == [
        "memory:///photos/a.jpg",
        "memory:///photos/b.jpg",
    ]
    assert found("memory:///photos/IMG") == {"memory:///photos/IMG": "IMG"}  # whoever names it knows that it is one


def test_a_list_has_paths_and_urls(store, tmp_path):
    store("a.jpg")
    (tmp_path / "b.jpg").touch()
    assert found("-", listed=f"memory:///photos/a.jpg\n{tmp_path}\n".encode()) == {
        str(tmp_path / "b.jpg"): "b",
        "memory:///photos/a.jpg": "a",
    }


def test_paths_stand_for_what_they_do_without_a_cluster(tmp_path):
    for name in ("trip/a.jpg", "trip/deep/b.jpg", "trip/.hidden.jpg", "trip/a.mask.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True, parents=True)
        (tmp_path / name).touch()
    places = {str(tmp_path / "trip/a.jpg"): "a", str(tmp_path / "trip/deep/b.jpg"): "deep/b"}
    assert found(tmp_path / "trip", recursive=True) == found(f"file://{tmp_path}/trip", recursive=True) == places


@pytest.mark.skipif(os.name != "posix", reason="names that are no Unicode")
def test_what_cannot_be_done_is_refused_and_costs_nothing_else(store, tmp_path):
    store("a.jpg", "clip.mp4", "folder/notes.txt")
    odd = os.fsencode(tmp_path) + b"/\xff.jpg"
    open(odd, "w").close()
    result = find(
        "memory://photos/a.jpg", "memory://photos/clip.mp4", "memory://photos/folder", "memory://none",
        "nonsense://a/b", tmp_path, tmp_path / "none.jpg", "memory://\udcff.jpg", "\udcff",
    )  # fmt: skip
    assert [photo.place for photo in result.photos] == ["a"]
    reasons = {
        "memory://photos/clip.mp4": "a clip, which --ray does not do",
        "memory://photos/folder": "no photos; expected",
        "memory://none": "no such file or folder",
        "nonsense://a/b": "cannot be listed (Protocol not known: nonsense)",
        repr(os.fsdecode(odd)): "its name is no Unicode",
        repr("memory://\udcff.jpg"): "its name is no Unicode",
        repr("\udcff"): "no such file or folder",
        str(tmp_path / "none.jpg"): "no such file or folder",
    }
    assert result.refused.keys() == reasons.keys()
    assert all(result.refused[url].startswith(reason) for url, reason in reasons.items())
    assert "".join(result.refused).isprintable()  # as the report's text must be


def test_a_folder_of_the_web_is_a_page_of_links(web, tmp_path):
    for name in ("photos/a b.jpg", "photos/notes.txt", "photos/deep/c.jpg"):
        (tmp_path / name).parent.mkdir(exist_ok=True, parents=True)
        (tmp_path / name).write_bytes(b"photo")
    url, _ = web
    assert found(f"{url}/photos/") == {f"{url}/photos/a%20b.jpg": "a b"}
    assert found(f"{url}/photos/", recursive=True)[f"{url}/photos/deep/c.jpg"] == "deep/c"
    assert found(f"{url}/photos/none.jpg?size=large") == {f"{url}/photos/none.jpg?size=large": "none"}


def test_each_page_of_the_web_is_asked_for_once_and_none_above(web, tmp_path):
    """Many pages have links to themselves and to those above."""
    up = '<a href="../">up</a> <a href="../../">top</a> <a href="./">here</a> <a href="/photos/">again</a> '
    for folder, links in (
        ("", '<a href="photos/">photos</a> <a href="above.jpg">a</a>'),
        ("photos/", '<a href="deep/">d</a> <a href="b.jpg">b</a> <a href="secret/">s</a>'),
        ("photos/deep/", '<a href="c.jpg">c</a>'),
    ):
        (tmp_path / folder).mkdir(exist_ok=True)
        (tmp_path / folder / "index.html").write_text(up + links)
    url, _ = web
    result = find(f"{url}/photos/", recursive=True)
    assert [photo.absolute for photo in result.photos] == [f"{url}/photos/b.jpg", f"{url}/photos/deep/c.jpg"]
    assert list(result.refused) == [f"{url}/photos/secret/"]  # which costs no other


def test_no_photo_has_its_results_among_the_parts_of_the_report(store, tmp_path):
    store("report.parquet/a.jpg", "b.jpg")
    (tmp_path / "report.parquet").mkdir()
    (tmp_path / "report.parquet" / "c.jpg").touch()
    result = find("memory://photos", tmp_path, recursive=True)
    assert [photo.place for photo in result.photos] == ["b"]
    assert result.results == {"memory:///photos/report.parquet/a.jpg", f"{tmp_path}/report.parquet/c.jpg"}


@pytest.mark.parametrize(
    ("under", "place"),
    [
        ("../../a.jpg", "a"),
        ("a/./b//../c.jpg", "a/b/c"),
        ("%2E%2E/..%2F..%2Fetc.jpg", ".._.._etc"),
        ("a.jpg?x=/../b", "a"),
        ("..", "photo"),
        ("%00.jpg", "_"),
    ],
)
def test_results_stay_in_their_folder(under, place):
    assert places._place(under, web=True) == place


def test_names_of_a_store_are_taken_as_they_stand():
    assert places._place("a%2Fb?c#d.jpg", web=False) == "a%2Fb?c#d"
    assert places.last_part("http-photos/a?b.jpg") == "a?b.jpg"


# Reading.


def test_a_photo_is_copied_from_anywhere_up_to_a_size(store, web, tmp_path):
    store("a.jpg", data=b"12345")
    (tmp_path / "a.jpg").write_bytes(b"12345")
    for url in (f"{web[0]}/a.jpg", "memory://photos/a.jpg", str(tmp_path / "a.jpg")):
        assert b"".join(read(url, most=5)) == b"12345"
        with pytest.raises(UserError, match="^has more than 4 bytes$"):
            list(read(url, most=4))
    for url in (f"{web[0]}/none.jpg", "memory://photos/none.jpg", str(tmp_path / "none.jpg")):
        with pytest.raises(UserError, match="^no such file$"):
            list(read(url))
    with pytest.raises(UserError, match=r"^cannot be read \("):
        list(read("http://127.0.0.1:1/a.jpg"))


def test_another_photo_of_the_same_name_and_size_is_another(store, web, tmp_path):
    store("a.jpg", data=b"1")
    path = tmp_path / "a.jpg"
    path.write_bytes(b"1")
    os.utime(path, (0, 0))
    urls = ("memory://photos/a.jpg", f"{web[0]}/a.jpg", str(path))
    before = [identity_of(url) for url in urls]
    assert all(before) and before == [identity_of(url) for url in urls]
    store("a.jpg", data=b"2")
    path.write_bytes(b"2")
    assert all(old != identity_of(url) != "" for url, old in zip(urls, before))
    assert identity_of("memory://photos/none.jpg") == identity_of(str(tmp_path / "none.jpg")) == ""


def test_a_size_alone_tells_no_photo_from_another():
    assert places.identity({"size": 5}) == ""
    assert places.identity({"size": 5, "ETag": '"abc"', "LastModified": "today"}) == '5 "abc"'  # listings may lack one


# Writing.


@pytest.mark.parametrize("kind", ["disk", "store"])
def test_a_folder_of_results(kind, store, tmp_path):
    folder = Folder(str(tmp_path / "out") if kind == "disk" else "memory://out/here/")
    assert folder.sizes() == {}
    folder.write("trip/a.mask.png", b"one")
    folder.write("trip/a.mask.png", b"three")
    folder.write("b.mask.png", b"")
    assert folder.read("trip/a.mask.png") == b"three"
    assert folder.sizes() == {"trip/a.mask.png": 5, "b.mask.png": 0}
    assert folder.sizes("trip") == {"trip/a.mask.png": 5}
    folder.remove("b.mask.png")
    assert folder.sizes() == {"trip/a.mask.png": 5}
    with pytest.raises(UserError, match="b.mask.png: cannot be read"):
        folder.read("b.mask.png")
    with pytest.raises(UserError, match="a.mask.png: is no folder; move it away"):
        folder.sizes("trip/a.mask.png")


def test_folders_that_cannot_be_written_are_refused(store, web, tmp_path):
    (tmp_path / "file").touch()
    for url, message in (
        (str(tmp_path / "file" / "out"), "is no folder"),
        ("memory://out", "each process has its own"),
        (f"{web[0]}/out", "cannot be written"),
    ):
        with pytest.raises(UserError, match=message):
            Folder(url).check()
    with pytest.raises(UserError, match="^nonsense://out: cannot be written \\(Protocol not known: nonsense\\)$"):
        Folder("nonsense://out")
