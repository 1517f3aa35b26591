"""An XMP packet, edited in place: what is not changed stays as it is, byte for byte.

By ISO 16684-1: properties are attributes of `rdf:Description`, or elements in it, of which there may be several.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from typing import Any
from xml.parsers import expat

from sgdbd_jax.data.names import MARKS, lacks_mark

NAMESPACES = {  # of the properties that can be named here, as `prefix:name`
    "dc": "http://purl.org/dc/elements/1.1/",
    "digiKam": "http://www.digikam.org/ns/1.0/",
    "lr": "http://ns.adobe.com/lightroom/1.0/",
    "sgdbd": "urn:x-sgdbd:xmp/1.0/",
    "xmp": "http://ns.adobe.com/xap/1.0/",
}
RDF = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"
EMPTY = f"""\
<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/">
 <rdf:RDF xmlns:rdf="{RDF}">
 </rdf:RDF>
</x:xmpmeta>
<?xpacket end="w"?>
""".encode()

_TAG = re.compile(rb"""<[^\s/>"']+(?:"[^"]*"|'[^']*'|[^"'>])*>""")
_ATTRIBUTE = re.compile(rb"""([^\s=/>"']+)\s*=\s*("[^"]*"|'[^']*')""")
_ESCAPES = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;"})


@dataclass
class _Element:
    """An element, and its places in the bytes.

    Attributes:
        name: namespace and name, with a space between; that of an attribute alike.
        tag: name as it is written.
        attributes: name -> name as it is written, and value.
        start, inside: where its first tag begins, and ends.
        last, end: where its end tag begins, and ends; of an empty element's tag both are `inside`.
    """

    name: str
    tag: str
    attributes: dict[str, tuple[str, str]]
    start: int
    inside: int
    last: int = 0
    end: int = 0
    text: str = ""
    children: list[_Element] = field(default_factory=list)

    @property
    def prefix(self) -> str:
        """That of its name, with the colon; may be empty."""
        return self.tag.rpartition(":")[0] + ":" if ":" in self.tag else ""


class Packet:
    """A packet to read properties of and to change some.

    Args:
        data: a file's, in UTF-8, or in UTF-16 or 32 with a byte order mark.

    Raises:
        ValueError: no XMP, or not well-formed; so do all methods for a property of another shape than they are for.
    """

    def __init__(self, data: bytes) -> None:
        self._mark = next((mark for mark in MARKS if data.startswith(mark)), b"")
        if not self._mark and lacks_mark(data):
            raise ValueError("UTF-16 without a byte order mark")
        try:
            text = data[len(self._mark) :].decode(MARKS.get(self._mark, "utf-8"))
            self._data = text.encode()
        except UnicodeDecodeError as error:
            raise ValueError(f"no text in UTF-8 ({error.reason} at byte {error.start})") from error
        self._rdf = _parse(self._data)
        self._edits: list[tuple[int, int, str]] = []
        self._values: dict[str, str] = {}  # of properties that are not there yet
        self._lists: dict[str, list[str]] = {}

    def value(self, name: str) -> str | None:
        """A simple property's text, `None` without it."""
        parent, element = self._find(name)
        if element is not None:
            if element.children:
                raise ValueError(f"its {name} is no plain value")
            return element.text.strip()
        return None if parent is None else parent.attributes[_expanded(name)][1].strip()

    def items(self, name: str) -> list[str] | None:
        """The texts of a property that is a list, `None` without it."""
        parent, element = self._find(name)
        if parent is None:
            return None
        container = self._container(name, element)
        return [] if container is None else [each.text.strip() for each in container.children]

    def set_value(self, name: str, text: str) -> None:
        """Gives a simple property a text; once a property."""
        parent, element = self._find(name)
        if parent is None:
            self._values[name] = text
        elif element is None:
            start, end = self._span(parent, parent.attributes[_expanded(name)][0])
            self._edits.append((start + 1, end - 1, text.translate(_ESCAPES)))  # within its quotes
        elif element.children:
            raise ValueError(f"its {name} is no plain value")
        elif self._is_empty_tag(element):
            self._fill(element, text.translate(_ESCAPES))
        else:
            self._edits.append((element.inside, element.last, text.translate(_ESCAPES)))

    def change_items(self, name: str, *, add: Collection[str] = (), remove: Collection[str] = ()) -> None:
        """Adds texts to the end of a list, and removes others from it; once a property."""
        parent, element = self._find(name)
        if parent is None:
            if add:
                self._lists[name] = list(add)
            return
        container = self._container(name, element)
        if container is None:
            if add and element is not None:
                self._fill(element, _bag(add, f'rdf:Bag xmlns:rdf="{RDF}"', "rdf:"))
            return
        before = container.inside
        for each in container.children:
            if each.text.strip() in remove:
                self._edits.append((self._without_space(before, each.start), each.end, ""))
            before = each.end
        space = self._space(container)
        self._fill(container, "".join(f"{space}{_item(each, container.prefix)}" for each in add), before)

    def data(self) -> bytes:
        """The packet with its changes; without any, the bytes that it was made of."""
        if self._values or self._lists:
            self._describe()
            self._values, self._lists = {}, {}
        data = self._data
        for start, end, text in sorted(self._edits, reverse=True):
            data = data[:start] + text.encode() + data[end:]
        return self._mark + data.decode().encode(MARKS.get(self._mark, "utf-8"))

    def _find(self, name: str) -> tuple[_Element | None, _Element | None]:
        """The description that has a property, and the property's element where it is no attribute."""
        expanded = _expanded(name)
        for parent in self._rdf.children:
            for element in parent.children:
                if element.name == expanded:
                    return parent, element
            if expanded in parent.attributes:
                return parent, None
        return None, None

    def _container(self, name: str, element: _Element | None) -> _Element | None:
        """The element around a list's items; `None` where there is none yet."""
        if element is not None and not element.children and not element.text.strip():
            return None
        if element is None or len(element.children) != 1 or element.children[0].name not in _CONTAINERS:
            raise ValueError(f"its {name} is no list")
        return element.children[0]

    def _describe(self) -> None:
        """Adds one description with all properties that are new; it declares its own prefixes."""
        space, rdf = self._space(self._rdf), self._rdf.prefix
        used = sorted({name.partition(":")[0] for name in (*self._values, *self._lists)})
        attributes = [f'xmlns:{prefix}="{NAMESPACES[prefix]}"' for prefix in used]
        if not rdf:
            rdf = "rdf:"
            attributes.append(f'xmlns:rdf="{RDF}"')
        attributes += [f'{name}="{text.translate(_ESCAPES)}"' for name, text in self._values.items()]
        bags = [f"{space} <{name}>{_bag(texts, f'{rdf}Bag', rdf)}</{name}>" for name, texts in self._lists.items()]
        lines = "".join(f"{space} {each}" for each in attributes)
        end = f">{''.join(bags)}{space}</{rdf}Description>" if bags else "/>"
        last = self._rdf.children[-1].end if self._rdf.children else self._rdf.inside
        self._fill(self._rdf, f"{space}<{rdf}Description {rdf}about={self._about()}{lines}{end}", last)

    def _about(self) -> str:
        """What the packet is about, in its quotes; all descriptions say the same."""
        for parent in self._rdf.children:
            if f"{RDF} about" in parent.attributes:
                start, end = self._span(parent, parent.attributes[f"{RDF} about"][0])
                return self._data[start:end].decode()
        return '""'

    def _fill(self, element: _Element, text: str, place: int | None = None) -> None:
        """Puts text into an element, by default at its end."""
        if not text:
            return
        if self._is_empty_tag(element):
            slash = self._data.rindex(b"/", element.start, element.inside)
            self._edits.append((slash, element.inside, f">{text}</{element.tag}>"))
        else:
            place = element.last if place is None else place
            self._edits.append((place, place, text))

    def _is_empty_tag(self, element: _Element) -> bool:
        return self._data[element.inside - 2 : element.inside] == b"/>"

    def _span(self, element: _Element, written: str) -> tuple[int, int]:
        """Where an attribute's value is, with its quotes."""
        tag = self._data[element.start : element.inside]
        for match in _ATTRIBUTE.finditer(tag, 1 + len(element.tag.encode())):
            if match[1].decode() == written:
                return element.start + match.start(2), element.start + match.end(2)
        raise ValueError(f"its attribute {written} is not found")

    def _space(self, element: _Element) -> str:
        """The line's end and indentation before the elements in an element."""
        if element.children:
            start = element.children[0].start
            space = self._data[self._without_space(element.inside, start) : start].decode()
            return space if space or element is not self._rdf else "\n  "
        return "\n  " if element is self._rdf else ""

    def _without_space(self, least: int, place: int) -> int:
        return least + len(self._data[least:place].rstrip(b" \t\r\n"))


_CONTAINERS = {f"{RDF} {name}" for name in ("Bag", "Seq", "Alt")}


def _expanded(name: str) -> str:
    prefix, _, local = name.partition(":")
    return f"{NAMESPACES[prefix]} {local}"


def _item(text: str, prefix: str) -> str:
    return f"<{prefix}li>{text.translate(_ESCAPES)}</{prefix}li>"


def _bag(texts: Collection[str], tag: str, prefix: str) -> str:
    return f"<{tag}>{''.join(_item(text, prefix) for text in texts)}</{tag.partition(' ')[0]}>"


def _parse(data: bytes) -> _Element:
    """The element `rdf:RDF` of a document."""
    parser = expat.ParserCreate("utf-8", namespace_separator=" ")
    parser.namespace_prefixes = True
    parser.buffer_text = True
    root = _Element("", "", {}, 0, 0)
    open_elements, texts = [root], [list[str]()]  # the texts of each, joined at its end: they come in many pieces

    def split(triplet: str) -> tuple[str, str]:
        """Namespace and name, and the name as it is written."""
        if " " not in triplet:
            return f" {triplet}", triplet
        namespace, local, *prefix = triplet.split(" ")
        return f"{namespace} {local}", ":".join((*prefix, local))

    def start(triplet: str, attributes: dict[str, str]) -> None:
        place = parser.CurrentByteIndex
        tag = _TAG.match(data, place)
        if tag is None:
            raise ValueError(f"not well-formed XML (a tag at byte {place})")
        name, written = split(triplet)
        named = {(pair := split(each))[0]: (pair[1], value) for each, value in attributes.items()}
        element = _Element(name, written, named, place, tag.end())
        open_elements[-1].children.append(element)
        open_elements.append(element)
        texts.append([])

    def end(triplet: str) -> None:
        element = open_elements.pop()
        element.text = "".join(texts.pop())
        if data[element.inside - 2 : element.inside] == b"/>":
            element.last = element.end = element.inside
        else:
            element.last = parser.CurrentByteIndex
            element.end = data.index(b">", element.last) + 1

    def text(part: str) -> None:
        texts[-1].append(part)

    def doctype(*_: Any) -> None:
        raise ValueError("it has a document type, as no XMP has")

    parser.StartElementHandler, parser.EndElementHandler = start, end
    parser.CharacterDataHandler, parser.StartDoctypeDeclHandler = text, doctype
    try:
        parser.Parse(data, True)
    except expat.ExpatError as error:
        raise ValueError(f"not well-formed XML ({error})") from error
    for element in _all(root):
        if element.name == f"{RDF} RDF":
            return element
    raise ValueError("no XMP (it has no rdf:RDF)")


def _all(element: _Element) -> Iterator[_Element]:
    """An element and all under it, in their order."""
    waiting = [element]
    while waiting:
        each = waiting.pop()
        yield each
        waiting += reversed(each.children)
