#!/usr/bin/env python3
"""Checkpoints of a daemon under load: the log stays short, a kill at any moment loses nothing, and
damage of a snapshot ends a start with 3. Checkpoints that clients ask for and wait for: what they
are told, and that nobody else notices the waiting, nor that the client or the daemon ends it."""
import json
import pathlib
import select
import socket
import subprocess
import sys
import threading

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "support"))
from brindle_client import Client, pb  # noqa: E402
from daemon import (PATIENCE_S, Daemon, Results, find_program, sanitizer_prefix, scratch,  # noqa: E402
                    until)

SMALL = ("--checkpoint-log-size", "64kb", "--checkpoint-rate", "off", "--wal-segment-size", "1mb")
# None but those that somebody asks for.
ASKED = ("--checkpoint-log-size", "off", "--checkpoint-interval", "off", "--wal-segment-size", "1mb")
# Such as take hours: of what is written, the first MiB is free.
ENDLESS = (*ASKED, "--checkpoint-rate", "1kb")
MIB = 1 << 20
PASSIVE, FULL, RESTART, TRUNCATE = (pb.CHECKPOINT_PASSIVE, pb.CHECKPOINT_FULL, pb.CHECKPOINT_RESTART,
                                    pb.CHECKPOINT_TRUNCATE)


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


# ---- Asked for by clients --------------------------------------------------------------------


def put_each(client, keys, value):
    """One record each; the last version."""
    requests = [client.request(put=pb.Put(key=key, value=value)) for key in keys]
    client.send(*requests)
    for request in requests:
        reply = client.receive()
        assert (reply.id, reply.status) == (request.id, pb.OK), reply
    return reply.version


def fill_mib(client, count):
    for i in range(count):
        assert client.call(put=pb.Put(key=b"mib-%d" % i, value=bytes([i]) * MIB)).status == pb.OK


def checkpoint(client, mode):
    return client.call(checkpoint=pb.Checkpoint(mode=mode))


def numbers_of(reply):
    assert reply.status == pb.OK and reply.HasField("checkpoint"), reply
    return reply.checkpoint.total, reply.checkpoint.done


def segments(data):
    return sorted(path.name for path in (data / "wal").glob("*.wal"))


def ask_and_wait_until_it_runs(client, *behind, mode=FULL, daemon):
    """Asks for one and does not wait for it; requests behind it. Returns all."""
    requests = [client.request(checkpoint=pb.Checkpoint(mode=mode)), *behind]
    client.send(*requests)
    with Client(daemon.listen) as other:
        until(lambda: numbers(other)["checkpoint_running"] == 1
              and numbers(other)["checkpoint_bytes"] >= MIB)
    return requests


def is_silent(client):
    return not select.select([client.socket], [], [], 0)[0]


def each_mode_answers_and_the_state_comes_back():
    data = scratch()
    written = {}
    with Daemon(*ASKED, data_dir=data) as daemon, Client(daemon.listen) as client:
        reply = checkpoint(client, RESTART)
        assert numbers_of(reply) == (0, 0) and reply.version == 0, reply  # of nothing
        for mode in (PASSIVE, FULL, RESTART, TRUNCATE):
            keys = [b"%d-%d" % (mode, i % 250) for i in range(300)]
            version = put_each(client, keys, b"%d" % mode * 10000)
            written.update(dict.fromkeys(keys, b"%d" % mode * 10000))
            before = segments(data)
            assert len(before) > 2, before
            reply = checkpoint(client, mode)
            assert numbers_of(reply) == ((0, 0) if mode == TRUNCATE else (300, 300)), (mode, reply)
            assert reply.version == version, (mode, reply)
            if mode >= RESTART:
                # All of it is gone, but for the file in which the log went on.
                after = segments(data)
                assert len(after) <= 2 and after[0] >= before[-1], (mode, before, after)
            again = checkpoint(client, mode)  # nothing new
            assert numbers_of(again) == (0, 0) and again.version == version, (mode, again)
        unknown = checkpoint(client, 4)
        assert unknown.status == pb.INVALID_ARGUMENT and unknown.message, unknown
        assert numbers(client)["checkpoint_failures"] == 0
        last = put_each(client, [b"after"], b"v")
        written[b"after"] = b"v"
        daemon.kill()
    status, out = run_tool("brindle-wal", "verify", data)
    assert status == 0 and "snapshot " in out, out
    with Daemon(*ASKED, data_dir=data) as daemon, Client(daemon.listen) as client:
        assert count(client) == len(written)
        for key, value in written.items():
            assert client.call(get=pb.Get(key=key)).value == value, key
        assert client.call(get=pb.Get(key=b"after")).version == last
        assert numbers(client)["recovery_records"] == 1
        assert daemon.stop() == 0


