"""Two Valkey servers and three Sentinels, each a process of ours on loopback."""

import os
import signal
import time

import redis

from agora.runtime import process
from agora.runtime.ports import LOOPBACK, free_port
from agora.runtime.valkey import program
from agora.settings import environment

MASTER, PASSWORD, SENTINEL_PASSWORD = "doorbell", "of-the-servers", "of-the-sentinels"
START_SECONDS = 20.0
SERVER = """
bind {host}
port {port}
requirepass {password}
masterauth {password}
save ""
dir {folder}
repl-diskless-sync-delay 0
"""
WATCHER = """
bind {host}
port {port}
requirepass {sentinel_password}
sentinel sentinel-pass {sentinel_password}
sentinel monitor {master} {host} {target} 2
sentinel auth-pass {master} {password}
sentinel down-after-milliseconds {master} 1000
sentinel failover-timeout {master} 5000
dir {folder}
"""


class Sentinels:
    """A context manager. ``url`` is what a platform is told."""

    def __init__(self, folder):
        self._folder = folder
        self.servers, self._watchers = [free_port() for _ in range(2)], [free_port() for _ in range(3)]
        self._running = {}

    @property
    def url(self):
        hosts = [f"{LOOPBACK}:{port}" for port in self._watchers]
        return ";".join(f"sentinel://:{PASSWORD}@{host}/0" for host in hosts)

    def __enter__(self):
        first, second = self.servers
        try:
            self._start(first, SERVER)
            self._start(second, SERVER + f"replicaof {LOOPBACK} {first}\n")
            self._until(lambda: self._ask(first).info("replication")["connected_slaves"] == 1, "the replica follows")
            for port in self._watchers:
                self._start(port, WATCHER, "--sentinel")
            self._until(self._agree, "the Sentinels know each other and the replica")
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        """Stop all of them."""
        for running in self._running.values():
            running.stop()

    def master(self):
        """The port of the master, as the first Sentinel has it."""
        with self._ask(self._watchers[0], SENTINEL_PASSWORD) as client:
            return int(client.execute_command("SENTINEL", "GET-MASTER-ADDR-BY-NAME", MASTER)[1])

    def kill(self, port):
        """kill -9 of a server."""
        os.kill(self._running[port].child_pid(), signal.SIGKILL)

    def _start(self, port, config, *arguments):
        folder = self._folder / str(port)
        folder.mkdir(parents=True)
        written = config.format(
            host=LOOPBACK, port=port, folder=folder, target=self.servers[0], master=MASTER, password=PASSWORD,
            sentinel_password=SENTINEL_PASSWORD,
        )  # fmt: skip
        (folder / "valkey.conf").write_text(written)
        with (folder / "log").open("ab") as log:
            command = [program(), str(folder / "valkey.conf"), *arguments]
            self._running[port] = process.start(command, env=environment(), output=log, grace=2.0)

    def _agree(self):
        for port in self._watchers:
            with self._ask(port, SENTINEL_PASSWORD) as client:
                (known,) = [one for one in client.sentinel_masters().values() if one["name"] == MASTER]
            if known["num-other-sentinels"] != len(self._watchers) - 1 or known["num-slaves"] != 1:
                return False
        return True

    @staticmethod
    def _ask(port, password=PASSWORD):
        return redis.Redis(host=LOOPBACK, port=port, password=password, socket_timeout=2, socket_connect_timeout=2)

    @staticmethod
    def _until(condition, what):
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            try:
                if condition():
                    return
            except redis.RedisError:
                pass
            time.sleep(0.05)
        raise AssertionError(f"{what}: not within {START_SECONDS} s")
