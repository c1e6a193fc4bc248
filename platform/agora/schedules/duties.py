"""What the dispatcher does for schedules beside firing them."""

from agora.db.session import transaction
from agora.schedules import queries

KEPT_DAYS = 30
SLICE = 1_000


def forget_runs() -> int:
    """Forget what became of fire times that are long past; the jobs are kept as long as other jobs are."""
    with transaction() as session:
        queries.forget_runs(session, days=KEPT_DAYS, limit=SLICE)
    return 0
