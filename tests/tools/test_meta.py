"""One damaged slot of the two in meta, as a power cut in the middle of a store leaves it: brindle-wal
says so and calls the directory whole; a daemon writes the slot again, at its start and while it runs."""
import json
import pathlib
import shutil
import subprocess
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
from daemon import SRC, Results  # noqa: E402
from rig import Daemon, find_program, folder_of_its_own, sanitizer_prefix, until  # noqa: E402
from brindle_client import Client, pb  # noqa: E402

TOOL = find_program("brindle-wal")
GOLDEN = SRC / "tests/unit/wal/golden"
SLOT_BYTES = 4096


def tool(*args):
    """Exit status, and what it says."""
    done = subprocess.run([*sanitizer_prefix(TOOL), TOOL, *map(str, args)], text=True,
                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    return done.returncode, done.stdout


def damage(data, slot):
    """As a write of something else that did not get far, in place."""
    with open(data / "meta", "r+b") as meta:
        meta.seek(slot * SLOT_BYTES + 56)
        meta.write(b"torn")


def notes(data, *options):
    """(damaged, used) of each note, while all is whole."""
    status, out = tool("verify", "--format", "json", *options, data)
    assert status == 0, out
    lines = [json.loads(line) for line in out.splitlines()]
    return [(line["damaged_slot"], line["used_slot"]) for line in lines if line["type"] == "note"]


def a_damaged_slot_is_named_and_no_failure():
    for name, options in (("v1", ()), ("v1-sealed", ("--key-file", "keys"))):
        for slot in (0, 1):
            with folder_of_its_own() as folder:
                data = folder / "data"
                shutil.copytree(GOLDEN / name, data)
                if options:
                    options = ("--key-file", (data / "keys").rename(folder / "keys"))
                    options[1].chmod(0o600)
                assert notes(data, *options) == []
                damage(data, slot)
                before = (data / "meta").read_bytes()
                for command in ("verify", "stat"):
                    status, out = tool(command, *options, data)
                    assert status == 0, out
                    assert f"slot {slot} of meta is damaged, and slot {1 - slot} is used" in out, out
                    assert "no failure" in out and "64 records" in out, out
                    status, out = tool(command, "--format", "json", *options, data)
                    assert status == 0, out
                    note, = [line for line in map(json.loads, out.splitlines()) if line["type"] == "note"]
                    assert note["damaged_slot"] == slot and note["used_slot"] == 1 - slot, note
                    assert note["path"] == f"{data}/meta" and "no failure" in note["text"], note
                assert (data / "meta").read_bytes() == before
                damage(data, 1 - slot)
                status, out = tool("verify", *options, data)
                assert status == 3 and "neither of its two slots is valid" in out, out


def a_directory_with_one_slot_so_far_is_not_damaged():
    """The other one is zeros."""
    with folder_of_its_own() as folder:
        data = folder / "data"
        shutil.copytree(GOLDEN / "v1", data)
        content = bytearray((data / "meta").read_bytes())
        content[:SLOT_BYTES] = bytes(SLOT_BYTES)
        (data / "meta").write_bytes(content)
        assert notes(data) == []


def a_daemon_writes_it_again():
    for slot in (0, 1):
        with folder_of_its_own() as folder:
            data = folder / "data"
            with Daemon("--durability", "full", data_dir=data) as daemon, Client(daemon.listen) as client:
                assert client.call(put=pb.Put(key=b"key", value=b"1")).status == pb.OK

                def is_seen():  # unless a store comes between
                    damage(data, slot)
                    return notes(data) == [(slot, 1 - slot)]

                def is_written_again():
                    assert client.call(put=pb.Put(key=b"key", value=b"2")).status == pb.OK
                    return notes(data) == []

                until(is_seen, what="a damaged slot")
                until(is_written_again, what="a slot that is written again")
                assert daemon.stop() == 0
            assert notes(data) == []
            damage(data, slot)
            with Daemon("--durability", "full", data_dir=data) as daemon, Client(daemon.listen) as client:
                assert any("one of the two slots" in line for line in daemon.log), daemon.tail()
                assert notes(data) == []
                assert client.call(get=pb.Get(key=b"key")).value == b"2"


def main():
    results = Results()
    for test in (a_damaged_slot_is_named_and_no_failure, a_directory_with_one_slot_so_far_is_not_damaged,
                 a_daemon_writes_it_again):
        results.run(test.__name__, test)
    return results.finish()


if __name__ == "__main__":
    sys.exit(main())
