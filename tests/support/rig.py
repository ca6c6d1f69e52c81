"""What the crash tests stand on: disks that can lose their power or fill up, and the helper
programs of tests/crash, which answer each command with a line.

Everything is a context manager that leaves nothing behind: no mount, no loop device, no process.
Mounts live in a mount namespace of the test's own, and a loop device goes with its mount, so that
not even kill -9 on the test leaves any.

With KEEP in the environment a failure leaves its evidence in TMPDIR: the data as the crash left
it (before-recovery), as it was when the test gave up, and what the last daemons said.
"""
import collections
import contextlib
import ctypes
import itertools
import os
import pathlib
import random
import re
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "e2e"))

import daemon as plain  # noqa: E402
from daemon import (PATIENCE_S, SRC, Manager, Results, build_folder, find_program,  # noqa: E402
                    preloadable, sanitizer_prefix, until)

KEEP = bool(os.environ.get("KEEP"))
LOGS_KEPT = 6
SEED = int(os.environ.get("SEED") or random.SystemRandom().randrange(1, 2**31))
CLONE_NEWNS = 0x20000

has_namespace = False
signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that `finally` is reached


def number(name, default):
    """How often, or how many: from the environment, for runs longer than that of each change."""
    return int(os.environ.get(name, default))


def address_of(daemon):
    return "{}:{}".format(*daemon.listen)


totals = collections.Counter()


def tally(**numbers):
    """Adds to what this test has done, for those who run many of them: cuts=1, requests=500."""
    totals.update(numbers)


class CrashResults(Results):
    """Results that can also be skipped, loudly."""

    def __init__(self):
        super().__init__()
        self.skipped = 0
        print(f"SEED={SEED}", flush=True)

    def run(self, name, function, *args):
        if KEEP and self.failed:
            print(f"not run, for the evidence's sake: {name}", flush=True)
        else:
            super().run(name, function, *args)

    def skip(self, reason):
        self.skipped += 1
        print(f"SKIP: {reason}", flush=True)

    def finish(self):
        if totals:
            print("DONE", *(f"{name}={count}" for name, count in totals.items()))
        print(f"{self.passed} passed, {self.failed} failed"
              + (f", {self.skipped} skipped" if self.skipped else ""))
        return 1 if self.failed else 0


class Helper:
    """A helper program of tests/crash that reads commands and answers each with a line."""

    def __init__(self, name, *args, seed=SEED, **env):
        program = find_program(name)
        self.process = subprocess.Popen(
            [*sanitizer_prefix(program), program, *map(str, args)], text=True, bufsize=1,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, env={**os.environ, "SEED": str(seed), **env})

    def ask(self, command, timeout=PATIENCE_S):
        """The answer to a command. AssertionError: it says that a promise was broken."""
        self.process.stdin.write(command + "\n")
        if not select.select([self.process.stdout], [], [], timeout)[0]:
            raise AssertionError(f"no answer to {command!r} in {timeout} s")
        line = self.process.stdout.readline().strip()
        if not line or line.startswith("FAIL"):
            raise AssertionError(f"{command!r}: {line or 'the helper is gone'}")
        return line

    def __enter__(self):
        return self

    def __exit__(self, *_error):
        self.process.kill()
        self.process.wait()
        self.process.stdin.close()
        self.process.stdout.close()


def numbers_of(line):
    """{"issued": 12, ...} of `ok issued=12 ...`."""
    return {name: int(value) for name, value in re.findall(r"(\w+)=(\d+)", line)}


# ---- Disks -----------------------------------------------------------------------------------


