"""A log that was damaged while the daemon was down.

A torn end (cut, zeros, garbage) is what a crash leaves: the daemon starts, and says in one line
which file, where, and how much it dropped. Damage before a position that is known to be synced,
missing, doubled and exchanged segments, and files of another directory are no crash: exit
status 3, the file named and the place in it, and nothing changed.

FLIPS=1000 TAILS=300 for a long run.
"""
import hashlib
import os
import pathlib
import random
import re
import shutil
import subprocess
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
from rig import CrashResults, Daemon, SEED, number, sanitizer_prefix, wal_tool  # noqa: E402
from brindle_client import Client, pb  # noqa: E402

KEYS = 2500
BATCH = 10
VALUE_BYTES = 1000
FLIPS = number("FLIPS", 24)
TAILS = number("TAILS", 12)
TORN_LINE = re.compile(r"the log ended in a record that was never whole.*: (\S+) at byte (\d+), "
                       r"(\d+) bytes dropped")


def start(data_dir, **more):
    return Daemon("--durability", "full", "--workers", "2", "--wal-segment-size", "1mb",
                  data_dir=data_dir, **more)


def key_of(number):
    return b"damage/%05d" % number


def value_of(number):
    return random.Random(number).randbytes(VALUE_BYTES)


def fill(data_dir):
    """Numbered keys over some segments, in their order; ends with kill -9."""
    with start(data_dir) as daemon, Client(daemon.listen) as client:
        for first in range(0, KEYS, BATCH):
            client.send(*(client.request(put=pb.Put(key=key_of(number), value=value_of(number)))
                          for number in range(first, first + BATCH)))
            for _ in range(BATCH):
                assert client.receive().status == pb.OK
        daemon.kill()


def count_prefix(daemon):
    """How many of the first keys are there. AssertionError: it is no prefix."""
    there = []
    with Client(daemon.listen) as client:
        for first in range(0, KEYS, 250):
            keys = [key_of(number) for number in range(first, first + 250)]
            items = client.call(get_many=pb.GetMany(keys=keys)).items
            for number, item in enumerate(items, first):
                there.append(item.found)
                assert not item.found or item.value == value_of(number), f"value of {number}"
    count = there.count(True)
    assert all(there[:count]), "a hole"
    return count


def segments_of(data_dir):
    """The files of the log that hold something, oldest first."""
    return [path for path in sorted((data_dir / "wal").glob("*.wal")) if end_of(path) > 4096]


def end_of(path):
    """Where the bytes that are not zero end."""
    return len(path.read_bytes().rstrip(b"\0"))


def fingerprint(data_dir):
    return {str(path): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in sorted(data_dir.rglob("*")) if path.is_file()}


class Case:
    """A copy of the filled directory to be damaged."""

    def __init__(self, model):
        self.home = pathlib.Path(tempfile.mkdtemp(prefix="brindle-damage-"))
        self.data = self.home / "data"
        shutil.copytree(model, self.data)
        self.segments = segments_of(self.data)

    def __enter__(self):
        return self

    def __exit__(self, *_error):
        shutil.rmtree(self.home, ignore_errors=True)


def change(path, offset, new):
    with open(path, "r+b") as file:
        file.seek(offset)
        file.write(new)


