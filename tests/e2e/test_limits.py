#!/usr/bin/env python3
"""What clients cannot do to the daemon, and to each other: too many of them, too slow, too much
at once, broken off. No sleeps: pacing is waiting on the very socket that should be closed."""
# serial
import os
import pathlib
import resource
import select
import shutil
import socket
import struct
import subprocess
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
from brindle_client import Client, frame, pb, varint
from daemon import PATIENCE_S, Daemon, Results, find_program, until

MANY = 10_000
SANITIZED = b"__asan_init" in find_program("brindled").read_bytes()
# What a connection may cost the daemon while nothing is on its way; sanitizers add to it.
BYTES_PER_CONNECTION = 4096 if SANITIZED else 1536
# What buffers may take for a while; a sanitizer keeps what was freed.
BUFFERS = (320 if SANITIZED else 32) << 20


def rss(daemon):
    for line in pathlib.Path(f"/proc/{daemon.pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    raise AssertionError("no VmRSS")


def stats(client, prefix=""):
    reply = client.call(stats=pb.Stats(prefix=prefix))
    return {stat.name: stat.number for stat in reply.stats.stats}


def put(client, key, value):
    assert client.call(put=pb.Put(key=key, value=value)).status == pb.OK


def gets(client, key, count):
    """count Gets of one key as bytes."""
    return b"".join(frame(client.request(get=pb.Get(key=key))) for _ in range(count))


def open_files(wanted):
    """Lets this process have so many files open, or says that it cannot."""
    _soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < wanted:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, wanted))
        except (ValueError, OSError):
            print(f"SKIP: only {hard} open files are allowed, {wanted} are needed")
            return False
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(wanted, hard), max(wanted, hard)))
    return True


def raw(address, receive_buffer=None):
    sock = socket.socket()
    if receive_buffer:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    sock.settimeout(PATIENCE_S)
    sock.connect(address)
    return sock


def read_all(sock):
    """Everything until the end of the stream; a reset is an end too."""
    data = b""
    while True:
        try:
            more = sock.recv(1 << 20)
        except ConnectionResetError:
            return data
        if not more:
            return data
        data += more


def replies(data):
    """The replies in bytes that hold whole ones."""
    at = 0
    while at < len(data):
        size = shift = 0
        while True:
            byte = data[at]
            at += 1
            size |= (byte & 0x7f) << shift
            shift += 7
            if byte < 0x80:
                break
        yield pb.Reply.FromString(data[at:at + size])
        at += size


# ---- many ----


def ten_thousand_connections_fifty_deep_pipelines_and_slow_readers():
    """10,000 connections; 50 of them pipeline 1,000 requests each; 20 ask for 20 MB each and never
    read. The others notice nothing, and memory is bounded."""
    if not open_files(MANY + 200):
        return
    value = b"v" * 1000
    with Daemon("--max-connections", MANY + 50) as daemon, Client(daemon.listen) as client:
        put(client, b"k", value)
        base = rss(daemon)
        crowd = [raw(daemon.listen) for _ in range(MANY)]
        until(lambda: stats(client, "connections")["connections"] == MANY + 1)
        idle = rss(daemon) - base
        print(f"{MANY} idle connections: {idle / MANY:.0f} bytes each")
        assert idle < MANY * BYTES_PER_CONNECTION, idle

        slow = [raw(daemon.listen, receive_buffer=1024) for _ in range(20)]
        greedy = gets(client, b"k", 20_000)
        for sock in slow:
            sock.setblocking(False)
            sock.send(greedy)  # what the sockets take

        pipeline = b"".join(frame(pb.Request(id=200, get=pb.Get(key=b"k"))) for _ in range(1000))
        one = client.call(get=pb.Get(key=b"k"))
        one.id = 200
        expected = frame(one) * 1000
        deep = crowd[:50]
        for sock in deep:
            sock.sendall(pipeline)
        for sock in deep:
            data = bytearray()
            while len(data) < len(expected):
                more = sock.recv(1 << 20)
                assert more, "closed"
                data += more
            assert data == expected

        # Everybody else is served too.
        ping = frame(pb.Request(id=1, ping=pb.Ping(payload=b"x")))
        for sock in crowd[50:]:
            sock.sendall(ping)
        for sock in crowd[50:]:
            reply = next(replies(sock.recv(100)))
            assert reply.status == pb.OK and reply.value == b"x"

        # A slow reader may hold the soft limit of output and a request buffer.
        used = rss(daemon) - base
        print(f"at work: {used / 1e6:.1f} MB more than before")
        assert used < MANY * BYTES_PER_CONNECTION + 20 * (3 << 20) + BUFFERS, used
        for sock in crowd + slow:
            sock.close()
        until(lambda: stats(client, "connections")["connections"] == 1)


