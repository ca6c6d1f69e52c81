"""Part of bench/durability: how fast a server comes back.

Each source is made once: a server is filled and ended so that only this source is left. Then, in
each round, its files are read (the page cache is warm), the server is started with all CPUs, and the time
until it says that it is ready is taken. It must hold all keys. It is killed, so that it leaves its files
as they are."""
import time

import harness
from durability_writes import NO_CHECKPOINTS
from harness import Goal, ask_redis, median, number, spread

STOP_S = 600
CHUNK = 1 << 20


def read_all(folder):
    """Bring the files into the page cache; returns how many bytes they have."""
    count = 0
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            with open(path, "rb", buffering=0) as file:
                while chunk := file.read(CHUNK):
                    count += len(chunk)
    return count


class Source:
    """What a server starts from. start(): ready; keys(server): how many it holds."""

    def __init__(self, run, name):
        self.run, self.name = run, name
        self.folder = run.folder(f"recovery-{name}")
        self.seconds = []
        self.bytes = 0

    def rates(self):
        return [self.run.args.many_keys / seconds for seconds in self.seconds]


class BrindleSource(Source):
    """From a snapshot that the last stop made, or from a log that no checkpoint has shortened."""

    def __init__(self, run, name, *options):
        super().__init__(run, name)
        self.options = options

    def start(self):
        return self.run.start_brindled(self.name, "--durability", "normal", *NO_CHECKPOINTS,
                                       *self.options, folder=self.folder, cpus=self.run.all_cpus)

    def keys(self, server):
        return int(self.run.ask_brindle(server, "count"))

    def end(self, server):
        server.stop(STOP_S)


class RedisSource(Source):
    def __init__(self, run, name, save, *options):
        super().__init__(run, name)
        self.save, self.options = save, options

    def start(self):
        return self.run.start_redis(self.name, *self.options, folder=self.folder,
                                    cpus=self.run.all_cpus)

    def keys(self, server):
        return int(ask_redis(server, "DBSIZE"))

    def end(self, server):
        if self.save:
            ask_redis(server, "SAVE")
        server.stop(STOP_S)


class RecoveryPart:
    name = "recovery"

    def __init__(self, run):
        self.run = run
        self.sources = []

    def title(self):
        return f"Recovery of {self.run.args.many_keys:,} keys"

    def measure(self):
        run = self.run
        self.sources = [
            BrindleSource(run, "Brindle, snapshot", "--checkpoint-on-stop",
                          "--checkpoint-rate", "off"),
            BrindleSource(run, "Brindle, log alone")]
        if run.redis:
            self.sources += [
                RedisSource(run, "redis, RDB", True),
                RedisSource(run, "redis, AOF", False, "--appendonly", "yes", "--appendfsync",
                            "everysec", "--aof-use-rdb-preamble", "no")]
        for source in self.sources:
            server = source.start()
            try:
                run.fill(server, run.args.many_keys)
            except BaseException:
                server.stop()
                raise
            source.end(server)
            run.settle()
        run.say("recovery: all sources are made")
        for round_ in range(run.args.rounds):
            for source in self.sources:
                self.recover(source)
            run.say(f"recovery: round {round_ + 1} of {run.args.rounds}")

    def recover(self, source):
        source.bytes = read_all(source.folder)
        began = time.monotonic()
        server = source.start()
        seconds = time.monotonic() - began
        try:
            keys = source.keys(server)
        finally:
            server.kill()
        if keys != self.run.args.many_keys:
            raise RuntimeError(f"{source.name}: {keys} keys are there")
        source.seconds.append(seconds)

    def goals(self):
        by_name = {source.name: source for source in self.sources}
        goals = []
        for mine, other in (("Brindle, snapshot", "redis, RDB"), ("Brindle, log alone", "redis, AOF")):
            goal = Goal(f"recovery, {mine} against {other}: keys/s until ready", "at least 2.0",
                        min=2.0)
            if mine in by_name and other in by_name and by_name[other].seconds:
                a, b = by_name[mine].rates(), by_name[other].rates()
                goal.value = median(a) / median(b)
                ratios = [x / y for x, y in zip(a, b)]
                goal.note = f"of single rounds: {spread(ratios, '.2f')}"
            goals.append(goal)
        return goals

    def lines(self):
        head = ["from", "keys/s until ready", "of single rounds", "s", "of single rounds",
                "MiB on the disk"]
        return ["All CPUs, nothing else runs; the page cache is warm.", ""] + harness.table(head, [
            [source.name, number(median(source.rates()), ",.0f"), spread(source.rates(), ",.0f"),
             number(median(source.seconds), ".2f"), spread(source.seconds, ".2f"),
             f"{source.bytes / (1 << 20):.0f}"] for source in self.sources])
