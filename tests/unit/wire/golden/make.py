#!/usr/bin/python3
"""Writes the golden files of the native protocol, with Google's protobuf library as witness.

    requests.hex   every request kind with all its fields, canonical: `name bytes-in-hex`
    foreign.hex    the same requests written as no library would, yet valid: another order,
                   unknown fields, padded numbers; and what must be refused
    replies.hex    every kind of reply
    schema.txt     number, name and type of every field and enum value

usage: make.py [--check]      --check: write nothing, fail if a file would change

What a file says once it says for ever: clients are out there that speak it. A line may be
added, with new fields and kinds, and none may go; make.py refuses to write a file that lost
one. test_golden.c holds the daemon to these files.
"""
import pathlib
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
PROTO = HERE.parents[3] / "proto"


def load_schema():
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(["protoc", f"--proto_path={PROTO}", f"--python_out={folder}",
                        PROTO / "brindle.proto"], check=True)
        sys.path.insert(0, folder)
        import brindle_pb2
        sys.path.pop(0)
    return brindle_pb2


pb = load_schema()
ALL_BYTES = bytes(range(256))
VERSION = 0x1122334455667788


# ---- Requests --------------------------------------------------------------------------------


def requests():
    """Name and message; test_golden.c has the same table as plain structs."""
    def request(name, id=7, namespace="", **op):
        yield name, pb.Request(id=id, namespace=namespace, **op)

    yield from request("get", get=pb.Get(key=b"key"))
    yield from request("get_in_namespace", id=2**64 - 1, namespace="sessions",
                       get=pb.Get(key=ALL_BYTES))
    yield from request("get_of_nothing", id=0, get=pb.Get())
    yield from request("put", put=pb.Put(key=b"key", value=b"value"))
    yield from request("put_if_absent", put=pb.Put(
        key=b"key", value=ALL_BYTES, ttl_ms=60000, condition=pb.IF_ABSENT,
        durability=pb.DURABILITY_FULL, return_previous=True))
    yield from request("put_if_version", namespace="n", put=pb.Put(
        key=b"key", value=b"v", condition=pb.IF_VERSION, if_version=VERSION, keep_ttl=True,
        durability=pb.DURABILITY_ASYNC))
    yield from request("put_until", put=pb.Put(
        key=b"key", value=b"v" * 300, deadline_ms=1893456000000, condition=pb.IF_PRESENT,
        durability=pb.DURABILITY_NORMAL))
    yield from request("delete", delete=pb.Delete(
        keys=[b"a", b"", b"ccc"], durability=pb.DURABILITY_NONE))
    yield from request("get_many", get_many=pb.GetMany(keys=[b"a", b"b" * 200, b""]))
    yield from request("get_many_of_nothing", get_many=pb.GetMany())
    yield from request("put_many", put_many=pb.PutMany(
        items=[pb.KeyValue(key=b"a", value=b"1"), pb.KeyValue(), pb.KeyValue(value=b"2")],
        ttl_ms=1, deadline_ms=2, durability=pb.DURABILITY_FULL))
    yield from request("incr", incr=pb.Incr(
        key=b"n", delta=-2**63, initial=2**63 - 1, ttl_ms=1000, deadline_ms=128,
        durability=pb.DURABILITY_NORMAL))
    yield from request("exists", exists=pb.Exists(keys=[b"a", b"a"]))
    yield from request("ttl", ttl=pb.Ttl(key=b"key"))
    yield from request("expire", expire=pb.Expire(
        key=b"key", ttl_ms=5000, deadline_ms=2**64 - 1, durability=pb.DURABILITY_ASYNC))
    yield from request("persist", persist=pb.Persist(
        key=b"key", durability=pb.DURABILITY_FULL))
    yield from request("append", append=pb.Append(
        key=b"key", value=b"tail", durability=pb.DURABILITY_NORMAL))
    yield from request("count", count=pb.Count(exact=True))
    yield from request("clear", namespace="n", clear=pb.Clear(durability=pb.DURABILITY_FULL))
    yield from request("purge", purge=pb.Purge())
    yield from request("sync", sync=pb.Sync())
    yield from request("stats", stats=pb.Stats(prefix="store_"))
    yield from request("reset_stats", reset_stats=pb.ResetStats())
    yield from request("hello", hello=pb.Hello(protocol_version=1, client_name="golden/1"))
    yield from request("ping", ping=pb.Ping(payload=b"echo"))
    yield from request("checkpoint", checkpoint=pb.Checkpoint(mode=pb.CHECKPOINT_TRUNCATE))
    yield from request("checkpoint_passive", checkpoint=pb.Checkpoint())


