"""SQL of admission: lines, permits, room. Limits are locked in the order of their scopes, before any step or job."""

from collections.abc import Mapping, Sequence

from sqlalchemy import RowMapping, text
from sqlalchemy.orm import Session

FIND = text("SELECT scope FROM limits WHERE scope = ANY(:scopes)")


def find_scopes(session: Session, *, scopes: Sequence[str]) -> list[str]:
    """Those of these scopes that have a limit."""
    return list(session.scalars(FIND, {"scopes": list(scopes)}))


HOLD = text("""
WITH given AS (
    SELECT * FROM unnest(CAST(:job_ids AS text[]), CAST(:scopes AS text[])) AS g (job_id, scope)
), held AS (
    UPDATE steps SET held = CASE WHEN held = 'time' THEN held ELSE 'concurrency' END, rung_at = NULL
    WHERE job_id = ANY(:job_ids) AND team_id = :team_id AND status = 'ready'
    RETURNING job_id, team_id, place, held
), marked AS (
    UPDATE jobs SET limited = true, concurrency_key = :key WHERE id = ANY(:job_ids) AND team_id = :team_id
)
INSERT INTO permits (job_id, scope, team_id, place, state)
SELECT g.job_id, g.scope, h.team_id, h.place, CASE WHEN h.held = 'time' THEN 'idle' ELSE 'waiting' END
FROM given g JOIN held h ON h.job_id = g.job_id
""")


def hold_jobs(session: Session, *, team_id: str, pairs: Sequence[tuple[str, str]], key: str | None) -> None:
    """Let jobs that were just inserted stand in line, of ``(job id, scope)``; scheduled ones do once they are due."""
    job_ids, scopes = zip(*pairs, strict=True)
    session.execute(HOLD, {"job_ids": list(job_ids), "scopes": list(scopes), "team_id": team_id, "key": key})


# As in agora.jobs.order: round the circle of the teams that wait, fewest permits first, then the place.
LINE = text("""
WITH RECURSIVE walk (team_id, first, n) AS (
    SELECT CAST(:after AS text) COLLATE "C", CAST(NULL AS text) COLLATE "C", 0
    UNION ALL
    SELECT f.team_id, COALESCE(w.first, f.team_id), w.n + 1
    FROM walk w, LATERAL (
        (SELECT team_id FROM permits WHERE scope = :scope AND state = 'waiting' AND team_id > w.team_id
         ORDER BY team_id LIMIT 1)
        UNION ALL
        (SELECT team_id FROM permits WHERE scope = :scope AND state = 'waiting' ORDER BY team_id LIMIT 1)
        LIMIT 1
    ) f
    WHERE w.n < 32 AND f.team_id IS DISTINCT FROM w.first
)
SELECT d.job_id, w.team_id
FROM walk w, LATERAL (
    SELECT count(*) AS n FROM permits WHERE scope = :scope AND state = 'held' AND team_id = w.team_id
) held, LATERAL (
    SELECT job_id, place, row_number() OVER (ORDER BY place, job_id) AS nth FROM permits
    WHERE scope = :scope AND state = 'waiting' AND team_id = w.team_id
    ORDER BY place, job_id
    LIMIT :most
) d
WHERE w.n > 0
ORDER BY d.nth + held.n, d.place, d.job_id
LIMIT :most
""")


def list_line(session: Session, *, scope: str, after: str, most: int) -> Sequence[RowMapping]:
    """The jobs that are next in a line, fairly between teams; ``after`` is the team behind which the look begins."""
    return session.execute(LINE, {"scope": scope, "after": after, "most": most}).mappings().all()


PERMITS = text("""
SELECT p.job_id, array_agg(p.scope ORDER BY p.scope) AS scopes, bool_or(p.state = 'held') AS admitted,
       j.ended_at IS NOT NULL AS ended
FROM permits p JOIN jobs j ON j.id = p.job_id
WHERE p.job_id = ANY(:job_ids)
GROUP BY p.job_id, j.ended_at
""")


def find_permits(session: Session, *, job_ids: Sequence[str]) -> dict[str, RowMapping]:
    """By job id: the scopes that it needs permits of, whether it has them, whether it has ended."""
    found = session.execute(PERMITS, {"job_ids": list(job_ids)}).mappings()
    return {row["job_id"]: row for row in found}


LOCK = text("SELECT scope FROM limits WHERE scope = ANY(:scopes) ORDER BY scope FOR UPDATE")
# A statement of its own: the one that waits for the locks sees what was before.
ROOMS = text("""
SELECT l.scope, l.max_running, l.rate,
       LEAST(l.burst, l.tokens + l.rate * extract(epoch FROM clock_timestamp() - l.counted_at)) AS tokens,
       (SELECT count(*) FROM permits p WHERE p.scope = l.scope AND p.state = 'held') AS running
FROM limits l WHERE l.scope = ANY(:scopes)
""")


def lock_rooms(session: Session, *, scopes: Sequence[str]) -> Sequence[RowMapping]:
    """Lock limits, and say what room they have: ``max_running`` less ``running``, and ``tokens`` of the ``rate``."""
    session.execute(LOCK, {"scopes": list(scopes)})
    return session.execute(ROOMS, {"scopes": list(scopes)}).mappings().all()


