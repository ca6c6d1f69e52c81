"""What the scripts beside this file share: servers, runs of brindle-bench, and words for results.

A server is started on an ephemeral port of the loopback, pinned to the CPUs that its script
chooses, and belongs to the script that started it: stop() ends it. Nothing here decides what is
measured.
"""
import argparse
import datetime
import json
import os
import pathlib
import platform
import re
import select
import shlex
import socket
import statistics
import subprocess
import threading
import time
from dataclasses import dataclass

ROOT = pathlib.Path(__file__).resolve().parent.parent
BUILD = pathlib.Path(os.environ.get("BRINDLE_RELEASE", ROOT / "build" / "release"))
START_S = 300  # of a start that fails; recovery of much data is in it
KEY_BYTES = 16


def find_built(name):
    """A program of the release build, at any depth; None where it does not exist."""
    for path in sorted(BUILD.rglob(name)):
        if path.is_file() and os.access(path, os.X_OK):
            return str(path)
    return None


def shown(command):
    """A command as one would type it in the top folder of the repository."""
    return shlex.join(command).replace(f"{ROOT}/", "")


def output_of(command):
    try:
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()
    except OSError:
        return ""


# ---- Servers ------------------------------------------------------------------------------


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Server:
    """A running server process and the ways to reach it."""

    def __init__(self, name, command, cpus, env=None):
        self.name = name
        settings = ["env", *(f"{name}={value}" for name, value in env.items())] if env else []
        self.command = settings + ["taskset", "-c", cpus] + command
        self.process = None
        self.doors = []  # (label, protocol, address)
        self.version = "unknown"

    def start(self, **options):
        self.process = subprocess.Popen(self.command, stdin=subprocess.DEVNULL, **options)

    def wait_for_port(self, port):
        deadline = time.monotonic() + START_S
        while time.monotonic() < deadline:
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
                return
            except OSError:
                pass
            try:
                self.process.wait(timeout=0.02)
                break  # it ended
            except subprocess.TimeoutExpired:
                pass
        self.stop()
        raise RuntimeError(f"{self.name} does not start: {shlex.join(self.command)}")

    def stop(self, patience_s=20):
        if self.process is None:
            return
        self.process.terminate()
        try:
            self.process.wait(timeout=patience_s)
        except subprocess.TimeoutExpired:
            self.kill()

    def kill(self):
        self.process.kill()
        self.process.wait()


def drop_output(stream):
    """So that a server that says much does not stand still in front of a full pipe."""
    while stream.read1(65536):
        pass


def wait_for_line(server, pattern):
    """Until the server has printed a line in which the pattern is found; returns the match."""
    deadline = time.monotonic() + START_S
    text = b""
    stream = server.process.stdout
    os.set_blocking(stream.fileno(), False)
    while time.monotonic() < deadline:
        if not select.select([stream], [], [], 0.2)[0]:
            continue
        chunk = stream.read(65536)
        if chunk == b"":
            break
        text += chunk or b""
        found = re.search(pattern, text, re.M)
        if found:
            os.set_blocking(stream.fileno(), True)
            threading.Thread(target=drop_output, args=(stream,), daemon=True).start()
            return found
    server.stop()
    raise RuntimeError(f"{server.name} does not get ready:\n" + text.decode(errors="replace"))


