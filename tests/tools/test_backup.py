"""Backups of a daemon under load, and their restoring.

Everything that was acknowledged under normal or full before a backup began is in it, however often
checkpoints and new segments come while it is made; nothing is in it of which later writes are
missing. A restore never leaves anything but the old data or the new.

ROUNDS=50 for a long run.
"""
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import threading

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
from rig import (CrashResults, Daemon, address_of, number, sanitizer_prefix,  # noqa: E402
                 small_disk, find_program, until, why_no_mount)
from brindle_client import Client, pb  # noqa: E402
from test_repair import fingerprint, flip, lines_of, segments_of, snapshot_of, tool  # noqa: E402

CLI = find_program("brindle")
ROUNDS = number("ROUNDS", 5)
WRITERS = 3
BUSY = ("--checkpoint-log-size", "64kb", "--checkpoint-rate", "off", "--wal-segment-size", "1mb",
        "--workers", "2")


def brindle(*args, **env):
    """The command line client: exit status, standard output and error."""
    done = subprocess.run([*sanitizer_prefix(CLI), CLI, *map(str, args)], text=True,
                          env={**os.environ, **{name: str(value) for name, value in env.items()}},
                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    return done.returncode, done.stdout, done.stderr


class Writer(threading.Thread):
    """Counts up in keys of its own, one request at a time; every third write is `full`."""

    def __init__(self, daemon, name):
        super().__init__()
        self.listen = daemon.listen
        self.prefix = name
        self.acknowledged = 0  # numbers 1 .. this one are acknowledged
        self.stopping = False

    def run(self):
        with Client(self.listen) as client:
            while not self.stopping:
                i = self.acknowledged + 1
                durability = pb.DURABILITY_FULL if i % 3 == 0 else pb.DURABILITY_NORMAL
                reply = client.call(put=pb.Put(key=b"%s/%d" % (self.prefix, i % 500),
                                               value=b"%d" % i * 30, durability=durability))
                assert reply.status == pb.OK, reply
                self.acknowledged = i


def numbers_in(daemon, prefix):
    """{place: number} of a writer's keys."""
    with Client(daemon.listen) as client:
        items = client.call(get_many=pb.GetMany(
            keys=[b"%s/%d" % (prefix, place) for place in range(500)])).items
    held = {}
    for place, item in enumerate(items):
        if item.found:
            text = item.value.decode()
            i = int(text[:len(text) // 30])
            assert text == str(i) * 30 and i % 500 == place, (place, text)
            held[place] = i
    return held


def holds(data, counts, most):
    """A daemon on it has each writer's numbers up to one that is at least what was
    acknowledged, and none that is later than what was written."""
    with Daemon(data_dir=data) as daemon:
        for prefix, least in counts.items():
            held = numbers_in(daemon, prefix)
            newest = max(held.values(), default=0)
            assert least <= newest <= most[prefix] + 1, (prefix, least, newest, most[prefix])
            for place in range(500):
                latest = newest - (newest - place) % 500
                assert held.get(place) == (latest if latest > 0 else None), (prefix, place)
        assert daemon.stop() == 0


def everything_acknowledged_is_in_it(home):
    data = home / "load"
    with Daemon(*BUSY, data_dir=data) as daemon:
        writers = [Writer(daemon, b"writer-%d" % i) for i in range(WRITERS)]
        for writer in writers:
            writer.start()
        made = []
        try:
            with Client(daemon.listen) as client:  # each is to have a snapshot in it
                until(lambda: any(stat.name == "checkpoints" and stat.number > 0 for stat in
                                  client.call(stats=pb.Stats()).stats.stats))
            for i in range(ROUNDS):
                goal = [writer.acknowledged + 1000 for writer in writers]
                while any(writer.is_alive() and writer.acknowledged < wanted
                          for writer, wanted in zip(writers, goal)):
                    writers[0].join(0.01)
                before = {writer.prefix: writer.acknowledged for writer in writers}
                backup = home / f"load-{i}"
                status, out, err = tool("backup", "--format", "json", data, backup)
                assert status == 0, (status, out, err)
                after = {writer.prefix: writer.acknowledged for writer in writers}
                made.append((backup, before, after, lines_of(out)[0]))
        finally:
            for writer in writers:
                writer.stopping = True
            for writer in writers:
                writer.join()
        with Client(daemon.listen) as client:
            stats = {stat.name: stat.number for stat in client.call(stats=pb.Stats()).stats.stats}
        assert stats["checkpoints"] > ROUNDS // 2, stats["checkpoints"]
        daemon.kill()
    for i, (backup, before, after, said) in enumerate(made):
        assert said["type"] == "backup" and said["snapshot_version"] > 0, said
        whole = fingerprint(backup)
        target = home / f"restored-{i}"
        status, out, err = tool("restore", backup, target)
        assert status == 0 and "it is whole" in out, (status, out, err)
        assert fingerprint(backup) == whole, "a backup can be restored again"
        holds(target, before, after)
        holds(backup, before, after)


def the_client_runs_it(home):
    data = home / "client"
    with Daemon(data_dir=data) as daemon, Client(daemon.listen) as client:
        assert client.call(put=pb.Put(key=b"a", value=b"1")).status == pb.OK
        address = address_of(daemon)
        assert brindle("backup", "--data-dir", data, home / "b1") == \
            (0, tool("stat", home / "b1")[1] and brindle_says(home / "b1"), "")
        status, out, _ = brindle("--format", "json", "backup", home / "b2", BRINDLE_DATA_DIR=data)
        assert status == 0 and json.loads(out)["log_records"] == 1, (status, out)
        # It needs no server, but the one that runs keeps its data.
        status, _, err = brindle("restore", "--force", home / "b1", data, BRINDLE_ADDRESS=address)
        assert status == 1 and f"in use by another process (pid {daemon.pid})" in err, err
        assert client.call(get=pb.Get(key=b"a")).value == b"1"
        assert daemon.stop() == 0
    assert brindle("backup", home / "b1", BRINDLE_DATA_DIR=data)[0] == 1
    status, _, err = brindle("backup", home / "b3", BRINDLE_DATA_DIR=home / "nowhere")
    assert status == 1 and "no log in" in err and not (home / "b3").exists(), err
    assert brindle("backup")[0] == 64 and brindle("restore", home / "b1")[0] == 64
    assert brindle("backup", "--force", home / "b3")[0] == 64
    assert brindle("restore", home / "b1", home / "new")[0] == 0
    assert not [path for path in home.iterdir() if "restoring" in path.name]
    with Daemon(data_dir=home / "new") as daemon, Client(daemon.listen) as client:
        assert client.call(get=pb.Get(key=b"a")).value == b"1"
    done = subprocess.run([*sanitizer_prefix(CLI), CLI], text=True, stdout=subprocess.PIPE,
                          input=f"backup --data-dir {data} {home}/b4\nhelp backup\n")
    assert done.returncode == 0 and "it is whole" in done.stdout and "usage:" in done.stdout, done


def brindle_says(backup):
    """What a backup of one record prints."""
    version = lines_of(tool("stat", "--format", "json", backup)[1])[0]["last_version"]
    seconds, ns = divmod(version, 10**9)
    when = subprocess.run(["date", "-u", "-d", f"@{seconds}", "+%Y-%m-%dT%H:%M:%S"], text=True,
                          stdout=subprocess.PIPE, check=True).stdout.strip()
    return f"{backup} holds version {version} of {when}.{ns:09}Z: 1 record of log; it is whole\n"


def filled(data, *options, keys=300):
    with Daemon(*options, data_dir=data) as daemon, Client(daemon.listen) as client:
        for i in range(keys):
            assert client.call(put=pb.Put(key=b"key-%d" % i, value=b"v" * 1000)).status == pb.OK
        assert daemon.stop() == 0


def count(data):
    with Daemon(data_dir=data) as daemon, Client(daemon.listen) as client:
        number = client.call(count=pb.Count()).number
        assert daemon.stop() == 0
        return number


def what_is_there_is_not_lost(home):
    place = home / "force"
    place.mkdir()
    old, backup, data = place / "old", place / "backup", place / "data"
    filled(old, keys=10)
    assert tool("backup", old, backup)[0] == 0
    filled(data, keys=20)
    before = fingerprint(data)
    status, _, err = tool("restore", backup, data)
    assert status == 1 and "--force moves that aside" in err, err
    assert fingerprint(data) == before
    status, out, _ = tool("restore", "--force", "--format", "json", backup, data)
    assert status == 0, out
    (aside,) = place.glob("data.before-restore-*")
    assert lines_of(out)[-1]["aside"] == str(aside) and fingerprint(aside) == before
    assert count(data) == 10 and count(aside) == 20
    # A directory that is there and empty, and one behind a symbolic link.
    (place / "empty").mkdir()
    (place / "link").symlink_to("empty")
    assert tool("restore", backup, place / "link")[0] == 0
    assert (place / "link").is_symlink() and count(place / "empty") == 10
    assert sorted(path.name for path in place.iterdir()) == \
        sorted(["old", "backup", "data", aside.name, "empty", "link"])
    # Something that is no data of ours is not touched either, and gets no lock.
    (place / "mine").mkdir()
    (place / "mine" / "letter").write_text("dear")
    assert tool("restore", backup, place / "mine")[0] == 1
    assert [path.name for path in (place / "mine").iterdir()] == ["letter"]
    assert tool("restore", backup, place / "no" / "parent")[0] == 1
    assert tool("restore", place / "nowhere", place / "new")[0] == 1
    assert not (place / "new").exists()
    for args in (("backup", old), ("restore", backup), ("backup", "--yes", old, place / "x"),
                 ("restore", backup, data, data), ("restore", "--to", "1", backup, data)):
        assert tool(*args)[0] == 2, args


def a_damaged_backup_is_refused(home):
    data, backup = home / "d-data", home / "d-backup"
    filled(data, "--checkpoint-on-stop")
    with Daemon(data_dir=data) as daemon, Client(daemon.listen) as client:
        assert client.call(put=pb.Put(key=b"last", value=b"x")).status == pb.OK
        assert tool("backup", data, backup)[0] == 0
        daemon.stop()
    for path, offset in ((snapshot_of(backup), 5000), (segments_of(backup)[-1], 4120)):
        flip(path, offset)
        status, _, err = tool("restore", "--force", backup, data)
        assert status == 3 and f"{path} is damaged" in err, (status, err)
        flip(path, offset)
    # Also where it was cut off: it is known how long it was.
    path = segments_of(backup)[-1]
    whole = path.read_bytes()
    os.truncate(path, len(whole) - 8)
    assert tool("restore", "--force", backup, data)[0] == 3
    path.write_bytes(whole)
    # And so is a backup of what is damaged.
    flip(snapshot_of(data), 5000)
    status, _, err = tool("backup", data, home / "d-again")
    assert status == 3 and "is damaged" in err and not (home / "d-again").exists(), err
    assert tool("restore", "--force", backup, data)[0] == 0 and count(data) == 301


def a_full_disk_leaves_nothing_behind(home):
    data = home / "f-data"
    filled(data, "--checkpoint-on-stop")
    assert tool("backup", data, home / "f-backup")[0] == 0
    with small_disk("1200k") as disk:
        for args in (("backup", data, disk / "new"), ("restore", home / "f-backup", disk / "new"),
                     ("restore", home / "f-backup", disk)):
            status, _, err = tool(*args)
            assert status == 1 and "make room first" in err, (args, status, err)
            assert list(disk.iterdir()) == [], args
    # A mount point takes it in place; what is in one is not moved.
    with small_disk("8m") as disk:
        assert tool("restore", home / "f-backup", disk)[0] == 0
        assert count(disk) == 300
        status, _, err = tool("restore", "--force", home / "f-backup", disk)
        assert status == 1 and "mount point" in err, err
        assert count(disk) == 300


def main():
    results = CrashResults()
    with tempfile.TemporaryDirectory(prefix="brindle-backup-") as name:
        home = pathlib.Path(name)
        for test in (everything_acknowledged_is_in_it, the_client_runs_it,
                     what_is_there_is_not_lost, a_damaged_backup_is_refused):
            results.run(test.__name__, test, home)
        reason = why_no_mount()
        if reason:
            results.skip(reason)
        else:
            results.run("a_full_disk_leaves_nothing_behind", a_full_disk_leaves_nothing_behind,
                        home)
    return results.finish()


if __name__ == "__main__":
    sys.exit(main())
