"""A project as the main job records it, small enough to look at."""

from agora.db.session import transaction
from agora.ids import new_id
from agora.language.ports import Candidate, Contradiction
from agora.projects.scoring import Scores
from agora.projects.service import record_project


def candidate(key, value, **options):
    given = {"content": f"It shall have {value}.", "confidence": 0.9, "reasoning": "said so"} | options
    return Candidate(category=key.partition(".")[0], key=key, value=value, **given)


FOUND = [candidate("performance.response_time", "<= 2 s"), candidate("technology.database", "PostgreSQL")]
CONTRADICTION = Contradiction(
    kind="contradiction", subject="technology", severity="high", left=FOUND[0], right=FOUND[1], explanation="both"
)


def scores(maturity=40, coverage=0.5):
    return Scores(maturity=maturity, coverage=coverage, mean_confidence=0.9, readiness=0.6, gaps=())


def record(session, team_id, *, origin=None, name="Loan desk", found=FOUND, conflicts=(CONTRADICTION,), figures=None):
    return record_project(
        session, team_id=team_id, origin=origin or new_id("job"), name=name, title=name, candidates=found,
        contradictions=conflicts, scores=figures or scores(),
    )  # fmt: skip


def a_project(team_id, **options):
    with transaction() as session:
        return record(session, team_id, **options)
