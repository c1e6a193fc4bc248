"""Free ports on loopback."""

import socket

LOOPBACK = "127.0.0.1"
TRIED = 200


def is_free(port: int, host: str = LOOPBACK) -> bool:
    """Whether a server could listen on this port now."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True


def free_port() -> int:
    """A port that nobody uses now."""
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        port: int = probe.getsockname()[1]
        return port


def next_free(wanted: int, host: str = LOOPBACK, taken: frozenset[int] = frozenset()) -> int:
    """``wanted``, or the next port above it that is free."""
    for port in range(wanted, min(wanted + TRIED, 65536)):
        if port not in taken and is_free(port, host):
            return port
    return free_port()
