"""Parts of bench/durability: what a write costs that is logged, and one that is synced."""
import pathlib
import subprocess
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass, field

import harness
from harness import ROOT, Goal, median, number, spread

# Nothing but the writes themselves is to be seen: new segments are made, and none is used again.
NO_CHECKPOINTS = ("--checkpoint-log-size", "off", "--checkpoint-interval", "off")
SHIM = ROOT / "tests" / "support" / "preload" / "slowsync.c"
MEMORY_DISK = pathlib.Path("/dev/shm")


# ---- What a result says -----------------------------------------------------------------------


def rate(result):
    return result["requests_per_s"]


def cpu_us(result):
    return result["server"]["cpu_us_per_request"]


def write_us(percentile):
    return lambda result: result["latency_us"]["write"][percentile]


@dataclass
class Point:
    """A load that every server is given."""
    connections: int
    depth: int
    results: dict = field(default_factory=dict)  # server: a result, or None, for each round

    @property
    def title(self):
        many = "1 connection" if self.connections == 1 else f"{self.connections} connections"
        return f"{many}, depth {self.depth}"

    def options(self):
        return ["-c", str(self.connections), "-P", str(self.depth)]

    def figures(self, server, pick):
        return [pick(result) for result in self.results.get(server, []) if result is not None]

    def pairs(self, mine, other, pick):
        """(mine, other) of each round."""
        return [(pick(a), pick(b))
                for a, b in zip(self.results.get(mine, []), self.results.get(other, []))
                if a is not None and b is not None]


def ratio_goal(point, mine, other, pick, what, limit="-", **bounds):
    """Brindle over the other; the note is the range of the rounds' own ratios."""
    goal = Goal(f"{point.title}, {mine} against {other}: {what}", limit, **bounds)
    a, b = (median(point.figures(server, pick)) for server in (mine, other))
    if a and b:
        goal.value = a / b
        ratios = [x / y for x, y in point.pairs(mine, other, pick) if y]
        goal.note = f"of single rounds: {spread(ratios, '.2f')}"
    return goal


HEAD = ["work", "server", "SET/s", "of single rounds", "p50 us", "of single rounds", "p99 us",
        "server CPU us/op", "of single rounds"]


def rows(points):
    lines = []
    for point in points:
        for server in point.results:
            rates, p50s, p99s, cpus = (point.figures(server, pick) for pick in
                                       (rate, write_us("p50"), write_us("p99"), cpu_us))
            lines.append([
                point.title, server, number(median(rates), ",.0f"), spread(rates, ",.0f"),
                number(median(p50s), ".0f"), spread(p50s, ".0f"), number(median(p99s), ".0f"),
                number(median(cpus), ".3f"), spread(cpus, ".3f")])
    return lines


def interleave(run, points, servers, times=1):
    """A slice of each server at each point, then the next round. times: how long, in usual slices."""
    for round_ in range(run.args.rounds):
        for point in points:
            for server in servers:
                result = run.slice(server, point.title, round_, *point.options(),
                                   "-r", str(run.args.keys), times=times)
                point.results.setdefault(server.name, []).append(result)
        run.say(f"{', '.join(server.name for server in servers)}: round {round_ + 1} "
                f"of {run.args.rounds}")


@contextmanager
def running(servers):
    """servers: a list that is filled within."""
    try:
        yield servers
    finally:
        for server in servers:
            server.stop()


# ---- Writes -----------------------------------------------------------------------------------


class WritesPart:
    name = "writes"

    def __init__(self, run):
        self.run = run
        self.points = [Point(1, 1), Point(50, 1), Point(50, 16), Point(200, 1)]

    def title(self):
        return "Writes that are logged"

    def measure(self):
        run = self.run
        with running([]) as servers:
            for durability, policy in (("full", "always"), ("normal", "everysec")):
                name = f"Brindle {durability}"
                servers.append(run.start_brindled(name, "--durability", durability,
                                                  folder=run.folder(name)))
                if run.redis:
                    name = f"redis {policy}"
                    servers.append(run.start_redis(
                        name, "--appendonly", "yes", "--appendfsync", policy,
                        folder=run.folder(name)))
            for server in servers:
                run.fill(server, run.args.keys)
                if server.name.startswith("Brindle"):
                    run.warm_up(server)
            interleave(run, self.points, servers)

    def goals(self):
        goals = []
        judged = {(1, 1): (write_us("p50"), "p50", "at most 0.75", {"max": 0.75}),
                  (50, 1): (rate, "SET/s", "at least 1.2", {"min": 1.2}),
                  (50, 16): (rate, "SET/s", "at least 2.0", {"min": 2.0}),
                  (200, 1): (rate, "SET/s", "-", {})}
        for mine, other in (("Brindle full", "redis always"), ("Brindle normal", "redis everysec")):
            for point in self.points:
                pick, what, limit, bounds = judged[point.connections, point.depth]
                if mine == "Brindle normal":  # nobody has set it a goal
                    limit, bounds = "-", {}
                goals.append(ratio_goal(point, mine, other, pick, what, limit, **bounds))
                if mine == "Brindle normal":
                    goals.append(ratio_goal(point, mine, other, cpu_us, "server CPU"))
        return goals

    def lines(self):
        args = self.run.args
        return [f"{args.keys:,} keys; {args.rounds} rounds of a slice of {args.seconds} s for each "
                "line. brindled has its own settings, so it makes a checkpoint after each 256 MiB of log, "
                f"in what is measured, and uses segments again, as after {args.warm_up:,} SETs that "
                "are not measured; redis does not rewrite its append-only file.", ""
                ] + harness.table(HEAD, rows(self.points))


