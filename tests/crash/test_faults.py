"""Disks that fail, and processes that end at the worst moment.

A write or sync of the log fails: the writes that wait for it get UNKNOWN_RESULT and never OK,
later ones READ_ONLY, what was committed is still served, the log says it once, Stats too; after
a restart everything acknowledged is there. A fault while starting is exit status 1 and a
sentence. Then the same for disks that are full or read-only, for a limit on the file size, and
for an end of the process at each CRASH_POINT, and in the middle of each kind of write.

BREAKS=1 also builds a daemon that ignores what a sync says, which must be caught.
"""
import contextlib
import os
import pathlib
import re
import secrets
import signal
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
from rig import (CHECKPOINTS, CrashResults, Daemon, Disk, Helper, SEED, address_of,  # noqa: E402
                 build_broken, build_folder, find_program, folder_of_its_own, number, numbers_of,
                 preload, run, small_disk, tally, until, verify_log, why_no_disk, why_no_mount)
from brindle_client import Client, pb  # noqa: E402

FAILED_LINE = re.compile(r"the log has failed: cannot \w+")
LOAD = "conns=3 depth=16 mix=1 readers=1"


def start(data_dir, durability="full", args=(), **more):
    return Daemon("--durability", durability, "--workers", "2", "--wal-segment-size", "1mb",
                  "--wal-sync-interval", "200ms", *args, data_dir=data_dir, **more)


def stats_of(client, prefix):
    reply = client.call(stats=pb.Stats(prefix=prefix))
    return {stat.name: stat.number for stat in reply.stats.stats}


def check_is_read_only(daemon, settled):
    """The daemon after its log has failed. `settled`: a key that was committed before."""
    with Client(daemon.listen) as client:
        assert client.call(ping=pb.Ping(payload=b"x")).value == b"x"
        assert client.call(get=pb.Get(key=settled)).value == b"settled", "committed data is served"
        for write in ({"put": pb.Put(key=b"k", value=b"v")}, {"incr": pb.Incr(key=b"n", delta=1)},
                      {"clear": pb.Clear()}, {"delete": pb.Delete(keys=[settled])},
                      {"sync": pb.Sync()}):
            status = client.call(**write).status
            assert status == pb.READ_ONLY, f"{write}: {pb.Status.Name(status)}"
        assert client.call(get=pb.Get(key=settled)).value == b"settled"
        assert stats_of(client, "wal_failed") == {"wal_failed": 1}
        assert stats_of(client, "wal_epoch")["wal_epoch"] > 0
    daemon.wait_log(FAILED_LINE.pattern)
    lines = [line for line in daemon.log if FAILED_LINE.search(line)]
    assert len(lines) == 1, f"one line must say it, not {len(lines)}:\n" + daemon.tail()


def settle(daemon):
    """A key on stable storage, before anything fails."""
    with Client(daemon.listen) as client:
        reply = client.call(put=pb.Put(key=b"settled", value=b"settled"))
        assert reply.status == pb.OK, reply


def remove_settled(daemon):
    """So that the load finds its own keys only."""
    with Client(daemon.listen) as client:
        assert client.call(get=pb.Get(key=b"settled")).value == b"settled"
        assert client.call(delete=pb.Delete(keys=[b"settled"])).status == pb.OK


def fail_under_load(load, daemon, durability):
    """True if the log failed under the load, and all was as it must be."""
    said = numbers_of(load.ask(f"run {address_of(daemon)} {LOAD} class={durability} failure=1 "
                               "at=8000"))
    if not said["unknown"] and not said["refused"]:
        return False
    check_is_read_only(daemon, b"settled")
    return True


def recover(load, data_dir, durability):
    with start(data_dir, durability) as daemon:
        remove_settled(daemon)
        load.ask(f"verify {address_of(daemon)} rule=kill class={durability}")
        assert daemon.stop() == 0, daemon.tail()
    verify_log(data_dir)


# ---- The n-th call fails ---------------------------------------------------------------------


