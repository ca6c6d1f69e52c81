#!/usr/bin/env python3
"""Starting, stopping, reloading; what brindled says and with which status it ends."""
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
from brindle_client import Client, frame, pb
from daemon import PATIENCE_S, Daemon, Manager, Results, find_program, sanitizer_prefix, scratch, until

BRINDLED = find_program("brindled")


def run(*args, env=None, cwd=None):
    """Runs brindled to its end; (status, stdout, stderr)."""
    done = subprocess.run([*sanitizer_prefix(BRINDLED), str(BRINDLED), *map(str, args)],
                          stdin=subprocess.DEVNULL, capture_output=True, text=True,
                          env={**os.environ, **(env or {})}, cwd=cwd, timeout=PATIENCE_S)
    return done.returncode, done.stdout, done.stderr


def expect_error(status, sentence, *args, **more):
    """It ends with the status and one line that holds the sentence."""
    got, out, err = run(*args, **more)
    assert got == status, (got, err)
    assert sentence in err, err
    assert err.count("\n") == 1, err
    assert out == "", out


def stats(client, prefix=""):
    reply = client.call(stats=pb.Stats(prefix=prefix))
    return {stat.name: stat.text or stat.number for stat in reply.stats.stats}


# ---- what it says ----


def the_ready_line_is_as_promised():
    with Daemon() as daemon:
        lines = [line for line in daemon.log if "ready:" in line]
        assert len(lines) == 1, lines
        assert re.fullmatch(rf"ready: listen=127\.0\.0\.1:\d+ resp=none http=none pid={daemon.pid}",
                            lines[0]), lines
        with Client(daemon.listen) as client:
            assert client.call(ping=pb.Ping()).status == pb.OK
        assert daemon.stop() == 0


def several_addresses_are_joined_by_commas():
    folder = scratch()
    path = folder / "b.sock"
    with Daemon("--listen", f"unix:{path},[::1]:0") as daemon:
        line = daemon.wait_log("ready: ").string
        match = re.fullmatch(rf"ready: listen=127\.0\.0\.1:(\d+),unix:{path},\[::1\]:(\d+) "
                             rf"resp=none http=none pid={daemon.pid}", line)
        assert match, line
        for address in (("127.0.0.1", int(match[1])), str(path), ("::1", int(match[2]))):
            with Client(address) as client:
                assert client.call(ping=pb.Ping()).status == pb.OK
        assert daemon.stop() == 0
        assert not path.exists()
    shutil.rmtree(folder)


def help_version_and_configuration_are_printed():
    status, out, err = run("--help")
    assert status == 0 and err == "" and "--max-memory SIZE" in out and "--config FILE" in out
    status, out, err = run("--version")
    assert status == 0 and err == ""
    assert re.fullmatch(r"brindled \d+\.\d+\.\d+\ncompiler: (gcc|clang) .*\n"
                        r"allocator: (jemalloc 5.*|system malloc)\n", out), out
    status, out, err = run("--print-config", "--max-memory", "123mb", "--data-dir", "none")
    assert status == 0 and err == "" and "\nmax-memory = 123mb\n" in out
    folder = scratch()
    (folder / "printed.conf").write_text(out)
    status, again, err = run("--print-config", "--config", folder / "printed.conf")
    assert (status, again, err) == (0, out, "")
    status, out, err = run("--check-config", "-c", folder / "printed.conf")
    assert status == 0 and "valid" in out and err == ""
    shutil.rmtree(folder)


def statistics_name_the_process():
    with Daemon() as daemon, Client(daemon.listen) as client:
        got = stats(client)
        assert got["process_id"] == daemon.pid
        assert got["process_cpu_user_us"] + got["process_cpu_system_us"] > 0
        assert got["process_max_rss_bytes"] >= got["process_rss_bytes"] // 2 > 1_000_000
        assert got["connections"] == 1 and got["workers"] >= 1
        assert got["version"] in run("--version")[1] and got["allocator"] in run("--version")[1]
        assert client.call(reset_stats=pb.ResetStats()).status == pb.OK
        assert stats(client)["requests_stats"] <= 1


