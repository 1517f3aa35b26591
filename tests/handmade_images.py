"""Image files and colour profiles written byte by byte: of kinds that Pillow reads and does not write."""

import struct
import zlib

import numpy as np


def png(width, height, bits, colours, row, *chunks):
    """A PNG of one row of samples, written by hand: Pillow writes no more than 8 bits of colour."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, bits, colours, 0, 0, 0)
    rest = [*chunks, (b"IDAT", zlib.compress(b"\0" + row)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + b"".join(chunk(*each) for each in rest)


def tiff(width, height, bits, photometric, row, bands=1):
    """A TIFF of one row of samples, uncompressed, in Intel's order; 1 or 3 bands."""
    start = struct.pack("<2sHI3H2x", b"II", 42, 16 + len(row), bits, bits, bits) + row
    depth = (258, 3, bands, bits if bands == 1 else 8)
    others = {256: width, 257: height, 259: 1, 262: photometric, 273: 16, 277: bands, 278: height, 279: len(row)}
    entries = sorted([depth, *((tag, 4, 1, value) for tag, value in others.items())])
    packed = b"".join(struct.pack("<HHII", *entry) for entry in entries)
    return start + struct.pack("<H", len(entries)) + packed + struct.pack("<I", 0)


def samples(*values):
    return struct.pack(f"<{len(values)}H", *values)


def profile(kind, colours, connection, tags):
    """An ICC profile (version 4), by its specification."""
    header = struct.pack(">8xI4s4s4s", 0x04300000, kind, colours, connection).ljust(36, b"\0") + b"acsp"
    header = header.ljust(68, b"\0") + fixed(0.9642, 1, 0.8249)  # D50
    offset = 128 + 4 + 12 * len(tags)
    table, data = struct.pack(">I", len(tags)), b""
    for name, content in tags.items():
        table += struct.pack(">4sII", name, offset + len(data), len(content))
        data += content
    header = header.ljust(128, b"\0")
    return struct.pack(">I", len(header + table + data)) + header[4:] + table + data


def fixed(*values):
    return struct.pack(f">{len(values)}i", *(round(value * 65536) for value in values))


SRGB_CURVE = struct.pack(">4s4xHxx", b"para", 3) + fixed(2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045)
LINEAR_CURVE = struct.pack(">4s4xI", b"curv", 0)


def rgb_profile(red, green, blue, curve=SRGB_CURVE):
    """A screen whose primaries have these XYZ, seen by D50."""
    xyz = {
        name + b"XYZ": b"XYZ \0\0\0\0" + fixed(*value) for name, value in zip((b"r", b"g", b"b"), (red, green, blue))
    }
    white = b"XYZ \0\0\0\0" + fixed(0.9642, 1, 0.8249)
    curves = dict.fromkeys((b"rTRC", b"gTRC", b"bTRC"), curve)
    return profile(b"mntr", b"RGB ", b"XYZ ", {**xyz, b"wtpt": white, **curves})


def cyan_is_red():
    """A press whose cyan ink prints red, whose other colours print nothing; of 2 x 2 x 2 x 2 nodes, C the slowest."""
    white, black, red = (255, 128, 128), (0, 128, 128), (138, 209, 198)  # 8-bit Lab; the last is (54, 81, 70)
    nodes = [black if k else red if c else white for c in (0, 1) for _ in range(4) for k in (0, 1)]
    identity = bytes(range(256))
    table = struct.pack(">4s4xBBBx", b"mft1", 4, 3, 2) + fixed(1, 0, 0, 0, 1, 0, 0, 0, 1)
    table += 4 * identity + bytes(np.array(nodes, np.uint8)) + 3 * identity
    return profile(b"prtr", b"CMYK", b"Lab ", {b"A2B0": table})


P3 = rgb_profile((0.51512, 0.2412, -0.00105), (0.29198, 0.69225, 0.04189), (0.1571, 0.06657, 0.78407))
NEARLY_SRGB = rgb_profile((0.436, 0.2225, 0.0139), (0.3851, 0.7169, 0.0971), (0.1431, 0.0606, 0.7139))
LINEAR_GREY = profile(b"mntr", b"GRAY", b"XYZ ", {b"kTRC": LINEAR_CURVE})
