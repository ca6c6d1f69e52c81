#!/usr/bin/python3
"""Makes the corpus of fuzz_wal_reader from the golden log: whole segments, and some that are
cut, doubled or changed in a field. usage: make_wal.py GOLDEN-DIR CORPUS-DIR"""
import pathlib
import struct
import sys

HEADER, PAGE = 136, 4096


def seed(segment, meta):
    body = segment[:HEADER] + segment[PAGE:]
    return struct.pack("<H", len(body)) + body + meta


def patch(data, offset, new):
    return data[:offset] + new + data[offset + len(new):]


def main():
    golden, out = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2])
    out.mkdir(parents=True, exist_ok=True)
    pages = (golden / "meta").read_bytes()
    meta = max(pages[:112], pages[4096:4208], key=lambda slot: slot[32:40][::-1])
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
    seeds["empty"] = seed(bytes(PAGE), meta)
    for name, data in seeds.items():
        (out / name).write_bytes(data)


main()