ADMIT = text("""
WITH permitted AS (
    UPDATE permits SET state = 'held', since = now() WHERE job_id = ANY(:job_ids)
)
UPDATE steps SET held = NULL
WHERE job_id = ANY(:job_ids) AND status = 'ready' AND held IN ('concurrency', 'rate')
RETURNING queue
""")


def admit_jobs(session: Session, *, job_ids: Sequence[str]) -> set[str]:
    """Give jobs their permits, and their steps their place in the order; the queues of those."""
    return set(session.scalars(ADMIT, {"job_ids": list(job_ids)}))


MOVE = text("""
WITH given AS (
    SELECT * FROM unnest(CAST(:job_ids AS text[]), CAST(:scopes AS text[]), CAST(:reasons AS text[]))
        AS g (job_id, scope, reason)
), moved AS (
    UPDATE permits p SET state = CASE WHEN p.scope = g.scope THEN 'waiting' ELSE 'idle' END
    FROM given g
    WHERE p.job_id = g.job_id AND p.state <> CASE WHEN p.scope = g.scope THEN 'waiting' ELSE 'idle' END
)
UPDATE steps s SET held = g.reason FROM given g
WHERE s.job_id = g.job_id AND s.status = 'ready' AND s.held IN ('concurrency', 'rate') AND s.held <> g.reason
""")


def move_jobs(session: Session, *, blocked: Sequence[tuple[str, str, str]]) -> None:
    """Let jobs wait in one line only, of ``(job id, scope, reason)``: that of the limit that stops them."""
    job_ids, scopes, reasons = zip(*blocked, strict=True)
    session.execute(MOVE, {"job_ids": list(job_ids), "scopes": list(scopes), "reasons": list(reasons)})


TOKENS = text("""
UPDATE limits l
SET tokens = g.tokens, counted_at = clock_timestamp(),
    next_at = CASE WHEN g.tokens < 1 AND EXISTS (SELECT FROM permits p WHERE p.scope = l.scope AND p.state = 'waiting')
                   THEN clock_timestamp() + make_interval(secs => (1 - g.tokens) / l.rate) END
FROM unnest(CAST(:scopes AS text[]), CAST(:tokens AS float8[])) AS g (scope, tokens)
WHERE l.scope = g.scope
""")


def save_tokens(session: Session, *, left: Mapping[str, float]) -> None:
    """Write what is left of the tokens of rate limits, and when the next one in line may be let in."""
    session.execute(TOKENS, {"scopes": list(left), "tokens": list(left.values())})


DROP = text("""
DELETE FROM permits p USING jobs j
WHERE p.job_id = ANY(:job_ids) AND j.id = p.job_id AND j.ended_at IS NOT NULL
RETURNING p.scope
""")


def drop_permits(session: Session, *, job_ids: Sequence[str]) -> set[str]:
    """Delete the permits of jobs that have ended; the scopes in which that makes room."""
    return set(session.scalars(DROP, {"job_ids": list(job_ids)}))


TIDY = text("""
DELETE FROM limits l
WHERE l.scope = ANY(:scopes) AND (l.key IS NOT NULL OR l.removed)
  AND NOT EXISTS (SELECT FROM permits p WHERE p.scope = l.scope)
""")


def tidy_limits(session: Session, *, scopes: Sequence[str]) -> None:
    """Delete concurrency keys and removed limits, locked by the caller, that no job needs any more."""
    session.execute(TIDY, {"scopes": list(scopes)})


STALE = text("""
SELECT DISTINCT p.job_id FROM permits p JOIN jobs j ON j.id = p.job_id
WHERE p.state = 'held' AND j.ended_at IS NOT NULL
LIMIT :slice
""")


def find_stale(session: Session, *, slice_: int) -> list[str]:
    """Jobs that have ended and still hold permits: whoever ended them died before it could say so."""
    return list(session.scalars(STALE, {"slice": slice_}))


OPEN = text("""
SELECT l.scope FROM limits l
WHERE EXISTS (SELECT FROM permits p WHERE p.scope = l.scope AND p.state = 'waiting')
  AND (l.max_running IS NULL
       OR (SELECT count(*) FROM permits p WHERE p.scope = l.scope AND p.state = 'held') < l.max_running)
  AND (l.rate IS NULL
       OR LEAST(l.burst, l.tokens + l.rate * extract(epoch FROM clock_timestamp() - l.counted_at)) >= 1)
LIMIT :slice
""")


def find_open(session: Session, *, slice_: int) -> list[str]:
    """Scopes in which somebody waits although there is room."""
    return list(session.scalars(OPEN, {"slice": slice_}))


NEXT = text("SELECT scope FROM limits WHERE next_at <= now() ORDER BY next_at LIMIT :slice")


def find_next(session: Session, *, slice_: int) -> list[str]:
    """Scopes whose rate lets the next one in now."""
    return list(session.scalars(NEXT, {"slice": slice_}))
