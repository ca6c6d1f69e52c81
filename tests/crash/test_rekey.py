"""kill -9 in the middle of a load while keys change all the time: nothing that was acknowledged is
missing, whatever the kill left half under one key and half under another, and nothing of it can be
read. What each kill leaves is searched for a nonce that was used twice under one key: that
would give both texts away.

KILLS=500 for a long run.
"""
import collections
import hashlib
import pathlib
import random
import struct
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
from rekey import Changer, KeyFile  # noqa: E402
from rig import (CHECKPOINTS, CrashResults, Daemon, Helper, SEED, address_of,  # noqa: E402
                 folder_of_its_own, number, numbers_of, run, sanitizer_prefix, seconds_since, tally,
                 wal_tool)

KILLS = number("KILLS", 14)
PLAIN = bytes(16)


# ---- Nonces ----------------------------------------------------------------------------------


class Audit:
    """All parts of files that were ever seen, by what they were sealed with."""

    def __init__(self):
        self.lives = {}  # (key, salt): the file
        self.parts = {}  # (key, salt, position): digest of what is there
        self.seen = collections.Counter()

    def note_life(self, name, key, salt):
        known = self.lives.setdefault((key, salt), name)
        assert known == name, f"{known} and {name} have the same key and salt"

    def note_part(self, name, key, salt, position, content):
        digest = hashlib.sha256(content).digest()
        known = self.parts.setdefault((key, salt, position), digest)
        assert known == digest, f"{name}: two texts under the nonce {position}"
        self.seen["parts"] += 1

    def segment(self, name, content):
        """Groups lie back to back; the last one may be torn, so it tells nothing."""
        salt, key = content[32:48], content[120:136]
        if content[:8] != b"BRDLSEG1" or key == PLAIN:
            return
        self.note_life(name, key, salt)
        self.seen["segments"] += 1
        at, lsn, groups = 4096, struct.unpack_from("<Q", content, 80)[0], []
        while at + 64 <= len(content) and content[at:at + 4] == b"BRDG":
            flags, length, own_lsn = *struct.unpack_from("<II", content, at + 8), \
                struct.unpack_from("<Q", content, at + 24)[0]
            if own_lsn != lsn:
                break
            assert flags & 1, f"{name}: a group at {at} is not encrypted"
            groups.append((lsn, content[at + 8:at + 64 + length + 16]))
            step = (64 + length + 16 + 7) & ~7
            at, lsn = at + step, lsn + step
        for position, group in groups[:-1]:
            self.note_part(name, key, salt, position, group)

    def snapshot(self, name, content):
        """Of one that has no end the last block may be torn too."""
        salt, key = content[32:48], content[72:88]
        if content[:8] != b"BRDLSNP1" or key == PLAIN:
            return
        self.note_life(name, key, salt)
        self.seen["snapshots"] += 1
        at, blocks = 4096, []
        while at + 32 <= len(content) and content[at:at + 4] == b"BRDB":
            flags, length, position = struct.unpack_from("<IIQ", content, at + 8)
            assert flags & 1, f"{name}: a block at {at} is not encrypted"
            blocks.append((position + 1, content[at + 8:at + 32 + length + 16]))
            at += 32 + length + 16
        for position, block in blocks if content[-56:-52] == b"BRDF" else blocks[:-1]:
            self.note_part(name, key, salt, position, block)

    def directory(self, data):
        for path in sorted((data / "wal").glob("*.wal")):
            self.segment(path.name, path.read_bytes())
        for path in sorted((data / "snapshots").glob("*.*")):
            self.snapshot(f"snapshot {path.stem}", path.read_bytes())


def the_audit_finds_what_it_looks_for():
    def segment(salt, *texts):
        page = bytearray(4096)
        page[:8], page[32:48], page[120:136] = b"BRDLSEG1", salt, b"k" * 16
        lsn = 0
        for text in (*texts, b"the last one"):
            group = b"BRDG" + struct.pack("<IIIIIQQQQQ", 0, 1, len(text), 1, 1, lsn, 0, 0, 0, 0) + text + bytes(16)
            group += bytes(-len(group) % 8)
            page += group
            lsn += len(group)
        return bytes(page)

    def finds(*files):
        audit = Audit()
        try:
            for name, content in files:
                audit.segment(name, content)
        except AssertionError:
            return True
        assert audit.seen["parts"] > 0
        return False

    salt, other = b"s" * 16, b"t" * 16
    assert not finds(("1.wal", segment(salt, b"one", b"two")), ("1.wal", segment(salt, b"one", b"two", b"more")),
                     ("2.wal", segment(other, b"eins", b"zwei")))
    assert finds(("1.wal", segment(salt, b"one", b"two")), ("1.wal", segment(salt, b"one", b"owt")))
    assert finds(("1.wal", segment(salt, b"one", b"two")), ("2.wal", segment(salt, b"one", b"two")))


# ---- Kills -----------------------------------------------------------------------------------


def start(data_dir, keys, **more):
    return Daemon("--durability", "normal", "--workers", "2", "--wal-segment-size", "1mb",
                  *CHECKPOINTS, "--key-file", keys.path, data_dir=data_dir, **more)


def one_kill(load, data_dir, keys, dice, audit):
    """Returns how many requests were answered, and how often the keys changed."""
    with start(data_dir, keys) as daemon:
        changer = Changer(daemon, keys, dice)
        changer.start()
        said = load.ask(f"run {address_of(daemon)} class=normal conns={dice.randint(1, 6)} "
                        f"depth={dice.choice((1, 8, 64))} mix={dice.randint(0, 1)} "
                        f"at={dice.randint(2000, 20000)} kill={daemon.pid}")
        daemon.wait()
        changer.join()
        assert changer.failed is None, changer.failed
    audit.directory(data_dir)
    with start(data_dir, keys) as daemon:
        load.ask(f"verify {address_of(daemon)} rule=kill class=normal")
        if dice.random() < 0.5:
            # All that is left of the others goes, and they are not needed any more.
            daemon.wait_log("recovery: .* records? in")
            if any("not under the current key yet" in line for line in daemon.log):
                daemon.wait_log("all files are under|no file is encrypted")
            keys.forget()
            assert daemon.stop() == 0, daemon.tail()
            audit.directory(data_dir)
    answered = numbers_of(said)["answered"]
    tally(kills=1, operations=answered)
    return answered, changer.changes


def nothing_is_missing_whatever_the_keys():
    dice = random.Random(f"{SEED}/rekey")
    start_s = time.monotonic()
    answered = changes = 0
    audit = Audit()
    with folder_of_its_own() as folder, Helper("crash_load") as load:
        keys = KeyFile(folder)
        keys.change()
        for _ in range(KILLS):
            one = one_kill(load, folder / "data", keys, dice, audit)
            answered += one[0]
            changes += one[1]
        tool = wal_tool()
        if tool:
            run(*sanitizer_prefix(tool), tool, "verify", "--key-file", keys.path, folder / "data")
    print(f"{KILLS} kills, {changes} changes of keys, {answered} requests, {audit.seen['segments']} segments "
          f"and {audit.seen['snapshots']} snapshots with {audit.seen['parts']} parts, {seconds_since(start_s)}")
    assert changes > 0 and audit.seen["parts"] > 100 and audit.seen["snapshots"] > 0, "too little happened"


def main():
    results = CrashResults()
    results.run("the_audit_finds_what_it_looks_for", the_audit_finds_what_it_looks_for)
    results.run("nothing_is_missing_whatever_the_keys", nothing_is_missing_whatever_the_keys)
    return results.finish()


if __name__ == "__main__":
    sys.exit(main())
