"""The native protocol as a foreign client sees it: every request kind, and the misbehaviour
that a server on a network meets. See brindle_client.py for the client."""
import os
import pathlib
import random
import shutil
import subprocess
import sys
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
from brindle_client import Client, frame, pb, varint
from daemon import PATIENCE_S, Daemon, Results, scratch, until

ALL_BYTES = bytes(range(256))
KIB = 1024
MIB = 1024 * KIB


def now_ms():
    return time.time_ns() // 1_000_000


def expect(reply, status="OK", **fields):
    """Checks a reply: its status, each given field, and the absence of one given as None."""
    assert pb.Status.Name(reply.status) == status, f"{status} was expected: {reply}"
    assert (reply.message == "") == (reply.status == pb.OK), f"message and status: {reply}"
    for name, value in fields.items():
        if value is None:
            assert not reply.HasField(name), f"{name} was not expected: {reply}"
        else:
            assert name not in ("value", "number", "ttl_ms") or reply.HasField(name), \
                f"{name} is missing: {reply}"
            assert getattr(reply, name) == value, f"{name}={value!r} was expected: {reply}"
    return reply


def put(client, key, value=b"", **more):
    return expect(client.call(put=pb.Put(key=key, value=value, **more)))


def get(client, key):
    return client.call(get=pb.Get(key=key))


def ttl(client, key):
    return expect(client.call(ttl=pb.Ttl(key=key)))


def count(client):
    return expect(client.call(count=pb.Count(exact=True))).number


def closed(client):
    """The server has closed the connection, orderly or by a reset."""
    try:
        return client.receive() is None
    except ConnectionError:
        return True


# ---- Each request kind -----------------------------------------------------------------------


def hello(client):
    reply = expect(client.call(hello=pb.Hello(protocol_version=1, client_name="test/1")))
    assert reply.HasField("hello")
    info = reply.hello
    assert info.protocol_version == 1
    assert info.server_version
    assert info.epoch == 0, "memory only"
    assert info.max_key_bytes == 64 * KIB
    assert info.max_value_bytes == 64 * MIB
    assert info.max_frame_bytes == 65 * MIB + 65536
    assert info.max_batch_keys > 0 and info.max_pending_requests > 0
    assert info.durability == pb.DURABILITY_NONE


def hello_of_another_version_is_unsupported(client):
    expect(client.call(hello=pb.Hello(protocol_version=2)), "UNSUPPORTED")
    expect(client.call(ping=pb.Ping()))


def hello_with_a_bad_name_is_refused(client):
    expect(client.call(hello=pb.Hello(protocol_version=1, client_name="x" * 129)),
           "INVALID_ARGUMENT")
    expect(client.call(hello=pb.Hello(protocol_version=1, client_name="gr\u00fcn")),
           "INVALID_ARGUMENT")


def ping(client):
    expect(client.call(ping=pb.Ping(payload=ALL_BYTES)), value=ALL_BYTES)
    expect(client.call(ping=pb.Ping(payload=b"p" * 4096)), value=b"p" * 4096)
    expect(client.call(ping=pb.Ping(payload=b"p" * 4097)), "TOO_LARGE")


def get_and_put(client):
    expect(get(client, b"absent"), "NOT_FOUND", value=None)
    first = put(client, b"key", b"value")
    assert first.version > 0
    expect(get(client, b"key"), value=b"value", version=first.version, number=None, ttl_ms=None)
    second = put(client, b"key", b"other")
    assert second.version > first.version
    expect(get(client, b"key"), value=b"other", version=second.version)


def keys_and_values_of_any_bytes(client):
    put(client, b"", b"empty key")
    expect(get(client, b""), value=b"empty key")
    put(client, ALL_BYTES, ALL_BYTES)
    expect(get(client, ALL_BYTES), value=ALL_BYTES)
    put(client, b"empty value", b"")
    expect(get(client, b"empty value"), value=b"")


