"""Group commit: callers that come while others are dealt with are dealt with together."""

import os
import signal
import threading
import warnings
from concurrent.futures import ThreadPoolExecutor

import pytest

from agora.jobs import together
from agora.jobs.together import Interrupted, Together
from tests.support.webhooks import eventually

MOST = 10
CALLERS = 25


class Desk:
    """Deals with numbers, the first time only when it is let; keeps what came together."""

    def __init__(self, deal=lambda numbers: [2 * number for number in numbers]):
        self.groups = []
        self.let = threading.Event()
        self._deal = deal
        self.line = Together(self._take, most=MOST)

    def _take(self, numbers):
        self.groups.append(list(numbers))
        assert self.let.wait(30)
        return self._deal(numbers)

    def start(self, pool, count=CALLERS):
        """The first is being dealt with, and the others stand in line behind it, in order."""
        made = [pool.submit(self.line.do, 0)]
        eventually(lambda: self.groups)
        for number in range(1, count):
            made.append(pool.submit(self.line.do, number))
            eventually(lambda expected=number: len(self.line._line) == expected)
        return made


@pytest.fixture
def pool():
    with ThreadPoolExecutor(CALLERS) as made:
        yield made


def test_who_comes_alone_waits_for_nobody():
    desk = Desk()
    desk.let.set()
    assert [desk.line.do(number) for number in (1, 2, 3)] == [2, 4, 6]
    assert desk.groups == [[1], [2], [3]]


def test_those_who_come_meanwhile_go_together_in_order_and_each_gets_its_own(pool):
    desk = Desk()
    made = desk.start(pool)
    desk.let.set()
    assert [one.result(30) for one in made] == [2 * number for number in range(CALLERS)]
    assert desk.groups == [[0], list(range(1, 11)), list(range(11, 21)), list(range(21, 25))]
    assert desk.line.do(7) == 14


def test_what_is_wrong_with_one_is_raised_to_that_one(pool):
    wrong = ValueError("three")
    desk = Desk(lambda numbers: [wrong if number == 3 else number for number in numbers])
    made = desk.start(pool)
    desk.let.set()
    assert [one.result(30) for one in made if one is not made[3]] == [n for n in range(CALLERS) if n != 3]
    assert made[3].exception(30) is wrong


def test_what_stops_them_all_is_raised_to_all_of_the_group_and_to_nobody_else(pool):
    gone = OSError("gone")

    def deal(numbers):
        if 5 in numbers:
            raise gone
        return numbers

    desk = Desk(deal)
    made = desk.start(pool)
    desk.let.set()
    assert [one.exception(30) for one in made] == [None] + [gone] * 10 + [None] * 14


def test_who_is_stopped_in_the_middle_leaves_nobody_waiting(pool):
    def deal(numbers):
        if 0 in numbers or 5 in numbers:
            raise SystemExit
        return numbers

    desk = Desk(deal)
    made = desk.start(pool)
    desk.let.set()
    found = [type(one.exception(30)) for one in made]
    assert found[:2] == [SystemExit, SystemExit]  # those who dealt
    assert found[2:11] == [Interrupted] * 9
    assert [one.result(30) for one in made[11:]] == list(range(11, CALLERS))


class AtOnce(threading.Event):
    """Whoever waits for it is stopped."""

    def wait(self, timeout=None):
        raise SystemExit


class Late(threading.Event):
    """Whoever waits for it is stopped when its turn has come."""

    def wait(self, timeout=None):
        super().wait(timeout)
        raise SystemExit


@pytest.mark.parametrize(
    ("dies", "how", "groups"),
    [
        (3, AtOnce, [[0], [1, 2, *range(4, 12)], [*range(12, 22)], [22, 23, 24]]),
        (1, Late, [[0], [*range(2, 12)], [*range(12, 22)], [22, 23, 24]]),  # it was to lead
        (5, Late, [[0], [*range(1, 11)], [*range(11, 21)], [21, 22, 23, 24]]),  # it had been dealt with
    ],
)
def test_who_is_stopped_while_it_waits_leaves_nobody_waiting(pool, monkeypatch, dies, how, groups):
    place = together._Place
    monkeypatch.setattr(together, "_Place", lambda item: place(item, turn=how() if item == dies else threading.Event()))
    desk = Desk()
    made = [pool.submit(desk.line.do, 0)]
    eventually(lambda: desk.groups)
    for number in range(1, CALLERS):
        made.append(pool.submit(desk.line.do, number))
        gone = number >= dies and how is AtOnce
        eventually(lambda expected=number - gone: len(desk.line._line) == expected)
        if number == dies and gone:
            made[dies].exception(30)
    desk.let.set()
    assert isinstance(made[dies].exception(30), SystemExit)
    assert [one.result(30) for n, one in enumerate(made) if n != dies] == [2 * n for n in range(CALLERS) if n != dies]
    assert desk.groups == groups
    assert desk.line.do(7) == 14


def test_a_fork_does_not_wait_for_who_leads_in_its_parent(pool):
    desk = Desk()
    made = desk.start(pool, count=3)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of a fork beside threads, which is what this is about
        child = os.fork()
    if child == 0:
        signal.alarm(20)
        desk.let.set()
        try:
            os._exit(0 if desk.line.do(21) == 42 else 1)
        finally:
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    desk.let.set()
    assert [one.result(30) for one in made] == [0, 2, 4]