def others_go_on_and_what_is_pipelined_waits():
    # As long as it takes at least; on a machine that was busy for longer, once more.
    for seconds in (3, 15, 60):
        data = scratch()
        with Daemon(*ASKED, "--checkpoint-rate", "1mb", "--workers", "1", data_dir=data) as daemon, \
                Client(daemon.listen) as waiter, Client(daemon.listen) as other:
            fill_mib(other, seconds + 1)
            requests = ask_and_wait_until_it_runs(
                waiter, waiter.request(put=pb.Put(key=b"behind", value=b"1")),
                waiter.request(incr=pb.Incr(key=b"behind", delta=41)),
                waiter.request(get=pb.Get(key=b"behind")),
                waiter.request(checkpoint=pb.Checkpoint(mode=TRUNCATE)),
                waiter.request(ping=pb.Ping(payload=b"last")), daemon=daemon)
            passive = checkpoint(other, PASSIVE)
            version = put_each(other, [b"other-%d" % i for i in range(100)], b"v")
            nothing_behind = other.call(get=pb.Get(key=b"behind")).status == pb.NOT_FOUND
            if not (is_silent(waiter) and nothing_behind):
                continue
            assert numbers_of(passive) == (seconds + 1, 0) and passive.version == 0, passive
            replies = [waiter.receive() for _ in requests]
            assert [reply.id for reply in replies] == [request.id for request in requests]
            assert all(reply.status == pb.OK for reply in replies), replies
            assert numbers_of(replies[0]) == (seconds + 1 + 100, seconds + 1), replies[0]
            assert replies[0].version < version < replies[1].version
            assert replies[2].number == 42 and replies[3].value == b"42"
            assert numbers_of(replies[4]) == (0, 0)
            assert replies[4].version == replies[2].version
            assert replies[5].value == b"last"
            assert numbers(other)["requests_checkpoint"] == 3
            assert numbers(other)["pauses_log"] == 0
            assert daemon.stop() == 0
            return
    raise AssertionError("three checkpoints were over before anybody else was served")


def clients_may_leave_while_they_wait():
    data = scratch()
    with Daemon(*ENDLESS, data_dir=data) as daemon, Client(daemon.listen) as other:
        fill_mib(other, 3)
        until(lambda: numbers(other)["connections"] == 1)
        for way in ("close", "reset", "half"):
            clients = [Client(daemon.listen) for _ in range(5)]
            for client in clients:
                ask_and_wait_until_it_runs(
                    client, client.request(incr=pb.Incr(key=way.encode(), delta=1)),
                    mode=RESTART, daemon=daemon)
            assert all(map(is_silent, clients))
            for client in clients:
                if way == "reset":
                    client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER,
                                             b"\1\0\0\0\0\0\0\0")
                elif way == "half":
                    client.socket.shutdown(socket.SHUT_WR)
                    reply = client.receive()
                    assert reply.status == pb.UNKNOWN_RESULT and "checkpoint" in reply.message, reply
                    assert client.receive().status == pb.OK
                    assert client.receive() is None
                client.close()
            until(lambda: numbers(other)["connections"] == 1)
        said = numbers(other)
        assert said["checkpoint_running"] == 1 and said["checkpoints"] == 0, said
        assert other.call(get=pb.Get(key=b"half")).value == b"5"  # what was behind it was executed
        # After kill -9 in the middle of it all is there.
        daemon.kill()
    with Daemon(*ASKED, data_dir=data) as daemon, Client(daemon.listen) as client:
        for i in range(3):
            assert client.call(get=pb.Get(key=b"mib-%d" % i)).value == bytes([i]) * MIB
        assert client.call(get=pb.Get(key=b"half")).value == b"5"
        assert not list((data / "snapshots").glob("*.snap"))
        assert daemon.stop() == 0


def a_stop_does_not_wait_for_those_who_wait(*options):
    data = scratch()
    with Daemon(*ENDLESS, *options, "--shutdown-timeout", "1h", data_dir=data) as daemon, \
            Client(daemon.listen) as waiter, Client(daemon.listen) as other:
        fill_mib(other, 3)
        ask_and_wait_until_it_runs(
            waiter, waiter.request(put=pb.Put(key=b"behind", value=b"1")), daemon=daemon)
        assert daemon.stop() == 0
        reply = waiter.receive()
        assert reply.status == pb.SHUTTING_DOWN and "checkpoint" in reply.message, reply
        assert waiter.receive().status == pb.OK  # as all that had been received
        assert waiter.receive() is None
    assert len(list((data / "snapshots").glob("*.snap"))) == (1 if options else 0)
    with Daemon(*ASKED, data_dir=data) as daemon, Client(daemon.listen) as client:
        assert client.call(get=pb.Get(key=b"behind")).value == b"1"
        assert count(client) == 4
        assert numbers(client)["recovery_records"] == (0 if options else 4)
        assert daemon.stop() == 0


