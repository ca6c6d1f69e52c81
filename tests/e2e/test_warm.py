#!/usr/bin/env python3
"""Warm restarts of a cache that is not logged: an orderly stop keeps it, anything else leaves it empty,
and nothing that was changed meanwhile ever comes back."""
import pathlib
import resource
import shutil
import signal
import subprocess
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "support"))
from brindle_client import Client, pb  # noqa: E402
from daemon import (PATIENCE_S, Daemon, Manager, Results, find_program, sanitizer_prefix,  # noqa: E402
                    scratch, until)

KEYS = 3000
LARGE = b"large " * 20000


def start(data, *args, **more):
    return Daemon("--durability", "none", "--warm", *args, data_dir=data, **more)


def key(i):
    return b"key-%d" % i


def value_of(i):
    return b"%d." % i * (1 + i % 50)


def put(client, name, value, **more):
    reply = client.call(put=pb.Put(key=name, value=value, **more))
    assert reply.status == pb.OK, reply
    return reply.version


def get(client, name):
    return client.call(get=pb.Get(key=name))


def numbers(client, prefix=""):
    return {stat.name: stat.number for stat in client.call(stats=pb.Stats(prefix=prefix)).stats.stats}


def fill(client, keys=KEYS):
    for begin in range(0, keys, 100):
        items = [pb.KeyValue(key=key(i), value=value_of(i)) for i in range(begin, begin + 100)]
        assert client.call(put_many=pb.PutMany(items=items)).status == pb.OK


def files(data):
    return sorted((data / "warm").rglob("*.*")) if (data / "warm").exists() else []


def said(daemon, text):
    return [line for line in daemon.log if text in line]


def an_orderly_restart_keeps_keys_deadlines_and_versions():
    data = scratch()
    with start(data) as daemon, Client(daemon.listen) as client:
        fill(client)
        put(client, b"large", LARGE)
        put(client, b"mortal", b"x", ttl_ms=3_600_000)
        put(client, b"short", b"x", ttl_ms=1)
        version = put(client, b"newest", b"x")
        assert daemon.stop() == 0, daemon.tail()
        assert said(daemon, f"warm stop: {KEYS + 3} keys"), daemon.log
    assert len(files(data)) == 1, files(data)
    for _round in range(2):  # the second has nothing but what the first one loaded
        with start(data) as daemon, Client(daemon.listen) as client:
            assert said(daemon, f"warm start: {KEYS + 3} keys"), daemon.log
            assert not files(data), "it is gone before anybody is served"
            for i in range(KEYS):
                assert get(client, key(i)).value == value_of(i), i
            assert get(client, b"large").value == LARGE
            assert get(client, b"newest").version == version
            assert get(client, b"short").status == pb.NOT_FOUND
            ttl = client.call(ttl=pb.Ttl(key=b"mortal")).ttl_ms
            assert 0 < ttl <= 3_600_000, ttl
            assert numbers(client, "warm_")["warm_keys"] == KEYS + 3
            assert daemon.stop() == 0, daemon.tail()
    with start(data) as daemon, Client(daemon.listen) as client:
        reply = client.call(put=pb.Put(key=b"newest", value=b"y", condition=pb.IF_VERSION,
                                       if_version=version))
        assert reply.status == pb.OK and reply.version > version, reply
        assert daemon.stop() == 0
    shutil.rmtree(data)


def after_a_kill_the_cache_is_empty():
    data = scratch()
    with start(data) as daemon, Client(daemon.listen) as client:
        fill(client)
        assert daemon.stop() == 0
    with start(data) as daemon, Client(daemon.listen) as client:
        put(client, key(1), b"new")
        assert client.call(delete=pb.Delete(keys=[key(2)])).number == 1
        daemon.kill()
    with start(data) as daemon, Client(daemon.listen) as client:
        assert client.call(count=pb.Count()).number == 0
        fill(client)
        assert daemon.stop() == 0
    shutil.rmtree(data)


def damage_is_a_warning_with_file_and_offset():
    for spoil in ("flip", "cut", "format"):
        data = scratch()
        with start(data) as daemon, Client(daemon.listen) as client:
            fill(client)
            assert daemon.stop() == 0
        path, = files(data)
        content = bytearray(path.read_bytes())
        if spoil == "flip":
            content[5000] ^= 4
        elif spoil == "cut":
            del content[-100:]
        else:
            content[8] = 99
        path.write_bytes(content)
        with start(data) as daemon, Client(daemon.listen) as client:
            line, = said(daemon, "warm start: the cache is empty")
            assert "warning" in line and str(path) in line and "offset" in line, line
            assert not files(data)
            assert client.call(count=pb.Count()).number == 0
            assert daemon.stop() == 0
        shutil.rmtree(data)


def less_memory_keeps_what_has_room():
    data = scratch()
    with start(data, "--max-memory", "64mb") as daemon, Client(daemon.listen) as client:
        for i in range(6000):
            put(client, key(i), b"v" * 3000)
        assert daemon.stop() == 0
    for policy in ("s3fifo", "noeviction"):
        with start(data, "--max-memory", "8mb", "--eviction", policy) as daemon, \
                Client(daemon.listen) as client:
            stats = numbers(client)
            assert 500 < stats["keys"] < 2800, stats["keys"]
            assert stats["memory_used"] <= stats["memory_limit"] * 17 // 16, stats
            if policy == "s3fifo":
                put(client, b"more", b"v" * 3000)
            assert daemon.stop() == 0
    shutil.rmtree(data)