def refuses(data_dir, names=None, offset=False):
    """The daemon must not start on it, must say why, and must leave it alone."""
    before = fingerprint(data_dir)
    with start(data_dir, wait=False) as daemon:
        status = daemon.wait()
    said = "\n".join(daemon.log)
    assert status == 3, f"exit status {status}\n{said}"
    if names:
        assert names in said, f"{names} is not named:\n{said}"
    if offset:
        assert re.search(r"(offset|byte) \d+", said), f"no offset is named:\n{said}"
    after = fingerprint(data_dir)
    changed = sorted(path for path in {*before, *after} if before.get(path) != after.get(path)
                     and not path.endswith("/lock"))
    assert not changed, f"changed although refused: {changed}"
    if wal_tool():
        done = subprocess.run([*sanitizer_prefix(wal_tool()), wal_tool(), "verify", data_dir],
                              stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        assert done.returncode not in (0, -6, -11), f"brindle-wal verify: {done.returncode}"


# ---- Torn ends -------------------------------------------------------------------------------


def tail_is_torn(model, how, size):
    with Case(model) as case:
        last = case.segments[-1]
        end = end_of(last)
        if how == "cut":
            os.truncate(last, end - size)
        else:
            new = bytes(size) if how == "zeros" else random.Random(size).randbytes(size)
            change(last, end - size, new)
        with start(case.data) as daemon:
            # One acknowledged group may go: nothing says that it was ever synced.
            count = count_prefix(daemon)
            assert KEYS - BATCH <= count < KEYS, f"{count} keys"
            lines = [TORN_LINE.search(line) for line in daemon.log]
            lines = [line for line in lines if line]
            assert len(lines) == 1, "one line must tell it:\n" + daemon.tail()
            path, offset, dropped = lines[0].groups()
            assert pathlib.Path(path).name == last.name, lines[0][0]
            assert 4096 <= int(offset) < end - size + 1, lines[0][0]
            assert int(dropped) <= end - int(offset) + 8, lines[0][0]
            daemon.kill()
        with start(case.data) as daemon:
            assert count_prefix(daemon) == count
            assert not any(map(TORN_LINE.search, daemon.log)), "told again:\n" + daemon.tail()


def tails_are_torn(model, how):
    dice = random.Random(f"{SEED}/{how}")
    # The value of the last key lies at the end, so that all of these meet the last group.
    for size in (1, 2, 63, *(dice.randrange(1, VALUE_BYTES) for _ in range(TAILS - 3))):
        tail_is_torn(model, how, size)


def end_is_whole(model):
    """Nothing was damaged: nothing is reported, nothing is missing."""
    with Case(model) as case, start(case.data) as daemon:
        assert count_prefix(daemon) == KEYS
        assert not any(map(TORN_LINE.search, daemon.log)), daemon.tail()


# ---- Damage ----------------------------------------------------------------------------------


def bits_are_flipped(model):
    """Anywhere but in the last groups, which nothing says to be synced."""
    dice = random.Random(f"{SEED}/flips")
    for _ in range(FLIPS):
        with Case(model) as case:
            path = dice.choice(case.segments)
            end = end_of(path)
            if path == case.segments[-1]:
                end -= 4 * BATCH * (VALUE_BYTES + 100)
            offset = dice.randrange(end)
            old = path.read_bytes()[offset]
            change(path, offset, bytes([old ^ 1 << dice.randrange(8)]))
            refuses(case.data, path.name, offset=offset >= 4096)


def segment_is_dropped(model, index):
    with Case(model) as case:
        case.segments[index].unlink()
        refuses(case.data)


def segment_is_doubled(model):
    with Case(model) as case:
        number = int(case.segments[-1].stem, 16) + 1
        for later in sorted((case.data / "wal").glob("*.wal")):
            if int(later.stem, 16) >= number:
                later.unlink()  # prepared, never used
        shutil.copy(case.segments[0], case.data / "wal" / f"{number:016x}.wal")
        refuses(case.data, f"{number:016x}.wal")


def segments_are_exchanged(model):
    with Case(model) as case:
        first, second = case.segments[:2]
        first.rename(case.home / "kept")
        second.rename(first)
        (case.home / "kept").rename(second)
        refuses(case.data, first.name)


def segment_is_foreign(model):
    with Case(model) as case, Case(model) as other:
        shutil.rmtree(other.data)
        fill(other.data)
        shutil.copy(segments_of(other.data)[1], case.segments[1])
        refuses(case.data, case.segments[1].name)


def meta_is_damaged(model, how):
    with Case(model) as case:
        meta = case.data / "meta"
        if how == "missing":
            meta.unlink()
        elif how == "zeros":
            meta.write_bytes(bytes(meta.stat().st_size))
        else:
            for offset in range(0, meta.stat().st_size, 512):
                change(meta, offset + 100, b"\xff")
        refuses(case.data, "meta")


# ---- Two daemons -----------------------------------------------------------------------------


def second_daemon_is_refused(model):
    with Case(model) as case, start(case.data) as first:
        with start(case.data, wait=False) as second:
            assert second.wait() == 1, second.tail()
            said = "\n".join(second.log)
            assert str(case.data) in said and re.search(r"\buse", said), said
        assert count_prefix(first) == KEYS
        assert first.stop() == 0, first.tail()


def main():
    results = CrashResults()
    with tempfile.TemporaryDirectory(prefix="brindle-model-") as home:
        model = pathlib.Path(home) / "data"
        fill(model)
        assert len(segments_of(model)) >= 3, "the model has too few segments"
        results.run("end_is_whole", end_is_whole, model)
        for how in ("cut", "zeros", "garbage"):
            results.run(f"tails_are_torn_{how}", tails_are_torn, model, how)
        results.run("bits_are_flipped", bits_are_flipped, model)
        for name, index in (("first", 0), ("middle", 1), ("last", -1)):
            results.run(f"{name}_segment_is_dropped", segment_is_dropped, model, index)
        results.run("segment_is_doubled", segment_is_doubled, model)
        results.run("segments_are_exchanged", segments_are_exchanged, model)
        results.run("segment_is_foreign", segment_is_foreign, model)
        for how in ("missing", "zeros", "flipped"):
            results.run(f"meta_is_{how}", meta_is_damaged, model, how)
        results.run("second_daemon_is_refused", second_daemon_is_refused, model)
    return results.finish()


if __name__ == "__main__":
    sys.exit(main())
