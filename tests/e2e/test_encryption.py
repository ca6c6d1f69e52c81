#!/usr/bin/env python3
"""Encryption at rest, with real daemons: what is in no file, what is refused and then not touched,
and turning it on, other keys and turning it off while the daemon serves."""
import os
import pathlib
import re
import secrets
import signal
import subprocess
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "support"))
from brindle_client import Client, pb  # noqa: E402
from daemon import (PATIENCE_S, Daemon, Results, find_program, sanitizer_prefix, scratch,  # noqa: E402
                    until)

WRONG_KEY = 4
# None but those that somebody asks for, or that keys ask for.
QUIET = ("--checkpoint-log-size", "off", "--checkpoint-interval", "off", "--wal-segment-size", "1mb",
         "--checkpoint-rate", "off")
MARKERS = (b"marker-in-a-key", b"marker-in-a-value", b"marker-in-a-large-value")
KEYS = 300


def new_key():
    return secrets.token_hex(32)


class KeyFile:
    """A key file beside the data."""

    def __init__(self, *lines):
        self.path = scratch() / "keys"
        self.write(*lines)

    def write(self, *lines, mode=0o600):
        fresh = self.path.with_name("keys.new")
        fresh.write_text("".join(f"{line}\n" for line in lines))
        fresh.chmod(mode)
        fresh.rename(self.path)

    @property
    def option(self):
        return ("--key-file", str(self.path))


def stats(client):
    return {stat.name: stat.text or stat.number
            for stat in client.call(stats=pb.Stats(prefix=b"encryption")).stats.stats}


def fill(client, round_):
    for begin in range(0, KEYS, 100):
        items = [pb.KeyValue(key=MARKERS[0] + b"-%d" % i, value=MARKERS[1] + b" %d %d" % (i, round_))
                 for i in range(begin, begin + 100)]
        assert client.call(put_many=pb.PutMany(items=items)).status == pb.OK
    assert client.call(put=pb.Put(key=b"large", value=MARKERS[2] * 2000 + b"%d" % round_)).status == pb.OK
    assert client.call(sync=pb.Sync()).status == pb.OK


def check(client, round_):
    for i in range(KEYS):
        value = client.call(get=pb.Get(key=MARKERS[0] + b"-%d" % i)).value
        assert value == MARKERS[1] + b" %d %d" % (i, round_), (i, value)
    assert client.call(get=pb.Get(key=b"large")).value == MARKERS[2] * 2000 + b"%d" % round_


def checkpoint(client):
    assert client.call(checkpoint=pb.Checkpoint(mode=pb.CHECKPOINT_RESTART)).status == pb.OK


def files_of(folder):
    """{path: content} of all files but the lock, which holds a pid for people."""
    return {path.relative_to(folder): path.read_bytes()
            for path in sorted(pathlib.Path(folder).rglob("*")) if path.is_file() and path.name != "lock"}


def readable(folder):
    """Files in which something of the data can be read."""
    return [str(path) for path, content in files_of(folder).items()
            if any(marker in content for marker in MARKERS)]