def keys_up_to_their_limit(client):
    key = random.randbytes(64 * KIB)
    put(client, key, b"v")
    expect(get(client, key), value=b"v")
    expect(client.call(put=pb.Put(key=key + b"x", value=b"v")), "TOO_LARGE")
    expect(get(client, key + b"x"), "TOO_LARGE")
    expect(client.call(get_many=pb.GetMany(keys=[b"a", key + b"x"])), "TOO_LARGE")


def values_of_all_sizes(client):
    for size in (1, 100, 127, 128, 2000, 2048, 16383, 16384, 16385, 32704, 65536, MIB, 5 * MIB):
        value = random.randbytes(size)
        put(client, b"sized", value)
        expect(get(client, b"sized"), value=value)


def a_value_above_its_limit_is_refused(client):
    value = bytes(64 * MIB)
    expect(client.call(put=pb.Put(key=b"huge", value=value + b"x")), "TOO_LARGE")
    expect(get(client, b"huge"), "NOT_FOUND")


def put_if_absent(client):
    expect(client.call(put=pb.Put(key=b"k", value=b"1", condition=pb.IF_ABSENT)))
    expect(client.call(put=pb.Put(key=b"k", value=b"2", condition=pb.IF_ABSENT)), "EXISTS")
    expect(get(client, b"k"), value=b"1")


def put_if_present(client):
    expect(client.call(put=pb.Put(key=b"k", value=b"1", condition=pb.IF_PRESENT)), "NOT_FOUND")
    put(client, b"k", b"1")
    expect(client.call(put=pb.Put(key=b"k", value=b"2", condition=pb.IF_PRESENT)))
    expect(get(client, b"k"), value=b"2")


def put_if_version(client):
    def attempt(version):
        return client.call(put=pb.Put(key=b"k", value=b"new", condition=pb.IF_VERSION,
                                      if_version=version))
    expect(attempt(1), "NOT_FOUND")
    version = put(client, b"k", b"old").version
    expect(attempt(version + 1), "VERSION_MISMATCH")
    expect(get(client, b"k"), value=b"old")
    expect(attempt(version))
    expect(get(client, b"k"), value=b"new")
    expect(attempt(version), "VERSION_MISMATCH")


def put_of_an_unknown_condition_is_refused(client):
    request = client.request(put=pb.Put(key=b"k", condition=9))
    client.send(request)
    expect(client.receive(), "INVALID_ARGUMENT", id=request.id)
    expect(get(client, b"k"), "NOT_FOUND")


def put_return_previous(client):
    expect(client.call(put=pb.Put(key=b"k", value=b"1", return_previous=True)), value=None)
    expect(client.call(put=pb.Put(key=b"k", value=b"2", return_previous=True)), value=b"1")
    large = random.randbytes(100000)
    expect(client.call(put=pb.Put(key=b"k", value=large, return_previous=True)), value=b"2")
    expect(client.call(put=pb.Put(key=b"k", value=b"", return_previous=True)), value=large)
    expect(client.call(put=pb.Put(key=b"k", value=b"x", return_previous=True)), value=b"")


def put_with_ttl(client):
    put(client, b"k", b"v", ttl_ms=100000)
    left = ttl(client, b"k")
    assert left.HasField("ttl_ms") and 0 < left.ttl_ms <= 100000, left
    day_ms = 24 * 3600 * 1000  # no step of the clock is as long
    put(client, b"k", b"v", deadline_ms=now_ms() + 2 * day_ms)
    assert day_ms < ttl(client, b"k").ttl_ms < 3 * day_ms
    put(client, b"k", b"v")
    expect(ttl(client, b"k"), ttl_ms=None)


def put_keep_ttl(client):
    put(client, b"k", b"1", ttl_ms=100000)
    put(client, b"k", b"2", keep_ttl=True)
    assert 0 < ttl(client, b"k").ttl_ms <= 100000
    put(client, b"other", b"1")
    put(client, b"other", b"2", keep_ttl=True)
    expect(ttl(client, b"other"), ttl_ms=None)
    put(client, b"new", b"1", keep_ttl=True)
    expect(ttl(client, b"new"), ttl_ms=None)