def a_connection_too_many_is_told_and_the_others_live():
    with Daemon("--max-connections", 5) as daemon:
        clients = [Client(daemon.listen) for _ in range(5)]
        for client in clients:
            client.call(ping=pb.Ping())
        for _ in range(3):
            sock = raw(daemon.listen)
            said = list(replies(read_all(sock)))
            assert [reply.status for reply in said] == [pb.TOO_MANY_CONNECTIONS], said
            assert said[0].id == 0 and said[0].message
            sock.close()
        assert stats(clients[0], "connections")["connections_refused_limit"] == 3
        clients.pop().close()
        until(lambda: stats(clients[0], "connections")["connections"] == 4)
        with Client(daemon.listen) as late:
            late.call(ping=pb.Ping())
        for client in clients:
            client.call(ping=pb.Ping())
            client.close()


def one_address_has_its_share():
    """In a network of its own, where an address that is not loopback harms nobody."""
    if os.geteuid() != 0 or not shutil.which("unshare") or not shutil.which("ip"):
        print("SKIP: needs root, unshare and ip for a network namespace")
        return
    script = ("ip link set lo up && ip addr add 10.77.0.1/32 dev lo && "
              'exec "$0" "$1" --in-namespace')
    done = subprocess.run(["unshare", "-n", "sh", "-c", script, sys.executable, __file__],
                          capture_output=True, text=True, timeout=PATIENCE_S)
    if "Operation not permitted" in done.stderr:
        print("SKIP: may not make a network namespace")
        return
    assert done.returncode == 0, done.stdout + done.stderr


def in_namespace():
    with Daemon("--listen", "10.77.0.1:0", "--allow-insecure",
                "--max-connections-per-address", 3) as daemon:
        port = daemon.wait_log(r"ready: .*[=,]10\.77\.0\.1:(\d+)")[1]
        address = ("10.77.0.1", int(port))
        clients = [Client(address) for _ in range(3)]
        for client in clients:
            client.call(ping=pb.Ping())
        sock = raw(address)
        said = list(replies(read_all(sock)))
        assert [reply.status for reply in said] == [pb.TOO_MANY_CONNECTIONS], said
        assert stats(clients[0], "connections")["connections_refused_address"] == 1
        clients.pop().close()
        until(lambda: stats(clients[0], "connections")["connections"] == 2)
        with Client(address) as late:
            late.call(ping=pb.Ping())


def storms_leave_nothing_behind():
    """Connections that come and go at once, half of them broken off."""
    with Daemon() as daemon, Client(daemon.listen) as client:
        put(client, b"k", b"v" * 100)
        request = gets(client, b"k", 3)
        files = len(os.listdir(f"/proc/{daemon.pid}/fd"))
        for i in range(2000):
            sock = raw(daemon.listen)
            if i % 2:
                sock.send(request[:len(request) - i % 40])
            if i % 4 < 2:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            sock.close()
        with Client(daemon.listen) as last:  # accepted behind all of them
            last.call(ping=pb.Ping())
        until(lambda: stats(client, "connections")["connections"] == 1)
        until(lambda: len(os.listdir(f"/proc/{daemon.pid}/fd")) == files,
              what=f"{files} open descriptors")
        assert client.call(get=pb.Get(key=b"k")).value == b"v" * 100


