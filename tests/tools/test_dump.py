"""What brindle-wal dump shows of a log and a snapshot that a daemon wrote: every key comes back as
the bytes it was, filters take what they name, and a reader may leave."""
import base64
import json
import pathlib
import subprocess
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "e2e"))
from brindle_client import Client, pb  # noqa: E402
from daemon import PATIENCE_S, Daemon, Results, find_program, sanitizer_prefix, scratch  # noqa: E402

TOOL = find_program("brindle-wal")
# Plain, UTF-8, bytes that are no UTF-8 (a stray byte, a surrogate, an overlong form), controls.
KEYS = [b"plain", "s\u00fc\u00df \U0001f36a".encode(), b"\xff\x00\xfe", b"\xed\xa0\x80", b"\xc0\xaf",
        b'quote"back\\slash', b"tab\tnewline\n", b"x" * 300]


def tool(*args, expect=0):
    done = subprocess.run([*sanitizer_prefix(TOOL), TOOL, *map(str, args)], timeout=PATIENCE_S,
                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert done.returncode == expect, (args, done.returncode, done.stderr)
    return done.stdout


def dump_json(*args):
    return [json.loads(line) for line in tool("dump", "--format", "json", *args).splitlines()]


def bytes_of(change, name):
    """A field, in whichever of the two forms."""
    assert (name in change) != (name + "_base64" in change), change
    return change[name].encode() if name in change else base64.b64decode(change[name + "_base64"])


def filled():
    """A stopped directory: (path, [(version, kind, key, value)] of its log)."""
    data = scratch()
    wrote = []
    with Daemon("--checkpoint-on-stop", "no", data_dir=data) as daemon, \
            Client(daemon.listen) as client:
        def did(kind, key, value, reply):
            assert reply.status == pb.OK, reply
            wrote.append((reply.version, kind, key, value))
        for key in KEYS:
            did("put", key, key * 2, client.call(put=pb.Put(key=key, value=key * 2)))
        did("append", KEYS[0], b"more", client.call(append=pb.Append(key=KEYS[0], value=b"more")))
        did("touch", KEYS[0], b"", client.call(expire=pb.Expire(key=KEYS[0], ttl_ms=10**9)))
        did("delete", KEYS[1], b"", client.call(delete=pb.Delete(keys=[KEYS[1]])))
        items = [pb.KeyValue(key=b"many-%d" % i, value=b"v") for i in range(3)]
        version = client.call(put_many=pb.PutMany(items=items)).version
        wrote.extend((version, "put", item.key, b"v") for item in items)
        did("clear", b"", b"", client.call(clear=pb.Clear()))
        did("put", b"last", b"one", client.call(put=pb.Put(key=b"last", value=b"one")))
        assert daemon.stop() == 0
    return data, wrote


def changes_of(lines, kind="record"):
    return [(line["version"], change["kind"], bytes_of(change, "key"), bytes_of(change, "value"))
            for line in lines if line["type"] == kind for change in line["changes"]]


def every_change_comes_back(data, wrote):
    lines = dump_json("--values", data)
    assert {"segment", "group", "record"} == {line["type"] for line in lines}
    assert changes_of(lines) == wrote
    without = [change for line in dump_json("--records", data) for change in line["changes"]]
    assert not any("value" in change for change in without)
    assert [change["value_bytes"] for change in without] == [len(value) for *_, value in wrote]


def keys_choose(data, wrote):
    clears = [change for change in wrote if change[1] == "clear"]
    for line in tool("dump", "--records", data).decode().splitlines():
        # A key as text goes back in as it came out.
        if ' key="' not in line or line.count('key="') > 1:
            continue
        shown = line.partition('key="')[2].rpartition('"')[0]
        found = changes_of(dump_json("--values", "--key", shown, data))
        keys = {key for _, kind, key, _ in found if kind != "clear"}
        assert len(keys) <= 1 and [change for change in found if change[1] == "clear"] == clears
        if keys:
            assert found == [change for change in wrote
                             if change[1] == "clear" or change[2] in keys], shown
    found = changes_of(dump_json("--values", "--prefix", "many-", data))
    assert found == [change for change in wrote
                     if change[1] == "clear" or change[2].startswith(b"many-")]
    # Of a record with three changes only the one asked for.
    found = changes_of(dump_json("--values", "--key=many-1", data))
    assert [key for _, kind, key, _ in found if kind == "put"] == [b"many-1"]
    assert changes_of(dump_json("--values", "--namespace", "default", data)) == wrote
    assert changes_of(dump_json("--values", "--namespace", "1", data)) == wrote
    assert tool("dump", "--namespace", "2", data) == b""


def versions_choose(data, wrote):
    first, last = wrote[2][0], wrote[5][0]
    found = changes_of(dump_json("--values", "--from", first, "--to", last, data))
    assert found == [change for change in wrote if first <= change[0] <= last]
    assert dump_json("--records", "--to", "2001-01-01T00:00:00Z", data) == []
    assert changes_of(dump_json("--values", "--from", "978307200", data)) == wrote


def a_snapshot_is_dumped():
    data = scratch()
    values = {key: key * 2 for key in KEYS} | {b"large": bytes(range(256)) * 400}
    with Daemon("--checkpoint-on-stop", data_dir=data) as daemon, Client(daemon.listen) as client:
        for key, value in values.items():
            assert client.call(put=pb.Put(key=key, value=value)).status == pb.OK
        assert daemon.stop() == 0
    lines = dump_json("--snapshot", "--values", data)
    head = lines[0]
    assert head["type"] == "snapshot" and head["entries"] == len(values), head
    assert head["path"].endswith(f"/snapshots/{head['start_version']:016x}.snap"), head
    entries = changes_of(lines, "entry")
    assert {key: value for _, _, key, value in entries} == values
    assert all(version <= head["end_version"] for version, *_ in entries)
    assert [key for _, _, key, _ in changes_of(dump_json("--snapshot", "--values", "--prefix", "la",
                                                         data), "entry")] == [b"large"]
    text = tool("dump", "--snapshot", data).decode().splitlines()
    assert text[0].startswith("snapshot ") and any(line.endswith('key="large" value_bytes=102400')
                                                   for line in text), text
    # Damage behind what was shown is still an error.
    (path,) = (data / "snapshots").glob("*.snap")
    content = bytearray(path.read_bytes())
    content[5000] ^= 1
    path.write_bytes(content)
    tool("dump", "--snapshot", data, expect=3)


def without_a_snapshot_it_says_so(data):
    done = subprocess.run([*sanitizer_prefix(TOOL), TOOL, "dump", "--snapshot", data], text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert done.returncode == 1 and "no snapshot" in done.stderr, done


def a_reader_that_leaves_is_no_failure():
    data = scratch()
    with Daemon(data_dir=data) as daemon, Client(daemon.listen) as client:
        for begin in range(0, 20000, 1000):
            items = [pb.KeyValue(key=b"key-%d" % i, value=b"v" * 50) for i in range(begin, begin + 1000)]
            assert client.call(put_many=pb.PutMany(items=items)).status == pb.OK
        assert daemon.stop() == 0
    process = subprocess.Popen([*sanitizer_prefix(TOOL), TOOL, "dump", "--values", data],
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout.readline().startswith(b"segment ")
    process.stdout.close()
    errors = process.stderr.read()
    assert process.wait(PATIENCE_S) == 0 and errors == b"", (process.returncode, errors)
    process.stderr.close()


def what_is_being_read_is_not_used_again():
    """The dump stands still, since nobody takes its output; meanwhile checkpoints release every
    file that it has opened, and the daemon needs many new ones."""
    data = scratch()
    with Daemon("--checkpoint-log-size", "off", "--checkpoint-interval", "off",
                "--checkpoint-rate", "off", "--wal-segment-size", "1mb", data_dir=data) as daemon, \
            Client(daemon.listen) as client:
        def write(records):
            for _ in range(records):
                items = [pb.KeyValue(key=b"key-%d" % i, value=b"%08d" % i * 125) for i in range(100)]
                reply = client.call(put_many=pb.PutMany(items=items))
                assert reply.status == pb.OK, reply
                yield reply.version
        wrote = list(write(60))
        files = {path.stat().st_ino for path in (data / "wal").glob("*.wal")}
        process = subprocess.Popen([*sanitizer_prefix(TOOL), TOOL, "dump", "--format", "json",
                                    "--records", "--values", data], stdin=subprocess.DEVNULL,
                                   stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        lines = [process.stdout.readline()]
        for _ in range(4):
            assert len(list(write(30))) == 30
            reply = client.call(checkpoint=pb.Checkpoint(mode=pb.CHECKPOINT_RESTART))
            assert reply.status == pb.OK, reply
        spares = client.call(stats=pb.Stats(prefix="wal_spares")).stats.stats[0].number
        assert spares > 0, "nothing is ever used again here"
        assert not files & {path.stat().st_ino for path in (data / "wal").glob("*.wal")}
        lines += process.stdout.readlines()
        errors = process.stderr.read()
        assert process.wait(PATIENCE_S) == 0, (process.returncode, errors)
        process.stdout.close()
        process.stderr.close()
        assert daemon.stop() == 0
    records = [json.loads(line) for line in lines]
    assert [record["version"] for record in records] == wrote
    for record in records:
        assert [bytes_of(change, "value") for change in record["changes"]] == \
            [b"%08d" % i * 125 for i in range(100)]


def a_full_disk_is_one(data):
    with open("/dev/full", "w") as full:
        done = subprocess.run([*sanitizer_prefix(TOOL), TOOL, "dump", data], text=True, stdout=full,
                              stderr=subprocess.PIPE)
    assert done.returncode == 1 and "cannot write the output" in done.stderr, done


def main():
    results = Results()
    data, wrote = filled()
    results.run("every_change_comes_back", every_change_comes_back, data, wrote)
    results.run("keys_choose", keys_choose, data, wrote)
    results.run("versions_choose", versions_choose, data, wrote)
    results.run("a_snapshot_is_dumped", a_snapshot_is_dumped)
    results.run("without_a_snapshot_it_says_so", without_a_snapshot_it_says_so, data)
    results.run("a_reader_that_leaves_is_no_failure", a_reader_that_leaves_is_no_failure)
    results.run("what_is_being_read_is_not_used_again", what_is_being_read_is_not_used_again)
    results.run("a_full_disk_is_one", a_full_disk_is_one, data)
    return results.finish()


if __name__ == "__main__":
    sys.exit(main())
