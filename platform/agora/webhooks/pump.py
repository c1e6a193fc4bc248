"""The event loop of the webhook workers: claims what is due, sends hundreds at once, settles each as it ends.

Database work runs in two threads beside the loop, one for claims and one for settling; no transaction is open while a
receiver is called.
"""

import asyncio
import time
from collections import Counter as Tally
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from itertools import takewhile
from typing import Any, TypeVar

from aiohttp import ClientSession
from prometheus_client import Counter, Gauge, Histogram
from sqlalchemy.exc import InterfaceError, OperationalError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from agora.clock import now
from agora.egress.policy import Policy
from agora.egress.resolver import LookUp, SystemLookUp, look_up_of
from agora.egress.session import guarded_session
from agora.errors import AgoraError
from agora.telemetry import get_logger
from agora.webhooks import delivery_queries, settling, vault
from agora.webhooks.outbox import Outbox
from agora.webhooks.sender import Message, PeerResponse, Try, send, tracing
from agora.webhooks.settling import Ended, Leased, Settled
from agora.webhooks.wire import ReceiverConnector

STALE_SECONDS = 1.0
"""A delivery that is sent so much later than it was claimed is first looked up again: its lease may be lost."""
BATCH = 200
WAITING_SECONDS = 0.5
"""A try that has lasted so long only waits, which costs next to nothing: its place goes to another."""
PROBED_SHARE = 16
"""A sixteenth of all places is for endpoints whose last try found nobody. Else many that are silent would fill all of
them for as long as it takes to see that they are."""
INLINE_SHARE = 8
"""An eighth of all places is what tries for one team's in-line endpoints may take that only wait. Each job has one of
its own, so that none is known to be silent before it was tried: a stream of jobs would fill all places for good."""
PROBE_SECONDS = 0.25
"""Between two looks for what such endpoints may get."""
SHORTEST_PAUSE = 0.02
LONGEST_PAUSE = 1.0
MARK_SECONDS = 0.25
OUTAGE_PAUSE = 0.5
OUTAGES = (OperationalError, InterfaceError, PoolTimeout)
PROMOTE_AGAIN = (0.2, 1.0)
"""Seconds after an ordered delivery has ended, at which the next of its key is looked for once more."""

TRIES = Counter("agora_webhook_tries_total", "Tries of webhook deliveries, by outcome.", ["outcome"])
TRY_SECONDS = Histogram("agora_webhook_try_seconds", "How long tries of webhook deliveries took.")
IN_FLIGHT = Gauge("agora_webhook_in_flight", "Webhook deliveries that this process is sending now.")

T = TypeVar("T")
log = get_logger(__name__)


