"""The broker of a run, as a process that can be hurt and as queues that can be looked into."""

import os
import shutil
import signal
import socket
import time
from pathlib import Path

import psutil
import redis
from kombu import Connection, Consumer, Producer, Queue

from agora.runtime import process
from agora.runtime.ports import free_port
from agora.settings import environment

QUEUES = ("cpu", "io")
KEPT = ("correlation_id", "reply_to")
START_SECONDS = 60.0


class Broker:
    """What faults do with messages, over any broker. ``url`` is where it listens."""

    url: str

    def hold_back(self, seconds):
        """Take a share of the messages, as one consumer more, for some time; returns them."""
        held, until = [], time.monotonic() + seconds

        def take(_body, message):
            message.ack()
            held.append(message)

        queues = [Queue(name, no_declare=True) for name in QUEUES]
        with Connection(self.url) as connection, Consumer(connection, queues, callbacks=[take], accept=["json"]):
            while time.monotonic() < until:
                try:
                    connection.drain_events(timeout=0.5)
                except TimeoutError:
                    continue
        return held

    def give(self, messages):
        """Publish messages as they were."""
        with Connection(self.url) as connection:
            producer = Producer(connection.default_channel)
            for message in messages:
                kept = {name: message.properties[name] for name in KEPT if name in message.properties}
                producer.publish(
                    message.body, routing_key=message.delivery_info["routing_key"], headers=message.headers,
                    content_type=message.content_type, content_encoding=message.content_encoding, **kept,
                )  # fmt: skip


class Valkey(Broker):
    """The platform's own."""

    def __init__(self, platform):
        self._valkey = platform.valkey
        self.url = self._valkey.url

    @property
    def processes(self):
        """The server's process."""
        return [psutil.Process(self._valkey.pid)]

    def waiting(self):
        """How many messages wait in the queues of steps."""
        with redis.Redis.from_url(self.url, socket_timeout=5, socket_connect_timeout=5) as client:
            return sum(client.llen(queue) for queue in QUEUES)

    def forget(self):
        """FLUSHALL."""
        with redis.Redis.from_url(self.url, socket_timeout=5, socket_connect_timeout=5) as client:
            client.flushall()

    def restart(self):
        """Start it again after it was killed; it is empty."""
        self._valkey.stop()
        self._valkey.start()

    def close(self):
        """The platform stops it."""


class RabbitMQ(Broker):
    """Debian's rabbitmq-server, without its service: a node of our own on loopback, in a folder of ours."""

    PROGRAMS = Path("/usr/lib/rabbitmq/bin")

    @classmethod
    def is_installed(cls):
        """Whether this machine has it."""
        return (cls.PROGRAMS / "rabbitmq-server").exists() and shutil.which("epmd") is not None

    def __init__(self, folder):
        self._folder, self._port, self._epmd_port = folder, free_port(), free_port()
        self.url = f"amqp://guest:guest@127.0.0.1:{self._port}//"
        folder.mkdir(parents=True)
        self._log = (folder / "output.log").open("ab")
        env = self._environment()
        self._epmd = process.start(["epmd", "-port", str(self._epmd_port)], env=env, output=self._log, grace=2.0)
        self._start()

    def _environment(self):
        folder = self._folder
        return environment() | {
            "HOME": str(folder),
            "RABBITMQ_MNESIA_BASE": str(folder / "mnesia"),
            "RABBITMQ_LOG_BASE": str(folder / "log"),
            "RABBITMQ_NODENAME": f"chaos{os.getpid()}@localhost",
            "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODE_PORT": str(self._port),
            "RABBITMQ_DIST_PORT": str(free_port()),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(folder / "plugins"),
            "RABBITMQ_CONF_ENV_FILE": str(folder / "none"),
            "RABBITMQ_CONFIG_FILE": str(folder / "none"),
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "-kernel inet_dist_use_interface {127,0,0,1}",
            "ERL_EPMD_PORT": str(self._epmd_port),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
        }

    def _start(self):
        command = [str(self.PROGRAMS / "rabbitmq-server")]
        self._running = process.start(command, env=self._environment(), output=self._log, grace=10.0)
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            try:
                socket.create_connection(("127.0.0.1", self._port), timeout=1).close()
            except OSError:
                time.sleep(0.1)
            else:
                return
        raise AssertionError(f"RabbitMQ does not start; see {self._folder}/output.log")

    @property
    def processes(self):
        """The node's processes, the Erlang machine among them."""
        shell = psutil.Process(self._running.child_pid())
        return [shell, *shell.children(recursive=True)]

    def waiting(self):
        """How many messages wait in the queues of steps."""
        with Connection(self.url) as connection:
            channel = connection.default_channel
            return sum(channel.queue_declare(queue, passive=True).message_count for queue in QUEUES)

    def forget(self):
        """Empty the queues of steps."""
        with Connection(self.url) as connection:
            for queue in QUEUES:
                connection.default_channel.queue_purge(queue)

    def restart(self):
        """Start it again after it was killed; what was durable is there again."""
        self._running.stop()
        self._start()

    def close(self):
        """Stop the node and its port mapper."""
        for one in self.processes:
            one.send_signal(signal.SIGKILL)  # it keeps nothing that anybody needs
        self._running.stop()
        self._epmd.stop()
        self._log.close()
