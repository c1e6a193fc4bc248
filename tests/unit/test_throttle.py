"""What a process counts by itself while Redis is away."""

import threading
from concurrent.futures import ThreadPoolExecutor

from limits.storage import MemoryStorage

from agora.identity import throttle


def test_all_who_come_first_count_together(monkeypatch):
    """Else each of them would have a count of its own, and the process let more through than the limit."""
    made, come = [], threading.Event()

    class Storage(MemoryStorage):
        def __init__(self):
            made.append(self)
            come.wait(0.2)  # others come meanwhile
            super().__init__()

    monkeypatch.setattr(throttle, "MemoryStorage", Storage)
    throttle._made.cache_clear()
    try:
        with ThreadPoolExecutor(4) as pool:
            found = list(pool.map(lambda _: throttle._own(), range(4)))
    finally:
        throttle._made.cache_clear()
    assert (len(made), len(set(map(id, found)))) == (1, 1)