# ---- A slow disk ------------------------------------------------------------------------------


class SlowPart:
    """Twice: on the disk, whose own syncs come on top, and in memory, where they take no time."""
    name = "slow"

    def __init__(self, run):
        self.run = run
        self.points = [Point(200, 1)]

    def title(self):
        return f"Writes while each sync takes {self.run.args.sync_ms} ms"

    def measure(self):
        with tempfile.TemporaryDirectory(prefix="brindle-slow-") as built:
            env = self.environment(built)
            self.measure_in(self.run.home, "on the disk", env)
            if MEMORY_DISK.is_dir():
                with tempfile.TemporaryDirectory(prefix="brindle-slow-", dir=MEMORY_DISK) as home:
                    self.measure_in(pathlib.Path(home), "in memory", env)

    def environment(self, built):
        library = f"{built}/slowsync.so"
        if any(character in library for character in " :"):
            raise RuntimeError(f"{library} cannot be preloaded: there is a space or a colon in it")
        done = subprocess.run(["gcc", "-O2", "-fPIC", "-shared", "-D_GNU_SOURCE", "-o", library,
                               str(SHIM), "-ldl"], capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise RuntimeError(f"{SHIM.name} cannot be built: {done.stderr.strip()}")
        return {"LD_PRELOAD": library, "SLOW_SYNC_AFTER_US": self.run.args.sync_ms * 1000}

    def measure_in(self, home, where, env):
        run = self.run
        with running([]) as servers:
            name = f"Brindle full, {where}"
            servers.append(run.start_brindled(name, "--durability", "full", *NO_CHECKPOINTS,
                                              folder=run.folder(name, home), env=env))
            if run.redis:
                name = f"redis always, {where}"
                servers.append(run.start_redis(name, "--appendonly", "yes", "--appendfsync",
                                               "always", folder=run.folder(name, home), env=env))
            for server in servers:
                run.fill(server, run.args.keys)
            interleave(run, self.points, servers)
        for server in servers:
            fastest = min(self.points[0].figures(server.name, write_us("p50")), default=None)
            if fastest is not None and fastest < run.args.sync_ms * 1000:
                run.failures.append(f"{server.name}: p50 {fastest:.0f} us: its syncs are not slow")

    def goals(self):
        point = self.points[0]
        goals = []
        for where, remark in (("on the disk", "whose own syncs come on top"),
                              ("in memory", "where a sync takes that and nothing else")):
            figures = point.figures(f"Brindle full, {where}", rate)
            goals.append(Goal(
                f"{point.title}, full, a sync of {self.run.args.sync_ms} ms: SET/s "
                f"({where}, {remark})", "at least 45,000", median(figures), form=",.0f", min=45000,
                note=f"of single rounds: {spread(figures, ',.0f')}"))
        return goals

    def lines(self):
        return [f"`{SHIM.relative_to(ROOT)}` lets each fsync and fdatasync return "
                f"{self.run.args.sync_ms} ms later.", ""] + harness.table(HEAD, rows(self.points))


# ---- What the log adds ------------------------------------------------------------------------


NEW = "new segments"
LOG_SLICES = 3  # in one, so that a slice has more than one whole checkpoint


class LogPart:
    name = "log"

    def __init__(self, run):
        self.run = run
        self.points = [Point(50, 16)]

    def title(self):
        return "What the log adds"

    def measure(self):
        run = self.run
        with running([]) as servers:
            servers.append(run.start_brindled("Brindle none"))
            servers.append(run.start_brindled("Brindle normal", "--durability", "normal",
                                              folder=run.folder("log")))
            servers.append(run.start_brindled(f"Brindle normal, {NEW}", "--durability", "normal",
                                              *NO_CHECKPOINTS, folder=run.folder("new")))
            for server in servers:
                run.fill(server, run.args.keys)
            run.warm_up(servers[1])
            interleave(run, self.points, servers, LOG_SLICES)

    def goals(self):
        point = self.points[0]
        goals = []
        for name, what, limit, bounds in (
                ("Brindle normal", "checkpoints included", "at most 0.25", {"max": 0.25}),
                (f"Brindle normal, {NEW}", NEW, "-", {})):
            added = [a - b for a, b in point.pairs(name, "Brindle none", cpu_us)]
            goals.append(Goal(f"{point.title}, normal against none, {what}: server CPU of a SET, "
                              "us more", limit, median(added), form=".3f", **bounds,
                              note=f"of single rounds: {spread(added, '.3f')}"))
        return goals

    def lines(self):
        return [f"Slices of {LOG_SLICES * self.run.args.seconds} s. Twice: with the daemon's own settings, as above, and without checkpoints, so that all "
                "segments are new: zeros are written to a new one before it is used, in the CPU time "
                "of the same process.", ""] + harness.table(HEAD, rows(self.points))