# ---- what it refuses ----


def wrong_usage_ends_with_2():
    expect_error(2, "there is no flag --wrokers; did you mean --workers?", "--wrokers", "2")
    expect_error(2, "--workers: workers must be a number from 1 to 1024, or auto", "--workers", "x")
    expect_error(2, "takes no arguments but flags", "start")
    expect_error(2, "eviction must be one of", "--eviction", "newest")
    expect_error(2, "only durability none is possible", "--data-dir", "none",
                 "--durability", "full")
    expect_error(2, "workers must be", env={"BRINDLE_WORKERS": "many"})
    expect_error(2, "cannot be read", "--config", "/nonexistent/brindle.conf")


def a_wrong_file_ends_with_2_and_names_the_line():
    folder = scratch()
    path = folder / "brindle.conf"
    path.write_text("[server]\n\nworker = 2\n")
    for check in ((), ("--check-config",), ("--print-config",)):
        expect_error(2, f"{path}:3: there is no option worker in [server]; did you mean workers?",
                     "--config", path, *check)
    path.write_text("[memory]\nmax-memory = lots\n")
    expect_error(2, f"{path}:2: max-memory must be a size", "-c", path)
    path.write_text("[namespace sessions]\ndurability = full\n")
    expect_error(2, f"{path}:2: [namespace sessions]: this version has the namespace default",
                 "-c", path)
    shutil.rmtree(folder)


def listening_beyond_loopback_needs_a_word():
    for address in ("0.0.0.0:0", "[::]:0", "192.0.2.1:7420"):
        expect_error(2, "can be reached from other machines", "--data-dir", "none",
                     "--listen", address)
        expect_error(2, "say allow-insecure", "--check-config", "--listen", address)
    expect_error(2, "write 0.0.0.0:0 for all IPv4 addresses", "--data-dir", "none",
                 "--listen", "*:0", "--allow-insecure")
    with Daemon("--listen", "0.0.0.0:0", "--allow-insecure") as daemon:
        assert daemon.stop() == 0


def a_port_in_use_ends_with_1():
    with Daemon() as daemon:
        expect_error(1, "something else does already", "--data-dir", "none",
                     "--listen", "{}:{}".format(*daemon.listen))
        assert daemon.running()


def a_unix_socket_in_use_is_left_alone_and_a_stale_one_is_replaced():
    folder = scratch()
    path = folder / "b.sock"
    with Daemon("--listen", f"unix:{path}", "--socket-mode", "0600") as daemon:
        assert path.stat().st_mode & 0o777 == 0o600
        expect_error(1, "something else does already", "--data-dir", "none",
                     "--listen", f"unix:{path}")
        with Client(str(path)) as client:
            client.call(ping=pb.Ping())
        daemon.kill()
    assert path.exists()
    with Daemon("--listen", f"unix:{path}") as daemon:
        with Client(str(path)) as client:
            client.call(ping=pb.Ping())
        daemon.stop()
    assert not path.exists()
    path.write_text("a file")
    expect_error(1, "is no socket", "--data-dir", "none", "--listen", f"unix:{path}")
    assert path.read_text() == "a file"
    shutil.rmtree(folder)


def an_abstract_socket_is_refused_and_a_file_of_that_name_serves():
    expect_error(2, "write unix:./@b.sock for a file of that name", "--data-dir", "none",
                 "--listen", "unix:@b.sock")
    folder = scratch()
    path = folder / "@b.sock"
    with Daemon("--listen", "unix:./@b.sock", prefix=("env", "-C", str(folder))) as daemon:
        assert path.is_socket()
        with Client(str(path)) as client:
            assert client.call(ping=pb.Ping()).status == pb.OK
        cli = find_program("brindle")
        for address, status in (("unix:./@b.sock", 0), ("unix:@b.sock", 64)):
            done = subprocess.run([*sanitizer_prefix(cli), cli, "--timeout", f"{PATIENCE_S}s",
                                   "--connect", address, "ping"],
                                  cwd=folder, capture_output=True, text=True, check=False)
            assert done.returncode == status, done
            assert ("write unix:./@NAME" in done.stderr) == (status != 0), done
        assert daemon.stop() == 0
        assert not path.exists()
    shutil.rmtree(folder)