def many_ask_at_once():
    data = scratch()
    failures = []
    with Daemon(*ASKED, "--checkpoint-rate", "off", data_dir=data) as daemon, \
            Client(daemon.listen) as client:
        fill(client, 0, 2000)
        stop = threading.Event()

        def write():
            with Client(daemon.listen) as writer:
                while True:
                    put_each(writer, [b"hot-%d" % i for i in range(100)], b"v" * 100)
                    if stop.is_set():
                        return

        def ask(who):
            try:
                with Client(daemon.listen) as asker:
                    for i in range(10):
                        version = put_each(asker, [b"asker-%d" % who], b"%d" % i)
                        mode = (FULL, RESTART, TRUNCATE)[(who + i) % 3]
                        reply = checkpoint(asker, mode)
                        total, done = numbers_of(reply)
                        assert done <= total, reply
                        assert reply.version >= version, (version, reply)
            except Exception as error:  # of a thread
                failures.append(error)

        writer = threading.Thread(target=write)
        askers = [threading.Thread(target=ask, args=(who,)) for who in range(8)]
        for thread in (writer, *askers):
            thread.start()
        for thread in askers:
            thread.join()
        stop.set()
        writer.join()
        assert not failures, failures
        said = numbers(client)
        assert said["requests_checkpoint"] == 80 and said["checkpoint_failures"] == 0, said
        daemon.kill()
    with Daemon(*ASKED, data_dir=data) as daemon, Client(daemon.listen) as client:
        for who in range(8):
            assert client.call(get=pb.Get(key=b"asker-%d" % who)).value == b"9"
        assert count(client) == 2000 + 100 + 8
        assert daemon.stop() == 0


def cli(daemon, *args):
    status, out = run_tool("brindle", "--connect", "%s:%d" % daemon.listen, *args)
    return status, out


def the_command_line_asks_and_waits():
    data = scratch()
    with Daemon(*ASKED, data_dir=data) as daemon, Client(daemon.listen) as client:
        for mode in (("passive",), (), ("full",), ("restart",), ("truncate",)):
            version = put_each(client, [b"k"] * 7, b"v")
            status, out = cli(daemon, "checkpoint", *mode)
            covered = 0 if mode == ("truncate",) else 7
            assert (status, out) == (0, f"total {covered}\ndone {covered}\nversion {version}\n"), out
        put_each(client, [b"k"] * 7, b"v")
        status, out = cli(daemon, "--format", "json", "checkpoint", "full")
        assert status == 0 and json.loads(out)["checkpoint"] == {"total": 7, "done": 7}, out
        assert daemon.stop() == 0
    with Daemon() as daemon:
        status, out = cli(daemon, "checkpoint")
        assert status == 1 and "no data directory (NOT_DURABLE)" in out, out
        assert daemon.stop() == 0


def a_time_out_leaves_the_checkpoint_to_the_server():
    with Daemon(*ENDLESS, data_dir=scratch()) as daemon, Client(daemon.listen) as client:
        fill_mib(client, 3)
        status, out = cli(daemon, "checkpoint", "--timeout", "300ms")
        assert status == 1 and "UNKNOWN_RESULT" in out, out
        until(lambda: numbers(client)["connections"] == 1)
        until(lambda: numbers(client)["checkpoint_running"] == 1)
        status, out = cli(daemon, "checkpoint", "passive", "--timeout", f"{PATIENCE_S}s")
        assert (status, out) == (0, "total 3\ndone 0\nversion 0\n"), out
        assert daemon.stop() == 0


def main():
    results = Results()
    for test in (the_log_stays_short_and_nothing_is_lost,
                 a_last_one_on_stop_leaves_no_log_to_replay,
                 damage_of_a_snapshot_ends_with_3_and_is_named,
                 each_mode_answers_and_the_state_comes_back,
                 others_go_on_and_what_is_pipelined_waits,
                 clients_may_leave_while_they_wait,
                 a_stop_does_not_wait_for_those_who_wait,
                 many_ask_at_once,
                 the_command_line_asks_and_waits,
                 a_time_out_leaves_the_checkpoint_to_the_server):
        results.run(test.__name__, test)
    results.run("a_stop_makes_a_last_one_where_it_is_to", a_stop_does_not_wait_for_those_who_wait,
                "--checkpoint-on-stop")
    return results.finish()


if __name__ == "__main__":
    sys.exit(main())