def put_with_two_expiries_is_refused(client):
    for more in ({"ttl_ms": 1, "deadline_ms": 1}, {"ttl_ms": 1, "keep_ttl": True}):
        expect(client.call(put=pb.Put(key=b"k", **more)), "INVALID_ARGUMENT")


def put_with_a_deadline_in_the_past_deletes(client):
    put(client, b"k", b"1")
    put(client, b"k", b"2", deadline_ms=1)
    expect(get(client, b"k"), "NOT_FOUND")


def delete(client):
    put(client, b"a", b"1")
    put(client, b"b", b"2")
    put(client, b"c", b"3")
    expect(client.call(delete=pb.Delete(keys=[b"a", b"b", b"a", b"absent"])), number=2)
    expect(client.call(delete=pb.Delete(keys=[b"a", b"b"])), number=0)
    expect(get(client, b"a"), "NOT_FOUND")
    expect(get(client, b"c"), value=b"3")
    expect(client.call(delete=pb.Delete()), "INVALID_ARGUMENT")


def get_many(client):
    versions = {key: put(client, key, value).version
                for key, value in ((b"a", b"1"), (b"b", b""), (b"c", random.randbytes(50000)))}
    reply = expect(client.call(get_many=pb.GetMany(keys=[b"c", b"absent", b"a", b"b", b"a"])))
    assert [item.found for item in reply.items] == [True, False, True, True, True]
    assert [item.version for item in reply.items] == [
        versions[b"c"], 0, versions[b"a"], versions[b"b"], versions[b"a"]]
    assert [len(item.value) for item in reply.items] == [50000, 0, 1, 0, 1]
    expect(client.call(get_many=pb.GetMany()), "INVALID_ARGUMENT")


def get_many_of_megabytes(client):
    values = {b"key %d" % i: random.randbytes(size)
              for i, size in enumerate([MIB, 10, 20000, 2 * MIB, 16000, 3 * MIB, 0, 300000])}
    for key, value in values.items():
        put(client, key, value)
    reply = expect(client.call(get_many=pb.GetMany(keys=list(values))))
    assert [item.value for item in reply.items] == list(values.values())


def a_batch_above_its_limit_is_refused(client):
    most = client.call(hello=pb.Hello(protocol_version=1)).hello.max_batch_keys
    expect(client.call(get_many=pb.GetMany(keys=[b""] * (most + 1))), "TOO_LARGE")
    expect(client.call(exists=pb.Exists(keys=[b""] * most)), number=0)


def put_many(client):
    items = [pb.KeyValue(key=b"k%d" % i, value=b"v%d" % i) for i in range(100)]
    reply = expect(client.call(put_many=pb.PutMany(items=items, ttl_ms=100000)))
    read = expect(client.call(get_many=pb.GetMany(keys=[item.key for item in items])))
    assert [item.value for item in read.items] == [item.value for item in items]
    assert {item.version for item in read.items} == {reply.version}
    assert 0 < ttl(client, b"k50").ttl_ms <= 100000
    expect(client.call(put_many=pb.PutMany()), "INVALID_ARGUMENT")


def put_many_of_a_key_twice_the_last_wins(client):
    expect(client.call(put_many=pb.PutMany(items=[
        pb.KeyValue(key=b"k", value=b"1"), pb.KeyValue(key=b"k", value=b"2")])))
    expect(get(client, b"k"), value=b"2")
    assert count(client) == 1


def put_many_is_all_or_nothing(client):
    expect(client.call(put_many=pb.PutMany(items=[
        pb.KeyValue(key=b"a", value=b"1"), pb.KeyValue(key=bytes(64 * KIB + 1))])), "TOO_LARGE")
    expect(get(client, b"a"), "NOT_FOUND")


def put_many_is_seen_whole(client, address):
    keys = [b"atomic %d" % i for i in range(20)]
    stop = threading.Event()

    def write():
        with Client(address) as writer:
            n = 0
            while not stop.is_set():
                n += 1
                writer.call(put_many=pb.PutMany(
                    items=[pb.KeyValue(key=key, value=b"%d" % n) for key in keys]))

    thread = threading.Thread(target=write)
    thread.start()
    try:
        seen = set()
        reads = 0
        give_up = time.monotonic() + PATIENCE_S
        while reads < 300 or (len(seen) < 2 and time.monotonic() < give_up):
            reads += 1
            reply = expect(client.call(get_many=pb.GetMany(keys=keys)))
            values = {(item.found, item.value, item.version) for item in reply.items}
            assert len(values) == 1, values
            seen |= values
    finally:
        stop.set()
        thread.join()
    assert len(seen) > 1, "the writer wrote while it was being read"


