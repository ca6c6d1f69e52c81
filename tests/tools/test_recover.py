"""brindle-wal recover: the state at many versions and times, compared with a model of the history.

VERSIONS=500 for a long run.
"""
import base64
import datetime
import json
import pathlib
import random
import subprocess
import sys
import tempfile
import threading

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
from rig import (CrashResults, Daemon, SEED, number, sanitizer_prefix, small_disk,  # noqa: E402
                 find_program, why_no_mount)
from brindle_client import Client, pb  # noqa: E402
from test_repair import fingerprint, flip, lines_of, segments_of, tool  # noqa: E402

TOOL = find_program("brindle-wal")
VERSIONS = number("VERSIONS", 12)
QUIET = ("--checkpoint-log-size", "off", "--checkpoint-interval", "off", "--wal-segment-size", "1mb")
BUSY = ("--checkpoint-log-size", "64kb", "--checkpoint-rate", "off", "--wal-segment-size", "1mb")
FAR = 4_000_000_000_000  # a deadline, in ms


class History:
    """What was written, and what the data was after each version."""

    def __init__(self, seed):
        self.dice = random.Random(f"{SEED}/{seed}")
        self.done = []  # (version, change): a change of a dictionary key -> (value, deadline)

    def write(self, client):
        """One random write. Those that change nothing have no version."""
        dice = self.dice
        key = b"key-%d" % dice.randrange(40)
        roll = dice.random()
        value = dice.randbytes(dice.choice((3, 100, 3000, 20_000)))
        deadline = dice.choice((0, 0, FAR + dice.randrange(1000)))
        if roll < 0.5:
            reply = client.call(put=pb.Put(key=key, value=value, deadline_ms=deadline))
            self.note(reply, lambda data: data.update({key: (value, deadline)}))
        elif roll < 0.65:
            reply = client.call(append=pb.Append(key=key, value=value[:50]))
            self.note(reply, lambda data: data.update(
                {key: (data.get(key, (b"", 0))[0] + value[:50], data.get(key, (b"", 0))[1])}))
        elif roll < 0.75:
            reply = client.call(delete=pb.Delete(keys=[key]))
            self.note(reply, lambda data: data.pop(key, None))
        elif roll < 0.85:
            reply = client.call(expire=pb.Expire(key=key, deadline_ms=FAR))
            self.note(reply, lambda data: data.update({key: (data[key][0], FAR)}))
        elif roll < 0.995:
            keys = [b"many-%d" % dice.randrange(20) for _ in range(5)]
            items = [pb.KeyValue(key=one, value=value[:10]) for one in keys]
            reply = client.call(put_many=pb.PutMany(items=items))
            self.note(reply, lambda data: data.update({one: (value[:10], 0) for one in keys}))
        else:
            reply = client.call(clear=pb.Clear())
            self.note(reply, lambda data: data.clear())

    def note(self, reply, change):
        assert reply.status in (pb.OK, pb.NOT_FOUND), reply
        if reply.status == pb.OK and reply.version:
            self.done.append((reply.version, change))

    def at(self, version):
        data = {}
        for when, change in self.done:
            if when <= version:
                change(data)
        return data

    def versions(self, count, least=0):
        """Some of them, the first and last ones too, and moments between two."""
        all_of = [version for version, _ in self.done if version >= least]
        chosen = {all_of[0], all_of[-1], all_of[len(all_of) // 2] + 1,
                  *(self.dice.choice(all_of) for _ in range(count))}
        return sorted(chosen)


def bytes_of(change, name):
    return change[name].encode() if name in change else base64.b64decode(change[name + "_base64"])


def held_by(data):
    """What a recovered directory holds."""
    if not list((data / "snapshots").glob("*.snap")):
        return {}
    entries = {}
    for line in lines_of(tool("dump", "--format", "json", "--snapshot", "--values", data)[1])[1:]:
        (change,) = line["changes"]
        assert bytes_of(change, "key") not in entries
        entries[bytes_of(change, "key")] = (bytes_of(change, "value"), change["deadline_ms"])
    return entries


def recover(data, to, home):
    """A new directory, and what the tool said."""
    target = pathlib.Path(tempfile.mkdtemp(dir=home)) / "new"
    status, out, err = tool("recover", "--to", to, "--format", "json", data, target)
    assert status == 0, (status, out, err)
    assert tool("verify", target)[0] == 0
    return target, lines_of(out)[-1]


def agree(data, history, version, home):
    target, said = recover(data, version, home)
    assert said["version"] <= version
    expected = history.at(version)
    held = held_by(target)
    assert held == expected, (version, sorted(set(held) ^ set(expected)))
    assert said["entries"] == len(held)
    return target


def starts(target, history, version):
    """A daemon serves what was recovered, and goes on above all that was ever issued."""
    expected = history.at(version)
    with Daemon(data_dir=target) as daemon, Client(daemon.listen) as client:
        assert client.call(count=pb.Count()).number == len(expected)
        for key, (value, _) in expected.items():
            assert client.call(get=pb.Get(key=key)).value == value, key
        newest = history.done[-1][0]
        assert client.call(put=pb.Put(key=b"new", value=b"x")).version > newest
        assert daemon.stop() == 0


def filled(data, *options, writes=1500, until=lambda: True, stop=True):
    history = History(str(options))
    with Daemon(*options, data_dir=data) as daemon, Client(daemon.listen) as client:
        while writes > 0 or not until():
            history.write(client)
            writes -= 1
        if stop:
            daemon.stop()
        else:
            daemon.kill()
    return history


def every_version_of_a_log(home, data, history):
    before = fingerprint(data)
    for version in history.versions(VERSIONS):
        agree(data, history, version, home)
    target = agree(data, history, history.done[len(history.done) // 3][0], home)
    starts(target, history, history.done[len(history.done) // 3][0])
    # Before the first write there was nothing; behind the last one it is the last.
    target, said = recover(data, history.done[0][0] - 1, home)
    assert said["version"] == said["entries"] == 0 and held_by(target) == {}
    starts(target, history, 0)
    target, said = recover(data, 18446744073709551615, home)
    assert said["version"] == history.done[-1][0] and held_by(target) == history.at(said["version"])
    assert fingerprint(data) == before, "the old one is only read"


def times_are_versions(home, data, history):
    version = history.done[len(history.done) // 2][0]
    seconds, ns = divmod(version, 10**9)
    day = datetime.datetime.fromtimestamp(seconds, datetime.timezone.utc)
    for to in (f"{seconds}.{ns:09}", f"{day:%Y-%m-%dT%H:%M:%S}.{ns:09}Z"):
        _, said = recover(data, to, home)
        assert said["version"] == version, (to, said)


def every_version_above_a_snapshot(home):
    """As far back as the snapshot's end, not further, and that is said."""
    data = home / "checkpoints"
    first = data / "wal" / f"{1:016x}.wal"
    history = filled(data, *BUSY, until=lambda: not first.exists(), stop=False)
    (path,) = sorted((data / "snapshots").glob("*.snap"))[-1:]
    head = lines_of(tool("dump", "--snapshot", "--format", "json", data)[1])[0]
    assert head["path"] == str(path)
    target = home / "early"
    status, out, err = tool("recover", "--to", head["end_version"] - 1, "--format", "json", data,
                            target)
    assert status == 5 and f"goes back to version {head['end_version']}" in err, (status, err)
    assert lines_of(out)[0] == {"type": "earliest", "version": head["end_version"]}
    assert lines_of(out)[1]["status"] == "HISTORY_TRIMMED"
    assert not target.exists()
    agree(data, history, head["end_version"], home)
    later = [version for version, _ in history.done if version > head["end_version"]]
    for version in [*later[:1], *history.versions(VERSIONS // 2, head["end_version"])]:
        agree(data, history, version, home)
    starts(agree(data, history, history.done[-1][0], home), history, history.done[-1][0])


def a_fuzzy_snapshot_is_wound_forward(home):
    """Written to all the while a slow checkpoint ran."""
    data = home / "fuzzy"
    first = data / "wal" / f"{1:016x}.wal"
    history = History("fuzzy")
    with Daemon("--checkpoint-log-size", "64kb", "--checkpoint-rate", "2mb",
                "--wal-segment-size", "1mb", data_dir=data) as daemon, \
            Client(daemon.listen) as client:
        items = {b"filler-%d" % i: history.dice.randbytes(16_000) for i in range(300)}
        reply = client.call(put_many=pb.PutMany(items=[
            pb.KeyValue(key=key, value=value) for key, value in items.items()]))
        history.note(reply, lambda data: data.update(
            {key: (value, 0) for key, value in items.items()}))
        while first.exists():
            history.write(client)
        daemon.kill()
    head = lines_of(tool("dump", "--snapshot", "--format", "json", data)[1])[0]
    assert head["end_version"] > head["start_version"], head
    between = (head["start_version"] + head["end_version"]) // 2
    assert tool("recover", "--to", between, data, home / "between")[0] == 5
    for version in history.versions(VERSIONS // 2, head["end_version"]):
        agree(data, history, version, home)


def damage_behind_the_version_does_not_matter(home, data, history):
    copy = home / "damaged"
    subprocess.run(["cp", "-r", data, copy], check=True)
    path = segments_of(copy)[1]
    flip(path, 500_000)
    versions = [line["version"] for line in
                lines_of(tool("dump", "--format", "json", "--records", copy)[1])
                if line["type"] == "record"]
    agree(copy, history, versions[-2], home)
    # What it would need is damaged: an error, and no directory.
    later = next(version for version, _ in history.done if version > versions[-1])
    status, _, err = tool("recover", "--to", later, copy, home / "no")
    assert status == 3 and f"{path} is damaged" in err, (status, err)
    assert not (home / "no").exists()


def beside_a_running_daemon(home):
    """Checkpoints come and go under it; everything acknowledged before is there."""
    data = home / "running"
    history = History("running")
    with Daemon(*BUSY, data_dir=data) as daemon, Client(daemon.listen) as client:
        stop = threading.Event()

        def load():
            with Client(daemon.listen) as other:
                while not stop.is_set():
                    items = [pb.KeyValue(key=b"load-%d" % i, value=b"v" * 500) for i in range(50)]
                    assert other.call(put_many=pb.PutMany(items=items)).status == pb.OK
        thread = threading.Thread(target=load)
        thread.start()
        try:
            for _ in range(6):
                for _ in range(30):
                    key = b"own-%d" % history.dice.randrange(1000)
                    history.note(client.call(put=pb.Put(key=key, value=key)),
                                 lambda data, key=key: data.update({key: (key, 0)}))
                target, _ = recover(data, "18446744073709551615", home)
                held = held_by(target)
                own = {key: value for key, value in held.items() if key.startswith(b"own-")}
                assert own == history.at(history.done[-1][0])
                assert tool("verify", data)[0] == 0
        finally:
            stop.set()
            thread.join()
        assert daemon.stop() == 0


def what_stands_in_the_way_is_named(home, data):
    busy = home / "not-empty"
    busy.mkdir()
    (busy / "something").write_text("mine")
    for args, status, words in (
            ((data, home / "x"), 2, "--to"),
            (("--to", "yesterday", data, home / "x"), 2, "wants a version or a time"),
            (("--to", "1700000000", data), 2, "usage: brindle-wal recover"),
            (("--to", "1700000000", data, home / "x", "y"), 2, "one word too many"),
            (("--yes", "--to", "1700000000", data, home / "x"), 2, "no option --yes"),
            (("--to", "1700000000", data, busy), 1, "is not empty"),
            (("--to", "1700000000", data, data), 1, "is not empty"),
            (("--to", "1700000000", home / "nowhere", home / "x"), 1, "no log in"),
            (("--to", "1700000000", data, home / "no" / "parent"), 1, "cannot make")):
        got, _, err = tool("recover", *args)
        assert got == status and words in err, (args, got, err)
        assert not (home / "x").exists(), args
    assert (busy / "something").read_text() == "mine" and len(list(busy.iterdir())) == 1
    # An empty directory that is there will do, and stays after a failure.
    target = home / "empty"
    target.mkdir()
    assert tool("recover", "--to", "1700000000", home / "nowhere", target)[0] == 1
    assert list(target.iterdir()) == []
    assert tool("recover", "--to", "18446744073709551615", data, target)[0] == 0
    with Daemon(data_dir=target) as daemon:
        other = home / "while-running"
        assert tool("recover", "--to", "18446744073709551615", data, target)[0] == 1
        assert tool("recover", "--to", "18446744073709551615", target, other)[0] == 0
        assert daemon.stop() == 0


def a_full_disk_leaves_nothing_behind(data, history):
    largest = max(history.versions(20), key=lambda version: sum(
        len(value) for value, _ in history.at(version).values()))
    with small_disk("96k") as disk:
        status, _, err = tool("recover", "--to", largest, data, disk / "new")
        assert status == 1 and "No space left" in err, (status, err)
        assert list(disk.iterdir()) == []


def main():
    results = CrashResults()
    with tempfile.TemporaryDirectory(prefix="brindle-recover-") as name:
        home = pathlib.Path(name)
        data = home / "log"
        history = filled(data, *QUIET)
        for test in (every_version_of_a_log, times_are_versions,
                     damage_behind_the_version_does_not_matter):
            results.run(test.__name__, test, home, data, history)
        for test in (every_version_above_a_snapshot, a_fuzzy_snapshot_is_wound_forward,
                     beside_a_running_daemon):
            results.run(test.__name__, test, home)
        results.run("what_stands_in_the_way_is_named", what_stands_in_the_way_is_named, home, data)
        reason = why_no_mount()
        if reason:
            results.skip(reason)
        else:
            results.run("a_full_disk_leaves_nothing_behind", a_full_disk_leaves_nothing_behind,
                        data, history)
    return results.finish()


if __name__ == "__main__":
    sys.exit(main())
