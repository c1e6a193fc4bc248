"""The mail port: SMTP in earnest, a folder or the console while developing. Chosen by ``AGORA_MAIL_URL``.

``smtp://user:password@host:587`` (STARTTLS; ``smtps://`` is TLS from the start, ``smtp+plain://`` none, for a relay on
the same machine), ``file:///folder`` (a file for each mail), ``console:`` (the log).
"""

import smtplib
import ssl
from email.message import EmailMessage
from email.utils import formatdate, make_msgid
from pathlib import Path
from urllib.parse import SplitResult, unquote, urlsplit

from agora.errors import Unavailable
from agora.ids import new_id
from agora.settings import get_settings
from agora.telemetry import get_logger

SECONDS = 10.0
SCHEMES = ("smtp", "smtps", "smtp+plain", "file", "console")
PORTS = {"smtp": 587, "smtps": 465, "smtp+plain": 25}

log = get_logger(__name__)


def send(to: str, subject: str, text: str) -> None:
    """Send one mail. Raises Unavailable when it cannot be handed over."""
    message = EmailMessage()
    message["From"], message["To"], message["Subject"] = get_settings().mail_from, to, subject
    message["Date"], message["Message-ID"] = formatdate(), make_msgid(domain="agora")
    message["Auto-Submitted"] = "auto-generated"
    message.set_content(text)
    where = urlsplit(get_settings().mail_url)
    try:
        if where.scheme == "file":
            _keep(Path(unquote(where.path)), message)
        elif where.scheme == "console":
            log.info("mail", to=to, subject=subject, text=text)
        else:
            _hand_over(where, message)
    except (OSError, smtplib.SMTPException) as error:
        log.warning("a mail cannot be sent", error=type(error).__name__, detail=str(error)[:200])
        raise Unavailable("mail cannot be sent just now") from error


def _keep(folder: Path, message: EmailMessage) -> None:
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    (folder / f"{new_id('otk')}.eml").write_bytes(message.as_bytes())


def _hand_over(where: SplitResult, message: EmailMessage) -> None:
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
        server.send_message(message)
