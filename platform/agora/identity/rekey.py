"""Encrypts what the auth database keeps sealed with the present AGORA_SECRET_KEY: a part of ``agora db rekey``."""

from typing import Any

from sqlalchemy.orm import InstrumentedAttribute

from agora import crypto
from agora.audit import service as audit
from agora.audit.acting import PLATFORM
from agora.db.session import transaction
from agora.identity import user_queries
from agora.identity.models import MailRow, SigningKeyRow, UserRow

SLICE = 200


def rekey() -> dict[str, int]:
    """How many values were under an older key, by kind. In slices; may be interrupted and repeated.

    Raises:
        SettingsError: a value was encrypted with none of the keys; it and those after it stay as they are.
    """
    counts = {
        "second_factors": _reseal(UserRow, UserRow.totp_sealed),
        "signing_keys": _reseal(SigningKeyRow, SigningKeyRow.sealed),
        "mails": _reseal(MailRow, MailRow.sealed),
    }
    with transaction("auth") as session:
        audit.record(session, "secrets.rekeyed", "auth", team_id=PLATFORM, after={"counts": counts})
    return counts


def _reseal(kind: type[UserRow | SigningKeyRow | MailRow], column: InstrumentedAttribute[Any]) -> int:
    after, changed = "", 0
    while True:
        with transaction("auth") as session:
            rows = user_queries.lock_sealed(session, kind, column, after=after, slice_=SLICE)
            for row in rows:
                sealed = getattr(row, column.key).encode()
                if not crypto.is_current(sealed):
                    setattr(row, column.key, crypto.encrypt(crypto.decrypt(sealed)).decode())
                    changed += 1
        if len(rows) < SLICE:
            return changed
        after = str(rows[-1].id)
