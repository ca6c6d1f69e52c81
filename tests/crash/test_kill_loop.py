"""kill -9 in the middle of a load, again and again on the same data: nothing that was
acknowledged under `normal` or `full`, and nothing that another client was shown, is missing.
Where keys are evicted, none of them comes back, and none with an old value.

KILLS=2000 EVICTION_KILLS=500 for a long run; BREAKS=1 also builds a daemon that does not log evictions,
which must be caught.
"""
import collections
import pathlib
import random
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
from rig import (CHECKPOINTS, EVICTION, POLICIES, CrashResults, Daemon, Helper, Manager, SEED,  # noqa: E402
                 address_of, build_broken, folder_of_its_own, number, numbers_of, seconds_since, tally,
                 verify_log)

KILLS = number("KILLS", 26)
RECOVERY_KILLS = number("RECOVERY_KILLS", 20)
EVICTION_KILLS = number("EVICTION_KILLS", 6)


def start(data_dir, durability, *options, **more):
    return Daemon("--durability", durability, "--workers", "2", "--wal-segment-size", "2mb",
                  *CHECKPOINTS, *options, data_dir=data_dir, **more)


def one_kill(load, data_dir, durability, dice):
    """Returns how many requests were answered."""
    clears = dice.random() < 0.2
    with start(data_dir, durability) as daemon:
        plan = {"conns": 1 if clears else dice.randint(1, 6), "depth": dice.choice((1, 8, 64, 200)),
                "mix": dice.randint(0, 1), "clears": int(clears), "readers": dice.randint(0, 2),
                "at": dice.randint(1, 6000), "kill": daemon.pid}
        words = " ".join(f"{name}={value}" for name, value in plan.items())
        said = load.ask(f"run {address_of(daemon)} class={durability} {words}")
        daemon.wait()
    with start(data_dir, durability) as daemon:
        load.ask(f"verify {address_of(daemon)} rule=kill class={durability}")
        if dice.random() < 0.3:
            assert daemon.stop() == 0, "an orderly stop\n" + daemon.tail()
    answered = numbers_of(said)["answered"]
    tally(kills=1, operations=answered)
    return answered


def kills(durability, count):
    dice = random.Random(f"{SEED}/{durability}")
    start_s = time.monotonic()
    answered = 0
    with folder_of_its_own() as data_dir, Helper("crash_load") as load:
        for _ in range(count):
            answered += one_kill(load, data_dir, durability, dice)
        verify_log(data_dir)
    print(f"{durability}: {count} kills, {answered} requests, {seconds_since(start_s)}")


def kills_with_eviction(count, program=None):
    dice = random.Random(f"{SEED}/eviction")
    start_s = time.monotonic()
    said = collections.Counter()
    with folder_of_its_own() as data_dir, Helper("crash_load") as load:
        for _ in range(count):
            durability = dice.choice(("normal", "full"))
            options = *EVICTION, dice.choice(POLICIES)
            with start(data_dir, durability, *options, program=program) as daemon:
                found = numbers_of(load.ask(
                    f"run {address_of(daemon)} class={durability} conns={dice.randint(8, 16)} "
                    f"depth={dice.choice((1, 8, 64))} readers={dice.randint(0, 2)} "
                    f"mix={dice.randint(0, 1)} at={dice.randint(1, 6000)} kill={daemon.pid} evicts=1"))
                daemon.wait()
            said.update(found)
            with start(data_dir, durability, *options, program=program) as daemon:
                load.ask(f"verify {address_of(daemon)} rule=kill class={durability} evicts=1")
            tally(kills=1, operations=found["answered"])
        verify_log(data_dir)
    print(f"{count} kills, {said['answered']} requests, of which {said['evicted']} met an evicted key, "
          f"{seconds_since(start_s)}")
    assert said["evicted"] > 0 or count < 6, "nothing was evicted"


def is_caught(fault):
    program = build_broken(fault)
    try:
        kills_with_eviction(100, program)
    except (AssertionError, RuntimeError) as error:  # or it does not even start on what it left
        print(f"{fault} caught: {error}")
        return
    raise AssertionError(f"{fault}: 100 kills and not caught")


def kills_during_recovery():
    """Killed before it is ready, at moments all over the recovery, then left in peace: the
    state is the same, and each start issues versions above all before (or verify would tell)."""
    kills = misses = 0
    dice = random.Random(f"{SEED}/recovery")
    with folder_of_its_own() as data_dir, Helper("crash_load") as load, Manager() as manager:
        with start(data_dir, "normal") as daemon:
            load.ask(f"run {address_of(daemon)} conns=4 depth=100 at=40000 kill={daemon.pid}")
            daemon.wait()
        at_most_s = 0.5
        while kills < RECOVERY_KILLS:
            manager.drain()
            with start(data_dir, "normal", wait=False, env=manager.env) as daemon:
                assert manager.wait("STATUS=Recovering")
                # How long a recovery takes is found out: too late is a miss, and then earlier.
                if manager.wait("READY=1", dice.random() * at_most_s):
                    misses += 1
                    at_most_s *= 0.8
                else:
                    kills += 1
                    at_most_s *= 1.1
                daemon.kill()
        with start(data_dir, "normal") as daemon:
            load.ask(f"verify {address_of(daemon)} rule=kill class=normal")
        verify_log(data_dir)
    tally(kills=kills + misses)
    print(f"{kills} kills within a recovery of about {at_most_s:.2f} s, {misses} after it")


def main():
    results = CrashResults()
    results.run("nothing_acknowledged_under_normal_is_missing", kills, "normal", (KILLS + 1) // 2)
    results.run("nothing_acknowledged_under_full_is_missing", kills, "full", KILLS // 2)
    results.run("what_is_evicted_does_not_come_back", kills_with_eviction, EVICTION_KILLS)
    if number("BREAKS", 0):
        results.run("a_planted_unlogged_eviction_is_caught", is_caught, "UNLOGGED_EVICTION")
    results.run("a_recovery_that_is_killed_is_done_again", kills_during_recovery)
    return results.finish()


if __name__ == "__main__":
    sys.exit(main())