def a_data_directory_has_one_daemon():
    folder = scratch()
    with Daemon(data_dir=folder / "data") as daemon:
        status, _out, err = run("--listen", "127.0.0.1:0", "--data-dir", folder / "data")
        assert status == 1 and "ready:" not in err, err
        assert str(folder / "data") in err, err
        with Client(daemon.listen) as client:
            assert client.call(put=pb.Put(key=b"k", value=b"v")).status == pb.OK
        assert daemon.stop() == 0
    shutil.rmtree(folder)


def doors_that_are_not_built_are_named_once():
    with Daemon("--resp-listen", "127.0.0.1:0", "--http-listen", "127.0.0.1:0") as daemon:
        warnings = [line for line in daemon.log if "does not offer" in line]
        assert len(warnings) == 2, daemon.log
        assert "resp=none http=none" in daemon.log[-1]
    with Daemon() as daemon:
        assert not [line for line in daemon.log if "warning" in line], daemon.log


def listening_nowhere_is_possible_and_said():
    done = []
    process = subprocess.Popen([*sanitizer_prefix(BRINDLED), str(BRINDLED), "--listen", "none",
                                "--data-dir", "none"], stderr=subprocess.PIPE, text=True)
    for line in process.stderr:
        done.append(line)
        if "ready:" in line:
            assert line == f"ready: listen=none resp=none http=none pid={process.pid}\n", line
            process.send_signal(signal.SIGTERM)
    assert process.wait(PATIENCE_S) == 0
    process.stderr.close()
    assert any("listening nowhere" in line for line in done), done


def memory_only_touches_no_file():
    folder = scratch()
    process = subprocess.Popen([*sanitizer_prefix(BRINDLED), str(BRINDLED), "--listen",
                                "127.0.0.1:0", "--data-dir", "none"], stderr=subprocess.PIPE,
                               text=True, cwd=folder)
    for line in process.stderr:
        match = re.search(r"listen=127\.0\.0\.1:(\d+)", line)
        if match:
            with Client(("127.0.0.1", int(match[1]))) as client:
                hello = client.call(hello=pb.Hello(protocol_version=1)).hello
                assert hello.durability == pb.DURABILITY_NONE and hello.epoch == 0
                client.call(put=pb.Put(key=b"k", value=b"v"))
            process.send_signal(signal.SIGTERM)
    assert process.wait(PATIENCE_S) == 0
    process.stderr.close()
    assert not list(folder.iterdir())
    shutil.rmtree(folder)


def without_a_data_directory_named_there_is_one_here_or_where_systemd_says():
    folder = scratch()
    (folder / "state").mkdir()
    for env, expected in (({}, folder / "brindle-data"),
                          ({"STATE_DIRECTORY": str(folder / "state")}, folder / "state")):
        process = subprocess.Popen([*sanitizer_prefix(BRINDLED), str(BRINDLED), "--listen",
                                    "127.0.0.1:0"], stderr=subprocess.PIPE, text=True, cwd=folder,
                                   env={**os.environ, **env})
        for line in process.stderr:
            if "ready:" in line:
                assert list(expected.iterdir()), expected
                process.send_signal(signal.SIGINT)
        assert process.wait(PATIENCE_S) == 0
        process.stderr.close()
    shutil.rmtree(folder)


# ---- stopping ----