def without_descriptors_connections_are_refused_and_come_back():
    """ulimit -n: the daemon keeps accepting, says no, and recovers."""
    prefix = ["prlimit", "--nofile=60:60", "--"]
    if os.geteuid() == 0:
        if not shutil.which("setpriv"):
            print("SKIP: needs setpriv, because root may raise every limit")
            return
        prefix = ["setpriv", "--bounding-set=-sys_resource", *prefix]
    with Daemon(prefix=prefix) as daemon, Client(daemon.listen) as client:
        assert any("only 60 files may be open" in line for line in daemon.log), daemon.log
        client.call(ping=pb.Ping())
        crowd = [raw(daemon.listen) for _ in range(100)]

        def settled():
            count = stats(client, "connections")
            return count["connections"] + count["connections_refused_descriptors"] == 101

        until(settled)
        assert 20 < stats(client, "connections")["connections"] < 60
        before = stats(client, "process_cpu")
        quiet = raw(daemon.listen)
        assert [reply.status for reply in replies(read_all(quiet))] == [pb.TOO_MANY_CONNECTIONS]
        after = stats(client, "process_cpu")
        assert sum(after.values()) - sum(before.values()) < 200_000, (before, after)  # no spinning
        for sock in crowd:
            sock.close()
        until(lambda: stats(client, "connections")["connections"] == 1)
        with Client(daemon.listen) as late:
            late.call(ping=pb.Ping())


# ---- slow ----


def a_request_of_one_byte_now_and_then_is_timed_out():
    with Daemon("--progress-time", "500ms") as daemon, Client(daemon.listen) as other:
        sock = raw(daemon.listen)
        request = frame(pb.Request(id=1, put=pb.Put(key=b"k", value=b"v" * 1000)))
        start = time.monotonic()
        sent = 0
        while not select.select([sock], [], [], 0.05)[0]:
            sock.send(request[sent:sent + 1])
            sent += 1
            assert sent < len(request), "never closed"
        took = time.monotonic() - start
        said = list(replies(read_all(sock)))
        assert [reply.status for reply in said] == [pb.TIMEOUT], said
        assert took > 0.4, took
        sock.close()  # counted when it is gone
        until(lambda: stats(other, "connections_closed")["connections_closed_slow_frame"] == 1)
        other.call(ping=pb.Ping())


def a_client_that_never_reads_is_closed_and_others_are_served():
    with Daemon("--progress-time", "500ms", "--workers", 1) as daemon, \
            Client(daemon.listen) as client:
        put(client, b"k", b"v" * 10_000)
        base = rss(daemon)
        sock = raw(daemon.listen, receive_buffer=1024)
        sock.setblocking(False)
        greedy = gets(client, b"k", 5000)
        sock.send(greedy)
        slowest = 0.0
        # Not the number of connections: it may be asked for before this one is accepted.
        while stats(client, "connections_closed")["connections_closed_slow_reader"] == 0:
            asked = time.monotonic()
            assert client.call(get=pb.Get(key=b"k")).status == pb.OK
            slowest = max(slowest, time.monotonic() - asked)
        closed = stats(client, "connections_closed")
        assert closed["connections_closed_slow_reader"] == 1, closed
        assert rss(daemon) - base < BUFFERS
        print(f"slowest request beside it: {slowest * 1000:.1f} ms")


def output_that_stays_above_the_soft_limit_is_closed():
    with Daemon("--output-soft-time", "300ms", "--output-soft-limit", "64kb",
                "--progress-time", "off") as daemon, Client(daemon.listen) as client:
        put(client, b"k", b"v" * 10_000)
        sock = raw(daemon.listen, receive_buffer=1024)
        sock.setblocking(False)
        sock.send(gets(client, b"k", 5000))
        until(lambda: stats(client, "connections_closed")["connections_closed_output_soft"] == 1)
        until(lambda: stats(client, "connections")["connections"] == 1)


def an_idle_connection_is_closed():
    with Daemon("--idle-timeout", "300ms") as daemon:
        with Client(daemon.listen) as idle:
            assert idle.receive() is None
    with Daemon("--idle-timeout", "off") as daemon, Client(daemon.listen) as idle:
        idle.call(ping=pb.Ping())
        assert not select.select([idle.socket], [], [], 1)[0]