def incr(client):
    expect(client.call(incr=pb.Incr(key=b"n", delta=5)), number=5)
    expect(client.call(incr=pb.Incr(key=b"n", delta=-7)), number=-2)
    expect(get(client, b"n"), value=b"-2")
    expect(client.call(incr=pb.Incr(key=b"m", delta=1, initial=41, ttl_ms=100000)), number=42)
    assert 0 < ttl(client, b"m").ttl_ms <= 100000
    expect(client.call(incr=pb.Incr(key=b"m", delta=0, ttl_ms=1)), number=42)
    assert ttl(client, b"m").ttl_ms > 1000, "a live key keeps its deadline"


def incr_at_the_edges(client):
    biggest, smallest = 2**63 - 1, -2**63
    expect(client.call(incr=pb.Incr(key=b"n", delta=biggest)), number=biggest)
    expect(client.call(incr=pb.Incr(key=b"n", delta=1)), "OUT_OF_RANGE", number=None)
    expect(get(client, b"n"), value=b"%d" % biggest)
    put(client, b"n", b"%d" % smallest)
    expect(client.call(incr=pb.Incr(key=b"n", delta=-1)), "OUT_OF_RANGE")
    expect(client.call(incr=pb.Incr(key=b"n", delta=biggest)), number=-1)


def incr_of_other_values_is_refused(client):
    for value in (b"", b"x", b"1x", b" 1", b"+1", b"1.5", b"-", b"9223372036854775808"):
        put(client, b"n", value)
        expect(client.call(incr=pb.Incr(key=b"n", delta=1)), "NOT_AN_INTEGER", number=None)
        expect(get(client, b"n"), value=value)


def exists(client):
    put(client, b"a")
    put(client, b"b")
    expect(client.call(exists=pb.Exists(keys=[b"a", b"b", b"a", b"absent"])), number=3)
    expect(client.call(exists=pb.Exists(keys=[b"absent"])), number=0)


def ttl_of_nothing_is_not_found(client):
    expect(client.call(ttl=pb.Ttl(key=b"absent")), "NOT_FOUND", ttl_ms=None)


def expire_and_persist(client):
    expect(client.call(expire=pb.Expire(key=b"absent", ttl_ms=1000)), "NOT_FOUND")
    expect(client.call(persist=pb.Persist(key=b"absent")), "NOT_FOUND")
    put(client, b"k", b"v")
    expect(client.call(persist=pb.Persist(key=b"k")), number=0)
    expect(client.call(expire=pb.Expire(key=b"k", ttl_ms=100000)))
    assert 0 < ttl(client, b"k").ttl_ms <= 100000
    expect(client.call(expire=pb.Expire(key=b"k", deadline_ms=now_ms() + 500000)))
    assert 400000 < ttl(client, b"k").ttl_ms <= 500100
    expect(client.call(persist=pb.Persist(key=b"k")), number=1)
    expect(ttl(client, b"k"), ttl_ms=None)
    expect(get(client, b"k"), value=b"v")
    expect(client.call(expire=pb.Expire(key=b"k")), "INVALID_ARGUMENT")
    expect(client.call(expire=pb.Expire(key=b"k", ttl_ms=1, deadline_ms=1)), "INVALID_ARGUMENT")


def expire_in_the_past_deletes(client):
    put(client, b"k", b"v")
    expect(client.call(expire=pb.Expire(key=b"k", deadline_ms=1)))
    expect(get(client, b"k"), "NOT_FOUND")
    expect(client.call(exists=pb.Exists(keys=[b"k"])), number=0)


