"""XMP packets edited in place: what changes, that nothing else does, and what is refused."""

import time
import xml.etree.ElementTree as ET

import pytest

from sgdbd_jax.folders.xmp import EMPTY, NAMESPACES, RDF, Packet

OTHERS = """\
<?xml version="1.0" encoding="UTF-8"?>
<?xpacket begin="" id="W5M0MpCehiHzreSzNTczkc9d"?>
<!-- by hand -->
<x:xmpmeta xmlns:x="adobe:ns:meta/" x:xmptk='a "b"'>
 <r:RDF xmlns:r="http://www.w3.org/1999/02/22-rdf-syntax-ns#" xmlns:unused="urn:unused/">
  <r:Description r:about = 'uuid:1 &amp; "é"'
    xmlns:a="http://ns.adobe.com/xap/1.0/"
    xmlns:other="urn:other/" other:note="a:Rating='7' &gt; &#10; x"
    a:Rating = '2'>
   <other:deep><other:Rating>9</other:Rating><![CDATA[<a:Rating>]]></other:deep>
   <d:subject xmlns:d="http://purl.org/dc/elements/1.1/">
    <r:Bag>
     <r:li>holiday</r:li>
     <!-- keep --><r:li> sea &amp; sky </r:li>
    </r:Bag>
   </d:subject>
  </r:Description>
  <r:Description r:about='uuid:1 &amp; "é"' xmlns:sgdbd="urn:x-sgdbd:xmp/1.0/"><sgdbd:Rating/></r:Description>
 </r:RDF>
</x:xmpmeta>
<?xpacket end='w'?>
<!-- the end -->
"""


def changed(text, change):
    packet = Packet(text.encode())
    change(packet)
    return packet.data().decode()


def found(text, name):
    """By another parser: the texts of a property, an attribute's or an element's."""
    prefix, local = name.split(":")
    key, root = f"{{{NAMESPACES[prefix]}}}{local}", ET.fromstring(text.encode())
    texts = [each.get(key) for each in root.iter(f"{{{RDF}}}Description") if each.get(key) is not None]
    for element in root.iter(key):
        texts += [each.text.strip() for each in element.iter(f"{{{RDF}}}li")] or [(element.text or "").strip()]
    return texts


def test_properties_are_read_as_attributes_and_as_elements_of_any_prefix():
    packet = Packet(OTHERS.encode())
    assert (packet.value("xmp:Rating"), packet.value("sgdbd:Rating")) == ("2", "")
    assert packet.value("sgdbd:Keywords") is None
    assert (packet.items("dc:subject"), packet.items("digiKam:TagsList")) == (["holiday", "sea & sky"], None)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
@pytest.mark.parametrize("text", [OTHERS, OTHERS.replace("\n", "\r\n"), EMPTY.decode()])
def test_without_a_change_the_bytes_are_the_same(text, encoding):
    data = text.encode(encoding)
    assert Packet(data).data() == data


def test_a_value_is_changed_where_it_is_and_nothing_else():
    assert changed(OTHERS, lambda packet: packet.set_value("xmp:Rating", "5")) == OTHERS.replace("'2'", "'5'")
    with_value = OTHERS.replace("<sgdbd:Rating/>", "<sgdbd:Rating>-1</sgdbd:Rating>")
    assert changed(OTHERS, lambda packet: packet.set_value("sgdbd:Rating", "-1")) == with_value
    again = changed(with_value, lambda packet: packet.set_value("sgdbd:Rating", "<3>"))
    assert again == with_value.replace(">-1<", ">&lt;3&gt;<")


def test_items_are_added_and_removed_in_the_list_s_own_manner_and_nothing_else():
    def change(packet):
        packet.change_items("dc:subject", add=["a", "b & c"], remove=["holiday", "none"])

    lines = OTHERS.replace("\n     <r:li>holiday</r:li>", "").replace(
        "sky </r:li>", "sky </r:li>\n     <r:li>a</r:li>\n     <r:li>b &amp; c</r:li>"
    )
    assert changed(OTHERS, change) == lines
    everything = changed(OTHERS, lambda packet: packet.change_items("dc:subject", remove=["holiday", "sea & sky"]))
    assert found(everything, "dc:subject") == [""] and "<!-- keep -->" in everything


