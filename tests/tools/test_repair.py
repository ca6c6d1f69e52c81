"""brindle-wal repair: after damage at any place of log, snapshot or meta it says what is lost, keeps a
backup from which the damaged directory comes back, and leaves one that a daemon starts on and that
holds exactly what came before the damage. What cannot be repaired is left alone.

FLIPS=1000 for a long run.
"""
import contextlib
import hashlib
import json
import os
import pathlib
import random
import shutil
import subprocess
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
from rig import (CrashResults, Daemon, SEED, number, sanitizer_prefix, small_disk,  # noqa: E402
                 find_program, why_no_mount)
from brindle_client import Client, pb  # noqa: E402

TOOL = find_program("brindle-wal")
KEYS = 1200
VALUE_BYTES = 2000
FLIPS = number("FLIPS", 16)
OPTIONS = ("--durability", "full", "--workers", "1", "--wal-segment-size", "1mb",
           "--checkpoint-log-size", "off", "--checkpoint-interval", "off")


def tool(*args):
    """Exit status, standard output and error."""
    done = subprocess.run([*sanitizer_prefix(TOOL), TOOL, *map(str, args)], text=True,
                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert done.returncode >= 0, done.stderr
    return done.returncode, done.stdout, done.stderr


def lines_of(text):
    return [json.loads(line) for line in text.splitlines()]


def key_of(i):
    return b"repair/%05d" % i


def value_of(i):
    return random.Random(i).randbytes(VALUE_BYTES)


def fill(data, first, count, *options, stop=True, env=None):
    """Numbered keys, each a group of its own, in their order."""
    with Daemon(*OPTIONS, *options, data_dir=data, env=env) as daemon, \
            Client(daemon.listen) as client:
        for i in range(first, first + count):
            assert client.call(put=pb.Put(key=key_of(i), value=value_of(i))).status == pb.OK
        if stop:
            daemon.stop()
        else:
            daemon.kill()


def count_prefix(data):
    """A daemon starts on it; how many of the first keys are there, and no others."""
    with Daemon(*OPTIONS, data_dir=data) as daemon, Client(daemon.listen) as client:
        there = []
        for first in range(0, KEYS, 200):
            keys = [key_of(i) for i in range(first, first + 200)]
            for i, item in enumerate(client.call(get_many=pb.GetMany(keys=keys)).items, first):
                there.append(item.found)
                assert not item.found or item.value == value_of(i), i
        count = there.count(True)
        assert all(there[:count]), "a hole"
        assert client.call(count=pb.Count()).number == count
        assert client.call(put=pb.Put(key=b"new", value=b"x")).status == pb.OK
        assert daemon.stop() == 0
    return count


def fingerprint(data):
    return {str(path.relative_to(data)): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in sorted(data.rglob("*")) if path.is_file() and path.name != "lock"}


@contextlib.contextmanager
def copy_of(model):
    home = pathlib.Path(tempfile.mkdtemp(prefix="brindle-repair-"))
    try:
        shutil.copytree(model, home / "data")
        yield home / "data"
    finally:
        shutil.rmtree(home)


def flip(path, offset, bit=1):
    with open(path, "r+b") as file:
        file.seek(offset)
        old = file.read(1)[0]
        file.seek(offset)
        file.write(bytes([old ^ bit]))


def end_of(path):
    return len(path.read_bytes().rstrip(b"\0"))


def segments_of(data):
    return [path for path in sorted((data / "wal").glob("*.wal")) if end_of(path) > 4096]


def snapshot_of(data):
    (path,) = (data / "snapshots").glob("*.snap")
    return path


def records_before_damage(data):
    """Versions that dump shows before it meets the damage."""
    status, out, _ = tool("dump", "--format", "json", "--records", data)
    return status, [line["version"] for line in lines_of(out) if line["type"] == "record"]


def repaired(data, whole=False):
    """Repairs a directory, with all that must hold on the way; returns what it said."""
    damaged = fingerprint(data)
    assert tool("verify", data)[0] == 3
    status, out, err = tool("repair", "--format", "json", data)
    said = lines_of(out)
    assert status == 3, (status, out, err)
    assert fingerprint(data) == damaged, "a dry run changes nothing"
    assert sorted(path.name for path in data.parent.iterdir()) == [data.name]
    status, out, err = tool("repair", "--yes", "--format", "json", data)
    assert status == 0, (status, out, err)
    assert [line for line in lines_of(out) if line["type"] == "repair"] == \
        [line for line in said if line["type"] == "repair"], "as it said before"
    status, out, err = tool("verify", data)
    assert status == 0, (status, out, err)
    (backup,) = data.parent.glob(f"{data.name}.before-repair-*")
    # Over the repaired directory it gives the damaged one back.
    with copy_of(data) as again:
        for line in said:
            if line["type"] == "file" and line["action"] in ("remove", "update", "cut"):
                relative = pathlib.Path(line["path"]).relative_to(data)
                if (backup / relative).exists():
                    shutil.copy(backup / relative, again / relative)
        back = fingerprint(again)
        assert {name: back.get(name) for name in damaged} == damaged
    status, out, _ = tool("repair", data)
    assert status == 0 and "nothing to repair" in out
    plan, = (line for line in said if line["type"] == "repair")
    if whole:
        assert plan["lost_records"] == plan["damaged_bytes"] == plan["lost_version"] == 0, plan
    return plan


# ---- The log ---------------------------------------------------------------------------------


def flips_anywhere_in_the_log_leave_the_prefix(model):
    dice = random.Random(f"{SEED}/flips")
    for at in range(FLIPS):
        with copy_of(model) as data:
            path = dice.choice(segments_of(data))
            # Headers, too, but not only them.
            offset = dice.randrange(200) if at % 4 == 3 else dice.randrange(4096, end_of(path))
            flip(path, offset, 1 << dice.randrange(8))
            status, versions = records_before_damage(data)
            assert status == 3, (path, offset)
            plan = repaired(data)
            where = f"{path.name} at {offset}: {plan}"
            if offset >= 4096:
                assert plan["kept_records"] == len(versions), where
                assert plan["kept_version"] == (versions[-1] if versions else 0), where
                # Each key is a group: all but the damaged one are counted.
                assert plan["lost_records"] == KEYS - plan["kept_records"] - 1, where
                assert VALUE_BYTES <= plan["damaged_bytes"] <= VALUE_BYTES + 200, where
            else:
                assert plan["lost_records"] + plan["kept_records"] < KEYS, where
                assert plan["damaged_bytes"] > VALUE_BYTES, where
            assert count_prefix(data) == plan["kept_records"], where


def a_missing_segment_ends_the_log(model):
    for index in (0, 1, -1):
        with copy_of(model) as data:
            segments_of(data)[index].unlink()
            plan = repaired(data)
            assert count_prefix(data) == plan["kept_records"]
            assert (plan["kept_records"] == 0) == (index == 0), plan


def several_damages_end_it_at_the_first(model):
    with copy_of(model) as data:
        for path in segments_of(data):
            flip(path, 10_000)
        plan = repaired(data)
        assert count_prefix(data) == plan["kept_records"] > 0
        assert plan["lost_records"] > KEYS // 2


def text_says_what_is_lost(model):
    with copy_of(model) as data:
        path = segments_of(data)[1]
        flip(path, 100_000)
        status, out, err = tool("repair", data)
        assert status == 3 and "nothing was changed; --yes" in err, err
        for wanted in (f"damage        {path} is damaged at offset ", "keep          every version up to ",
                       "lost          every version above ", f"cut           {path} at byte ",
                       f"update        {data}/meta", f"remove        {segments_of(data)[2]}",
                       f"backup        {data}.before-repair-"):
            assert wanted in out, (wanted, out)


# ---- meta ------------------------------------------------------------------------------------


def meta_is_made_again(model):
    for how in ("missing", "zeros", "flipped"):
        with copy_of(model) as data:
            meta = data / "meta"
            if how == "missing":
                meta.unlink()
            elif how == "zeros":
                meta.write_bytes(bytes(8192))
            else:
                flip(meta, 100)
                flip(meta, 4196)
            plan = repaired(data, whole=True)
            assert count_prefix(data) == plan["kept_records"] == KEYS


def meta_and_a_segment_at_once(model):
    with copy_of(model) as data:
        (data / "meta").write_bytes(bytes(8192))
        flip(segments_of(data)[1], 100_000)
        plan = repaired(data)
        assert count_prefix(data) == plan["kept_records"] < KEYS


def nobody_knows_whose_log_it_is(model):
    with copy_of(model) as data:
        (data / "meta").unlink()
        for path in (data / "wal").glob("*.wal"):
            flip(path, 20)
        refused(data, "no segment tells whose log it was")


# ---- Snapshots -------------------------------------------------------------------------------


def refused(data, why):
    before = fingerprint(data)
    status, _, err = tool("repair", "--yes", data)
    assert status == 3 and why in err, (status, err)
    assert fingerprint(data) == before
    assert [path.name for path in data.parent.iterdir()] == [data.name]


def a_snapshot_whose_log_is_gone_is_refused(with_snapshot):
    with copy_of(with_snapshot) as data:
        flip(snapshot_of(data), 5000)
        refused(data, "cannot be repaired")


def flips_in_a_snapshot_whose_log_is_there_lose_nothing(with_both):
    dice = random.Random(f"{SEED}/snapshots")
    size = snapshot_of(with_both).stat().st_size
    for offset in (8, 100, 4096, size - 30, *(dice.randrange(size) for _ in range(FLIPS // 4))):
        with copy_of(with_both) as data:
            flip(snapshot_of(data), offset, 1 << dice.randrange(8))
            repaired(data, whole=True)
            assert not list((data / "snapshots").glob("*.snap"))
            assert count_prefix(data) == KEYS


def damage_that_a_snapshot_covers_loses_nothing(with_both):
    dice = random.Random(f"{SEED}/covered")
    for _ in range(max(2, FLIPS // 8)):
        with copy_of(with_both) as data:
            path = dice.choice(segments_of(data)[:2])
            flip(path, dice.choice((30, dice.randrange(4096, end_of(path)))))
            plan = repaired(data)
            # Either a segment behind the snapshot's start is whole, or the snapshot alone stays.
            assert plan["snapshot_version"] != 0, plan
            assert count_prefix(data) == KEYS, plan


def damage_behind_a_snapshot_leaves_it_and_the_prefix(with_snapshot):
    dice = random.Random(f"{SEED}/behind")
    for _ in range(max(4, FLIPS // 4)):
        with copy_of(with_snapshot) as data:
            path = segments_of(data)[-1]
            flip(path, dice.randrange(4096, end_of(path)))
            plan = repaired(data)
            assert plan["snapshot_version"] != 0, plan
            # Half of the keys are in the snapshot.
            assert count_prefix(data) == KEYS // 2 + plan["kept_records"], plan
            assert plan["kept_records"] + plan["lost_records"] == KEYS // 2 - 1, plan


def a_quiet_snapshot_needs_no_log(with_snapshot):
    with copy_of(with_snapshot) as data:
        for path in (data / "wal").glob("*.wal"):
            flip(path, 30)
        plan = repaired(data)
        assert plan["kept_records"] == 0 and plan["kept_version"] == plan["snapshot_version"], plan
        assert count_prefix(data) == KEYS // 2


def a_fuzzy_snapshot_needs_its_log(home):
    """Written to while it was made: without the log in between it is a state of no moment."""
    data = home / "fuzzy" / "data"
    data.parent.mkdir()
    fill(data, 0, KEYS // 2)
    with Daemon(*OPTIONS, "--checkpoint-log-size", "64kb", "--checkpoint-rate", "1mb",
                data_dir=data) as daemon, Client(daemon.listen) as client:
        i = KEYS // 2
        while (data / "wal" / f"{1:016x}.wal").exists():
            assert client.call(put=pb.Put(key=key_of(i), value=b"x" * 200)).status == pb.OK
            i += 1
        daemon.kill()
    status, out, _ = tool("dump", "--format", "json", "--snapshot", data)
    head = lines_of(out)[0]
    assert status == 0 and head["start_version"] < head["end_version"], head
    groups = [line for line in lines_of(tool("dump", "--format", "json", data)[1])
              if line["type"] == "group" and line["base_version"] >= head["start_version"]
              and line["last_version"] <= head["end_version"]]
    assert groups, "the load was not fast enough"
    middle = groups[len(groups) // 2]
    flip(data / "wal" / f"{middle['segment']:016x}.wal", middle["offset"] + 70)
    refused(data, "cannot be repaired")


# ---- What stands in the way ------------------------------------------------------------------


def a_running_daemon_is_left_alone(model):
    with copy_of(model) as data, Daemon(*OPTIONS, data_dir=data) as daemon:
        for yes in ((), ("--yes",)):
            status, _, err = tool("repair", *yes, data)
            assert status == 1 and f"in use by another process (pid {daemon.pid})" in err, err
        assert daemon.stop() == 0


def what_is_whole_is_left_alone(model):
    with copy_of(model) as data:
        before = fingerprint(data)
        status, out, _ = tool("repair", "--yes", data)
        assert status == 0 and "nothing to repair" in out, out
        assert fingerprint(data) == before
        assert [path.name for path in data.parent.iterdir()] == [data.name]
    with tempfile.TemporaryDirectory() as empty:
        status, _, err = tool("repair", empty)
        assert status == 1 and "there is no log" in err, err
        assert os.listdir(empty) == []


def without_room_for_the_backup_nothing_is_done(model):
    size = sum(path.stat().st_size for path in model.rglob("*") if path.is_file())
    with small_disk(size + (1 << 20)) as disk:
        data = disk / "data"
        shutil.copytree(model, data)
        flip(segments_of(data)[1], 100_000)
        before = fingerprint(data)
        status, _, err = tool("repair", "--yes", data)
        assert status == 1 and "make room first" in err, (status, err)
        assert fingerprint(data) == before
        assert [path.name for path in disk.iterdir()] == ["data"]


def main():
    results = CrashResults()
    with tempfile.TemporaryDirectory(prefix="brindle-model-") as name:
        home = pathlib.Path(name)
        model = home / "log"
        fill(model, 0, KEYS)
        with_snapshot = home / "snapshot"
        fill(with_snapshot, 0, KEYS // 2, "--checkpoint-on-stop")
        fill(with_snapshot, KEYS // 2, KEYS // 2)
        # Killed between the snapshot's name and the end of the log before it.
        with_both = home / "both"
        fill(with_both, 0, KEYS, "--checkpoint-on-stop",
             env={"BRINDLE_CRASH": "snapshot_durable:1"})
        for test in (flips_anywhere_in_the_log_leave_the_prefix, a_missing_segment_ends_the_log,
                     several_damages_end_it_at_the_first, text_says_what_is_lost,
                     meta_is_made_again, meta_and_a_segment_at_once, nobody_knows_whose_log_it_is,
                     a_running_daemon_is_left_alone, what_is_whole_is_left_alone):
            results.run(test.__name__, test, model)
        for test in (a_snapshot_whose_log_is_gone_is_refused,
                     damage_behind_a_snapshot_leaves_it_and_the_prefix,
                     a_quiet_snapshot_needs_no_log):
            results.run(test.__name__, test, with_snapshot)
        for test in (flips_in_a_snapshot_whose_log_is_there_lose_nothing,
                     damage_that_a_snapshot_covers_loses_nothing):
            results.run(test.__name__, test, with_both)
        results.run("a_fuzzy_snapshot_needs_its_log", a_fuzzy_snapshot_needs_its_log, home)
        reason = why_no_mount()
        if reason:
            results.skip(reason)
        else:
            results.run("without_room_for_the_backup_nothing_is_done",
                        without_room_for_the_backup_nothing_is_done, model)
    return results.finish()


if __name__ == "__main__":
    sys.exit(main())