def run_tool(program, *args, **env):
    path = find_program(program)
    done = subprocess.run([*sanitizer_prefix(path), path, *map(str, args)], text=True,
                          timeout=PATIENCE_S, stdin=subprocess.DEVNULL, env={**os.environ, **env},
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    return done.returncode, done.stdout


def start(data, keys=None, *options, **more):
    return Daemon(*QUIET, *(keys.option if keys else ()), *options, data_dir=data, **more)


def ends_at_start(data, keys, status, words, *options, **more):
    """A start that must fail, and the sentence that it ends with; nothing is changed."""
    before = files_of(data) if data else None
    with start(data, keys, *options, wait=False, **more) as daemon:
        assert daemon.wait() == status, daemon.tail()
        assert any(re.search(words, line) for line in daemon.log), daemon.tail()
        assert not any("AddressSanitizer" in line for line in daemon.log), daemon.tail()
    if data:
        assert files_of(data) == before


def under(client, pending=0):
    """The key that all is under."""
    said = stats(client)
    assert said["encryption_pending"] == pending, said
    return said["encryption_key"]


def rotate(daemon, client):
    """A reload with other keys; returns the key that all is under then."""
    before = sum("all files are under" in line or "no file is encrypted" in line for line in daemon.log)
    daemon.signal(signal.SIGHUP)
    until(lambda: sum("all files are under" in line or "no file is encrypted" in line
                      for line in daemon.log) > before, what="the end of the change of keys")
    return under(client)


# ---- Tests -----------------------------------------------------------------------------------


def nothing_can_be_read_without_the_key():
    data, keys = scratch() / "data", KeyFile(new_key())
    with start(data, keys) as daemon, Client(daemon.listen) as client:
        fill(client, 1)
        checkpoint(client)
        fill(client, 2)
        assert re.fullmatch("[0-9a-f]{16}", under(client))
        daemon.kill()
    assert readable(data) == []
    assert any("snapshots" in str(path) for path in files_of(data))
    wrong = KeyFile(new_key())
    ends_at_start(data, wrong, WRONG_KEY, "is (encrypted )?under the key")
    ends_at_start(data, None, WRONG_KEY, "is (encrypted )?under the key|encrypted")
    ends_at_start(data, KeyFile("plain", new_key()), WRONG_KEY, "is (encrypted )?under the key")
    with start(data, keys) as daemon, Client(daemon.listen) as client:
        check(client, 2)
        assert daemon.stop() == 0
    assert readable(data) == []
    # A daemon without keys writes what this looks for.
    plain = scratch() / "data"
    with start(plain) as daemon, Client(daemon.listen) as client:
        fill(client, 1)
        checkpoint(client)
        fill(client, 2)
        assert under(client) == "none"
        assert daemon.stop() == 0
    assert len(readable(plain)) >= 2


def keys_change_while_it_serves():
    data, first, second = scratch() / "data", new_key(), new_key()
    keys = KeyFile(first)
    with start(data) as daemon, Client(daemon.listen) as client:  # without any
        fill(client, 1)
        checkpoint(client)
        fill(client, 2)
        assert daemon.stop() == 0
    assert readable(data)
    names = []
    # On, by a configuration that is read again; and to another one, and another one.
    config = scratch() / "brindle.conf"
    config.write_text("")
    with start(data, None, "--config", config) as daemon, Client(daemon.listen) as client:
        assert under(client) == "none"
        config.write_text(f"[storage]\nkey-file = {keys.path}\n")
        names.append(rotate(daemon, client))
        assert readable(data) == [], readable(data)
        keys.write(second, first)
        names.append(rotate(daemon, client))
        check(client, 2)
        keys.write(second)  # the old one is not needed any more
        daemon.signal(signal.SIGHUP)
        daemon.wait_log("reload: done")
        fill(client, 3)
        daemon.kill()
    assert len(set(names)) == 2 and "none" not in names, names
    assert readable(data) == []
    with start(data, keys) as daemon, Client(daemon.listen) as client:
        check(client, 3)
        assert under(client) == names[1]
        # Off.
        keys.write("plain", second)
        assert rotate(daemon, client) == "none"
        fill(client, 4)
        daemon.kill()
    assert readable(data)
    with start(data) as daemon, Client(daemon.listen) as client:
        check(client, 4)


def keys_change_by_a_restart():
    data, first, second = scratch() / "data", new_key(), new_key()
    keys = KeyFile(first)
    with start(data, keys) as daemon, Client(daemon.listen) as client:
        fill(client, 1)
        checkpoint(client)
        fill(client, 2)
        old = under(client)
        daemon.kill()
    keys.write(second, first)
    with start(data, keys) as daemon, Client(daemon.listen) as client:
        daemon.wait_log("all files are under the key")
        assert under(client) != old
        check(client, 2)
        daemon.kill()
    keys.write(first)
    ends_at_start(data, keys, WRONG_KEY, "is (encrypted )?under the key")
    keys.write(second)
    with start(data, keys) as daemon, Client(daemon.listen) as client:
        check(client, 2)
        assert daemon.stop() == 0


def a_reload_with_bad_keys_changes_nothing():
    data, first, second = scratch() / "data", new_key(), new_key()
    keys = KeyFile(first)
    with start(data, keys) as daemon, Client(daemon.listen) as client:
        fill(client, 1)
        old = under(client)

        def refused(words):
            before = len(daemon.log)
            daemon.signal(signal.SIGHUP)
            until(lambda: any("nothing was changed" in line for line in daemon.log[before:]),
                  what="the refusal")
            line = next(line for line in daemon.log[before:] if "nothing was changed" in line)
            assert re.search(words, line), line
            assert first not in line and second not in line
            assert under(client) == old

        keys.write(second)  # without the one that is in use
        refused("leave it below the new key")
        keys.write("nonsense", first)
        refused("line 1 of the key file")
        keys.write(second, first, mode=0o644)
        refused("open to others")
        keys.path.unlink()
        refused("cannot open")
        fill(client, 2)
        keys.write(second, first)
        assert rotate(daemon, client) != old
        check(client, 2)
        assert daemon.stop() == 0


def a_key_file_that_is_none_is_wrong_usage():
    data = scratch() / "data"
    for lines, mode, words in (((new_key(),), 0o644, "open to others"), ((new_key(),), 0o660, "open to others"),
                               (("12345",), 0o600, "line 1"), ((), 0o600, "no key")):
        keys = KeyFile()
        keys.write(*lines, mode=mode)
        ends_at_start(None, keys, 2, words, "--data-dir", data)
        ends_at_start(None, keys, 2, words, "--data-dir", data, "--check-config")
        assert not data.exists()
    keys = KeyFile(new_key())
    status, out = run_tool("brindled", "--check-config", *keys.option, "--data-dir", data)
    assert status == 0, out
    missing = KeyFile(new_key())
    missing.path.unlink()
    ends_at_start(None, missing, 2, "cannot open", "--data-dir", data)
    # There is nothing to encrypt.
    ends_at_start(None, keys, 2, "data-dir is none", "--data-dir", "none")


def a_credential_is_found():
    data, keys = scratch() / "data", KeyFile(new_key())
    keys.path.rename(keys.path.with_name("brindle.key"))
    env = {"CREDENTIALS_DIRECTORY": str(keys.path.parent)}
    with start(data, None, env=env) as daemon, Client(daemon.listen) as client:
        fill(client, 1)
        assert under(client) != "none"
        daemon.kill()
    assert readable(data) == []
    ends_at_start(data, None, WRONG_KEY, "key")
    # The option is stronger, and so is no directory.
    ends_at_start(data, None, WRONG_KEY, "key", "--key-file", "none", env=env)
    with Daemon(env=env) as daemon, Client(daemon.listen) as client:
        assert client.call(ping=pb.Ping()).status == pb.OK


def backups_stay_encrypted():
    home, keys = scratch(), KeyFile(new_key())
    data, backup, restored = home / "data", home / "backup", home / "restored"
    with start(data, keys) as daemon, Client(daemon.listen) as client:
        fill(client, 1)
        checkpoint(client)
        fill(client, 2)
        for program in ("brindle", "brindle-wal"):
            from_ = ("--data-dir", data) if program == "brindle" else (data,)
            status, out = run_tool(program, "backup", *keys.option, *from_, home / program)
            assert status == 0, out
            assert readable(home / program) == []
        status, out = run_tool("brindle", "backup", "--data-dir", data, backup,
                               BRINDLE_KEY_FILE=str(keys.path))
        assert status == 0, out
        status, out = run_tool("brindle-wal", "backup", data, home / "without")
        assert status == WRONG_KEY, out
        daemon.kill()
    assert readable(backup) == []
    status, out = run_tool("brindle-wal", "restore", *KeyFile(new_key()).option, backup, restored)
    assert status == WRONG_KEY and not restored.exists(), out
    status, out = run_tool("brindle", "restore", *keys.option, backup, restored)
    assert status == 0, out
    assert readable(restored) == []
    with start(restored, keys) as daemon, Client(daemon.listen) as client:
        check(client, 2)
        daemon.kill()
    # An earlier state is under the current key too.
    status, out = run_tool("brindle-wal", "recover", *keys.option, "--to", str(2**63), data, home / "earlier")
    assert status == 0, out
    assert readable(home / "earlier") == []
    status, out = run_tool("brindle-wal", "verify", *keys.option, home / "earlier")
    assert status == 0, out
    with start(home / "earlier", keys) as daemon, Client(daemon.listen) as client:
        check(client, 2)


def main():
    results = Results()
    for test in (nothing_can_be_read_without_the_key, keys_change_while_it_serves, keys_change_by_a_restart,
                 a_reload_with_bad_keys_changes_nothing, a_key_file_that_is_none_is_wrong_usage,
                 a_credential_is_found, backups_stay_encrypted):
        results.run(test.__name__, test)
    return results.finish()


if __name__ == "__main__":
    sys.exit(main())
