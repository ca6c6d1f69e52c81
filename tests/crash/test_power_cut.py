"""Power cuts: the file system under the daemon stops without writing anything more, the daemon
is killed, the disk comes back with what was synced.

Under `full` nothing acknowledged before the cut began is missing, and nothing that another
client was shown; under `normal` what is there is a prefix of what was accepted, and what was
acknowledged longer than the stated bound before the last acknowledged write was asked for is in
it. A build that acknowledges early is caught, or else this test proves nothing.

On a quarter of the disks the daemon evicts. Then the same while keys change, one after the other, and
encryption is turned on and off, so that cuts leave all that lies between: what is there opens with the
key file as it is, and holds what was promised; and once Stats said that no file was left to be encrypted, none
has anything that can be read, and the word `only` stands in the key file of the next start.

CUTS=500 KEYED_CUTS=500 for a long run; BREAKS=0 leaves the build with the planted fault out.
"""
import collections
import pathlib
import random
import re
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
from rekey import Changer, KeyFile  # noqa: E402
from rig import (CHECKPOINTS, EVICTION, POLICIES, CrashResults, Daemon, Disk, Helper, SEED,  # noqa: E402
                 address_of, build_broken, folder_of_its_own, number, numbers_of, preload, seconds_since, tally, verify_log,
                 why_no_disk)

CUTS = number("CUTS", 12)
KEYED_CUTS = number("KEYED_CUTS", 10)
BREAKS = number("BREAKS", 1)
CUTS_ON_ONE = 5  # on the same data
SYNC_MS = 300
SLOW_SYNC_MS = 5
PLAN_BROKEN = "conns=8 depth=1 think_ms=12 at=120"
BOUND_MS = 2 * SYNC_MS  # as stated
MARKER = re.compile(rb"load/[0-9]{2}/[0-9]{2}")  # in each key (support/numbered.c)


def start(data_dir, durability, *options, **more):
    return Daemon("--durability", durability, "--workers", "2", "--wal-segment-size", "2mb",
                  *CHECKPOINTS, "--wal-sync-interval", f"{SYNC_MS}ms", *options, data_dir=data_dir,
                  **more)


def words_of(plan):
    return " ".join(f"{name}={value}" for name, value in plan.items())


def plan_of(dice, durability, slow, evicts):
    plan = {"conns": dice.randint(8, 16) if evicts else dice.randint(1, 6), "depth": dice.choice((1, 8, 64)),
            "mix": int(dice.random() < 0.3), "readers": dice.randint(0, 2)}
    if durability == "normal" and dice.random() < 0.5:
        # Long enough for the bound to lie behind some, slow enough for the disk.
        plan.update(conns=2, depth=4, ms=dice.randint(BOUND_MS, 2 * BOUND_MS))
    else:
        plan["at"] = dice.randint(1, 200 if slow else 2000)
    return words_of(plan)


def one_cut(load, disk, durability, plan, program=None, slow=False, eviction=()):
    env = preload("slowsync", program, SLOW_SYNC_MS=SLOW_SYNC_MS) if slow else None
    plan += f" evicts={int(bool(eviction))}"
    with start(disk.folder / "data", durability, *eviction, program=program, env=env) as daemon:
        load.ask(f"run {address_of(daemon)} {plan} "
                 f"class={durability} cut={disk.folder} kill={daemon.pid}")
        daemon.wait()
    disk.restore()
    with start(disk.folder / "data", durability, *eviction, program=program) as daemon:
        said = load.ask(f"verify {address_of(daemon)} rule=cut class={durability} "
                        f"bound_ms={BOUND_MS} evicts={int(bool(eviction))}")
    return numbers_of(said)


def cuts(durability, count):
    dice = random.Random(f"{SEED}/{durability}")
    began = time.monotonic()
    issued = owed = there = 0
    for first in range(0, count, CUTS_ON_ONE):
        eviction = (*EVICTION, dice.choice(POLICIES)) if dice.random() < 0.25 else ()
        with Disk() as disk, Helper("crash_load", seed=SEED + first) as load:
            for _ in range(first, min(count, first + CUTS_ON_ONE)):
                slow = dice.random() < 0.3
                plan = plan_of(dice, durability, slow, bool(eviction))
                found = one_cut(load, disk, durability, plan, slow=slow, eviction=eviction)
                issued += found["issued"]
                owed += found["owed"]
                there += found["there"]
                tally(cuts=1, operations=found["issued"])
                verify_log(disk.folder / "data")
    print(f"{durability}: {count} cuts; of {issued} requests {there} are there, {owed} had to be; "
          f"{seconds_since(began)}")


# ---- While keys change -----------------------------------------------------------------------