def an_expired_key_is_gone(client):
    put(client, b"k", b"v", ttl_ms=5)
    until(lambda: get(client, b"k").status == pb.NOT_FOUND, what="expiry")
    expect(client.call(exists=pb.Exists(keys=[b"k"])), number=0)
    expect(client.call(ttl=pb.Ttl(key=b"k")), "NOT_FOUND")
    expect(client.call(incr=pb.Incr(key=b"k", delta=1)), number=1)
    expect(ttl(client, b"k"), ttl_ms=None)


def append(client):
    expect(client.call(append=pb.Append(key=b"k", value=b"ab")), number=2)
    expect(client.call(append=pb.Append(key=b"k", value=b"cd")), number=4)
    expect(client.call(append=pb.Append(key=b"k", value=b"")), number=4)
    expect(get(client, b"k"), value=b"abcd")
    expect(client.call(expire=pb.Expire(key=b"k", ttl_ms=100000)))
    expect(client.call(append=pb.Append(key=b"k", value=b"e")), number=5)
    assert 0 < ttl(client, b"k").ttl_ms <= 100000
    large = random.randbytes(100000)
    expect(client.call(append=pb.Append(key=b"k", value=large)), number=100005)
    expect(client.call(append=pb.Append(key=b"k", value=b"!")), number=100006)
    expect(get(client, b"k"), value=b"abcde" + large + b"!")


def count_and_purge(client):
    for i in range(10):
        put(client, b"%d" % i)
    expect(client.call(count=pb.Count()), number=10)
    for i in range(5):
        put(client, b"%d" % i, ttl_ms=1)
    until(lambda: get(client, b"4").status == pb.NOT_FOUND, what="expiry")
    reply = expect(client.call(purge=pb.Purge()))
    assert 0 <= reply.number <= 5
    expect(client.call(count=pb.Count()), number=5)
    expect(client.call(count=pb.Count(exact=True)), number=5)
    expect(client.call(purge=pb.Purge()), number=0)


def clear(client):
    for i in range(1000):
        put(client, b"%d" % i)
    expect(client.call(clear=pb.Clear()), number=1000)
    expect(client.call(count=pb.Count()), number=0)
    expect(get(client, b"5"), "NOT_FOUND")
    expect(client.call(clear=pb.Clear()), number=0)


def sync_of_memory_alone_is_not_durable(client):
    expect(client.call(sync=pb.Sync()), "NOT_DURABLE")
    expect(client.call(put=pb.Put(key=b"k", durability=pb.DURABILITY_FULL)), "NOT_DURABLE")


def a_checkpoint_of_memory_alone_is_not_durable(client):
    for mode in pb.CheckpointMode.values():
        reply = expect(client.call(checkpoint=pb.Checkpoint(mode=mode)), "NOT_DURABLE")
        assert "data directory" in reply.message and not reply.HasField("checkpoint"), reply
    expect(client.call(checkpoint=pb.Checkpoint(mode=4)), "INVALID_ARGUMENT")
    expect(client.call(ping=pb.Ping()))


def stats(client):
    for _ in range(200):
        get(client, b"k")
    everything = expect(client.call(stats=pb.Stats())).stats.stats
    names = [stat.name for stat in everything]
    assert len(names) > 10 and len(set(names)) == len(names), names
    assert all(stat.WhichOneof("value") for stat in everything)
    prefix = names[0].split("_")[0]
    some = expect(client.call(stats=pb.Stats(prefix=prefix))).stats.stats
    assert {stat.name for stat in some} == {name for name in names if name.startswith(prefix)}
    nothing = expect(client.call(stats=pb.Stats(prefix="no such name")))
    assert not nothing.stats.stats

    busy = {stat.name: stat.number for stat in everything if stat.counter and stat.number >= 200}
    assert busy, "200 gets were counted somewhere"
    expect(client.call(reset_stats=pb.ResetStats()))
    after = {stat.name: stat.number
             for stat in expect(client.call(stats=pb.Stats())).stats.stats}
    for name in busy:
        assert after[name] < busy[name], f"{name} was not reset"