def sigterm_under_load_ends_with_0_and_loses_nothing():
    """Without waiting for the time that it has for that, which is longer than this test may take."""
    folder = scratch()
    acked = [0] * 4
    with Daemon("--workers", 2, "--shutdown-timeout", "1h", data_dir=folder) as daemon:

        def load(number):
            with Client(daemon.listen) as client:
                try:
                    while True:
                        batch = [client.request(put=pb.Put(key=b"%d-%d" % (number, acked[number] + i),
                                                           value=b"v" * 100)) for i in range(1, 51)]
                        client.send(*batch)
                        for _ in batch:
                            reply = client.receive()
                            if reply is None:
                                return
                            assert reply.status == pb.OK, reply
                            acked[number] += 1
                except ConnectionError:
                    return

        threads = [threading.Thread(target=load, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        until(lambda: min(acked) > 500)
        start = time.monotonic()
        assert daemon.stop() == 0, daemon.tail()
        print(f"stopped in {time.monotonic() - start:.2f} s after {sum(acked)} writes")
        for thread in threads:
            thread.join(PATIENCE_S)
    with Daemon(data_dir=folder) as daemon, Client(daemon.listen) as client:
        for number in range(4):
            keys = [b"%d-%d" % (number, i) for i in range(1, acked[number] + 1)]
            for at in range(0, len(keys), 1000):
                reply = client.call(get_many=pb.GetMany(keys=keys[at:at + 1000]))
                assert all(item.found for item in reply.items)
    shutil.rmtree(folder)


def sigterm_before_recovery_is_over_ends_with_0():
    """The signal is there before the daemon looks for the first time."""
    folder = scratch()
    with Daemon(data_dir=folder) as daemon, Client(daemon.listen) as client:
        for _ in range(5):
            assert client.call(put_many=pb.PutMany(items=[
                pb.KeyValue(key=b"%d" % i, value=b"v") for i in range(1000)])).status == pb.OK
        assert daemon.stop() == 0
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.pthread_sigmask(signal.SIG_BLOCK, {number})
        try:
            with Daemon(data_dir=folder, wait=False) as daemon:
                daemon.signal(number)
                assert daemon.wait() == 0, daemon.tail()
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {number})
        assert not daemon.ready, daemon.tail()
        assert any("told to stop before recovery was over" in line for line in daemon.log), daemon.log
    with Daemon(data_dir=folder) as daemon, Client(daemon.listen) as client:
        assert client.call(count=pb.Count()).number == 1000
        assert daemon.stop() == 0
    shutil.rmtree(folder)


def sigterm_while_a_start_evicts_ends_with_0():
    """The log has begun, the daemon does not serve yet: the signal comes when the new segment is there."""
    folder = scratch()
    with Daemon("--max-memory", "1gb", data_dir=folder) as daemon, Client(daemon.listen) as client:
        for first in range(0, 100_000, 1000):
            items = [pb.KeyValue(key=b"%d" % i, value=b"v" * 300) for i in range(first, first + 1000)]
            assert client.call(put_many=pb.PutMany(items=items)).status == pb.OK
        assert daemon.stop() == 0
    for _ in range(3):
        seen = set(folder.glob("wal/*.wal"))
        with Daemon("--max-memory", "8mb", "--eviction", "s3fifo", data_dir=folder, wait=False) as daemon:
            until(lambda: set(folder.glob("wal/*.wal")) - seen)
            daemon.signal(signal.SIGTERM)
            assert daemon.wait() == 0, daemon.tail()
    with Daemon("--max-memory", "1gb", data_dir=folder) as daemon, Client(daemon.listen) as client:
        assert 0 < client.call(count=pb.Count()).number <= 100_000
        assert daemon.stop() == 0
    shutil.rmtree(folder)


def without_durability_nothing_that_was_logged_is_taken():
    folder = scratch()
    with Daemon(data_dir=folder) as daemon, Client(daemon.listen) as client:
        client.call(put=pb.Put(key=b"k", value=b"v"))
        assert daemon.stop() == 0
    expect_error(2, "holds keys that were logged (1)", "--listen", "127.0.0.1:0", "--durability", "none", "--data-dir", folder)
    with Daemon(data_dir=folder) as daemon, Client(daemon.listen) as client:
        assert client.call(get=pb.Get(key=b"k")).value == b"v"
        assert client.call(delete=pb.Delete(keys=[b"k"])).status == pb.OK
        assert daemon.stop() == 0
    with Daemon("--durability", "none", data_dir=folder) as daemon, Client(daemon.listen) as client:
        client.call(put=pb.Put(key=b"k", value=b"not logged"))
        assert daemon.stop() == 0
    with Daemon(data_dir=folder) as daemon, Client(daemon.listen) as client:
        assert client.call(get=pb.Get(key=b"k")).status == pb.NOT_FOUND
        assert daemon.stop() == 0
    shutil.rmtree(folder)


def stopping_waits_for_no_slow_reader():
    with Daemon("--shutdown-timeout", "500ms") as daemon, Client(daemon.listen) as client:
        client.call(put=pb.Put(key=b"k", value=b"v" * 10_000))
        sock = socket.socket()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1024)
        sock.connect(daemon.listen)
        sock.setblocking(False)
        sock.send(b"".join(frame(client.request(get=pb.Get(key=b"k"))) for _ in range(5000)))
        until(lambda: stats(client, "requests_get")["requests_get"] > 100)
        assert daemon.stop() == 0


