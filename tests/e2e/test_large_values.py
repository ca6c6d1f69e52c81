#!/usr/bin/env python3
"""Large values over real sockets, in pieces of all sizes: what is stored is what was sent, and what
was promised about memory holds while they arrive."""
import os
import pathlib
import random
import socket
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
from brindle_client import Client, frame, pb
from daemon import Daemon, Results, find_program, scratch, until

MIB = 1 << 20
SANITIZED = b"__asan_init" in find_program("brindled").read_bytes()


def stats(client, prefix=""):
    reply = client.call(stats=pb.Stats(prefix=prefix))
    return {stat.name: stat.number for stat in reply.stats.stats}


def held(client):
    return stats(client, "input_buffer_bytes")["input_buffer_bytes"]


def rss(daemon):
    for line in pathlib.Path(f"/proc/{daemon.pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    raise AssertionError("no VmRSS")


def send_in_pieces(sock, data, rng):
    """Pieces of one byte up to half a mebibyte; the first ones small, to cut heads apart."""
    at = 0
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    while at < len(data):
        size = rng.choice((1, 3, 20, 1000, 16384, 100_000, 500_000)) if at > 30 else rng.randint(1, 9)
        sock.sendall(data[at:at + size])
        at += size


def mixture(client, rng, model):
    """Requests of all sorts around large puts and appends, and what each must say."""
    requests, expected = [], []
    for _ in range(rng.randint(1, 5)):
        key = b"key-%d" % rng.randint(0, 5)
        size = rng.choice((0, 100, 16_383, 16_384, 20_000, 262_143, 300_000, MIB, 3 * MIB))
        value = rng.randbytes(size)
        kind = rng.randint(0, 4)
        if kind == 0:
            requests.append(client.request(get=pb.Get(key=key)))
            expected.append((pb.OK if key in model else pb.NOT_FOUND, model.get(key, b"")))
        elif kind == 1 and len(model.get(key, b"")) + size < 8 * MIB:
            requests.append(client.request(append=pb.Append(key=key, value=value)))
            model[key] = model.get(key, b"") + value
            expected.append((pb.OK, b""))
        elif kind == 2:
            requests.append(client.request(
                put=pb.Put(key=key, value=value, condition=pb.IF_ABSENT, ttl_ms=3_600_000)))
            expected.append((pb.EXISTS if key in model else pb.OK, b""))
            model.setdefault(key, value)
        else:
            requests.append(client.request(put=pb.Put(key=key, value=value)))
            model[key] = value
            expected.append((pb.OK, b""))
    return requests, expected


def converse(client, rng, model):
    requests, expected = mixture(client, rng, model)
    send_in_pieces(client.socket, b"".join(frame(request) for request in requests), rng)
    for request, (status, value) in zip(requests, expected):
        reply = client.receive()
        assert (reply.id, reply.status) == (request.id, status), (reply.id, reply.status, status)
        assert reply.value == value


def what_arrives_in_pieces_is_what_was_sent():
    seed = int(os.environ.get("BRINDLE_SEED", "0")) or random.randrange(1 << 30)
    print(f"BRINDLE_SEED={seed}")
    rng = random.Random(seed)
    model = {}
    folder = scratch()
    options = ("--durability", "normal", "--max-value-size", "8mb")
    with Daemon(*options, data_dir=folder) as daemon, Client(daemon.listen) as client:
        idle = held(client)
        for _ in range(30):
            converse(client, rng, model)
        assert held(client) == idle
        daemon.kill()
    with Daemon(*options, data_dir=folder) as daemon, Client(daemon.listen) as client:
        for key, value in model.items():
            assert client.call(get=pb.Get(key=key)).value == value


def what_is_refused_or_broken_off_is_given_back():
    with Daemon("--max-value-size", "4mb") as daemon, Client(daemon.listen) as client:
        idle = held(client)
        put = frame(client.request(put=pb.Put(key=b"k", value=b"v" * (4 * MIB))))
        for size in (100_000, 300_000, MIB, len(put) - 1):
            with socket.create_connection(daemon.listen) as sock:
                sock.sendall(put[:size])
                until(lambda size=size: held(client) >= idle + size - 300_000)
            until(lambda: held(client) == idle)
        assert client.call(get=pb.Get(key=b"k")).status == pb.NOT_FOUND
        # Larger than a value may be, but not than a frame.
        assert client.call(put=pb.Put(key=b"k", value=b"v" * (4 * MIB + 1))).status == pb.TOO_LARGE
        assert client.call(put=pb.Put(key=b"k", value=b"v" * MIB)).status == pb.OK
        refused = client.call(put=pb.Put(key=b"k", value=b"w" * MIB, condition=pb.IF_ABSENT))
        assert refused.status == pb.EXISTS
        assert client.call(get=pb.Get(key=b"k")).value == b"v" * MIB
        assert held(client) == idle


def what_is_only_announced_is_no_memory_and_keeps_nobody_out():
    """Heads of puts of 60 MiB, far more than the buffers may hold."""
    with Daemon("--buffer-limit", "512mb") as daemon, Client(daemon.listen) as client:
        assert client.call(put=pb.Put(key=b"k", value=b"v" * (60 * MIB))).status == pb.OK
        assert client.call(delete=pb.Delete(keys=[b"k"])).status == pb.OK
        head = frame(client.request(put=pb.Put(key=b"k", value=b"v" * (60 * MIB))))[:20_000]
        until(lambda: rss(daemon) < (700 if SANITIZED else 100) * MIB)
        before, taken = rss(daemon), held(client)
        crowd = [socket.create_connection(daemon.listen) for _ in range(100)]
        for sock in crowd:
            sock.sendall(head)
        until(lambda: held(client) >= taken + 100 * len(head))
        assert rss(daemon) - before < (300 if SANITIZED else 48) * MIB, rss(daemon) - before
        assert held(client) - taken < 16 * MIB
        for _ in range(3):
            assert client.call(put=pb.Put(key=b"k", value=b"v" * (30 * MIB))).status == pb.OK
        for sock in crowd:
            sock.close()
        until(lambda: held(client) == taken)
        assert stats(client, "connections_closed_buffers")["connections_closed_buffers"] == 0


def main():
    results = Results()
    for test in (what_arrives_in_pieces_is_what_was_sent,
                 what_is_refused_or_broken_off_is_given_back,
                 what_is_only_announced_is_no_memory_and_keeps_nobody_out):
        results.run(test.__name__, test)
    return results.finish()


if __name__ == "__main__":
    sys.exit(main())
