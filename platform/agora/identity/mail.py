"""Mail: put into a table in the transaction that causes it, sent by the dispatcher.

So no answer waits for a mail server, or tells by its time whether there was anything to send; and a mail server that is
away loses nothing.

``AGORA_MAIL_URL``: ``smtp://user:password@host:587`` (STARTTLS; ``smtps://`` is TLS from the start, ``smtp+plain://``
none, for a relay on the same machine), ``file:///folder`` (a file for each mail), ``console:`` (the log).
"""

import json
import smtplib
import ssl
from datetime import timedelta
from email.message import EmailMessage
from email.utils import formatdate, make_msgid
from pathlib import Path
from urllib.parse import SplitResult, unquote, urlsplit

from sqlalchemy.orm import Session

from agora.clock import now
from agora.crypto import decrypt, encrypt
from agora.db.session import transaction
from agora.errors import SettingsError, Unavailable
from agora.identity import user_queries
from agora.identity.models import MailRow
from agora.ids import new_id
from agora.settings import get_settings
from agora.telemetry import get_logger

SECONDS = 10.0
SCHEMES = ("smtp", "smtps", "smtp+plain", "file", "console")
PORTS = {"smtp": 587, "smtps": 465, "smtp+plain": 25}
MOST_TRIES = 12
FIRST_PAUSE, LONGEST_PAUSE = 20.0, 3600.0
AT_ONCE = 20

log = get_logger(__name__)


def post(session: Session, to: str, subject: str, text: str) -> None:
    """Put a mail into the transaction. Raises Unavailable where the platform has no way to send any."""
    if not get_settings().mail_url:
        raise Unavailable("this platform cannot send mail: AGORA_MAIL_URL is not set")
    content = json.dumps({"to": to, "subject": subject, "text": text})
    session.add(MailRow(id=new_id("eml"), sealed=encrypt(content.encode()).decode()))
    session.flush()


def post_nothing(session: Session) -> None:
    """Do the work of a mail that goes to nobody, so that time does not tell that there was none."""
    post(session, "", "", "")


def send_posted() -> int:
    """Send what is due, each once unless this process dies in the middle; how many went out."""
    sent = 0
    for _ in range(AT_ONCE):
        with transaction("auth") as session:
            row = user_queries.lock_due_mail(session)
            if row is None:
                break
            row.tries += 1
            row.next_at = now() + timedelta(seconds=min(FIRST_PAUSE * 2.0 ** (row.tries - 1), LONGEST_PAUSE))
            mail_id, tries, sealed = row.id, row.tries, row.sealed
        went = _went_out(sealed, tries)
        if went is not None or tries >= MOST_TRIES:
            with transaction("auth") as session:
                user_queries.forget_mail(session, mail_id)
        sent += bool(went)
    return sent


def _went_out(sealed: str, tries: int) -> bool | None:
    """True: it did; False: it was for nobody; None: it could not be sent, or these keys do not open it."""
    try:
        content = json.loads(decrypt(sealed.encode()))
        if content["to"]:
            send(**content)
    except (OSError, smtplib.SMTPException, ValueError, SettingsError) as error:
        log.warning("a mail cannot be sent", error=type(error).__name__, detail=str(error)[:200], tries=tries)
        return None
    return bool(content["to"])


def send(to: str, subject: str, text: str) -> None:
    """Send one mail at once. Raises OSError, SMTPException."""
    message = EmailMessage()
    message["From"], message["To"], message["Subject"] = get_settings().mail_from, to, subject
    message["Date"], message["Message-ID"] = formatdate(), make_msgid(domain="agora")
    message["Auto-Submitted"] = "auto-generated"
    message.set_content(text)
    where = urlsplit(get_settings().mail_url)
    if where.scheme == "file":
        _keep(Path(unquote(where.path)), message)
    elif where.scheme == "console":
        log.info("mail", to=to, subject=subject, text=text)
    else:
        _hand_over(where, message, to)


def _keep(folder: Path, message: EmailMessage) -> None:
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    path = folder / f"{new_id('eml')}.eml"
    part = path.with_suffix(".part")
    part.write_bytes(message.as_bytes())
    part.rename(path)  # whoever looks into the folder finds whole mails


def _hand_over(where: SplitResult, message: EmailMessage, to: str) -> None:
    host, port = where.hostname or "", where.port or PORTS[where.scheme]
    secure = ssl.create_default_context()
    made = (
        smtplib.SMTP_SSL(host, port, timeout=SECONDS, context=secure)
        if where.scheme == "smtps"
        else smtplib.SMTP(host, port, timeout=SECONDS)
    )
    with made as server:
        if where.scheme == "smtp":
            server.starttls(context=secure)
        if where.username:
            server.login(unquote(where.username), unquote(where.password or ""))
        server.send_message(message, to_addrs=[to])