def namespaces(client):
    put(client, b"k", b"v")
    expect(client.call("default", get=pb.Get(key=b"k")), value=b"v")
    expect(client.call("no such namespace", get=pb.Get(key=b"k")), "NAMESPACE_NOT_FOUND")
    expect(client.call("gr\u00fcn \U0001f33f", get=pb.Get(key=b"k")), "NAMESPACE_NOT_FOUND")


# ---- The connection --------------------------------------------------------------------------


def a_thousand_requests_in_one_send(client):
    requests = []
    for i in range(500):
        requests.append(client.request(put=pb.Put(key=b"%d" % i, value=b"value %d" % i)))
        requests.append(client.request(get=pb.Get(key=b"%d" % i)))
    client.send(*requests)
    for i in range(500):
        expect(client.receive(), id=requests[2 * i].id)
        expect(client.receive(), id=requests[2 * i + 1].id, value=b"value %d" % i)


def more_requests_than_may_be_pending(client):
    """The client reads while it sends: the server stops reading for a while and goes on."""
    requests = [client.request(ping=pb.Ping(payload=b"%d" % i)) for i in range(20000)]
    sender = threading.Thread(target=client.send, args=requests)
    sender.start()
    for i, request in enumerate(requests):
        expect(client.receive(), id=request.id, value=b"%d" % i)
    sender.join()


def one_byte_at_a_time(client):
    for byte in frame(client.request(put=pb.Put(key=b"slow", value=ALL_BYTES))):
        client.socket.sendall(bytes([byte]))
    expect(client.receive())
    for byte in frame(client.request(get=pb.Get(key=b"slow"))):
        client.socket.sendall(bytes([byte]))
    expect(client.receive(), value=ALL_BYTES)


def ids_of_any_size(client):
    for number in (0, 1, 127, 128, 2**32, 2**64 - 1):
        client.send(pb.Request(id=number, ping=pb.Ping()))
        expect(client.receive(), id=number, value=b"")


def field(number, content):
    if isinstance(content, int):
        return varint(number << 3) + varint(content)
    return varint(number << 3 | 2) + varint(len(content)) + content


def unknown_fields_are_ignored(client):
    extra = field(1000, b"from a later version") + field(1001, 12345)
    inner = pb.Put(key=b"k", value=b"v").SerializeToString() + extra
    client.send(extra + field(1, 77) + field(3, inner) + extra)
    expect(client.receive(), id=77)
    expect(get(client, b"k"), value=b"v")
    items = field(1, pb.KeyValue(key=b"m", value=b"w").SerializeToString() + extra)
    client.send(field(1, 78) + field(6, items + extra))
    expect(client.receive(), id=78)
    expect(get(client, b"m"), value=b"w")


def an_unknown_request_kind_is_answered(client):
    for number in (14, 23, 31, 1000):
        client.send(field(1, 77) + field(number, b"whatever it is"))
        expect(client.receive(), "UNKNOWN_REQUEST", id=77)
    client.send(field(1, 78))
    expect(client.receive(), "UNKNOWN_REQUEST", id=78)
    client.send(b"")
    expect(client.receive(), "UNKNOWN_REQUEST", id=0)
    client.send(field(1, 79) + field(31, bytes(3 * MIB)))
    expect(client.receive(), "UNKNOWN_REQUEST", id=79)
    expect(client.call(ping=pb.Ping(payload=b"alive")), value=b"alive")


def a_namespace_that_is_no_text_is_refused(client):
    for name in (b"default\0x", b"\xff\xfe"):
        client.send(field(1, 77) + field(2, field(1, b"k")) + field(15, name))
        expect(client.receive(), "INVALID_ARGUMENT", id=77)
    expect(client.call(ping=pb.Ping()))


def bytes_that_are_no_request_close(client):
    put(client, b"before", b"v")
    client.send(client.request(get=pb.Get(key=b"before")), b"\xff\xff\xff\xff",
                client.request(put=pb.Put(key=b"after", value=b"v")))
    expect(client.receive(), value=b"v")
    expect(client.receive(), "PROTOCOL_ERROR", id=0)
    assert closed(client)


