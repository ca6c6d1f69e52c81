"""Deadlines through kills and restarts: what has expired never returns, and what has time left
has the same time left, to the millisecond.
"""
import pathlib
import random
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
from rig import CrashResults, Daemon, SEED, Wall, folder_of_its_own  # noqa: E402
from brindle_client import Client, pb  # noqa: E402

SHORT_KEYS = 400
SHORT_MS = 600
LONG_KEYS = 100
SLACK_MS = 2  # both ends round

wall = Wall()


def start(data_dir, durability="normal"):
    return Daemon("--durability", durability, "--workers", "2", data_dir=data_dir)


def put_with_deadlines(client, dice):
    """{key: deadline in ms}, set in each way that there is."""
    deadlines = {}
    for number in range(SHORT_KEYS):
        key = b"short/%d" % number
        deadline = wall.latest_ms() + dice.randrange(1, SHORT_MS)
        if number % 3 == 0:
            client.call(put=pb.Put(key=key, value=b"x", deadline_ms=deadline))
        else:
            client.call(put=pb.Put(key=key, value=b"x"))
            client.call(expire=pb.Expire(key=key, deadline_ms=deadline))
            if number % 3 == 2:  # keeps the deadline
                size = client.call(append=pb.Append(key=key, value=b"y")).number
                if size == 1:  # it has passed already: this is a new key, and has none
                    client.call(delete=pb.Delete(keys=[key]))
        deadlines[key] = deadline
    return deadlines


def look_until_gone(daemon, deadlines, gone, dice):
    """Asks for all of them until none is left, or for one round of those that are gone."""
    with Client(daemon.listen) as client:
        while True:
            keys = list(deadlines)
            asked_ms = wall.earliest_ms()
            items = client.call(get_many=pb.GetMany(keys=keys)).items
            for key, item in zip(keys, items):
                assert not (item.found and key in gone), f"{key} has returned"
                assert not (item.found and asked_ms >= deadlines[key] + SLACK_MS), \
                    f"{key} is there {asked_ms - deadlines[key]} ms after its deadline"
                if not item.found:
                    gone.add(key)
            if len(gone) == len(keys):
                return
            if dice.randrange(50) == 0:
                return  # to be killed in between, sometimes


def expired_keys_never_return(durability):
    dice = random.Random(f"{SEED}/{durability}")
    gone = set()
    with folder_of_its_own() as data_dir:
        with start(data_dir, durability) as daemon, Client(daemon.listen) as client:
            deadlines = put_with_deadlines(client, dice)
        restarts = 0
        while len(gone) < len(deadlines) or restarts < 3:
            with start(data_dir, durability) as daemon:
                look_until_gone(daemon, deadlines, gone, dice)
                if dice.random() < 0.5:
                    daemon.kill()
                else:
                    assert daemon.stop() == 0
            restarts += 1
            assert restarts < 100
        with start(data_dir, durability) as daemon, Client(daemon.listen) as client:
            assert client.call(count=pb.Count(exact=True)).number == 0


def left_ms(client, key):
    """(earliest, latest) deadline that the answer allows."""
    before = wall.earliest_ms()
    reply = client.call(ttl=pb.Ttl(key=key))
    assert reply.status == pb.OK, reply
    return before + reply.ttl_ms - SLACK_MS, wall.latest_ms() + reply.ttl_ms + SLACK_MS


def deadlines_stay():
    dice = random.Random(f"{SEED}/stay")
    with folder_of_its_own() as data_dir:
        deadlines = {}
        with start(data_dir) as daemon, Client(daemon.listen) as client:
            for number in range(LONG_KEYS):
                key = b"long/%d" % number
                ttl_ms = dice.randrange(100_000, 10_000_000_000)
                before = wall.earliest_ms()
                client.call(put=pb.Put(key=key, value=b"x", ttl_ms=ttl_ms))
                deadlines[key] = (before + ttl_ms, wall.latest_ms() + ttl_ms)
            client.call(put=pb.Put(key=b"persistent", value=b"x", ttl_ms=100_000))
            assert client.call(persist=pb.Persist(key=b"persistent")).number == 1
        for orderly in (False, True, False):
            with start(data_dir) as daemon, Client(daemon.listen) as client:
                for key, (earliest, latest) in deadlines.items():
                    found = left_ms(client, key)
                    assert found[0] <= latest and found[1] >= earliest, \
                        f"{key}: deadline in {found}, should be in {(earliest, latest)}"
                assert not client.call(ttl=pb.Ttl(key=b"persistent")).HasField("ttl_ms")
                if orderly:
                    client.close()
                    assert daemon.stop() == 0


def main():
    results = CrashResults()
    results.run("expired_keys_never_return_under_normal", expired_keys_never_return, "normal")
    results.run("expired_keys_never_return_under_full", expired_keys_never_return, "full")
    results.run("deadlines_stay", deadlines_stay)
    return results.finish()


if __name__ == "__main__":
    sys.exit(main())
