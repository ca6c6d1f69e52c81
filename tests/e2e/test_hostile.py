"""What a hostile client tries: to keep a worker for itself, to use up what the log needs, to
make the daemon hold much memory for little. Whatever it does, others are served."""
import os
import pathlib
import resource
import shlex
import socket
import subprocess
import sys
import threading

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
from brindle_client import Client, frame, pb
from daemon import PATIENCE_S, Daemon, Results, find_program, sanitizer_prefix, scratch, until

KIB = 1024
MIB = 1024 * KIB
PROGRAM = find_program("brindled")
THE_END = b"that was all of it"


def expect(reply, status="OK"):
    assert pb.Status.Name(reply.status) == status, f"{status} was expected: {reply}"
    return reply


# ---- Time ------------------------------------------------------------------------------------


class Flood:
    """Requests of one kind without end, until it is told to stop; replies are taken at once.
    Many are under way all the time, but not more than are answered soon after."""

    PORTION = 500
    PORTIONS = 8

    def __init__(self, address, request):
        self.client = Client(address)
        self.portion = frame(request) * self.PORTION
        self.room = threading.Semaphore(self.PORTIONS)
        self.begun = threading.Event()
        self.enough = threading.Event()
        self.done = threading.Event()
        self.threads = [threading.Thread(target=run, daemon=True)
                        for run in (self._send, self._receive)]
        for thread in self.threads:
            thread.start()

    def _send(self):
        while not self.enough.is_set():
            self.room.acquire()
            self.client.socket.sendall(self.portion)
        self.client.send(pb.Request(ping=pb.Ping(payload=THE_END)))

    def _receive(self):
        count = 0
        while expect(self.client.receive()).value != THE_END:
            count += 1
            self.begun.set()
            if count % self.PORTION == 0:
                self.room.release()
        self.done.set()

    def end(self):
        self.enough.set()
        for thread in self.threads:
            thread.join(PATIENCE_S)
        self.client.close()


def a_long_pipeline_leaves_room_for_others():
    with Daemon("--workers", "1") as daemon, Client(daemon.listen) as other:
        flood = Flood(daemon.listen, pb.Request(clear=pb.Clear()))
        assert flood.begun.wait(PATIENCE_S)
        # Whoever had to wait until it is over would wait for ever.
        for _ in range(3):
            expect(other.call(ping=pb.Ping()))
        assert not flood.done.is_set()
        flood.end()
        assert flood.done.is_set(), "the pipeline was not answered to its end"
        expect(other.call(ping=pb.Ping()))


# ---- Memory ----------------------------------------------------------------------------------

SHARE = 16 * MIB  # of requests, and of replies, with --buffer-limit 32mb and one worker


def stats(client, prefix):
    reply = expect(client.call(stats=pb.Stats(prefix=prefix)))
    return {stat.name: stat.number for stat in reply.stats.stats}


def crowd_of(daemon, count):
    """Connections that take next to nothing."""
    crowd = [socket.socket() for _ in range(count)]
    for one in crowd:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        one.settimeout(PATIENCE_S)
        one.connect(daemon.listen)
    return crowd


def replies_that_nobody_takes_are_bounded_in_all():
    many = pb.GetMany(keys=[b"k"] * 2000)  # eight million bytes
    with Daemon("--workers", "1", "--buffer-limit", "32mb") as daemon, \
            Client(daemon.listen) as client:
        expect(client.call(put=pb.Put(key=b"k", value=b"v" * 4000)))
        crowd = crowd_of(daemon, 20)
        for one in crowd:
            one.sendall(frame(pb.Request(get_many=many)) +
                        frame(pb.Request(get=pb.Get(key=b"k"))) * 100)
        until(lambda: stats(client, "requests_get_many")["requests_get_many"] == len(crowd))
        held = stats(client, "output_buffer_bytes")["output_buffer_bytes"]
        assert MIB < held < SHARE + 4 * MIB, held
        expect(client.call(get_many=many), "BUSY")
        expect(client.call(get_many=pb.GetMany(keys=[b"k"] * 10)))
        for one in crowd:
            one.close()
        until(lambda: client.call(get_many=many).status == pb.OK)