def a_length_that_never_ends_closes(client):
    client.socket.sendall(b"\xff" * 100)
    expect(client.receive(), "PROTOCOL_ERROR", id=0)
    assert closed(client)


def another_protocol_is_refused(client):
    client.socket.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n" + bytes(100))
    expect(client.receive(), "PROTOCOL_ERROR", id=0)
    assert closed(client)


def a_frame_above_the_limit_closes(client):
    most = client.call(hello=pb.Hello(protocol_version=1)).hello.max_frame_bytes
    client.socket.sendall(varint(most + 1))
    expect(client.receive(), "TOO_LARGE", id=0)
    assert closed(client)


def a_frame_cut_short_harms_nobody(client, address):
    whole = frame(client.request(put=pb.Put(key=b"cut", value=bytes(100000))))
    for size in (1, 5, 1000, len(whole) - 1):
        with Client(address) as other:
            other.socket.sendall(whole[:size])
    expect(get(client, b"cut"), "NOT_FOUND")


def replies_that_nobody_reads_harm_nobody(client, address):
    put(client, b"large", bytes(MIB))
    other = Client(address)
    other.send(*[other.request(get=pb.Get(key=b"large")) for _ in range(200)])
    other.close()
    expect(client.call(ping=pb.Ping()))


def random_bytes_never_hang_or_crash(client, address):
    good = [frame(client.request(put=pb.Put(key=b"k", value=b"v" * 50, ttl_ms=99999))),
            frame(client.request(get_many=pb.GetMany(keys=[b"a", b"b"]))),
            frame(client.request(hello=pb.Hello(protocol_version=1, client_name="x")))]
    for _ in range(200):
        data = bytearray(b"".join(random.choices(good, k=3)))
        for _ in range(random.randrange(1, 8)):
            data[random.randrange(len(data))] = random.randrange(256)
        with Client(address) as other:
            other.socket.sendall(bytes(data))
            other.socket.shutdown(1)
            while not closed(other):
                pass
    expect(client.call(ping=pb.Ping()))


# ---- With a log ------------------------------------------------------------------------------


def durable(results):
    folder = scratch()
    try:
        with Daemon("--workers", "2", data_dir=folder) as daemon:
            with Client(daemon.listen) as client:
                results.run("durability classes", durability_classes, client)
                results.run("sync", sync, client)
            results.run("orderly stop", stops_orderly, daemon)
        with Daemon("--workers", "2", data_dir=folder) as daemon:
            with Client(daemon.listen) as client:
                results.run("after a restart", after_a_restart, client)
            results.run("orderly stop again", stops_orderly, daemon)
    finally:
        shutil.rmtree(folder)


def durability_classes(client):
    info = client.call(hello=pb.Hello(protocol_version=1)).hello
    assert info.epoch == 1, info
    assert info.durability == pb.DURABILITY_NORMAL, info
    for name in ("DEFAULT", "ASYNC", "NORMAL", "FULL"):
        put(client, name.encode(), b"kept", durability=pb.Durability.Value(f"DURABILITY_{name}"))
    expect(client.call(put=pb.Put(key=b"k", durability=pb.DURABILITY_NONE)), "INVALID_ARGUMENT")
    expect(client.call(put=pb.Put(key=b"k", durability=5)), "INVALID_ARGUMENT")
    expect(client.call(incr=pb.Incr(key=b"n", delta=7, durability=pb.DURABILITY_FULL)), number=7)
    expect(client.call(append=pb.Append(key=b"a", value=b"x", durability=pb.DURABILITY_FULL)))
    expect(client.call(put_many=pb.PutMany(
        items=[pb.KeyValue(key=b"gone", value=b"1"), pb.KeyValue(key=b"stays", value=b"2")],
        durability=pb.DURABILITY_FULL)))
    expect(client.call(delete=pb.Delete(keys=[b"gone"], durability=pb.DURABILITY_FULL)), number=1)


def sync(client):
    version = put(client, b"synced", b"v", durability=pb.DURABILITY_ASYNC).version
    assert expect(client.call(sync=pb.Sync())).version >= version


def stops_orderly(daemon):
    status = daemon.stop()
    assert status == 0, f"exit status {status}\n{daemon.tail()}"


