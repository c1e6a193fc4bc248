"""The one delivery engine of a process, however many rings come at once."""

import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import workers.deliveries as worker


def test_rings_that_come_at_once_make_one_engine(monkeypatch):
    made, at_once, meanwhile = [], threading.Barrier(4), threading.Barrier(2)

    def make():
        made.append(object())
        with suppress(threading.BrokenBarrierError):  # nobody else makes one in the meantime
            meanwhile.wait(0.3)
        return made[-1]

    def ring(_number):
        at_once.wait(10)
        return worker.engine()

    monkeypatch.setattr(worker, "DeliveryEngine", make)
    monkeypatch.setattr(worker, "_engines", {})
    with ThreadPoolExecutor(4) as rings:
        found = set(rings.map(ring, range(4)))
    assert found == set(made)
    assert len(made) == 1
    assert worker.engine() is made[0]