def nth_call_fails(durability, settings, program=None):
    """n counts from the start of the daemon; which calls follow is not the test's business."""
    starts = loads = 0
    for at in (*range(1, 13), 14, 16, 20, 30, 50, 100, 300):
        with folder_of_its_own() as folder, Helper("crash_load", seed=SEED + at) as load:
            data_dir = folder / "data"
            with start(data_dir, durability) as daemon:
                settle(daemon)
                assert daemon.stop() == 0
            env = preload("faultio", program, FIO_PATH="/data/", FIO_AT=at, **settings)
            with start(data_dir, durability, env=env, program=program, wait=False) as daemon:
                try:
                    daemon.wait_ready()
                except RuntimeError:
                    starts += 1
                    assert daemon.wait() == 1, daemon.tail()
                    assert any("error" in line for line in daemon.log), daemon.tail()
                else:
                    failed = fail_under_load(load, daemon, durability)
                    loads += failed
                    status = daemon.stop()
                    assert status == 1 or not failed, daemon.tail()
            recover(load, data_dir, durability)
    tally(faults=starts + loads)
    print(f"{durability} {settings}: {starts} starts and {loads} loads failed")
    assert loads > (settings["FIO_OP"] != "fallocate"), "the fault never met the load"


def ignored_sync_is_caught():
    program = build_broken("IGNORED_FSYNC")
    try:
        nth_call_fails("full", {"FIO_OP": "fsync"}, program)
    except AssertionError as error:
        print(f"IGNORED_FSYNC caught: {error}")
        return
    raise AssertionError("not caught")


def write_is_short(durability):
    """Half a write is completed by another: nobody notices."""
    for at in (1, 3, 10, 40):
        with folder_of_its_own() as folder, Helper("crash_load") as load:
            env = preload("faultio", FIO_PATH="/wal/", FIO_OP="write", FIO_AT=at, FIO_SHORT=7)
            with start(folder / "data", durability, env=env) as daemon:
                settle(daemon)
                assert not fail_under_load(load, daemon, durability), daemon.tail()
                assert daemon.stop() == 0
            recover(load, folder / "data", durability)


def killed_within_a_write(durability):
    """A group of which only the first bytes are there, whatever their number."""
    torn = 0
    for at, size in ((12, 0), (12, 1), (13, 63), (14, 64), (15, 65), (20, 100), (30, 511), (31, 512),
                     (40, 4096)):
        with folder_of_its_own() as folder, Helper("crash_load") as load:
            with start(folder / "data", durability) as daemon:
                settle(daemon)
            env = preload("faultio", FIO_PATH="/wal/", FIO_OP="write", FIO_AT=at, FIO_SHORT=size,
                          FIO_KILL=1)
            with start(folder / "data", durability, env=env, wait=False) as daemon:
                try:
                    daemon.wait_ready()
                except RuntimeError:
                    pass
                else:
                    load.ask(f"run {address_of(daemon)} {LOAD} class={durability} at=100000")
                assert daemon.wait() == -signal.SIGKILL, daemon.tail()
            tally(kills=1)
            with start(folder / "data", durability) as daemon:
                torn += any("never whole" in line for line in daemon.log)
                remove_settled(daemon)
                load.ask(f"verify {address_of(daemon)} rule=kill class={durability}")
            verify_log(folder / "data")
    print(f"{durability}: {torn} torn tails")
    assert torn > 2, "no write was torn"


# ---- Disks that are full, or read-only -------------------------------------------------------


def fails_and_recovers(data_dir, durability, spoil, mend, args=()):
    with Helper("crash_load") as load:
        with start(data_dir, durability, args=args) as daemon:
            settle(daemon)
            spoil(daemon)
            said = numbers_of(load.ask(f"run {address_of(daemon)} {LOAD} class={durability} "
                                       "failure=1 at=400000"))
            assert said["unknown"] or said["refused"], "the log did not fail\n" + daemon.tail()
            check_is_read_only(daemon, b"settled")
            status = daemon.stop()
            assert status == 1, f"exit status {status}\n" + daemon.tail()
        mend()
        recover(load, data_dir, durability)


def disk_is_full(durability):
    with small_disk("7m") as folder:
        fails_and_recovers(folder / "data", durability, lambda daemon: None,
                           lambda: run("mount", "-o", "remount,size=100m", folder),
                           args=("--disk-reserve", "off"))


@contextlib.contextmanager
def evidence(daemon):
    """What the daemon says of itself, if the block fails."""
    try:
        yield
    except BaseException:
        with contextlib.suppress(Exception), Client(daemon.listen) as client:
            for name, value in sorted(stats_of(client, "").items()):
                print(f"    {name} {value}")
        print("\n".join(daemon.log), flush=True)
        raise


def put(client, number, size=2000):
    return client.call(put=pb.Put(key=b"k%d" % number, value=b"%d " % number + bytes(size))).status