def without_warm_or_with_a_log_it_is_removed():
    for args in (("--durability", "none"), ("--durability", "normal")):
        data = scratch()
        with start(data) as daemon, Client(daemon.listen) as client:
            fill(client)
            assert daemon.stop() == 0
        with Daemon(*args, data_dir=data) as daemon, Client(daemon.listen) as client:
            assert said(daemon, "not used"), daemon.log
            assert not files(data)
            assert client.call(count=pb.Count()).number == 0
            put(client, b"k", b"v")
            daemon.kill()
        with Daemon(*args, data_dir=data) as daemon, Client(daemon.listen) as client:
            assert get(client, b"k").status == (pb.OK if args[1] == "normal" else pb.NOT_FOUND)
            assert daemon.stop() == 0
        shutil.rmtree(data)


def what_makes_no_sense_is_refused():
    program = find_program("brindled")
    data = scratch()
    for args, sentence in ((("--warm", "--data-dir", "none"), "data-dir is none"),
                           (("--warm", "--data-dir", data), "durability is normal"),
                           (("--warm", "--durability", "full", "--data-dir", data),
                            "durability is full (--durability)")):
        done = subprocess.run([*sanitizer_prefix(program), program, *map(str, args)], text=True,
                              stdin=subprocess.DEVNULL, capture_output=True, timeout=PATIENCE_S)
        assert done.returncode == 2 and sentence in done.stderr, done
        assert done.stderr.count("\n") == 1 and "--warm: warm is yes" in done.stderr, done
    shutil.rmtree(data)


def a_disk_without_room_is_a_warning():
    """By the limit on the size of a file, which is what a full disk looks like."""
    data = scratch()
    with start(data) as daemon, Client(daemon.listen) as client:
        fill(client)
        for i in range(200):
            put(client, b"large-%d" % i, LARGE)
        resource.prlimit(daemon.pid, resource.RLIMIT_FSIZE, (8 << 20, 8 << 20))
        assert daemon.stop() == 0, daemon.tail()
        line, = said(daemon, "warm stop: the cache cannot be written")
        assert "warning" in line, line
    assert not files(data), "half a file"
    with start(data) as daemon, Client(daemon.listen) as client:
        assert client.call(count=pb.Count()).number == 0
        assert daemon.stop() == 0
    shutil.rmtree(data)


def a_second_signal_gives_the_file_up_and_the_manager_hears_that_it_lasts():
    data = scratch()
    with Manager() as manager:
        with start(data, env=manager.env) as daemon, Client(daemon.listen) as client:
            for i in range(1500):
                put(client, b"large-%d" % i, LARGE)
            daemon.signal(signal.SIGTERM)
            assert manager.wait("EXTEND_TIMEOUT_USEC="), daemon.tail()
            daemon.signal(signal.SIGTERM)
            assert daemon.wait() == 0, daemon.tail()
            # It may have been written by the time that the second one came.
            given_up = said(daemon, "given up, because a second signal came")
            assert bool(given_up) != bool(said(daemon, "warm stop: 1500 keys")), daemon.log
    assert bool(files(data)) != bool(given_up), files(data)
    assert not list((data / "warm").rglob("*.tmp"))
    with start(data) as daemon, Client(daemon.listen) as client:
        assert client.call(count=pb.Count()).number == (0 if given_up else 1500)
        assert daemon.stop() == 0
    shutil.rmtree(data)


def a_signal_during_the_load_keeps_the_file():
    data = scratch()
    with start(data) as daemon, Client(daemon.listen) as client:
        for i in range(500):
            put(client, b"large-%d" % i, LARGE)
        assert daemon.stop() == 0

    def stops_while_it_loads():
        """The signal waits for the daemon, unless it is so early that nobody blocks it yet."""
        with start(data, wait=False, prefix=("env", "--block-signal=TERM")) as daemon:
            daemon.signal(signal.SIGTERM)
            status = daemon.wait()
            assert status in (0, -signal.SIGTERM), daemon.tail()
            return status == 0 and said(daemon, "nothing that is kept was changed")
    until(stops_while_it_loads)
    assert len(files(data)) == 1
    with start(data) as daemon, Client(daemon.listen) as client:
        assert get(client, b"large-77").value == LARGE
        assert daemon.stop() == 0
    shutil.rmtree(data)


def main():
    results = Results()
    for test in (an_orderly_restart_keeps_keys_deadlines_and_versions, after_a_kill_the_cache_is_empty,
                 damage_is_a_warning_with_file_and_offset, less_memory_keeps_what_has_room,
                 without_warm_or_with_a_log_it_is_removed, what_makes_no_sense_is_refused,
                 a_disk_without_room_is_a_warning,
                 a_second_signal_gives_the_file_up_and_the_manager_hears_that_it_lasts,
                 a_signal_during_the_load_keeps_the_file):
        results.run(test.__name__, test)
    return results.finish()


if __name__ == "__main__":
    sys.exit(main())
