"""SQL that completes the bodies of endpoints that asked for full payloads: read once, before the first try."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import text
from sqlalchemy.orm import Session

VALUES = text("""
SELECT j.id, j.input, j.output FROM jobs j WHERE j.team_id = :team_id AND j.id = ANY(:job_ids)
""")


def list_values(session: Session, *, team_id: str, job_ids: Sequence[str]) -> Mapping[str, Mapping[str, Any]]:
    """Input and output of jobs as they are stored: ``{"v": value}``, or a reference for a large one."""
    rows = session.execute(VALUES, {"team_id": team_id, "job_ids": list(job_ids)}).mappings()
    return {row["id"]: dict(row) for row in rows}


COMPLETE = text("""
UPDATE webhook_deliveries d SET body = n.body, full_payload = false
FROM jsonb_to_recordset(CAST(:rows AS jsonb)) AS n (id text, token text, body text)
WHERE d.id = n.id AND d.lease_token = n.token AND d.team_id = :team_id AND d.full_payload
RETURNING d.id
""")


def complete_bodies(session: Session, *, team_id: str, rows: Sequence[Mapping[str, str]]) -> set[str]:
    """Keep completed bodies, each guarded by its lease: from now on those bytes are sent. Returns whose they are."""
    return set(session.scalars(COMPLETE, {"team_id": team_id, "rows": json.dumps(list(rows))}))