def run(*command):
    """A command that must succeed; returns what it prints."""
    done = subprocess.run([str(word) for word in command], text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    if done.returncode:
        raise RuntimeError(f"{' '.join(map(str, command))}: {done.stdout.strip()}")
    return done.stdout.strip()


def mount(*arguments):
    """Mounts where nobody else sees it."""
    global has_namespace
    if not has_namespace:
        if ctypes.CDLL(None, use_errno=True).unshare(CLONE_NEWNS) != 0:
            raise RuntimeError(f"no mount namespace: {os.strerror(ctypes.get_errno())}")
        run("mount", "--make-rprivate", "/")
        has_namespace = True
    run("mount", *arguments)


def unmount(folder):
    """Unmounts, at the worst lazily: a mount must not outlive its test."""
    if os.path.ismount(folder):
        if subprocess.call(["umount", folder], stderr=subprocess.DEVNULL) != 0:
            run("umount", "--lazy", folder)


class Disk:
    """An ext4 file system in a file, mounted at .folder, whose power can be cut.

    crash_load and crash_history cut the power themselves, at a moment of theirs; afterwards
    .restore() is what the next boot does. The image is sparse."""

    def __init__(self, size_mb=1024, options="defaults"):
        self.home = pathlib.Path(tempfile.mkdtemp(prefix="brindle-disk-"))
        self.folder = self.home / "m"
        self.image = self.home / "image"
        self.loop = None
        self.options = options
        self.folder.mkdir()
        try:
            with open(self.image, "wb") as image:
                image.truncate(size_mb << 20)
            run("mkfs.ext4", "-qF", "-N", "4096", self.image)
            self.attach()
        except BaseException:
            self.close()
            raise

    def attach(self):
        # Another test may take the free device first: let losetup try again.
        for attempt in range(20):
            try:
                self.loop = run("losetup", "-f", "--show", self.image)
                break
            except RuntimeError:
                if attempt == 19:
                    raise
        try:
            mount("-o", self.options, self.loop, self.folder)
        finally:
            run("losetup", "-d", self.loop)  # it is busy, so it goes when it is unmounted

    def detach(self):
        unmount(self.folder)
        until(lambda: not run("losetup", "-j", self.image), what=f"the end of {self.loop}")

    def restore(self):
        """Power is back: the device is opened anew, the journal is replayed."""
        self.detach()
        self.attach()

    def close(self):
        with contextlib.suppress(RuntimeError, AssertionError):
            self.detach()
        shutil.rmtree(self.home, ignore_errors=True)

    def __enter__(self):
        return self

    def __exit__(self, error, *_more):
        if KEEP and error and issubclass(error, Exception):
            self.detach()
            print(f"kept: {self.image}, a file system")
        else:
            self.close()


@contextlib.contextmanager
def small_disk(size):
    """A tmpfs of so many bytes."""
    folder = tempfile.mkdtemp(prefix="brindle-small-")
    try:
        mount("-t", "tmpfs", "-o", f"size={size}", "tmpfs", folder)
        yield pathlib.Path(folder)
    finally:
        unmount(folder)
        os.rmdir(folder)


@contextlib.contextmanager
def folder_of_its_own():
    folder = tempfile.mkdtemp(prefix="brindle-data-")
    keep = False
    try:
        yield pathlib.Path(folder)
    except Exception:
        keep = KEEP
        raise
    finally:
        if not keep:
            shutil.rmtree(folder, ignore_errors=True)


def why_no_disk():
    """Why there cannot be a Disk here, or None."""
    missing = [name for name in ("losetup", "mkfs.ext4", "mount", "umount")
               if not shutil.which(name)]
    if missing:
        return f"power cuts need {', '.join(missing)}"
    if os.geteuid() != 0:
        return "power cuts need root for loop devices and mounts"
    try:
        with Disk(16):
            return None
    except RuntimeError as error:
        return f"power cuts need loop devices and mounts: {error}"


def why_no_mount():
    if os.geteuid() != 0:
        return "mounting needs root"
    try:
        with small_disk("64k"):
            return None
    except RuntimeError as error:
        return f"mounting a tmpfs does not work here: {error}"


# ---- Daemons ---------------------------------------------------------------------------------


class Daemon(plain.Daemon):
    """A brindled that leaves evidence, with KEEP: what it started from, and what it said."""

    numbers = itertools.count()

    def __init__(self, *args, data_dir=None, **more):
        if KEEP and data_dir and os.path.isdir(data_dir):
            copy = pathlib.Path(tempfile.gettempdir()) / "before-recovery"
            shutil.rmtree(copy, ignore_errors=True)
            with contextlib.suppress(OSError):  # another daemon may be at work there
                shutil.copytree(data_dir, copy)
        super().__init__(*args, data_dir=data_dir, **more)

    def __exit__(self, *error):
        super().__exit__(*error)
        if KEEP:
            self._reader.join()
            number_ = next(self.numbers)
            folder = pathlib.Path(tempfile.gettempdir())
            (folder / f"daemon-{number_:05}.log").write_text("\n".join(self.log) + "\n")
            (folder / f"daemon-{number_ - LOGS_KEPT:05}.log").unlink(missing_ok=True)


def preload(shim, program=None, **settings):
    """An environment in which a shim of tests/support/preload stands before the C library."""
    libraries = [preloadable(build_folder() / "tests" / "preload" / f"{shim}.so")]
    code = (program or find_program("brindled")).read_bytes()
    options = os.environ.get("ASAN_OPTIONS", "")
    if b"__asan_init" in code:
        # The sanitizer's run-time wants to be the first.
        libraries.insert(0, run("gcc", "-print-file-name=libasan.so"))
        options += ":verify_asan_link_order=0"
    return {"LD_PRELOAD": " ".join(map(str, libraries)), "ASAN_OPTIONS": options,
            **{name: str(value) for name, value in settings.items()}}


def build_broken(fault):
    """A daemon with a planted fault, in a build of its own that later runs find again."""
    folder = build_folder().parent / f"break-{fault.lower()}"
    settings = ["-DCMAKE_BUILD_TYPE=Debug", "-DBRINDLE_JEMALLOC=OFF", "-DBRINDLE_DEBUG=ON",
                f"-DBRINDLE_BREAK={fault}"]
    for command in (["cmake", "-S", SRC, "-B", folder, "-G", "Ninja",
                     "-Wno-dev", *settings],
                    ["cmake", "--build", folder, "--target", "brindled"]):
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        assert done.returncode == 0, done.stdout
    return folder / "brindled"


def wal_tool():
    """brindle-wal, or None where it is not built."""
    try:
        return find_program("brindle-wal")
    except SystemExit:
        return None


# Whatever else happens, checkpoints happen too, one after the other.
CHECKPOINTS = ("--checkpoint-log-size", "64kb", "--checkpoint-rate", "off")

# About half of what the load would like to have, with evicts=1. The stripes must not be all of it.
EVICTION = ("--max-memory", "48kb", "--stripes", "16", "--eviction")
POLICIES = ("s3fifo", "s3fifo", "lru", "random")


def verify_log(data_dir, *options):
    """What a recovered data directory holds must please the offline tool too."""
    tool = wal_tool()
    if tool:
        done = subprocess.run([*sanitizer_prefix(tool), tool, "verify", *options, data_dir], text=True,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        assert done.returncode == 0, f"brindle-wal verify: {done.returncode}\n{done.stdout}"


class Wall:
    """The wall clock, as far as somebody else can be expected to have it.

    Who follows the wall clock does it a moment late when it is stepped (by a time service, or
    because the machine was suspended). So what may be expected of another process lies between
    the earliest and the latest that any offset to CLOCK_BOOTTIME gives that was seen so far:
    they are one and the same as long as nobody steps the clock."""

    def __init__(self):
        self._offsets = set()
        self._look()

    def _look(self):
        """Notes the offset, from the closest of some readings."""
        tries = []
        for _ in range(5):
            before = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
            wall = time.time_ns()
            apart = time.clock_gettime_ns(time.CLOCK_BOOTTIME) - before
            tries.append((apart, wall - before - apart // 2))
        offset = min(tries)[1]
        self._offsets = {offset, *self._offsets}
        self._offsets = {min(self._offsets), max(self._offsets)}
        return time.clock_gettime_ns(time.CLOCK_BOOTTIME)

    def earliest_ms(self):
        return (self._look() + min(self._offsets)) // 1_000_000

    def latest_ms(self):
        return (self._look() + max(self._offsets)) // 1_000_000


def seconds_since(start):
    return f"{time.monotonic() - start:.1f} s"


__all__ = ["CHECKPOINTS", "CrashResults", "Daemon", "Disk", "EVICTION", "Helper", "Manager",
           "POLICIES", "SEED", "Wall", "address_of", "build_broken", "build_folder",
           "find_program", "folder_of_its_own", "number", "numbers_of", "preload", "run",
           "sanitizer_prefix", "seconds_since", "small_disk", "tally", "until", "verify_log",
           "wal_tool", "why_no_disk", "why_no_mount"]
