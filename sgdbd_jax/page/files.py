"""The page's own files: one of HTML, one of style, one of script, the same wherever it is shown."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sgdbd_jax.detection.focus import FLAGS
from sgdbd_jax.folders.outputs import STRENGTH, TINT

ASSETS = Path(__file__).parent / "assets"
SETTINGS = '<script type="application/json" id="settings">{}</script>'  # where the page looks for them


def page_html(settings: Mapping[str, Any]) -> bytes:
    """The page, told how it is to work.

    Args:
        settings: what `assets/page.js` asks of them; no more need be said of a page that asks the server.
    """
    text = (ASSETS / "index.html").read_text(encoding="utf-8")
    overlay = {"tint": TINT, "strength": STRENGTH}
    told = json.dumps({**settings, "flags": FLAGS, "overlay": overlay}).replace("<", "\\u003c")  # which would end it
    assert text.count(SETTINGS) == 1
    return text.replace(SETTINGS, SETTINGS.replace("{}", told)).encode()
