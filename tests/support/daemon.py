"""Starting and stopping brindled, for the test scripts of tests/e2e, tests/crash and others.

    sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
    from daemon import Daemon, Results

    with Daemon("--workers", "2") as daemon:
        socket.create_connection(daemon.listen)
        assert daemon.stop() == 0

Nothing here sleeps in the hope that something has happened: the daemon says on stderr when it is
ready, stopping is waiting for its end, and `until` pauses only between two askings. Leaving the
`with` kills what still runs.
"""
import os
import pathlib
import re
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import traceback

SRC = pathlib.Path(os.environ.get("BRINDLE_SRC", pathlib.Path(__file__).resolve().parents[2]))
# For what must happen. On a loaded machine anybody may lose the core for seconds, so this is
# no measure of speed: only of how long a failed test takes.
PATIENCE_S = 600
READY_LINE = re.compile(r"^.*\bready: (?P<pairs>(?:[a-z]+=\S+ ?)+)$")


def build_folder():
    """Where the programs are: $BRINDLE_BUILD, else a build of this tree."""
    if os.environ.get("BRINDLE_BUILD"):
        return pathlib.Path(os.environ["BRINDLE_BUILD"])
    for preset in ("dev", "release"):
        if (SRC / "build" / preset).is_dir():
            return SRC / "build" / preset
    raise SystemExit("set BRINDLE_BUILD to a build directory")


def find_program(name):
    """The program called name, at any depth of the build."""
    found = [path for path in sorted(build_folder().rglob(name))
             if path.is_file() and os.access(path, os.X_OK)]
    if not found:
        raise SystemExit(f"{build_folder()} has no {name}")
    return found[0]


def scratch(prefix="brindle-"):
    """A new directory, which the test runner removes if the caller does not."""
    return pathlib.Path(tempfile.mkdtemp(prefix=prefix))


def preloadable(library):
    """A path of the library that LD_PRELOAD can name: there spaces and colons separate."""
    if not re.search("[ :]", str(library)):
        return library
    link = scratch("brindle-preload-") / library.name
    link.symlink_to(library)
    return link


def sanitizer_prefix(program):
    """The sanitizers of gcc 12 and clang 14 cannot live with as much address-space
    randomization as newer kernels have: `setarch -R` turns it off for programs that have one."""
    try:
        bits = int(pathlib.Path("/proc/sys/vm/mmap_rnd_bits").read_text())
    except (OSError, ValueError):
        return []
    code = pathlib.Path(program).read_bytes()
    if bits <= 28 or not (b"__asan_init" in code or b"__tsan_init" in code):
        return []
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    if shutil.which("setarch") and subprocess.call(["setarch", "-R", "true"], **quiet) == 0:
        return ["setarch", "-R"]
    return []


def parse_address(text):
    """What socket.create_connection takes; a path for unix:PATH; None for none. Of several,
    the first."""
    text = text.split(",")[0]
    if text == "none":
        return None
    if text.startswith("unix:"):
        return text[5:]
    host, _, port = text.rpartition(":")
    return host.strip("[]"), int(port)