def after_a_restart(client):
    info = client.call(hello=pb.Hello(protocol_version=1)).hello
    assert info.epoch == 2, info
    for key in (b"DEFAULT", b"ASYNC", b"NORMAL", b"FULL"):
        expect(get(client, key), value=b"kept")
    expect(get(client, b"n"), value=b"7")
    expect(get(client, b"a"), value=b"x")
    expect(get(client, b"gone"), "NOT_FOUND")
    version = expect(get(client, b"stays"), value=b"2").version
    assert put(client, b"later", b"v").version > version


# ---- All -------------------------------------------------------------------------------------

TESTS = [
    hello, hello_of_another_version_is_unsupported, hello_with_a_bad_name_is_refused, ping,
    get_and_put, keys_and_values_of_any_bytes, keys_up_to_their_limit, values_of_all_sizes,
    a_value_above_its_limit_is_refused, put_if_absent, put_if_present, put_if_version,
    put_of_an_unknown_condition_is_refused, put_return_previous, put_with_ttl, put_keep_ttl,
    put_with_two_expiries_is_refused, put_with_a_deadline_in_the_past_deletes, delete, get_many,
    get_many_of_megabytes, a_batch_above_its_limit_is_refused, put_many,
    put_many_of_a_key_twice_the_last_wins, put_many_is_all_or_nothing, incr, incr_at_the_edges,
    incr_of_other_values_is_refused, exists, ttl_of_nothing_is_not_found, expire_and_persist,
    expire_in_the_past_deletes, an_expired_key_is_gone, append, count_and_purge, clear,
    sync_of_memory_alone_is_not_durable, a_checkpoint_of_memory_alone_is_not_durable, stats,
    namespaces, a_thousand_requests_in_one_send,
    more_requests_than_may_be_pending, one_byte_at_a_time, ids_of_any_size,
    unknown_fields_are_ignored, an_unknown_request_kind_is_answered,
    a_namespace_that_is_no_text_is_refused, bytes_that_are_no_request_close,
    a_length_that_never_ends_closes, another_protocol_is_refused, a_frame_above_the_limit_closes,
]
TESTS_WITH_MORE_CONNECTIONS = [
    put_many_is_seen_whole, a_frame_cut_short_harms_nobody,
    replies_that_nobody_reads_harm_nobody, random_bytes_never_hang_or_crash,
]


def every_kind_has_a_test():
    kinds = [kind.name for kind in pb.Request.DESCRIPTOR.oneofs_by_name["op"].fields]
    source = pathlib.Path(__file__).read_text()
    for kind in kinds:
        assert f"call({kind}=" in source, f"nothing calls {kind}"


def the_golden_files_are_what_the_schema_says():
    make = pathlib.Path(__file__).resolve().parents[1] / "unit/wire/golden/make.py"
    result = subprocess.run([sys.executable, "-B", make, "--check"], stdout=subprocess.PIPE,
                            text=True, check=False)
    assert result.returncode == 0, result.stdout


def run_one(daemon, test, *args):
    """Each test has a connection of its own and begins with an empty cache."""
    assert daemon.running(), f"the daemon died\n{daemon.tail()}"
    with Client(daemon.listen) as client:
        expect(client.call(clear=pb.Clear()))
        test(client, *args)


def main():
    seed = os.environ.get("SEED") or str(random.randrange(2**31))
    print(f"SEED={seed}")
    random.seed(seed)
    results = Results()
    results.run("every kind has a test", every_kind_has_a_test)
    results.run("golden files", the_golden_files_are_what_the_schema_says)
    with Daemon("--workers", "2") as daemon:
        for test in TESTS:
            results.run(test.__name__, run_one, daemon, test)
        for test in TESTS_WITH_MORE_CONNECTIONS:
            results.run(test.__name__, run_one, daemon, test, daemon.listen)
        results.run("orderly stop", stops_orderly, daemon)
        if results.failed:
            print(f"The daemon's log:\n{daemon.tail()}")
    durable(results)
    return results.finish()


if __name__ == "__main__":
    sys.exit(main())