def pipelining_without_reading_pauses_and_then_everything_comes():
    """A client that sends all before it reads anything loses nothing."""
    with Daemon() as daemon, Client(daemon.listen) as client:
        client.call(ping=pb.Ping())
        base = rss(daemon)
        count = 60_000
        payload = b"p" * 1000
        request = b"".join(frame(pb.Request(id=i, ping=pb.Ping(payload=payload)))
                           for i in range(1, count + 1))
        sock = raw(daemon.listen)
        sock.setblocking(False)
        got = bytearray()
        sent = 0
        # Send until nothing goes any more; only then read.
        while select.select([], [sock], [], 0.5)[1] and sent < len(request):
            sent += sock.send(request[sent:sent + (1 << 20)])
        assert sent < len(request), "the daemon read without end"
        while sent < len(request):
            ready, writable, _ = select.select([sock], [sock], [], PATIENCE_S)
            if ready:
                got += sock.recv(1 << 20)
            if writable:
                sent += sock.send(request[sent:sent + (1 << 20)])
        sock.settimeout(PATIENCE_S)
        sock.shutdown(socket.SHUT_WR)
        got += read_all(sock)
        received = list(replies(bytes(got)))
        assert [reply.id for reply in received] == list(range(1, count + 1))
        assert all(reply.value == payload for reply in received)
        assert rss(daemon) - base < BUFFERS


# ---- large ----


def announcing_large_requests_costs_nothing():
    with Daemon() as daemon, Client(daemon.listen) as client:
        client.call(ping=pb.Ping())
        base = rss(daemon)
        crowd = [raw(daemon.listen) for _ in range(200)]
        for sock in crowd:
            sock.sendall(varint(64 << 20) + b"\x08\x01" + b"x" * 10)
        until(lambda: stats(client, "bytes_in")["bytes_in"] > 200 * 16)
        assert rss(daemon) - base < 24 << 20
        for sock in crowd:
            sock.close()


def frames_and_values_above_their_limits_are_told_apart():
    with Daemon("--max-value-size", "10kb", "--max-key-size", "100") as daemon, \
            Client(daemon.listen) as client:
        reply = client.call(put=pb.Put(key=b"k", value=b"v" * 10_241))
        assert reply.status == pb.TOO_LARGE and reply.message
        assert client.call(put=pb.Put(key=b"k" * 101, value=b"v")).status == pb.TOO_LARGE
        put(client, b"k" * 100, b"v" * 10_240)
        client.socket.sendall(varint((1 << 20) + 10_240 + 100 + 1))
        reply = client.receive()
        assert (reply.id, reply.status) == (0, pb.TOO_LARGE)
        assert client.receive() is None


# ---- broken off ----


def after_half_a_close_all_replies_come():
    with Daemon() as daemon, Client(daemon.listen) as client:
        put(client, b"k", b"v" * 2000)
        sock = raw(daemon.listen)
        sock.sendall(gets(client, b"k", 3000))
        sock.shutdown(socket.SHUT_WR)
        said = list(replies(read_all(sock)))
        assert len(said) == 3000 and all(reply.status == pb.OK for reply in said)


def a_reset_in_the_middle_of_everything_harms_nobody():
    with Daemon() as daemon, Client(daemon.listen) as client:
        put(client, b"k", b"v" * 10_000)
        for i in range(100):
            sock = raw(daemon.listen, receive_buffer=4096)
            sock.setblocking(False)
            sock.send(gets(client, b"k", 50 + i))
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            sock.close()
        until(lambda: stats(client, "connections")["connections"] == 1)
        assert client.call(get=pb.Get(key=b"k")).status == pb.OK


def main():
    if "--in-namespace" in sys.argv:
        in_namespace()
        return 0
    results = Results()
    for test in (ten_thousand_connections_fifty_deep_pipelines_and_slow_readers,
                 a_connection_too_many_is_told_and_the_others_live,
                 one_address_has_its_share,
                 storms_leave_nothing_behind,
                 without_descriptors_connections_are_refused_and_come_back,
                 a_request_of_one_byte_now_and_then_is_timed_out,
                 a_client_that_never_reads_is_closed_and_others_are_served,
                 output_that_stays_above_the_soft_limit_is_closed,
                 an_idle_connection_is_closed,
                 pipelining_without_reading_pauses_and_then_everything_comes,
                 announcing_large_requests_costs_nothing,
                 frames_and_values_above_their_limits_are_told_apart,
                 after_half_a_close_all_replies_come,
                 a_reset_in_the_middle_of_everything_harms_nobody):
        start = time.monotonic()
        results.run(test.__name__, test)
        print(f"{test.__name__}: {time.monotonic() - start:.1f} s")
    return results.finish()


if __name__ == "__main__":
    sys.exit(main())
