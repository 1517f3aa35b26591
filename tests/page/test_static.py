"""The page's files, and the run time beside them: what is written, and what is refused."""

import base64
import hashlib
import io
import json
import tarfile
from pathlib import Path

import pytest

from sgdbd_jax.detection.refine import Refinement
from sgdbd_jax.errors import Unavailable, UserError
from sgdbd_jax.page import runtime
from sgdbd_jax.page.files import page_html
from sgdbd_jax.page.static import write_page

CONTENT = {name: name.encode() for name in runtime.FILES}


def packed(content=CONTENT):
    """What npm would pack."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w:gz") as tar:
        for name, data in content.items():
            member = tarfile.TarInfo(f"package/dist/{name}")
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return file.getvalue()


def expect(monkeypatch, data):
    monkeypatch.setattr(runtime, "SHA512", base64.b64encode(hashlib.sha512(data).digest()).decode())


def put_npm(monkeypatch, folder, script):
    """The only program there is calls itself npm."""
    monkeypatch.setenv("PATH", str(folder))
    if script:
        (folder / "npm").write_text(script if script.startswith("#!") else f"#!/bin/sh\n{script}\n")
        (folder / "npm").chmod(0o755)


def settings(page):
    return json.loads(page.partition('id="settings">')[2].partition("</script>")[0])


def test_the_page_lies_beside_all_that_it_asks_for(tmp_path):
    site = tmp_path / "site"
    write_page(site, b"model", CONTENT, work_size="max:64", refinement=Refinement(iterations=3))
    files = {path.relative_to(site).as_posix() for path in site.rglob("*") if path.is_file()}
    assert files == {"index.html", "style.css", "page.js", "model.onnx", *(f"runtime/{name}" for name in CONTENT)}
    told = settings((site / "index.html").read_text())
    assert (told["mode"], told["work_size"]) == ("browser", "max:64")
    assert {told["model"], f"{told['runtime']}{runtime.FILES[0]}"} <= files
    assert (told["refinement"]["iterations"], told["refinement"]["epsilon"]) == (0, Refinement.epsilon)


def test_settings_cannot_end_the_script_that_holds_them():
    page = page_html({"name": "</script><b>"}).decode()
    assert settings(page)["name"] == "</script><b>" and "<b>" not in page.replace("<b>Choose", "")


def test_the_run_time_is_fetched_once_and_checked(tmp_path, monkeypatch):
    data = packed()
    (tmp_path / "packed").write_bytes(data)
    expect(monkeypatch, data)
    name = f"onnxruntime-web-{runtime.VERSION}.tgz"
    put_npm(
        monkeypatch,
        tmp_path,
        f'for last; do :; done; echo "$@" >> {tmp_path}/asked; while read -r line; do :; done\n'
        f'/bin/cp {tmp_path}/packed "$last/{name}"',
    )
    assert runtime.fetched(tmp_path / "cache") == runtime.fetched(tmp_path / "cache") == CONTENT
    (asked,) = (tmp_path / "asked").read_text().splitlines()
    assert asked.startswith(f"pack onnxruntime-web@{runtime.VERSION} ")
    runtime.archive(tmp_path / "cache").write_bytes(data[:-1])
    with pytest.raises(UserError, match=r"cache/onnxruntime.*SHA-512 is .* was expected; delete it"):
        runtime.fetched(tmp_path / "cache")


@pytest.mark.parametrize(
    ("script", "told"),
    [
        ("", "fetched by npm, which is not installed; install it, or get it elsewhere by `npm pack"),
        ("echo 'npm error network' >&2; echo more >&2; exit 1", r"cannot be fetched \(npm error network\)"),
        ("exit 0", r"cannot be fetched \(npm ended with 0\)"),
        ("#!/nowhere", r"fetched by npm, which does not start \("),
    ],
)
def test_without_npm_or_network_one_line_says_what_to_do(tmp_path, monkeypatch, script, told):
    put_npm(monkeypatch, tmp_path, script)
    with pytest.raises(Unavailable, match=told) as raised:
        runtime.fetched(tmp_path / "cache")
    assert "--runtime" in str(raised.value) and "\n" not in str(raised.value)
    assert not (tmp_path / "cache").exists()


def test_what_is_not_what_was_published_is_not_kept(tmp_path, monkeypatch):
    name = f"onnxruntime-web-{runtime.VERSION}.tgz"
    put_npm(monkeypatch, tmp_path, f'for last; do :; done; echo other > "$last/{name}"')
    with pytest.raises(UserError, match=r"came with SHA-512 .* was expected; nothing was kept"):
        runtime.fetched(tmp_path / "cache")
    assert not (tmp_path / "cache").exists()


def test_the_run_time_may_come_from_a_folder(tmp_path):
    (tmp_path / "dist").mkdir()
    for name, data in CONTENT.items():
        (tmp_path / "dist" / name).write_bytes(data)
    with pytest.raises(UserError, match="is no unpacked onnxruntime-web"):
        runtime.from_folder(tmp_path)
    (tmp_path / "package.json").write_text(json.dumps({"version": "1.0.0"}))
    with pytest.raises(UserError, match=f"has onnxruntime-web 1.0.0, the page was made for {runtime.VERSION}"):
        runtime.from_folder(tmp_path)
    (tmp_path / "package.json").write_text(json.dumps({"version": runtime.VERSION}))
    assert runtime.from_folder(tmp_path) == CONTENT
    Path(tmp_path, "dist", runtime.FILES[-1]).unlink()
    with pytest.raises(UserError, match=f"{runtime.FILES[-1]}.*; name the folder that holds its dist"):
        runtime.from_folder(tmp_path)