def test_what_is_new_goes_into_one_description_of_its_own():
    def change(packet):
        packet.set_value("sgdbd:Keywords", 'a "b" & c')
        packet.change_items("lr:hierarchicalSubject", add=["x", "y"])

    text = changed(OTHERS, change)
    start = text.index("\n  <r:Description", text.index("<sgdbd:Rating/>"))
    end = text.index("\n </r:RDF>")
    assert text[:start] + text[end:] == OTHERS
    assert found(text, "sgdbd:Keywords") == ['a "b" & c'] and found(text, "lr:hierarchicalSubject") == ["x", "y"]
    assert {each.get(f"{{{RDF}}}about") for each in ET.fromstring(text.encode()).iter(f"{{{RDF}}}Description")} == {
        'uuid:1 & "é"'
    }


@pytest.mark.parametrize(
    "rdf",
    [
        f'<rdf:RDF xmlns:rdf="{RDF}"/>',
        f'<rdf:RDF xmlns:rdf="{RDF}"></rdf:RDF>',
        f'<RDF xmlns="{RDF}"><Description about=""/></RDF>',
        f'<rdf:RDF xmlns:rdf="{RDF}"><rdf:Description xmlns:dc="{NAMESPACES["dc"]}"><dc:subject/></rdf:Description>'
        "</rdf:RDF>",
        f'<rdf:RDF xmlns:rdf="{RDF}"><rdf:Description xmlns:dc="{NAMESPACES["dc"]}"><dc:subject> <rdf:Seq />'
        "</dc:subject></rdf:Description></rdf:RDF>",
    ],
)
def test_packets_with_nothing_in_them_are_filled(rdf):
    packet = Packet(rdf.encode())
    packet.set_value("xmp:Rating", "3")
    packet.change_items("dc:subject", add=["a", "b"])
    again = Packet(packet.data())
    assert (again.value("xmp:Rating"), again.items("dc:subject")) == ("3", ["a", "b"])
    assert found(packet.data().decode(), "dc:subject") == ["a", "b"]


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-32"])
def test_a_packet_stays_in_its_encoding(encoding):
    packet = Packet(OTHERS.replace('encoding="UTF-8"', "").encode(encoding))
    packet.set_value("xmp:Rating", "5")
    assert packet.data() == OTHERS.replace('encoding="UTF-8"', "").replace("'2'", "'5'").encode(encoding)


BOMB = '<!DOCTYPE r [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;">]><r>&b;</r>'


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "not well-formed XML .no element found"),
        (OTHERS.encode()[:500], "not well-formed XML"),
        (OTHERS.encode() + b"\0", "not well-formed XML"),
        (OTHERS.replace("xmlns:other", "xmlns:others").encode(), "not well-formed XML .unbound prefix"),
        (OTHERS.encode("latin-1"), "no text in UTF-8"),
        (OTHERS.encode("utf-16-le"), "UTF-16 without a byte order mark"),
        (BOMB.encode(), "it has a document type"),
        (b"<html><body/></html>", "no XMP"),
    ],
)
def test_what_is_no_packet_is_refused(data, reason):
    with pytest.raises(ValueError, match=reason):
        Packet(data)


def test_a_long_text_takes_no_time_that_grows_with_its_square():
    """Such as edits that a program keeps in a sidecar; a parser gives a piece a line."""
    long = OTHERS.replace("holiday", "\n" * 600_000 + "holiday")
    started = time.process_time()
    assert Packet(long.encode()).items("dc:subject") == ["holiday", "sea & sky"]
    assert time.process_time() - started < 3


def test_a_property_of_another_shape_is_refused():
    bag = Packet(OTHERS.replace("a:Rating = '2'", "").replace("d:subject", "a:Rating").encode())
    with pytest.raises(ValueError, match="its xmp:Rating is no plain value"):
        bag.value("xmp:Rating")
    with pytest.raises(ValueError, match="its xmp:Rating is no plain value"):
        bag.set_value("xmp:Rating", "1")
    for shape in ('dc:subject="sea"/>', "><dc:subject>sea</dc:subject></rdf:Description>"):
        start = f'<rdf:RDF xmlns:rdf="{RDF}"><rdf:Description xmlns:dc="{NAMESPACES["dc"]}" '
        packet = Packet(f"{start}{shape}</rdf:RDF>".encode())
        with pytest.raises(ValueError, match="its dc:subject is no list"):
            packet.items("dc:subject")
        with pytest.raises(ValueError, match="its dc:subject is no list"):
            packet.change_items("dc:subject", add=["a"])
