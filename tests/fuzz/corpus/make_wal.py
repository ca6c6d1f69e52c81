#!/usr/bin/python3
"""Makes the corpus of fuzz_wal_reader from the golden log: whole segments, and some that are
cut, doubled or changed in a field. usage: make_wal.py GOLDEN-DIR CORPUS-DIR"""
import pathlib
import struct
import sys

HEADER, PAGE, SLOT = 160, 4096, 128


def seed(segment, meta):
    body = segment[:HEADER] + segment[PAGE:]
    return struct.pack("<H", len(body)) + body + meta


def patch(data, offset, new):
    return data[:offset] + new + data[offset + len(new):]


def sealed(whole):
    """As if it were encrypted, with room for tags; the harness looks at none of them."""
    lsn = struct.unpack_from("<Q", whole, 80)[0]
    out = patch(whole[:PAGE], 108, b"\2")
    at = PAGE
    while at + 64 <= len(whole) and whole[at:at + 4] == b"BRDG":
        length = struct.unpack_from("<I", whole, at + 12)[0]
        group = patch(patch(whole[at:at + 64], 8, b"\1"), 24, struct.pack("<Q", lsn))
        group += whole[at + 64:at + 64 + length] + bytes(16)
        group += bytes(-len(group) % 8)
        out, lsn, at = out + group, lsn + len(group), at + (64 + length + 7) // 8 * 8
    return out


def main():
    golden, out = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2])
    out.mkdir(parents=True, exist_ok=True)
    pages = (golden / "meta").read_bytes()
    meta = max(pages[:SLOT], pages[PAGE:PAGE + SLOT], key=lambda slot: slot[32:40][::-1])
    seeds = {}
    for path in sorted((golden / "wal").glob("*.wal")):
        whole = path.read_bytes()[:PAGE + 1500]
        # What the reader compares with the segment's own header, for segment 1 alone.
        name = f"segment_{int(path.stem, 16)}"
        seeds[name] = seed(whole, meta)
        seeds[name + "_cut"] = seed(whole[:-100], meta)
        length = PAGE + 12
        seeds[name + "_long"] = seed(patch(whole, length, b"\xff\xff\xff\x7f"), meta)
        seeds[name + "_many"] = seed(patch(whole, PAGE + 16, b"\xff\xff\xff\xff"), meta)
        seeds[name + "_varint"] = seed(patch(whole, PAGE + 64, b"\xff" * 12), meta)
        seeds[name + "_unsynced"] = seed(whole, patch(meta, 72, bytes(8)))
        seeds[name + "_sealed"] = seed(sealed(whole), patch(patch(meta, 44, b"\2"), 72, bytes(8)))
    seeds["empty"] = seed(bytes(PAGE), meta)
    for name, data in seeds.items():
        (out / name).write_bytes(data)


main()