class Pump:
    """One run of the loop. Made and used inside it; ``ring`` and ``stop`` are called through the loop's thread."""

    def __init__(
        self, *, policy: Policy, capacity: int, waiting: int, timeout: float, ssl: Any, look_up: LookUp | None
    ) -> None:  # fmt: skip
        self._policy = policy
        self._capacity = capacity
        self._waiting = waiting
        self._timeout = timeout
        self._outbox = Outbox(timeout)
        self._ssl = ssl
        self._look_up = look_up
        self._wake = asyncio.Event()
        self._rung = False
        self._stopping = False
        self._tasks: dict[asyncio.Task[None], float] = {}
        """With when each began, in that order."""
        self._probing: set[asyncio.Task[None]] = set()
        self._probed_at = 0.0
        self._inline: dict[asyncio.Task[None], str] = {}
        """Those for in-line endpoints, with their team."""
        self._ended: list[Ended] = []
        self._unsent: list[Leased] = []
        self._has_ended = asyncio.Event()
        self._promotions: set[asyncio.Task[None]] = set()
        self._marked_at = 0.0
        self._threads = ThreadPoolExecutor(2, thread_name_prefix="agora-webhooks-db")

    def ring(self) -> None:
        """Look at once: something was committed."""
        self._rung = True
        self._wake.set()

    def stop(self) -> None:
        """Claim no more."""
        self._stopping = True
        self._wake.set()

    async def run(self, drain_seconds: Callable[[], float]) -> None:
        """Pump until stopped, then let what is under way end for ``drain_seconds()``, and give the rest back."""
        async with self._session() as session:
            settler = asyncio.create_task(self._settle_for_ever())
            try:
                while not self._stopping:
                    self._wake.clear()
                    if not await self._claim(session):
                        await self._idle()
                if self._tasks:
                    await asyncio.wait(self._tasks, timeout=drain_seconds())
            finally:
                await self._wind_up(settler)

    async def run_once(self) -> int:
        """Claim once, send, settle; returns how many were claimed."""
        async with self._session() as session:
            claimed = await self._claim(session)
            if self._tasks:
                await asyncio.wait(self._tasks)
            await self._settle_all()
        self._close()
        return claimed

    def _session(self) -> ClientSession:
        look_up = self._look_up = self._look_up or look_up_of()
        return guarded_session(
            self._policy, look_up, ssl=self._ssl, traces=[tracing()], connector=ReceiverConnector,
            response_class=PeerResponse,
        )  # fmt: skip

    async def _claim(self, session: ClientSession) -> int:
        room = self._room()
        if room <= 0:
            return 0
        claimed_at = time.monotonic()
        try:
            claimed = await self._in_thread(self._outbox.claim, room, self._probes(), self._crowded())
        except SQLAlchemyError as error:
            log.warning("deliveries cannot be claimed", error=type(error).__name__, detail=str(error)[:300])
            await asyncio.sleep(OUTAGE_PAUSE)
            return 0
        except Exception:  # it must not end the tries that are under way: each would go out twice
            log.exception("deliveries cannot be claimed")
            await asyncio.sleep(OUTAGE_PAUSE)
            return 0
        for delivery in claimed:
            task = asyncio.create_task(self._deliver(session, delivery, claimed_at))
            self._tasks[task] = claimed_at
            if delivery.failing:
                self._probing.add(task)
            if delivery.inline:
                self._inline[task] = delivery.team_id
            task.add_done_callback(self._finished)
        IN_FLIGHT.set(len(self._tasks))
        return len(claimed)

    def _room(self) -> int:
        """How many more may be claimed. A try that only waits for its receiver takes no place, as far as that goes."""
        waiting = min(self._count_waiting(), self._waiting)
        return self._capacity + waiting - len(self._tasks) - len(self._ended)

    def _count_waiting(self) -> int:
        return sum(1 for _ in takewhile(_only_waits, self._tasks.values()))

    def _probes(self) -> int:
        """How many deliveries may be claimed just now for endpoints whose last try found nobody."""
        moment = time.monotonic()
        if moment - self._probed_at < PROBE_SECONDS:
            return 0
        self._probed_at = moment
        return self._probe_room()

    def _probe_room(self) -> int:
        """As long as tries that only wait do not take half of all places: a share of those of the others."""
        if self._count_waiting() > (self._capacity + self._waiting) // 2:
            return 0
        fresh = sum(not _only_waits(self._tasks[task]) for task in self._probing)
        return max(1, self._capacity // PROBED_SHARE) - fresh

    def _crowded(self) -> list[str]:
        """Teams whose in-line endpoints have as many places as they may."""
        waiting = Tally(team for task, team in self._inline.items() if _only_waits(self._tasks[task]))
        most = max(1, (self._capacity + self._waiting) // INLINE_SHARE)
        return [team for team, count in waiting.items() if count >= most]

    def _finished(self, task: asyncio.Task[None]) -> None:
        self._tasks.pop(task, None)
        self._probing.discard(task)
        self._inline.pop(task, None)
        IN_FLIGHT.set(len(self._tasks))
        if not task.cancelled() and task.exception() is not None:
            log.error("a delivery ended in a fault of ours", exc_info=task.exception())

    async def _deliver(self, session: ClientSession, delivery: Leased, claimed_at: float) -> None:
        try:
            if time.monotonic() - claimed_at > STALE_SECONDS and not await self._still_owns(delivery):
                log.warning("lease was lost before sending", delivery_id=delivery.id)
                return
            attempt = await self._send(session, delivery)
        except asyncio.CancelledError:
            self._unsent.append(delivery)
            raise
        ended = Ended(delivery=delivery, attempt=attempt)
        TRIES.labels(ended.outcome).inc()
        TRY_SECONDS.observe(attempt.duration_ms / 1000)
        log.debug(
            "webhook tried", delivery_id=delivery.id, endpoint_id=delivery.endpoint_id, number=delivery.attempt,
            status=attempt.status, error_class=attempt.error_class, ms=attempt.duration_ms,
        )  # fmt: skip
        self._ended.append(ended)
        self._has_ended.set()

    async def _send(self, session: ClientSession, delivery: Leased) -> Try:
        try:
            message = Message(
                webhook_id=delivery.event_id, url=delivery.url, body=delivery.body.encode(),
                keys=tuple(vault.keys_of(delivery.keys)), headers=vault.unseal_headers(delivery.headers),
            )  # fmt: skip
        except AgoraError as error:  # the key of this process is not the one that encrypted the secrets
            return _unsendable(str(error))
        if not message.keys:
            return _unsendable("no key signs for this endpoint; nothing goes out unsigned")
        return await send(session, self._policy, message, seconds=self._timeout)

    async def _still_owns(self, delivery: Leased) -> bool:
        try:
            return await self._in_thread(self._outbox.owns, delivery)
        except SQLAlchemyError:
            return False  # not to be known: another process may be at it

    async def _idle(self) -> None:
        try:
            if self._rung and await self._found_more():
                return
            pause = await self._pause()
        except SQLAlchemyError:
            pause = OUTAGE_PAUSE
        except Exception:
            log.exception("it cannot be told what is due")
            pause = OUTAGE_PAUSE
        with suppress(TimeoutError):
            async with asyncio.timeout(pause):
                await self._wake.wait()

    async def _found_more(self) -> bool:
        """After a ring that led to nothing: the claim that emptied an endpoint may not have seen a fan-out to it."""
        if time.monotonic() - self._marked_at < MARK_SECONDS:
            return False
        self._rung, self._marked_at = False, time.monotonic()
        return await self._in_thread(self._outbox.mark_due) > 0

    async def _pause(self) -> float:
        if self._room() <= 0:
            return WAITING_SECONDS  # by then some of them do
        due = await self._in_thread(self._outbox.next_due, self._probe_room() > 0, self._crowded())
        longest = MARK_SECONDS if self._rung else LONGEST_PAUSE
        return longest if due is None else min(longest, max(SHORTEST_PAUSE, due))

    async def _settle_for_ever(self) -> None:
        while True:
            await self._has_ended.wait()
            self._has_ended.clear()
            await self._settle_all()
            self._wake.set()  # there is room now, in this process and at the endpoints

    async def _settle_all(self) -> None:
        while self._ended:
            batch = self._ended[:BATCH]
            try:
                self._heed(await self._in_thread(settling.settle, batch))
            except OUTAGES as error:
                log.warning("deliveries cannot be settled yet", count=len(batch), error=str(error)[:300])
                await asyncio.sleep(OUTAGE_PAUSE)
                continue
            except Exception:
                log.exception("deliveries cannot be settled together", count=len(batch))
                await self._settle_apart(batch)
            del self._ended[: len(batch)]

    def _heed(self, settled: Settled) -> None:
        if settled.ring:
            self._rung = True  # the endpoints that are told were not marked: others had them locked
        if settled.keys and not self._stopping:
            # An event that was recorded while its predecessor ended saw that still open, and was not seen: look again.
            for pause in PROMOTE_AGAIN:
                asyncio.get_running_loop().call_later(pause, self._promote, settled.keys)

    def _promote(self, keys: frozenset[tuple[str, str]]) -> None:
        if not self._stopping:
            task = asyncio.create_task(self._promote_now(keys))
            self._promotions.add(task)
            task.add_done_callback(self._promotions.discard)

    async def _promote_now(self, keys: frozenset[tuple[str, str]]) -> None:
        try:
            if await self._in_thread(self._outbox.promote, keys):
                self.ring()
        except SQLAlchemyError as error:
            log.debug("the dispatcher will look for those whose turn it is", error=type(error).__name__)

    async def _settle_apart(self, batch: Sequence[Ended]) -> None:
        """One row that the database refuses must not keep the others: each alone, that one left to its lease."""
        for one in batch:
            while True:
                try:
                    self._heed(await self._in_thread(settling.settle, [one]))
                except OUTAGES:
                    await asyncio.sleep(OUTAGE_PAUSE)
                    continue
                except Exception:
                    log.exception("a delivery cannot be settled", delivery_id=one.delivery.id)
                break

    async def _wind_up(self, settler: asyncio.Task[None]) -> None:
        settler.cancel()
        rest = [*self._tasks, *self._promotions]
        for task in rest:
            task.cancel()
        await asyncio.gather(settler, *rest, return_exceptions=True)
        try:
            async with asyncio.timeout(delivery_queries.LEASE_MARGIN):
                await self._settle_all()
                if self._unsent:
                    released = await self._in_thread(self._outbox.release, self._unsent)
                    log.info("leases given back", count=released)
        except (SQLAlchemyError, TimeoutError) as error:
            log.warning("leases are left to run out", count=len(self._unsent), error=type(error).__name__)
        self._close()

    def _close(self) -> None:
        self._threads.shutdown(wait=True)
        if isinstance(self._look_up, SystemLookUp):
            self._look_up.close()

    async def _in_thread(self, work: Callable[..., T], *arguments: Any) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, work, *arguments)


def _only_waits(begun: float) -> bool:
    return begun < time.monotonic() - WAITING_SECONDS


def _unsendable(why: str) -> Try:
    attempt = Try(started_at=now())
    attempt.fail("secret", why)
    return attempt