class Daemon:
    """A running brindled.

    Clients may stand still for long: a test of the limits on that sets them.

    args        further arguments; they come last and so win.
    data_dir    None: memory only.
    listen      address of the native listener; resp, http: of the others, or None.
    log         lines of stderr so far, without their ends.
    """

    def __init__(self, *args, data_dir=None, env=None, program=None, prefix=(), wait=True):
        program = program or find_program("brindled")
        command = [*prefix, *sanitizer_prefix(program), str(program),
                   "--listen", "127.0.0.1:0", "--resp-listen", "none", "--http-listen", "none",
                   "--progress-time", "10min", "--output-soft-time", "10min",
                   "--data-dir", str(data_dir) if data_dir else "none", *map(str, args)]
        self.log = []
        self.listen = self.resp = self.http = None
        self.ready = False
        self._changed = threading.Condition()
        self._ended = False
        self.process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE,
            env={**os.environ, **(env or {})}, text=True, errors="replace")
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        if wait:
            self.wait_ready()

    def _read(self):
        """Collects the log until the daemon is gone."""
        for line in self.process.stderr:
            line = line.rstrip("\n")
            with self._changed:
                self.log.append(line)
                match = READY_LINE.match(line)
                if match:
                    self._note_ready(dict(pair.split("=", 1)
                                          for pair in match["pairs"].split()))
                self._changed.notify_all()
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def _note_ready(self, pairs):
        self.listen = parse_address(pairs.get("listen", "none"))
        self.resp = parse_address(pairs.get("resp", "none"))
        self.http = parse_address(pairs.get("http", "none"))
        self.ready = True

    def wait_ready(self, timeout=PATIENCE_S):
        with self._changed:
            self._changed.wait_for(lambda: self.ready or self._ended, timeout)
        if not self.ready:
            self.kill()
            raise RuntimeError("brindled did not become ready:\n" + self.tail())
        return self

    def wait_log(self, pattern, timeout=PATIENCE_S):
        """Waits for a line of the log in which the pattern is found; returns the match."""
        wanted = re.compile(pattern)
        found = []

        def look():
            found[:] = [match for match in map(wanted.search, self.log) if match]
            return found or self._ended

        with self._changed:
            self._changed.wait_for(look, timeout)
        if not found:
            raise RuntimeError(f"no line of the log matches {pattern!r}:\n" + self.tail())
        return found[0]

    @property
    def pid(self):
        return self.process.pid

    def running(self):
        return self.process.poll() is None

    def signal(self, number):
        self.process.send_signal(number)

    def wait(self, timeout=PATIENCE_S):
        """Waits for its end; returns the exit status (negative: a signal)."""
        status = self.process.wait(timeout)
        self._reader.join(timeout)
        return status

    def stop(self, timeout=PATIENCE_S):
        """An orderly stop; returns the exit status."""
        if self.running():
            self.signal(signal.SIGTERM)
        return self.wait(timeout)

    def kill(self):
        """kill -9; returns when it is gone."""
        if self.running():
            self.process.kill()
        return self.wait()

    def tail(self, lines=40):
        return "\n".join("    " + line for line in self.log[-lines:])

    def __enter__(self):
        return self

    def __exit__(self, *_error):
        if self.running():
            self.kill()
        self.process.stderr.close()


class Manager:
    """The other end of sd_notify: what a service manager hears."""

    def __init__(self):
        self.folder = scratch()
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(str(self.folder / "notify"))
        self.said = []

    @property
    def env(self):
        return {"NOTIFY_SOCKET": str(self.folder / "notify")}

    def wait(self, wanted, timeout=PATIENCE_S):
        """Until it hears that, or so long; True if it did."""
        give_up = time.monotonic() + timeout
        while not any(wanted in said for said in self.said):
            self.socket.settimeout(max(0.001, give_up - time.monotonic()))
            try:
                self.said.append(self.socket.recv(4096).decode())
            except TimeoutError:
                return False
        return True

    def drain(self, silence_s=0):
        """Takes what is there, until so long nothing more comes."""
        while select.select([self.socket], [], [], silence_s)[0]:
            self.socket.recv(4096)
        self.said.clear()

    def close(self):
        self.socket.close()
        shutil.rmtree(self.folder)

    def __enter__(self):
        return self

    def __exit__(self, *_error):
        self.close()


class Results:
    """Runs test functions and counts. The summary is what the test runner reads."""

    def __init__(self):
        self.passed = self.failed = 0

    def run(self, name, function, *args):
        try:
            function(*args)
        except Exception:  # a failed test, whatever it raised
            self.failed += 1
            print(f"FAILED {name}")
            traceback.print_exc(file=sys.stdout)
        else:
            self.passed += 1
        sys.stdout.flush()

    def check(self, name, condition):
        """One assertion as a test of its own."""
        if condition:
            self.passed += 1
        else:
            self.failed += 1
            print(f"FAILED {name}")

    def finish(self):
        """Prints the summary; the exit status."""
        print(f"{self.passed} passed, {self.failed} failed")
        return 1 if self.failed else 0


def until(condition, timeout=PATIENCE_S, what="the condition"):
    """Asks until it holds. For what the daemon does not announce.

    At first at once again, then after pauses that grow to 50 ms: who asks without a pause keeps
    a core, and the daemon that answers another one, from those who are to bring it about."""
    deadline = time.monotonic() + timeout
    pause = 0
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"{what} did not come true in {timeout} s")
        select.select([], [], [], pause)
        pause = min(0.05, pause * 2 or 0.0005)