def write_until(client, status, first, keys=10**9):
    """Puts, of `keys` keys in turn, until one is answered so; the numbers of those that were OK."""
    acknowledged = []

    def wanted():
        while (answer := put(client, (first + len(acknowledged)) % keys)) == pb.OK:
            acknowledged.append(first + len(acknowledged))
            assert len(acknowledged) < 200000, "the disk has no end"
            if status == pb.OK:
                return True
        assert answer == pb.DISK_FULL, pb.Status.Name(answer)
        return status == pb.DISK_FULL

    until(wanted, what=f"the answer {pb.Status.Name(status)}")
    return acknowledged


def fill(client, acknowledged):
    """Puts until one is refused that no checkpoint under way will make room for."""
    low = False
    while not low:
        acknowledged += write_until(client, pb.DISK_FULL, len(acknowledged))
        until(lambda: stats_of(client, "checkpoint_running") == {"checkpoint_running": 0},
              what="no checkpoint")
        low = stats_of(client, "disk_low") == {"disk_low": 1}


def check_is_low(client, daemon):
    """Nothing but writes is refused, and the connection lives."""
    until(lambda: stats_of(client, "disk_low") == {"disk_low": 1}, what="disk_low")
    for write in ({"put": pb.Put(key=b"k0", value=b"v")}, {"incr": pb.Incr(key=b"n", delta=1)},
                  {"append": pb.Append(key=b"k0", value=b"v")}):
        reply = client.call(**write)
        assert reply.status == pb.DISK_FULL and reply.message, reply
    assert client.call(get=pb.Get(key=b"k0")).value.startswith(b"0 ")
    assert client.call(sync=pb.Sync()).status == pb.OK
    stats = stats_of(client, "")
    assert stats["wal_failed"] == 0 and stats["disk_full"] >= 3
    assert stats["disk_free_bytes"] < stats["disk_reserve_bytes"] + (3 << 20)
    daemon.wait_log("the disk is nearly full")


def the_reserve_is_kept(folder, durability):
    """A file of somebody else's fills the disk; when it goes, writes go on by themselves."""
    others = folder / "others"
    with open(others, "wb") as file:
        space = os.statvfs(folder)
        os.posix_fallocate(file.fileno(), 0, space.f_bavail * space.f_frsize - (16 << 20))
    with start(folder / "data", durability) as daemon, Client(daemon.listen) as client, \
            evidence(daemon):
        acknowledged = []
        fill(client, acknowledged)
        assert len(acknowledged) > 1000, len(acknowledged)
        check_is_low(client, daemon)
        others.unlink()
        acknowledged += write_until(client, pb.OK, len(acknowledged))
        daemon.wait_log("the disk has room again")
        # The log stops at the reserve also where nobody else takes anything.
        fill(client, acknowledged)
        check_is_low(client, daemon)
        # Half of the data goes, and a checkpoint gives the log back.
        gone = len(acknowledged) // 2
        for first in range(0, gone, 500):
            keys = [b"k%d" % number for number in range(first, min(gone, first + 500))]
            assert client.call(delete=pb.Delete(keys=keys)).status == pb.OK
        acknowledged += write_until(client, pb.OK, len(acknowledged))
        daemon.kill()
    check_holds(folder / "data", durability, acknowledged[gone:])


def check_holds(data_dir, durability, numbers):
    with start(data_dir, durability) as daemon, Client(daemon.listen) as client, evidence(daemon):
        assert client.call(count=pb.Count()).number == len(numbers)
        for number in numbers:
            value = client.call(get=pb.Get(key=b"k%d" % number)).value
            assert value.startswith(b"%d " % number), number
        assert daemon.stop() == 0, daemon.tail()
    verify_log(data_dir)


def a_low_disk_is_given_back(folder, durability):
    """The same keys again and again: a checkpoint frees all but the last of each."""
    with start(folder / "data", durability) as daemon, Client(daemon.listen) as client, \
            evidence(daemon):
        done = 0
        while stats_of(client, "checkpoints")["checkpoints"] < 3:
            for _ in range(500):
                done += len(write_until(client, pb.OK, done, keys=100))
            assert done < 400000, "nothing was given back, and the disk has no end"
        stats = stats_of(client, "")
        assert stats["checkpoint_failures"] == 0 and stats["wal_failed"] == 0, stats
        daemon.kill()
    check_holds(folder / "data", durability, range(100))


def on_small_disks(test, durability):
    """Of an ext4, and of a tmpfs."""
    with small_disk("48m") as folder:
        test(folder, durability)
    if why_no_disk() is None:
        with Disk(64) as disk:
            test(disk.folder, durability)


