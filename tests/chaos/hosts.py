"""Hosts of a run: machines of their own, as far as this machine allows it.

With root each host is a network namespace: its processes see one cable, a veth pair to this machine, and reach nothing
else. Cutting it off takes the cable's far end down. Without root a host is an address of its own on loopback, and
cutting it off makes the proxies there swallow everything. Either way nothing is reset: a host that is cut off waits
for answers that do not come.
"""

import os
import subprocess
from dataclasses import dataclass
from ipaddress import IPv4Address
from pathlib import Path

import psutil

NETWORK = int(IPv4Address("198.18.0.0"))
"""For tests of equipment (RFC 2544): routed nowhere, and nobody's own."""
BLOCKS = 32_768
"""Four addresses each, for the two ends of a cable."""
PREFIX = "agora-host"


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where a worker runs: ``address`` is where it finds its services, ``prefix`` starts a command there."""

    address: str
    prefix: str = ""


HERE = Place(address="127.0.0.1")


def ip(*words):
    """Run ``ip``. Raises subprocess.CalledProcessError, or OSError where it is not installed."""
    subprocess.run(["ip", *words], check=True, capture_output=True, text=True, timeout=10)


def can_have_namespaces():
    """Whether this process may make network namespaces and cables."""
    if os.geteuid() != 0:
        return False
    try:
        with Namespace(number=0, label="probe"):
            return True
    except (OSError, subprocess.SubprocessError):
        return False


class Namespace:
    """A host behind a cable: a context manager. ``number`` tells the hosts of one process apart."""

    kind = "network namespaces"

    def __init__(self, *, number, label):
        self.name = f"{PREFIX}-{os.getpid()}-{label}"
        self._near, self._far = (f"ag{os.getpid()}{end}{number}" for end in "nf")
        first = NETWORK + 4 * ((2 * os.getpid() + number) % BLOCKS)
        self._here, self._there = (str(IPv4Address(first + end)) for end in (1, 2))
        self.place = Place(address=self._here, prefix=f"ip netns exec {self.name} ")

    def __enter__(self):
        sweep()
        try:
            ip("netns", "add", self.name)
            ip("link", "add", self._near, "type", "veth", "peer", "name", self._far, "netns", self.name)
            ip("address", "add", f"{self._here}/30", "dev", self._near)
            ip("link", "set", self._near, "up")
            ip("-n", self.name, "address", "add", f"{self._there}/30", "dev", self._far)
            ip("-n", self.name, "link", "set", "lo", "up")
            ip("-n", self.name, "link", "set", self._far, "up")
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        """Take it away, and its cable first: a namespace is gone some time after it was deleted."""
        subprocess.run(["ip", "link", "delete", self._near], check=False, capture_output=True, timeout=10)
        remove(self.name)

    def cut(self, _proxies):
        """Pull the cable."""
        ip("-n", self.name, "link", "set", self._far, "down")

    def join(self, _proxies):
        """Plug it in again."""
        ip("-n", self.name, "link", "set", self._far, "up")


class Address:
    """A host that is no more than an address on loopback: a context manager."""

    kind = "addresses on loopback"

    def __init__(self, *, number, label):
        self.name = label
        self.place = Place(address=f"127.0.{number + 1}.1")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        """Nothing is left of it."""

    def cut(self, proxies):
        """Let nothing through."""
        for proxy in proxies:
            proxy.blackhole()

    def join(self, proxies):
        """Let through again, what was held back first."""
        for proxy in proxies:
            proxy.heal()


def remove(name):
    """Delete a namespace; the end of a veth pair in it takes the other with it. One that is not there is no error."""
    subprocess.run(["ip", "netns", "delete", name], check=False, capture_output=True, timeout=10)


def sweep():
    """Remove what a run left that was killed before it could clean up."""
    folder = Path("/run/netns")
    for name in [path.name for path in folder.glob(f"{PREFIX}-*")] if folder.exists() else []:
        pid = name.removeprefix(f"{PREFIX}-").split("-")[0]
        if pid.isdigit() and not psutil.pid_exists(int(pid)):
            remove(name)
