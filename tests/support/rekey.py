"""Key files that change while a daemon runs, for the tests that end it meanwhile."""
import pathlib
import re
import secrets
import signal
import sys
import threading

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "e2e"))
from brindle_client import Client, pb  # noqa: E402
from daemon import until  # noqa: E402

KEYS_MAX = 400  # a key file has at most 64 KiB
CUT_OFF = re.compile("Input/output error|log has failed|cannot be written")


class KeyFile:
    """A key file that always holds all keys that some file may be under.

    plain     what is begun is not encrypted
    settled   a daemon has said that all files are as the file wants them, and it has not changed
              since
    hides     nothing of the data can be read in any file: all was encrypted once, and no file
              may have become plain since"""

    def __init__(self, folder):
        self.path = folder / "keys"
        self.keys = []
        self.plain = self.settled = self.hides = False

    def write(self, word=None):
        fresh = self.path.with_name("keys.new")
        fresh.touch(mode=0o600)
        words = [word] if word else ["plain"] if self.plain else []
        fresh.write_text("\n".join(words + self.keys) + "\n")
        fresh.rename(self.path)

    def change(self, plain=False):
        self.settled = False
        self.plain = plain
        if plain:
            self.hides = False
        else:
            self.keys.insert(0, secrets.token_hex(32))
        self.write()

    def settle(self, daemon):
        """Waits until Stats say that nothing is left to be done."""
        with Client(daemon.listen) as client:
            until(lambda: pending(client) == 0, what="the end of a change of keys")
        self.settled = True
        self.hides = not self.plain

    def forget(self):
        """All files are under the current one."""
        del self.keys[1:]
        self.write()


class Changer(threading.Thread):
    """Changes keys, one reload after the other, until the daemon is gone.

    settles    how often, of 1, the next change waits until the last one is over
    rests      how often that one is the last
    may_fail   the disk may stop under it: what is refused for that is no failure
    changes    how many reloads were done
    failed     a reload that was refused, or None"""

    def __init__(self, daemon, keys, dice, settles=0.0, rests=0.0, plain=0.1, may_fail=False):
        super().__init__()
        self.daemon_, self.keys, self.dice = daemon, keys, dice
        self.settles, self.rests, self.plain, self.may_fail = settles, rests, plain, may_fail
        self.changes = 0
        self.failed = None

    def reloads(self):
        return sum("reload:" in line and ("done" in line or "nothing was changed" in line)
                   for line in self.daemon_.log)

    def run(self):
        while self.daemon_.running() and len(self.keys.keys) < KEYS_MAX:
            before = self.reloads()
            self.keys.change(plain=self.dice.random() < self.plain)
            try:
                self.daemon_.signal(signal.SIGHUP)
            except ProcessLookupError:
                return
            until(lambda: not self.daemon_.running() or self.reloads() > before, what="a reload")
            refusals = [line for line in self.daemon_.log if "nothing was changed" in line]
            if refusals:
                if not (self.may_fail and CUT_OFF.search(refusals[0])):
                    self.failed = refusals[0]
                return
            self.changes += self.reloads() - before
            if self.reloads() > before and self.dice.random() < self.settles:
                try:
                    self.keys.settle(self.daemon_)
                except OSError:  # the daemon's end came first
                    return
                if self.dice.random() < self.rests:
                    return


def pending(client):
    """Files that are not under the current key."""
    reply = client.call(stats=pb.Stats(prefix=b"encryption_pending"))
    return reply.stats.stats[0].number