def disk_becomes_read_only(durability):
    """What ext4 does by itself when it finds an error."""
    with Disk(64, options="errors=remount-ro") as disk:
        trigger = pathlib.Path("/sys/fs/ext4") / pathlib.Path(disk.loop).name / "trigger_fs_error"
        fails_and_recovers(disk.folder / "data", durability,
                           lambda daemon: trigger.write_text("brindle test"), disk.restore)


def file_size_is_limited(durability):
    """As `ulimit -f` does it; SIGXFSZ must not end the daemon."""
    with folder_of_its_own() as folder:
        fails_and_recovers(
            folder / "data", durability,
            lambda daemon: run("prlimit", f"--pid={daemon.pid}", "--fsize=100000"), lambda: None)


def start_without_space():
    with small_disk("64k") as folder, start(folder / "data", wait=False) as daemon:
        assert daemon.wait() == 1, daemon.tail()
        assert any("No space left" in line or "full" in line for line in daemon.log), daemon.tail()


# ---- The end at each crash point -------------------------------------------------------------


def crash_points():
    names = set()
    for source in (pathlib.Path(os.environ["BRINDLE_SRC"]) / "daemon").rglob("*.c"):
        names.update(re.findall(r'CRASH_POINT\("(\w+)"\)', source.read_text()))
    return sorted(names)


OTHER_KEY = b"not of the load"


def finish_checkpoints(daemon):
    """One that is under way is given up by a stop; on a busy machine each would be. The log that
    the first ones leave behind becomes a spare, and the segments of the last ones are made of it."""
    with contextlib.suppress(OSError), Client(daemon.listen) as client:  # it may end meanwhile
        for _ in range(6):
            assert client.call(put=pb.Put(key=OTHER_KEY, value=b"more log")).status == pb.OK
            assert client.call(checkpoint=pb.Checkpoint(mode=pb.CHECKPOINT_RESTART)).status == pb.OK


def end_at(point, nth, load, data_dir, durability):
    """True if the process came there."""
    with start(data_dir, durability, args=CHECKPOINTS, wait=False,
               env={"BRINDLE_CRASH": f"{point}:{nth}"}) as daemon:
        try:
            daemon.wait_ready()
        except RuntimeError:
            assert daemon.wait() == 137, daemon.tail()
            return True
        try:
            load.ask(f"run {address_of(daemon)} conns=2 depth=16 mix=1 class={durability} at=12000")
        except AssertionError:  # it ended between the ready line and the first connection
            assert daemon.wait() == 137, daemon.tail()
        finish_checkpoints(daemon)
        status = daemon.stop()
        assert status in (0, 137), f"{status}\n" + daemon.tail()
    with start(data_dir, durability, args=CHECKPOINTS) as daemon:
        with Client(daemon.listen) as client:
            client.call(delete=pb.Delete(keys=[OTHER_KEY]))
        load.ask(f"verify {address_of(daemon)} rule=kill class={durability}")
        daemon.kill()
    return status == 137


WARM_KEYS = [b"key-%d" % i for i in range(300)]


def put_all(daemon, value):
    items = [pb.KeyValue(key=key, value=value) for key in WARM_KEYS]
    with Client(daemon.listen) as client:
        assert client.call(put_many=pb.PutMany(items=items)).status == pb.OK


def end_warm_at(point, data_dir):
    """True if a cache that stays warm came there, at a stop or a start. What comes back is what was
    there last, whole, or nothing."""
    def start_warm(**more):
        return start(data_dir, "none", args=("--warm",), **more)

    with start_warm() as daemon:
        put_all(daemon, b"old")
        assert daemon.stop() == 0, daemon.tail()
    newest = b"old"
    with start_warm(wait=False, env={"BRINDLE_CRASH": f"{point}:1"}) as daemon:
        try:
            daemon.wait_ready()
        except RuntimeError:
            status = daemon.wait()
        else:
            with Client(daemon.listen) as client:
                assert client.call(get=pb.Get(key=WARM_KEYS[0])).value == b"old"
            put_all(daemon, b"new")
            newest = b"new"
            status = daemon.stop()
        assert status in (0, 137), f"{status}\n" + daemon.tail()
    with start_warm() as daemon, Client(daemon.listen) as client:
        found = {client.call(get=pb.Get(key=key)).value for key in WARM_KEYS}
        assert found in ({newest}, {b""}), f"{point}: {found}\n" + daemon.tail()
        daemon.kill()
    return status == 137