def data_and_epoch_go_on_after_stop_and_kill():
    folder = scratch()
    for round_number in range(1, 5):
        with Daemon(data_dir=folder) as daemon, Client(daemon.listen) as client:
            assert client.call(hello=pb.Hello(protocol_version=1)).hello.epoch == round_number
            reply = client.call(incr=pb.Incr(key=b"rounds", delta=1))
            assert reply.number == round_number
            if round_number % 2:
                assert daemon.stop() == 0
            else:
                daemon.kill()
    shutil.rmtree(folder)


# ---- reloading ----


def sighup_takes_everything_over_or_nothing():
    folder = scratch()
    path = folder / "brindle.conf"
    path.write_text("[limits]\nmax-connections = 50\n[memory]\nmax-memory = 100mb\n")
    with Daemon("--config", path) as daemon, Client(daemon.listen) as client:
        assert stats(client, "connections_max")["connections_max"] == 50

        path.write_text("[limits]\nmax-connections = 60\nmax-key-size = 1kb\n"
                        "[memory]\nmax-memory = 200mb\n")
        daemon.signal(signal.SIGHUP)
        daemon.wait_log(r"reload: done")
        daemon.wait_log(r"reload: max-connections is now 60 \(was 50\)")
        daemon.wait_log(r"reload: max-key-size stays 64kb until a restart")
        got = stats(client)
        assert got["connections_max"] == 60 and got["memory_limit"] == 200 << 20, got

        path.write_text("[limits]\nmax-connections = 70\n[memory]\nmax-memory = plenty\n")
        daemon.signal(signal.SIGHUP)
        daemon.wait_log(rf"reload: nothing was changed: {path}:4: max-memory must be a size")
        got = stats(client)
        assert got["connections_max"] == 60 and got["memory_limit"] == 200 << 20, got
        assert daemon.running()
    shutil.rmtree(folder)


def a_reload_reaches_the_workers():
    folder = scratch()
    path = folder / "brindle.conf"
    path.write_text("")
    with Daemon("--config", path, "--workers", 2) as daemon:
        clients = [Client(daemon.listen) for _ in range(4)]
        for client in clients:
            client.call(ping=pb.Ping())
        path.write_text("[limits]\nidle-timeout = 200ms\n")
        daemon.signal(signal.SIGHUP)
        for client in clients:
            assert client.receive() is None
            client.close()
    shutil.rmtree(folder)


# ---- under a service manager ----


def the_service_manager_is_told_what_happens():
    manager = Manager()
    with Daemon(env=manager.env) as daemon:
        assert manager.wait("READY=1")
        assert manager.said[0].startswith("STATUS=Recovering"), manager.said
        assert f"MAINPID={daemon.pid}" in manager.said[-1]
        daemon.signal(signal.SIGHUP)
        assert manager.wait("RELOADING=1")
        assert "MONOTONIC_USEC=" in manager.said[-1]
        manager.said.clear()
        assert manager.wait("READY=1")
        assert not any("WATCHDOG=1" in said for said in manager.said)
        daemon.signal(signal.SIGTERM)
        assert manager.wait("STOPPING=1")
        assert daemon.wait() == 0
    manager.close()