def plan_while_keys_change(dice, durability):
    """Time for some changes, or for the middle of the first one."""
    plan = {"conns": dice.randint(1, 6), "depth": dice.choice((1, 8, 64)), "mix": int(dice.random() < 0.3),
            "readers": dice.randint(0, 1), "ms": dice.choice((20, 100, 400))}
    if durability == "normal" and dice.random() < 0.5:
        plan.update(conns=2, depth=4, ms=dice.randint(BOUND_MS, 2 * BOUND_MS))  # as above
    return words_of(plan)


def readable(data):
    return [str(path.relative_to(data)) for path in sorted(data.rglob("*"))
            if path.is_file() and MARKER.search(path.read_bytes())]


def state_of(keys):
    if keys.settled:
        return "off" if keys.plain else "on"
    return "turning off" if keys.plain else "other key" if keys.hides else "turning on"


def one_keyed_cut(load, disk, durability, keys, dice, seen):
    data = disk.folder / "data"
    options = ("--key-file", keys.path)
    env = preload("slowsync", SLOW_SYNC_MS=SLOW_SYNC_MS) if dice.random() < 0.3 else None
    with start(data, durability, *options, env=env) as daemon:
        changer = Changer(daemon, keys, dice, settles=0.7, rests=0.3, plain=0.2, may_fail=True)
        changer.start()
        said = load.ask(f"run {address_of(daemon)} {plan_while_keys_change(dice, durability)} class={durability} "
                        f"cut={disk.folder} kill={daemon.pid}")
        daemon.wait()
        changer.join()
        assert changer.failed is None, changer.failed
    seen[state_of(keys)] += 1
    disk.restore()
    if keys.hides:
        assert not readable(data), f"can be read: {readable(data)}"
        keys.write("only")
    with start(data, durability, *options) as daemon:
        found = numbers_of(load.ask(f"verify {address_of(daemon)} rule=cut class={durability} "
                                    f"bound_ms={BOUND_MS}"))
        if dice.random() < 0.4:
            keys.settle(daemon)
            keys.forget()
    assert not keys.hides or not readable(data), f"can be read: {readable(data)}"
    verify_log(data, "--key-file", keys.path)
    keys.write()
    return numbers_of(said)["answered"], changer.changes, found["owed"]


def keyed_cuts(durability, count):
    dice = random.Random(f"{SEED}/keyed/{durability}")
    began = time.monotonic()
    seen = collections.Counter()
    answered = changes = owed = 0
    for first in range(0, count, CUTS_ON_ONE):
        with Disk() as disk, folder_of_its_own() as folder, Helper("crash_load", seed=SEED + first) as load:
            keys = KeyFile(folder)
            keys.change()
            if dice.random() < 0.5:
                keys.change(plain=True)
            for _ in range(first, min(count, first + CUTS_ON_ONE)):
                one = one_keyed_cut(load, disk, durability, keys, dice, seen)
                answered, changes, owed = answered + one[0], changes + one[1], owed + one[2]
                tally(cuts=1, operations=one[0])
    print(f"{durability}: {count} cuts, {changes} changes of keys; of {answered} answered requests {owed} had to be "
          f"there; cut while encryption was {dict(sorted(seen.items()))}; {seconds_since(began)}")
    assert changes > 0 or count < CUTS_ON_ONE, "no key has changed"


# ---- Planted ---------------------------------------------------------------------------------


def is_caught(fault):
    dice = random.Random(f"{SEED}/{fault}")
    program = build_broken(fault)
    for cut in range(1, 31):
        with Disk() as disk, Helper("crash_load", seed=SEED + cut) as load:
            try:
                one_cut(load, disk, "full", PLAN_BROKEN, program,
                        slow=True)
            except AssertionError as error:
                print(f"{fault} caught at cut {cut}: {error}")
                return
            except RuntimeError as error:  # it does not even start on what it left
                print(f"{fault} caught at cut {cut}: {error}")
                return
    raise AssertionError(f"{fault}: 30 cuts and not caught")


def main():
    results = CrashResults()
    reason = why_no_disk()
    if reason:
        results.skip(reason)
        return results.finish()
    results.run("under_full_nothing_acknowledged_is_missing", cuts, "full", (CUTS + 1) // 2)
    results.run("under_normal_a_prefix_is_left", cuts, "normal", CUTS // 2)
    results.run("keys_change_under_full", keyed_cuts, "full", (KEYED_CUTS + 1) // 2)
    results.run("keys_change_under_normal", keyed_cuts, "normal", KEYED_CUTS // 2)
    if BREAKS:
        results.run("a_planted_early_ack_is_caught", is_caught, "EARLY_ACK")
    return results.finish()


if __name__ == "__main__":
    sys.exit(main())
