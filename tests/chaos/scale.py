"""How long faults last: as in production for the long run, scaled down with the leases for `make test`."""

from dataclasses import dataclass, field


@dataclass(frozen=True, kw_only=True)
class Scale:
    """Durations are seconds. ``env`` are settings of the platform on top of the defaults."""

    outage: float
    """A cut, a blackhole, a frozen or restarted broker, a slow receiver, a full disk."""
    freeze: float
    """A frozen Postgres."""
    zombie: float
    """A stopped worker: several leases long."""
    gap: float
    """Between faults that are tried alone."""
    spacing: float
    """From one mixed fault to the next."""
    quiet: float
    """After the kill of a worker that is tried alone: until what it held is taken over, undisturbed."""
    repeats: int
    """How often such a kill is tried alone, for the figures."""
    receiver_delay: float
    grace: float
    """How soon after an excuse the API must answer again."""
    settle: float
    """How long the platform has, after the last fault, to end every job and deliver every webhook."""
    slow: float = 0.2
    """The share of the jobs with a step that takes a while."""
    tails: float = 0.3
    """Of those, the share whose step after that takes long too. The threads of `io` must have room for all of them."""
    deaf: float = 0.5
    """The share of the jobs whose slow step never looks whether it still holds its lease."""
    env: dict[str, str] = field(default_factory=dict)


SCHEDULE = {"AGORA_WEBHOOK_SCHEDULE": "0,1,1,2,5,5,10,10,20,20,20,20", "AGORA_LOG_LEVEL": "warning"}
"""The default pauses before a third try are minutes: the run would wait for them, and learn nothing."""

LONG = Scale(
    outage=15, freeze=20, zombie=60, gap=2, quiet=15, repeats=6, tails=0.1, spacing=5, receiver_delay=5, grace=15,
    settle=600, env=SCHEDULE,
)  # fmt: skip
SHORT = Scale(
    outage=3, freeze=3, zombie=5, gap=0.5, quiet=4, repeats=1, spacing=2.0, receiver_delay=1, grace=15, settle=75,
    env=SCHEDULE | {
        "AGORA_LEASE_SECONDS": "2",
        "AGORA_HEARTBEAT_SECONDS": "0.5",
        "AGORA_RERING_SECONDS": "1",
        "AGORA_DRAIN_SECONDS": "2",
        "AGORA_DEAF_SECONDS": "4",
        "AGORA_WEBHOOK_TIMEOUT": "5",
    },
)  # fmt: skip