def requests_that_do_not_end_are_bounded_in_all():
    value = b"v" * 4 * MIB
    half = frame(pb.Request(put=pb.Put(key=b"k", value=value)))[:-MIB]
    with Daemon("--workers", "1", "--buffer-limit", "32mb") as daemon, \
            Client(daemon.listen) as client:
        crowd = crowd_of(daemon, 20)
        for one in crowd:
            try:
                one.sendall(half)
            except OSError:
                pass  # refused and closed
        until(lambda: stats(client, "bytes_in")["bytes_in"] > SHARE)
        held = stats(client, "input_buffer_bytes")["input_buffer_bytes"]
        assert MIB < held < SHARE + 4 * MIB, held
        expect(client.call(put=pb.Put(key=b"k", value=b"v" * 10 * KIB)))
        until(lambda: stats(client, "connections_closed_buffers")["connections_closed_buffers"] > 0)
        for one in crowd:
            one.close()
        until(lambda: stats(client, "connections")["connections"] == 1)
        expect(client.call(put=pb.Put(key=b"k", value=value)))


# ---- File descriptors ------------------------------------------------------------------------


def connections_leave_descriptors_to_the_log():
    with Daemon("--workers", "1", "--wal-segment-size", "1mb", data_dir=scratch()) as daemon, \
            Client(daemon.listen) as client:
        resource.prlimit(daemon.pid, resource.RLIMIT_NOFILE, (60, 60))
        crowd = [Client(daemon.listen) for _ in range(60)]
        answers = []
        for one in crowd:
            one.send(one.request(ping=pb.Ping()))
            answers.append(pb.Status.Name(one.receive().status))
        assert set(answers) == {"OK", "TOO_MANY_CONNECTIONS"}, answers
        for i in range(16):  # each a segment of its own, nearly
            expect(client.call(put=pb.Put(key=b"%d" % i, value=b"v" * 700 * KIB)))
        for one in crowd:
            one.close()
        assert daemon.stop() == 0


# ---- What the daemon is started with ---------------------------------------------------------


def script(folder, before="", redirect=""):
    """A shell script that becomes a daemon."""
    command = [*sanitizer_prefix(PROGRAM), str(PROGRAM), "--listen", f"unix:{folder}/socket",
               "--data-dir", str(folder / "data")]
    return ["sh", "-c", f"{before} exec {shlex.join(command)} {redirect}"]


def announced_descriptors_that_are_not_there_are_an_error():
    folder = scratch()
    ended = subprocess.run(script(folder, "export LISTEN_PID=$$ LISTEN_FDS=1;", "3>&-"),
                           timeout=PATIENCE_S, capture_output=True, text=True)
    assert ended.returncode == 1 and "inherited sockets" in ended.stderr, ended


def closed_standard_streams_are_replaced():
    folder = scratch()
    process = subprocess.Popen(script(folder, redirect="0<&- 1>&- 2>&-"))
    try:
        until((folder / "socket").exists)
        with Client(str(folder / "socket")) as client:
            expect(client.call(put=pb.Put(key=b"k", value=b"v")))
        for number in range(3):
            assert os.readlink(f"/proc/{process.pid}/fd/{number}") == "/dev/null"
        process.terminate()
        assert process.wait(PATIENCE_S) == 0
    finally:
        process.kill()
        process.wait()


# ---- All of it -------------------------------------------------------------------------------


def main():
    results = Results()
    for test in (a_long_pipeline_leaves_room_for_others,
                 replies_that_nobody_takes_are_bounded_in_all,
                 requests_that_do_not_end_are_bounded_in_all,
                 connections_leave_descriptors_to_the_log,
                 announced_descriptors_that_are_not_there_are_an_error,
                 closed_standard_streams_are_replaced):
        results.run(test.__name__, test)
    return results.finish()


if __name__ == "__main__":
    sys.exit(main())
