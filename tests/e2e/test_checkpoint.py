#!/usr/bin/env python3
"""Checkpoints of a daemon under load: the log stays short, a kill at any moment loses nothing, and
damage of a snapshot ends a start with 3."""
import pathlib
import subprocess
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "support"))
from brindle_client import Client, pb  # noqa: E402
from daemon import (PATIENCE_S, Daemon, Results, find_program, sanitizer_prefix, scratch,  # noqa: E402
                    until)

SMALL = ("--checkpoint-log-size", "64kb", "--checkpoint-rate", "off", "--wal-segment-size", "1mb")


def numbers(client):
    return {stat.name: stat.number for stat in client.call(stats=pb.Stats()).stats.stats}


def value_of(i):
    return b"%d" % i * 20


def fill(client, first, count):
    for begin in range(first, first + count, 100):
        items = [pb.KeyValue(key=b"key-%d" % i, value=value_of(i)) for i in range(begin, begin + 100)]
        assert client.call(put_many=pb.PutMany(items=items)).status == pb.OK


def count(client):
    return client.call(count=pb.Count()).number


def run_tool(program, *args):
    """Exit status and output of both kinds."""
    path = find_program(program)
    done = subprocess.run([*sanitizer_prefix(path), path, *map(str, args)], text=True,
                          timeout=PATIENCE_S, stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    return done.returncode, done.stdout


def the_log_stays_short_and_nothing_is_lost():
    data = scratch()
    with Daemon(*SMALL, data_dir=data) as daemon, Client(daemon.listen) as client:
        written = 0

        def enough():
            nonlocal written
            fill(client, written, 500)
            written += 500
            return numbers(client)["checkpoints"] >= 4
        until(enough)
        said = numbers(client)
        assert said["checkpoint_failures"] == 0 and said["snapshot_entries"] > 0, said
        assert not (data / "wal" / "0000000000000001.wal").exists()
        daemon.kill()
    status, out = run_tool("brindle-wal", "verify", data)
    assert status == 0 and "snapshot " in out, out
    with Daemon(*SMALL, data_dir=data) as daemon, Client(daemon.listen) as client:
        for i in range(written):
            assert client.call(get=pb.Get(key=b"key-%d" % i)).value == value_of(i), i
        assert count(client) == written
        assert any("entries in the snapshot" in line for line in daemon.log), daemon.log
        assert daemon.stop() == 0


def a_last_one_on_stop_leaves_no_log_to_replay():
    data = scratch()
    with Daemon("--checkpoint-on-stop", data_dir=data) as daemon, Client(daemon.listen) as client:
        fill(client, 0, 1000)
        assert daemon.stop() == 0
    with Daemon(data_dir=data) as daemon, Client(daemon.listen) as client:
        said = numbers(client)
        assert said["recovery_records"] == 0 and said["snapshot_entries"] == 1000, said
        assert count(client) == 1000
        assert daemon.stop() == 0


def damage_of_a_snapshot_ends_with_3_and_is_named():
    data = scratch()
    with Daemon("--checkpoint-on-stop", data_dir=data) as daemon, Client(daemon.listen) as client:
        fill(client, 0, 1000)
        assert daemon.stop() == 0
    (path,) = (data / "snapshots").glob("*.snap")
    content = bytearray(path.read_bytes())
    content[5000] ^= 1
    path.write_bytes(content)
    for args in (("brindled", "--data-dir", data, "--listen", "none"),
                 ("brindle-wal", "verify", data)):
        status, out = run_tool(*args)
        assert status == 3 and f"{path} is damaged at offset 4096" in out, (status, out)


def main():
    results = Results()
    for test in (the_log_stays_short_and_nothing_is_lost,
                 a_last_one_on_stop_leaves_no_log_to_replay,
                 damage_of_a_snapshot_ends_with_3_and_is_named):
        results.run(test.__name__, test)
    return results.finish()


if __name__ == "__main__":
    sys.exit(main())
