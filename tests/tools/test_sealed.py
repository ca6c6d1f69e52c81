#!/usr/bin/python3
"""brindle-wal on encrypted data of a daemon, snapshots included: what it reads with all keys, what it
refuses without, and under which key is what it writes.
"""
import json
import pathlib
import re
import secrets
import shutil
import subprocess
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
from rig import CrashResults, Daemon, sanitizer_prefix, find_program  # noqa: E402
from brindle_client import Client, pb  # noqa: E402

TOOL = find_program("brindle-wal")
WRONG_KEY = 4
MARKER = "marker-that-nobody-may-read"
OPTIONS = ("--durability", "full", "--checkpoint-log-size", "off", "--checkpoint-interval", "off")


def tool(*args):
    """Exit status, standard output and error."""
    done = subprocess.run([*sanitizer_prefix(TOOL), TOOL, *map(str, args)], text=True,
                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert done.returncode >= 0, done.stderr
    return done.returncode, done.stdout, done.stderr


def done(*args):
    status, out, err = tool(*args)
    assert status == 0, (args, status, out, err)
    return out


class Keys:
    """Key files beside the data."""

    def __init__(self, home):
        self.home = home
        self.old, self.new = secrets.token_hex(32), secrets.token_hex(32)
        self.first = self.file("first", self.old)
        self.both = self.file("both", self.new, self.old)
        self.second = self.file("second", self.new)
        self.off = self.file("off", "plain", self.new, self.old)
        self.only = self.file("only", "only", self.new, self.old)
        self.wrong = self.file("wrong", secrets.token_hex(32))

    def file(self, name, *lines):
        path = self.home / name
        path.touch(mode=0o600)
        path.write_text("\n".join(lines) + "\n")
        return path


def put(client, first, count):
    for i in range(first, first + count):
        request = pb.Put(key=b"%s-%d" % (MARKER.encode(), i), value=b"%d" % i * 20)
        assert client.call(put=request).status == pb.OK
    return client.call(put=pb.Put(key=b"large", value=MARKER.encode() * 1000)).version


def fill(data, keys):
    """A snapshot, and log behind it, all under the first key. Returns the newest version."""
    with Daemon(*OPTIONS, "--key-file", keys.first, data_dir=data) as daemon, \
            Client(daemon.listen) as client:
        put(client, 0, 50)
        reply = client.call(checkpoint=pb.Checkpoint(mode=pb.CHECKPOINT_RESTART))
        assert reply.status == pb.OK, reply
        version = put(client, 50, 50)
        daemon.kill()
    assert list((data / "snapshots").glob("*.snap"))
    return version


def keys_of(data, keys):
    """The ids of keys under which files are, by their kind."""
    lines = [json.loads(line) for line in
             done("stat", "--format", "json", "--key-file", keys, data).splitlines()]
    return {kind: {line["key_id"] for line in lines if line["type"] == "key" and line["file"] == kind}
            for kind in ("meta", "snapshot", "segment")}


def held_by(data, keys):
    with Daemon(*OPTIONS, "--key-file", keys, data_dir=data) as daemon, \
            Client(daemon.listen) as client:
        assert client.call(get=pb.Get(key=b"large")).value == MARKER.encode() * 1000
        for i in range(100):
            reply = client.call(get=pb.Get(key=b"%s-%d" % (MARKER.encode(), i)))
            assert reply.value == b"%d" % i * 20, i
        assert daemon.stop() == 0


def nothing_shows(data):
    for path in data.rglob("*"):
        assert path.is_dir() or MARKER.encode() not in path.read_bytes(), path


def everything_is_read_with_the_keys(home):
    keys, data = Keys(home), home / "data"
    fill(data, keys)
    nothing_shows(data)
    assert "is whole" in done("verify", "--key-file", keys.first, data)
    assert len(re.findall(MARKER, done("dump", "--records", "--key-file", keys.both, data))) == 50
    snapshot = done("dump", "--snapshot", "--key-file", keys.both, data)
    assert len(re.findall(MARKER, snapshot)) == 50, snapshot
    under = keys_of(data, keys.first)
    assert all(len(ids) == 1 for ids in under.values()), under
    assert len(set.union(*under.values())) == 1, under
    assert "snapshot" in done("stat", "--key-file", keys.first, data)


def nothing_is_read_without(home):
    keys, data = Keys(home), home / "data"
    fill(data, keys)
    before = {path: path.read_bytes() for path in data.rglob("*") if path.is_file()}
    commands = (("verify",), ("stat",), ("dump",), ("dump", "--snapshot"), ("repair",),
                ("repair", "--yes"))
    for option in ((), ("--key-file", keys.wrong)):
        for command in commands:
            status, out, err = tool(*command, *option, data)
            assert status == WRONG_KEY and MARKER not in out, (command, option, status, out, err)
            assert re.search(rf"{data}/\S+ is (encrypted )?under the key [0-9a-f]+", err), err
        for command in (("backup",), ("restore",), ("recover", "--to", 2 ** 62)):
            status, out, err = tool(*command, *option, data, home / "made")
            assert status == WRONG_KEY, (command, option, status, out, err)
            assert not (home / "made").exists(), command
    assert before == {path: path.read_bytes() for path in data.rglob("*") if path.is_file()}


def damage_is_not_a_wrong_key(home):
    keys, data = Keys(home), home / "data"
    fill(data, keys)
    (snapshot,) = (data / "snapshots").glob("*.snap")
    whole = snapshot.read_bytes()
    for offset in (20, 75, 100, 5000, len(whole) - 1):
        snapshot.write_bytes(whole[:offset] + bytes([whole[offset] ^ 1]) + whole[offset + 1:])
        status, out, err = tool("verify", "--key-file", keys.first, data)
        assert status == 3 and str(snapshot) in err, (offset, status, out, err)
    snapshot.write_bytes(whole)
    assert tool("verify", "--key-file", keys.first, data)[0] == 0


def what_is_recovered_is_under_the_current_key(home):
    keys, data, then = Keys(home), home / "data", home / "then"
    version = fill(data, keys)
    old = keys_of(data, keys.both)
    done("recover", "--to", version, "--key-file", keys.both, data, then)
    nothing_shows(then)
    new = keys_of(then, keys.second)
    assert new["meta"] == new["snapshot"] == new["segment"] and len(new["meta"]) == 1, new
    assert new["meta"].isdisjoint(old["meta"]), (old, new)
    status, _, _ = tool("verify", "--key-file", keys.first, then)
    assert status == WRONG_KEY
    held_by(then, keys.second)
    done("recover", "--to", version, "--key-file", keys.off, data, home / "plain")
    assert "is whole" in done("verify", home / "plain")


def a_backup_of_a_running_daemon_is_as_encrypted(home):
    keys, data, copy = Keys(home), home / "data", home / "copy"
    fill(data, keys)
    with Daemon(*OPTIONS, "--key-file", keys.first, data_dir=data) as daemon:
        done("backup", "--key-file", keys.first, data, copy)
        daemon.kill()
    nothing_shows(copy)
    assert tool("verify", copy)[0] == WRONG_KEY
    done("restore", "--key-file", keys.both, copy, home / "back")
    back = keys_of(home / "back", keys.both)
    assert back["snapshot"] == keys_of(copy, keys.first)["snapshot"], back
    assert back["meta"].isdisjoint(back["snapshot"]), back
    held_by(home / "back", keys.both)


def a_repair_leaves_what_starts(home):
    keys, data = Keys(home), home / "data"
    fill(data, keys)
    last = sorted((data / "wal").glob("*.wal"))[0]
    whole = bytearray(last.read_bytes())
    whole[4096 + 100] ^= 1
    last.write_bytes(whole)
    assert tool("verify", "--key-file", keys.both, data)[0] == 3
    done("repair", "--yes", "--key-file", keys.both, data)
    assert "is whole" in done("verify", "--key-file", keys.both, data)
    with Daemon(*OPTIONS, "--key-file", keys.both, data_dir=data) as daemon, \
            Client(daemon.listen) as client:
        assert client.call(get=pb.Get(key=MARKER.encode() + b"-49")).value == b"49" * 20
        assert daemon.stop() == 0


def what_was_put_there_is_found_and_taken_out(home):
    """A plain segment, and a plain snapshot, as the daemon itself would have written them; and a
    segment behind an orderly stop."""
    keys, data = Keys(home), home / "data"
    fill(data, keys)
    held_by(data, keys.first)
    assert '"all_encrypted":true' in done("stat", "--format", "json", "--key-file", keys.first, data)
    assert "one that is not is damage" in done("stat", "--key-file", keys.first, data)
    for name, option, why in (("segment", keys.off, "not encrypted"),
                              ("snapshot", keys.off, "not encrypted"),
                              ("later", keys.first, "the last stop was orderly")):
        ours, other = home / name, home / f"{name}-other"
        shutil.copytree(data, ours)
        shutil.copytree(data, other)
        with Daemon(*OPTIONS, "--key-file", option, data_dir=other) as daemon, \
                Client(daemon.listen) as client:
            put(client, 200, 1)
            if name == "snapshot":
                reply = client.call(checkpoint=pb.Checkpoint(mode=pb.CHECKPOINT_RESTART))
                assert reply.status == pb.OK, reply
            assert daemon.stop() == 0
        folder = "snapshots" if name == "snapshot" else "wal"
        for path in (other / folder).iterdir():
            if not (ours / folder / path.name).exists():
                shutil.copy(path, ours / folder)
                planted = ours / folder / path.name
        status, out, err = tool("verify", "--key-file", keys.both, ours)
        assert status == 3 and str(planted) in err and why in err, (name, status, out, err)
        for command in (("backup", ours, home / "made"), ("restore", ours, home / "made")):
            status, out, err = tool(command[0], "--key-file", keys.both, *command[1:])
            assert status == 3 and why in err, (name, status, out, err)
        with Daemon(*OPTIONS, "--key-file", keys.both, data_dir=ours, wait=False) as daemon:
            assert daemon.wait() == 3, daemon.tail()
            assert any(str(planted) in line and why in line for line in daemon.log), daemon.tail()
        done("repair", "--yes", "--key-file", keys.both, ours)
        assert not planted.exists(), name
        assert "is whole" in done("verify", "--key-file", keys.both, ours)
        held_by(ours, keys.both)


def a_directory_of_plain_files_is_not_taken_for_an_encrypted_one(home):
    """By who says that only what is encrypted counts; otherwise it is one to be encrypted."""
    keys, data, plain = Keys(home), home / "data", home / "plain-data"
    fill(data, keys)
    held_by(data, keys.only)
    with Daemon(*OPTIONS, data_dir=plain) as daemon, Client(daemon.listen) as client:
        put(client, 0, 10)
        assert daemon.stop() == 0
    assert "is whole" in done("verify", "--key-file", keys.both, plain)
    status, out, err = tool("verify", "--key-file", keys.only, plain)
    assert status == 3 and f"{plain}/meta" in err and "(only)" in err, (status, out, err)
    with Daemon(*OPTIONS, "--key-file", keys.only, data_dir=plain, wait=False) as daemon:
        assert daemon.wait() == 3, daemon.tail()


def what_is_made_of_it_says_that_all_is_encrypted(home):
    keys, data = Keys(home), home / "data"
    version = fill(data, keys)
    done("backup", "--key-file", keys.first, data, home / "copy")
    done("restore", "--key-file", keys.both, home / "copy", home / "back")
    done("recover", "--to", version, "--key-file", keys.both, data, home / "then")
    done("restore", "--key-file", keys.off, home / "copy", home / "plainly")
    for name, wanted in (("copy", "true"), ("back", "true"), ("then", "true"), ("plainly", "false")):
        said = done("stat", "--format", "json", "--key-file", keys.off, home / name)
        assert f'"all_encrypted":{wanted}' in said, (name, said)
        held_by(home / name, keys.off if name == "plainly" else keys.both)


def main():
    results = CrashResults()
    for test in (everything_is_read_with_the_keys, nothing_is_read_without,
                 damage_is_not_a_wrong_key, what_is_recovered_is_under_the_current_key,
                 a_backup_of_a_running_daemon_is_as_encrypted, a_repair_leaves_what_starts,
                 what_was_put_there_is_found_and_taken_out,
                 a_directory_of_plain_files_is_not_taken_for_an_encrypted_one,
                 what_is_made_of_it_says_that_all_is_encrypted):
        with tempfile.TemporaryDirectory(prefix="brindle-sealed-") as name:
            results.run(test.__name__, test, pathlib.Path(name))
    return results.finish()


if __name__ == "__main__":
    sys.exit(main())