def start_brindled(path, cpus, *options, name="brindled", env=None):
    """In memory, with one worker unless `options` say more."""
    server = Server(name, [
        path, "--listen", "127.0.0.1:0", "--resp-listen", "127.0.0.1:0", "--http-listen", "none",
        "--data-dir", "none", "--max-memory", "8gb",
        *([] if "--workers" in options else ["--workers", "1"]), *options], cpus, env)
    server.version = output_of([path, "--version"]).split("\n")[0]
    server.start(stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    ready = wait_for_line(server, rb"^ready: listen=(\S+) resp=(\S+) .*$")
    server.doors.append(("brindle", "brindle", ready.group(1).decode()))
    if ready.group(2) != b"none":
        server.doors.append(("brindle (RESP)", "resp", ready.group(2).decode()))
    return server


def start_redis(path, cpus, *options, name="redis-server", env=None):
    """Without persistence unless `options` say more. Returns when it has loaded its data."""
    port = free_port()
    server = Server(name, [
        path, "--port", str(port), "--bind", "127.0.0.1", "--save", "",
        *([] if "--appendonly" in options else ["--appendonly", "no"]),
        "--daemonize", "no", *options], cpus, env)
    server.version = " ".join(output_of([path, "--version"]).split()[:3])
    server.start(stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    wait_for_line(server, rb"Ready to accept connections")
    server.doors.append(("redis", "resp", f"127.0.0.1:{port}"))
    return server


def ask_redis(server, *words):
    """The answer to one command, as text."""
    host, port = server.doors[0][2].rsplit(":", 1)
    with socket.create_connection((host, int(port)), timeout=600) as connection:
        words = [word.encode() for word in words]
        connection.sendall(b"*%d\r\n" % len(words) +
                           b"".join(b"$%d\r\n%s\r\n" % (len(word), word) for word in words))
        with connection.makefile("rb") as answers:
            line = answers.readline().strip()
            if line.startswith(b"$"):
                return answers.read(int(line[1:])).decode()
            if not line.startswith((b"+", b":")):
                raise RuntimeError(f"{server.name} answers {line.decode(errors='replace')}")
            return line[1:].decode()


def start_memcached(path, cpus):
    port = free_port()
    server = Server("memcached", [
        path, "-l", "127.0.0.1", "-p", str(port), "-t", "1", "-m", "8192", "-u",
        output_of(["id", "-un"])], cpus)
    server.version = output_of([path, "--version"])
    server.start(stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    server.wait_for_port(port)
    server.doors.append(("memcached", "memcached", f"127.0.0.1:{port}"))
    return server


# ---- Runs of brindle-bench ----------------------------------------------------------------


def bench_command(bench, cpus, door, *options):
    _, protocol, address = door
    return ["taskset", "-c", cpus, bench, "--connect", address, "--protocol", protocol,
            "--key-size", str(KEY_BYTES), "--format", "json", "--progress", "no", *options]


def program_result(out, err, status):
    """What brindle-bench reports; `failed` says whether it failed, `first_error` why."""
    try:
        result = json.loads(out)
    except ValueError:
        return {"first_error": err.strip() or "no result", "failed": True}
    result["failed"] = status != 0
    return result


def load_result(out, err, status):
    """The same for a load: one that does not show what it was made for has failed too."""
    result = program_result(out, err, status)
    if not result["failed"] and result["misses"] > 0:
        result["failed"] = True  # a miss is cheaper than a hit
        result["first_error"] = f"{result['misses']} keys are missing"
    if not result["failed"] and result["server"]["cpu_us_per_request"] is None:
        result["failed"] = True
        result["first_error"] = result["server"]["cpu_unknown"]
    return result


def run_program(command):
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return program_result(done.stdout, done.stderr, done.returncode)


def run_bench(command):
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return load_result(done.stdout, done.stderr, done.returncode)


def fill(bench, cpus, door, *options):
    command = bench_command(bench, cpus, door, "--fill", "-n", "1", *options)
    result = run_bench(command)
    if result["failed"]:
        raise RuntimeError(f"filling failed: {result['first_error']}: {shlex.join(command)}")


# ---- The machine --------------------------------------------------------------------------


def cpu_ticks():
    """(ticks that all CPUs have worked, ticks that the hypervisor took from them)."""
    fields = pathlib.Path("/proc/stat").read_text(encoding="utf-8").split("\n")[0].split()[1:]
    user, nice, system, _, _, irq, softirq, steal = (int(field) for field in fields[:8])
    return user + nice + system + irq + softirq, steal


class Disturbance:
    """How much of the CPUs others took while we measured: add() once per run of brindle-bench."""

    def __init__(self):
        self.wall_s = 0.0
        self.ours_s = 0.0
        self.busy_s = 0.0
        self.stolen_s = 0.0

    def around(self, run):
        """Calls run() and returns its result, a result of run_bench."""
        started = time.monotonic()
        busy, stolen = cpu_ticks()
        spent = os.times()
        result = run()
        later_busy, later_stolen = cpu_ticks()
        later = os.times()
        tick = os.sysconf("SC_CLK_TCK")
        self.wall_s += time.monotonic() - started
        self.busy_s += (later_busy - busy) / tick
        self.stolen_s += (later_stolen - stolen) / tick
        self.ours_s += sum(later[:4]) - sum(spent[:4])  # the script and its children
        if not result["failed"]:
            self.ours_s += result["server"]["cpu_us"] / 1e6
        return result

    def words(self):
        whole = self.wall_s * (os.cpu_count() or 1)
        if whole == 0:
            return "nothing was measured"
        others = max(0.0, self.busy_s - self.ours_s) / whole
        return (f"while it was measured, other processes took {100 * others:.1f} % of the CPUs, "
                f"the hypervisor {100 * self.stolen_s / whole:.1f} %")


def machine():
    """One line about what this runs on."""
    try:
        text = pathlib.Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        text = ""
    match = re.search(r"^model name\s*:\s*(.*)$", text, re.M)
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    virtual = ", a virtual machine" if re.search(r"^flags.*\bhypervisor\b", text, re.M) else ""
    return (f"{datetime.date.today().isoformat()}, {match.group(1) if match else platform.processor()}, "
            f"{os.cpu_count()} CPUs, {memory:.0f} GiB, Linux {platform.release()}{virtual}")


def spinning(cpu):
    """A process that keeps a CPU busy until it is killed."""
    return subprocess.Popen(["taskset", "-c", str(cpu), "python3", "-c", "while True: pass"],
                            stdin=subprocess.DEVNULL)


def speed_beside_work(samples=5):
    """How fast CPU 0 is while CPU 1 works, as a share of its speed while CPU 1 does nothing.

    About 1: they are two cores. Near 0.6: two threads of one core; then a server that keeps the
    load tester busier is itself slowed down by it. None where it cannot be measured."""
    loop = ("import time\n"
            "n, c = 0, time.process_time()\n"
            "while time.process_time() < c + 0.15:\n"
            "    for i in range(1000): n += i & 3\n"
            "    n += 1 << 40\n"
            "print(n >> 40)")

    def turns():
        text = output_of(["taskset", "-c", "0", "python3", "-c", loop])
        return int(text) if text.isdigit() else None

    alone, beside = [], []
    for _ in range(samples):
        alone.append(turns())
        other = spinning(1)
        try:
            beside.append(turns())
        finally:
            other.kill()
            other.wait()
    if None in alone or None in beside:
        return None
    return statistics.median(beside) / statistics.median(alone)


# ---- Figures ------------------------------------------------------------------------------


def median(values):
    values = [value for value in values if value is not None]
    return statistics.median(values) if values else None


def number(value, form):
    return "-" if value is None else format(value, form)


def spread(values, form):
    return f"{min(values):{form}} to {max(values):{form}}" if values else "-"


def table(head, rows):
    return (["| " + " | ".join(head) + " |", "|" + "---|" * len(head)] +
            ["| " + " | ".join(row) + " |" for row in rows])


@dataclass
class Goal:
    """A line of a table of goals; without max and min it is judged by nobody."""
    work: str
    limit: str
    value: float = None
    max: float = None
    form: str = ".2f"
    note: str = ""
    min: float = None

    def verdict(self):
        if self.max is None and self.min is None:
            return ""
        if self.value is None:
            return "not measured"
        met = ((self.max is None or self.value <= self.max) and
               (self.min is None or self.value >= self.min))
        return "met" if met else "**not met**"

    def row(self):
        return [self.work, self.limit, number(self.value, self.form), self.verdict(), self.note]


# ---- Command lines ------------------------------------------------------------------------


def positive(text):
    value = int(text)
    if value <= 0:
        raise argparse.ArgumentTypeError("must be above 0")
    return value