# ---- Foreign bytes ---------------------------------------------------------------------------


def varint(value, size=1):
    """At least size bytes, padded with zero groups."""
    groups = []
    while value or not groups or len(groups) < size:
        groups.append(value & 0x7f)
        value >>= 7
    return bytes(group | 0x80 for group in groups[:-1]) + bytes(groups[-1:])


def field(number, content, size=1):
    """One field: content is bytes, or a number for a varint; size: of each varint."""
    if isinstance(content, bytes):
        return varint(number << 3 | 2, size) + varint(len(content), size) + content
    return varint(number << 3, size) + varint(content, size)


def foreign():
    """Name and bytes. What comes of each is in test_golden.c."""
    key = field(1, b"key")
    value = field(2, b"value")
    unknown = (field(100, b"new") + field(2000, 5) + varint(101 << 3 | 1) + b"8bytes!!"
               + varint(102 << 3 | 5) + b"4byt")
    yield "put_in_reverse", field(3, value + key) + field(1, 7)
    yield "put_padded", field(1, 7, 4) + field(3, field(1, b"key", 3) + field(2, b"value", 5), 5)
    yield "put_with_unknown_fields", unknown + field(1, 7) + field(3, unknown + key + value + unknown)
    yield "put_twice_the_last_counts", (
        field(3, field(1, b"other")) + field(1, 1) + field(3, key + value) + field(1, 7))
    yield "put_after_get", field(2, key) + field(1, 7) + field(3, key + value)
    yield "put_with_repeated_key", field(1, 7) + field(3, field(1, b"other") + value + key)
    yield "put_with_long_bool", field(1, 7) + field(3, key + value + field(7, 2**40))
    yield "put_many_with_unknown_fields", field(1, 7) + field(6, field(
        1, key + value + unknown) + unknown + field(1, b""))
    yield "empty", b""
    yield "id_alone", field(1, 7)
    yield "unknown_kind", field(1, 7) + field(31, b"a later kind")
    yield "unknown_kind_first", field(31, b"a later kind") + field(1, 7)
    yield "unknown_condition", field(1, 7) + field(3, key + value + field(5, 4))
    yield "unknown_durability", field(1, 7) + field(3, key + value + field(8, 5))
    yield "unknown_checkpoint_mode", field(1, 7) + field(32, field(1, 4))
    yield "negative_durability", field(1, 7) + field(4, key + field(2, 2**64 - 1))
    yield "namespace_with_nul", field(1, 7) + field(2, key) + field(15, b"default\0x")
    yield "namespace_not_utf8", field(1, 7) + field(2, key) + field(15, b"\xff")
    yield "namespace_overlong", field(1, 7) + field(2, key) + field(15, b"\xc0\xaf")
    yield "namespace_surrogate", field(1, 7) + field(2, key) + field(15, b"\xed\xa0\x80")
    yield "namespace_utf8", field(1, 7) + field(2, key) + field(15, "gr\u00fcn \U0001f33f".encode())
    yield "truncated", field(1, 7) + field(2, key)[:-1]
    yield "length_beyond_the_end", field(1, 7) + b"\x12\xff\xff\xff\xff\x0f"
    yield "length_that_wraps", field(1, 7) + b"\x12\x07" + b"\x0a\xff\xff\xff\xff\x0f" + b"x"
    yield "number_without_end", field(1, 7) + b"\x10" + b"\xff" * 11
    yield "group", field(1, 7) + b"\x13\x14"
    yield "wire_type_seven", field(1, 7) + b"\x17"
    yield "field_number_zero", field(1, 7) + field(2, key) + b"\x00\x00"
    yield "key_as_number", field(1, 7) + field(2, field(1, 5))
    yield "bool_as_bytes", field(1, 7) + field(3, key + field(7, b"1"))
    yield "id_as_bytes", field(1, b"7") + field(2, key)
    yield "kind_as_number", field(1, 7) + field(2, 3)


# ---- Replies ---------------------------------------------------------------------------------