def end_sealing_at(point, data_dir):
    """Encryption is turned on, and off by a reload, and each time the process ends where meta says
    what it is from then on."""
    keys = data_dir.with_name("keys")
    key = secrets.token_hex(32)

    def say(*lines):
        keys.touch(mode=0o600)
        keys.write_text("\n".join(lines) + "\n")

    def start_with_keys(**more):
        return start(data_dir, args=("--key-file", keys), **more)

    with start(data_dir) as daemon:
        put_all(daemon, b"here")
        assert daemon.stop() == 0, daemon.tail()
    for lines in ((key,), ("plain", key)):
        say(key)
        with start_with_keys(wait=False, env={"BRINDLE_CRASH": f"{point}:1"}) as daemon:
            with contextlib.suppress(RuntimeError):  # turning it on may end before the ready line
                daemon.wait_ready()
            if len(lines) == 2:
                say(*lines)
                daemon.signal(signal.SIGHUP)
            assert daemon.wait() == 137, daemon.tail()
        say(*lines)
        with start_with_keys() as daemon, Client(daemon.listen) as client:
            for name in WARM_KEYS:
                assert client.call(get=pb.Get(key=name)).value == b"here"
            until(lambda: stats_of(client, "encryption_pending")["encryption_pending"] == 0,
                  what="the end of the change of keys")
            assert daemon.stop() == 0, daemon.tail()
    verify_log(data_dir)


def ends_everywhere(durability):
    """Ends at each point, the first and later times, over the same growing data."""
    reached = set()
    warm = {name for name in crash_points() if name.startswith("warm_")}
    sealing = {name for name in crash_points() if name.startswith("sealing_")}
    points = [name for name in crash_points() if name not in warm | sealing]
    for point in sorted(sealing):
        with folder_of_its_own() as folder:
            end_sealing_at(point, folder / "data")
            reached.add(point)
            tally(kills=2)
    with folder_of_its_own() as folder:
        for point in sorted(warm):
            if end_warm_at(point, folder / "data"):
                reached.add(point)
                tally(kills=1)
    with folder_of_its_own() as folder, Helper("crash_load") as load:
        for nth in (1, 2, 3):
            for point in points:
                if end_at(point, nth, load, folder / "data", durability):
                    reached.add(point)
                    tally(kills=1)
        with start(folder / "data", durability) as daemon:
            load.ask(f"verify {address_of(daemon)} rule=kill class={durability}")
        verify_log(folder / "data")
    print(f"{durability}: ended at {len(reached)} of {len(crash_points())} points")
    # What is only passed after a torn tail is not passed here.
    missed = set(crash_points()) - reached - {"segment_dropped"}
    assert not missed, f"never reached: {', '.join(sorted(missed))}"


def has_crash_points():
    return b"BRINDLE_CRASH" in find_program("brindled").read_bytes()


def main():
    results = CrashResults()
    if (build_folder() / "tests/preload/faultio.so").exists():
        for settings in ({"FIO_OP": "fsync"}, {"FIO_OP": "write", "FIO_ERRNO": "ENOSPC"},
                         {"FIO_OP": "fallocate", "FIO_ERRNO": "ENOSPC", "FIO_FOR": "0"}):
            results.run(f"nth_{settings['FIO_OP']}_fails", nth_call_fails, "full", settings)
        results.run("nth_write_fails_under_normal", nth_call_fails, "normal", {"FIO_OP": "write"})
        if number("BREAKS", 0):
            results.run("ignored_sync_is_caught", ignored_sync_is_caught)
        results.run("write_is_short", write_is_short, "full")
        results.run("killed_within_a_write", killed_within_a_write, "normal")
    else:
        results.skip("tests/preload/faultio.so is not built")
    results.run("file_size_is_limited", file_size_is_limited, "normal")
    reason = why_no_mount()
    if reason:
        results.skip(reason)
    else:
        results.run("disk_is_full_under_normal", disk_is_full, "normal")
        results.run("disk_is_full_under_full", disk_is_full, "full")
        results.run("start_without_space", start_without_space)
        for durability in ("normal", "full"):
            results.run(f"the_reserve_is_kept_under_{durability}", on_small_disks,
                        the_reserve_is_kept, durability)
        results.run("a_low_disk_is_given_back", on_small_disks, a_low_disk_is_given_back, "normal")
    reason = why_no_disk()
    if reason:
        results.skip(reason)
    else:
        results.run("disk_becomes_read_only", disk_becomes_read_only, "full")
    if has_crash_points():
        results.run("ends_everywhere", ends_everywhere, "normal")
    else:
        results.skip("this build has no crash points (BRINDLE_DEBUG is off)")
    return results.finish()


if __name__ == "__main__":
    os.environ.setdefault("BRINDLE_SRC", str(pathlib.Path(__file__).resolve().parents[2]))
    sys.exit(main())