def the_watchdog_is_fed_while_all_threads_live():
    manager = Manager()
    with Daemon(env={**manager.env, "WATCHDOG_USEC": "400000"}) as daemon:
        for _ in range(5):
            manager.said.clear()
            assert manager.wait("WATCHDOG=1")
        # Fed again after a stop that was longer than the watchdog's time.
        daemon.signal(signal.SIGSTOP)
        manager.drain(1)
        daemon.signal(signal.SIGCONT)
        manager.said.clear()
        assert manager.wait("WATCHDOG=1")
    manager.close()


def activated(sock, *args, names=None):
    """brindled with one inherited socket as descriptor 3; (process, its ready line)."""
    env = {**os.environ, "LISTEN_FDS": "1"}
    if names:
        env["LISTEN_FDNAMES"] = names
    fd = sock.fileno()
    os.set_inheritable(fd, True)
    program = [*sanitizer_prefix(BRINDLED), str(BRINDLED), "--data-dir", "none", *args]
    process = subprocess.Popen(["sh", "-c", f'LISTEN_PID=$$ exec "$0" "$@" 3<&{fd}', *program],
                               pass_fds=[fd], stderr=subprocess.PIPE, text=True, env=env)
    for line in process.stderr:
        if "ready:" in line:
            return process, line
    raise AssertionError("it did not become ready")


def inherited_sockets_are_served_and_left_in_place():
    folder = scratch()
    path = folder / "inherited.sock"
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(path))
        sock.listen()
        early = Client(str(path))  # before there is a daemon
        process, line = activated(sock)
        assert line == f"ready: listen=unix:{path} resp=none http=none pid={process.pid}\n", line
        assert early.call(ping=pb.Ping()).status == pb.OK
        early.close()
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE_S) == 0
        process.stderr.close()
        assert path.exists()
        # Whoever comes now waits for the next daemon.
        late = Client(str(path))
        process, line = activated(sock, "--listen", "127.0.0.1:0")
        assert re.search(rf"listen=unix:{path},127\.0\.0\.1:\d+ ", line), line
        assert late.call(ping=pb.Ping()).status == pb.OK
        late.close()
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE_S) == 0
        process.stderr.close()
    shutil.rmtree(folder)


def main():
    results = Results()
    for test in (the_ready_line_is_as_promised,
                 several_addresses_are_joined_by_commas,
                 help_version_and_configuration_are_printed,
                 statistics_name_the_process,
                 wrong_usage_ends_with_2,
                 a_wrong_file_ends_with_2_and_names_the_line,
                 listening_beyond_loopback_needs_a_word,
                 a_port_in_use_ends_with_1,
                 a_unix_socket_in_use_is_left_alone_and_a_stale_one_is_replaced,
                 an_abstract_socket_is_refused_and_a_file_of_that_name_serves,
                 a_data_directory_has_one_daemon,
                 doors_that_are_not_built_are_named_once,
                 listening_nowhere_is_possible_and_said,
                 memory_only_touches_no_file,
                 without_a_data_directory_named_there_is_one_here_or_where_systemd_says,
                 sigterm_under_load_ends_with_0_and_loses_nothing,
                 sigterm_before_recovery_is_over_ends_with_0,
                 sigterm_while_a_start_evicts_ends_with_0,
                 without_durability_nothing_that_was_logged_is_taken,
                 stopping_waits_for_no_slow_reader,
                 data_and_epoch_go_on_after_stop_and_kill,
                 sighup_takes_everything_over_or_nothing,
                 a_reload_reaches_the_workers,
                 the_service_manager_is_told_what_happens,
                 the_watchdog_is_fed_while_all_threads_live,
                 inherited_sockets_are_served_and_left_in_place):
        start = time.monotonic()
        results.run(test.__name__, test)
        print(f"{test.__name__}: {time.monotonic() - start:.1f} s")
    return results.finish()


if __name__ == "__main__":
    sys.exit(main())