def replies():
    yield "empty", pb.Reply()
    yield "done", pb.Reply(id=7)
    yield "value", pb.Reply(id=7, version=VERSION, value=ALL_BYTES)
    yield "empty_value", pb.Reply(id=7, version=1, value=b"")
    yield "number_zero", pb.Reply(id=7, number=0)
    yield "numbers", pb.Reply(id=2**64 - 1, version=2**64 - 1, number=-2**63, ttl_ms=2**64 - 1)
    yield "ttl_zero", pb.Reply(id=7, ttl_ms=0)
    yield "everything", pb.Reply(id=7, version=VERSION, value=b"value", number=12345, ttl_ms=300)
    yield "not_found", pb.Reply(id=7, status=pb.NOT_FOUND, message="there is no such key")
    yield "mismatch", pb.Reply(id=300, status=pb.VERSION_MISMATCH, version=9,
                               value=b"theirs", message="not yours")
    yield "large_value", pb.Reply(id=7, version=3, value=ALL_BYTES * 20, number=5000, ttl_ms=1)
    yield "items", pb.Reply(id=7, items=[
        pb.Item(found=True, version=VERSION, value=b"one"), pb.Item(),
        pb.Item(found=True, version=2), pb.Item(found=True, version=1, value=ALL_BYTES * 10)])
    yield "hello", pb.Reply(id=1, hello=pb.HelloReply(
        protocol_version=1, server_version="1.0.0", epoch=3, max_key_bytes=65536,
        max_value_bytes=64 << 20, max_frame_bytes=65 << 20, max_batch_keys=1048576,
        max_pending_requests=1024, durability=pb.DURABILITY_NORMAL))
    yield "stats", pb.Reply(id=7, stats=pb.StatsReply(stats=[
        pb.Stat(name="gets", number=5, unit="1", counter=True),
        pb.Stat(name="balance", number=-1, unit="bytes"),
        pb.Stat(name="zero", number=0),
        pb.Stat(name="policy", text="lru"),
        pb.Stat(name="none", text="")]))
    yield "no_stats", pb.Reply(id=7, stats=pb.StatsReply())
    yield "checkpoint", pb.Reply(id=7, version=VERSION,
                                 checkpoint=pb.CheckpointReply(total=2**64 - 1, done=300))
    yield "checkpoint_of_nothing", pb.Reply(id=7, checkpoint=pb.CheckpointReply())


# ---- Schema ----------------------------------------------------------------------------------


def schema():
    descriptor = pb.DESCRIPTOR
    for message in descriptor.message_types_by_name.values():
        for f in message.fields:
            kind = {f.TYPE_UINT32: "uint32", f.TYPE_UINT64: "uint64", f.TYPE_SINT64: "sint64",
                    f.TYPE_FIXED64: "fixed64", f.TYPE_BOOL: "bool", f.TYPE_STRING: "string",
                    f.TYPE_BYTES: "bytes", f.TYPE_ENUM: "enum", f.TYPE_MESSAGE: "message"}[f.type]
            if f.enum_type or f.message_type:
                kind += ":" + (f.enum_type or f.message_type).name
            label = ("repeated" if f.label == f.LABEL_REPEATED
                     else "oneof" if f.containing_oneof else "single")
            yield f"field {message.name} {f.number} {f.name} {kind} {label}"
    for enum in descriptor.enum_types_by_name.values():
        for value in enum.values:
            yield f"value {enum.name} {value.number} {value.name}"


# ---- Files -----------------------------------------------------------------------------------


def check_meaning(name, message):
    """What was written reads back equal, so that the file is true before it is golden."""
    again = type(message).FromString(message.SerializeToString())
    assert again == message, name


def encoded(messages):
    for name, message in messages:
        check_meaning(name, message)
        yield f"{name} {message.SerializeToString().hex()}"


def main():
    files = {
        "requests.hex": encoded(requests()),
        "foreign.hex": (f"{name} {data.hex()}" for name, data in foreign()),
        "replies.hex": encoded(replies()),
        "schema.txt": schema(),
    }
    bad = False
    for name, lines in files.items():
        path = HERE / name
        lines = list(lines)
        old = path.read_text().splitlines() if path.exists() else []
        for lost in [line for line in old if line not in lines]:
            print(f"{name}: a released line would change or go: {lost[:100]}")
            bad = True
        if "--check" in sys.argv[1:]:
            for new in [line for line in lines if line not in old]:
                print(f"{name}: lacks {new[:100]}")
                bad = True
        elif not bad:
            path.write_text("".join(line + "\n" for line in lines))
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
