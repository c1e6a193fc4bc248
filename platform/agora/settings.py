"""One frozen settings object, read from the environment once.

This is the only module of the repository that reads ``os.environ``. Twelve-factor names: ``DATABASE_URL``,
``AUTH_DATABASE_URL``, ``REDIS_URL``, ``DATABASE_DIRECT_URL``, ``AUTH_DATABASE_DIRECT_URL``, and ``AGORA_*`` for
the rest.
"""

import difflib
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, SecretStr, ValidationError, ValidationInfo, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, PydanticBaseSettingsSource, SettingsConfigDict

from agora.errors import SettingsError

KIB = 1024
MIB = 1024 * KIB
MINUTE = 60.0
HOUR = 60 * MINUTE

DNS_PORT = 53
_NAMESERVER = re.compile(r"(?:\[(?P<v6>[^\[\]]*:[^\[\]]*)\]|(?P<v4>[0-9.]+))(?::(?P<port>[0-9]{1,5}))?")
_ORIGIN = re.compile(
    r"(?P<scheme>https?)://(?:[a-z0-9](?:[a-z0-9.-]*[a-z0-9])?|\[[0-9a-f:]+\])(?::(?P<port>[1-9][0-9]{0,4}))?"
)
_USUAL_PORTS = {"http": "80", "https": "443"}

_ISSUER = re.compile(r"(https://[^/?#@\s]+|http://(127\.0\.0\.1|localhost|\[::1\])(:[0-9]{1,5})?)(/[^?#\s]*)?")

SENTINEL = "sentinel://"
REDIS = ("redis://", "rediss://", SENTINEL)
BROKERS = (*REDIS, "amqp://", "amqps://")

PLAIN_NAMES = ("database_url", "auth_database_url", "database_direct_url", "auth_database_direct_url", "redis_url")
"""Settings whose variable has no ``AGORA_`` prefix, as hosting platforms name them."""


class Settings(BaseSettings):
    """Every knob of Agora. Durations are seconds, sizes are bytes. Wrong or unknown values raise SettingsError."""

    model_config = SettingsConfigDict(frozen=True, extra="forbid", env_prefix="AGORA_", env_ignore_empty=True)

    database_url: str = Field("", description="Main database. Unset: the embedded Postgres of `agora up`.")
    auth_database_url: str = Field("", description="Auth database. Unset: the embedded Postgres of `agora up`.")
    database_direct_url: str = Field("", description="Main database without a transaction pooler in between.")
    auth_database_direct_url: str = Field("", description="Likewise the auth database.")
    redis_url: str = Field("", description="Broker and live stream. Unset: the embedded Valkey of `agora up`.")
    sentinel_master: str = Field("mymaster", min_length=1, description="What the Sentinels call the master.")
    sentinel_password: SecretStr = Field(SecretStr(""), description="Of the Sentinels themselves, if they ask for one.")
    broker_url: str = Field("", description="Another broker for the rings, such as amqp://. Unset: REDIS_URL.")
    broker_queues: Literal["classic", "quorum"] = Field("classic", description="RabbitMQ's kind of queue for rings.")

    data_dir: Path = Path(".agora")
    host: str = "127.0.0.1"
    port: int = Field(8080, ge=1, le=65535)
    public_url: str = Field(
        "", description="Where people reach the API, such as https://agora.example. Unset: as asked."
    )
    flower_port: int = Field(5555, ge=1, le=65535)
    flower_password: SecretStr = SecretStr("")
    secret_key: SecretStr = Field(SecretStr(""), description="Encrypts secrets at rest. At least 32 characters.")
    secret_key_old: Annotated[tuple[SecretStr, ...], NoDecode] = Field(
        (), description="Keys that secrets at rest may still be encrypted with, until `agora db rekey`."
    )
    files_url: str = Field("", description="Any fsspec URL. Unset: the folder `files` of the data directory.")
    agents: Annotated[tuple[str, ...], NoDecode] = Field(
        ("workers.agents", "installed"),
        description="Modules, `module:attribute`, entry points of the group agora.agents; `installed` is all of these.",
    )
    dev: bool = Field(False, description="`agora dev`: a worker may replace an action version that no open job uses.")

    lease_seconds: float = Field(10.0, gt=0)
    heartbeat_seconds: float = Field(3.0, gt=0)
    tick_seconds: float = Field(1.0, gt=0, le=1.0, description="The dispatcher ticks at most this far apart.")
    rering_seconds: float = Field(5.0, gt=0, description="A rung step that nobody claimed is rung again after this.")
    ring_window: int = Field(32, ge=1, description="Rung, unclaimed steps that a queue may hold.")
    turn_seconds: float = Field(0.1, ge=0, description="How long a turn goes on in place with a job's next steps.")
    lost_lease_limit: int = Field(5, ge=1, description="A step that loses its worker this often fails.")
    deaf_seconds: float = Field(
        30.0, gt=0, description="A worker with a free slot that heard nothing for so long, with work waiting, restarts."
    )
    drain_seconds: float = Field(8.0, ge=0, description="How long a stopping worker lets its steps finish.")

    db_pool_size: int = Field(10, ge=1, description="Connections to the main database that a process keeps.")
    db_pool_overflow: int = Field(0, ge=0, description="Further ones that it opens for a burst, and closes after it.")
    db_pooler: Literal["none", "transaction"] = Field(
        "none", description="`transaction`: the database URLs lead to a pooler in transaction mode, such as PgBouncer."
    )
    db_connect_seconds: int = Field(5, ge=1)

    max_body_bytes: int = Field(MIB, ge=KIB)
    max_batch_bytes: int = Field(
        16 * MIB, ge=KIB, description="The body of a batch of jobs, or of an import of endpoints."
    )
    max_file_bytes: int = Field(64 * MIB, ge=KIB)
    inline_value_bytes: int = Field(64 * KIB, ge=KIB)
    max_value_bytes: int = Field(16 * MIB, ge=KIB)
    max_json_depth: int = Field(32, ge=1)
    max_depth: int = Field(10, ge=1, le=100, description="How deep jobs may spawn jobs.")
    max_wait_seconds: int = Field(60, ge=1, le=60)
    max_streams: int = Field(500, ge=1, description="Live streams and waiting calls that one web process holds.")
    max_streams_per_key: int = Field(100, ge=1)

    retention_succeeded: float = Field(30.0, ge=0, description="Days for which succeeded jobs are kept; 0: for ever.")
    retention_failed: float = Field(90.0, ge=0, description="Likewise failed jobs.")
    retention_cancelled: float = Field(30.0, ge=0, description="Likewise cancelled jobs.")
    retention_events: float = Field(90.0, ge=0, description="Likewise events and tries, by whole months.")
    retention_deliveries: float = Field(30.0, ge=0, description="Likewise ended webhook deliveries and their tries.")

    audit_retention_days: int = Field(
        400, ge=0, le=36_500, description="Days for which entries of the audit log are kept; 0: for ever."
    )

    egress_allow: Annotated[tuple[IPv4Network | IPv6Network, ...], NoDecode] = ()
    egress_ports: Annotated[tuple[int, ...], NoDecode] = (443,)
    egress_allow_http: bool = False
    egress_nameservers: Annotated[tuple[tuple[IPv4Address | IPv6Address, int], ...], NoDecode] = Field(
        (), description="Recursive name servers for user-given hosts, such as 10.0.0.2,[::1]:5353. Unset: the system's."
    )
    webhook_timeout: float = Field(20.0, gt=0)
    webhook_drain_rate: float = Field(
        50.0, gt=0, description="Held deliveries that a resumed endpoint gets per second, beside what is new."
    )
    webhook_disable_days: float = Field(5.0, gt=0, description="Days without success after which it is disabled.")
    webhook_fan_out_limit: int = Field(
        100,
        ge=1,
        description="Deliveries of an event that its commit makes itself; the dispatcher makes more than that.",
    )
    webhook_schedule: Annotated[tuple[float, ...], NoDecode] = (
        0.0, 5.0, 5 * MINUTE, 30 * MINUTE, 2 * HOUR, 5 * HOUR, 10 * HOUR, 14 * HOUR, 20 * HOUR, 24 * HOUR,
    )  # fmt: skip

    trusted_proxies: Annotated[tuple[IPv4Network | IPv6Network, ...], NoDecode] = Field(
        (), description="Networks of reverse proxies whose X-Forwarded-For says where a request comes from."
    )
    cors_origins: Annotated[tuple[str, ...], NoDecode] = Field(
        (), description="Origins whose pages may call the API from a browser, such as https://app.example. Unset: none."
    )
    hsts_seconds: int = Field(
        0, ge=0, description="How long browsers may come by https only (RFC 6797); said over https, 0 says nothing."
    )
    read_seconds: float = Field(
        15.0, gt=0, description="For so long may a client be silent, take for a request's head, or take no answer."
    )
    read_rate: int = Field(
        16 * KIB, ge=1, description="Bytes a second at which a request's body must come, beside the silence allowed."
    )
    statement_seconds: float = Field(30.0, gt=0, description="How long a request's SQL statement may run.")
    sign_up: Literal["closed", "open"] = Field(
        "closed", description="`open`: whoever confirms an e-mail address may make an account."
    )
    mail_url: str = Field(
        "",
        description="smtp://user:password@host, smtps://, smtp+plain://, file:///folder, or console: (the log).",
    )
    mail_from: str = Field("agora@localhost", min_length=3, description="Whom mails are from.")
    token_issuer: str = Field(
        "agora", min_length=1, description="`iss` of access tokens; of several platforms each its own."
    )
    token_audience: str = Field("agora-api", min_length=1, description="`aud` of access tokens.")
    token_key_days: float = Field(
        90.0, ge=1, description="The dispatcher makes a new key that signs access tokens when the newest is so old."
    )
    oidc_issuer: str = Field("", description="An OpenID provider that users may sign in at. Unset: there is none.")
    oidc_client_id: str = Field("", description="What the provider calls this platform.")
    oidc_client_secret: SecretStr = Field(SecretStr(""), description="What the provider knows this platform by.")
    oidc_name: str = Field("single sign-on", min_length=1, max_length=100, description="What people call the provider.")
    oidc_trusted_domains: Annotated[tuple[str, ...], NoDecode] = Field(
        (), description="Domains of e-mail addresses for which the provider's word is enough to let into an account."
    )

    sunset: Literal["warn", "refuse"] = Field(
        "warn", description="`refuse`: a version of the API is answered with 410 once its sunset has passed."
    )

    default_tier: Literal["free", "pro", "team", "enterprise"] = Field(
        "enterprise", description="Of new teams. `enterprise` has no limits unless the operator sets some."
    )
    address_requests_per_minute: int = Field(
        600, ge=1, le=10_000_000, description="Requests of an address without valid credentials."
    )
    web_processes: int = Field(2, ge=1, description="Processes of the web server on each host.")
    web_hosts: int = Field(
        1, ge=1, description="Hosts that run a web server: while Redis is away, limits are shared out."
    )

    log_level: Literal["debug", "info", "warning", "error"] = "info"
    log_format: Literal["console", "json"] = "console"

    @field_validator(
        "agents", "egress_allow", "egress_ports", "webhook_schedule", "secret_key_old", "trusted_proxies",
        "oidc_trusted_domains", "cors_origins", mode="before",
    )  # fmt: skip
    @classmethod
    def _split(cls, value: Any) -> Any:
        if isinstance(value, str):
            return tuple(part.strip() for part in value.split(",") if part.strip() and value.strip() != "any")
        return value

    @field_validator("egress_nameservers", mode="before")
    @classmethod
    def _servers(cls, value: Any) -> Any:
        if isinstance(value, str):
            return tuple(_nameserver(part.strip()) for part in value.split(",") if part.strip())
        return value

    @field_validator("secret_key")
    @classmethod
    def _long_enough(cls, value: SecretStr) -> SecretStr:
        if value.get_secret_value() and len(value.get_secret_value()) < 32:  # noqa: PLR2004  # said in the message
            raise ValueError("must have at least 32 characters")
        return value

    @field_validator("public_url")
    @classmethod
    def _an_origin(cls, value: str) -> str:
        if value and not re.fullmatch(r"https?://[^/?#@\s]+/?", value):
            raise ValueError("must be http(s)://host[:port], without a path")
        return value.rstrip("/")

    @field_validator("oidc_issuer")
    @classmethod
    def _an_issuer(cls, value: str) -> str:
        if value and not _ISSUER.fullmatch(value):
            raise ValueError("must be https://host, with or without a path; http:// only on this machine")
        return value

    @field_validator("cors_origins")
    @classmethod
    def _origins(cls, values: tuple[str, ...]) -> tuple[str, ...]:
        for value in values:
            found = _ORIGIN.fullmatch(value)
            if found is None or found["port"] == _USUAL_PORTS[found["scheme"]]:
                raise ValueError(
                    f"{value!r} is no origin as browsers write it: http(s)://host[:port] in lower case, no path,"
                    " no usual port; neither * nor null is taken"
                )
        return values

    @field_validator("broker_url", "redis_url")
    @classmethod
    def _known_broker(cls, value: str, info: ValidationInfo) -> str:
        known = BROKERS if info.field_name == "broker_url" else REDIS
        if value and "cluster" in value.partition("://")[0]:
            raise ValueError("must not be a Redis Cluster: Celery has no such broker; use Sentinel, or amqp://")
        if value and not value.startswith(known):
            raise ValueError(f"must start with one of {', '.join(known)}")
        return value

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.heartbeat_seconds * 2 > self.lease_seconds:
            raise ValueError("heartbeat_seconds must be at most half of lease_seconds")
        if self.oidc_issuer and not (self.oidc_client_id and self.oidc_client_secret.get_secret_value()):
            raise ValueError("AGORA_OIDC_ISSUER needs AGORA_OIDC_CLIENT_ID and AGORA_OIDC_CLIENT_SECRET")
        if self.oidc_issuer and not self.public_url:
            raise ValueError("AGORA_OIDC_ISSUER needs AGORA_PUBLIC_URL: where the provider sends people back to")
        return self

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],  # noqa: ARG003  # pydantic-settings passes it by name
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,  # noqa: ARG003  # load_settings reads the environment itself
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Take values from the constructor only: the environment is read by load_settings, which names variables."""
        return (init_settings,)

    @property
    def resolved_files_url(self) -> str:
        """The fsspec URL of the file store."""
        return self.files_url or f"file://{(self.data_dir / 'files').resolve()}"


def _nameserver(written: str) -> tuple[IPv4Address | IPv6Address, int]:
    """``1.2.3.4``, ``1.2.3.4:53``, ``[::1]`` or ``[::1]:53``; a name would need a resolver itself."""
    found = _NAMESERVER.fullmatch(written)
    address, port = None, int((found["port"] if found else None) or DNS_PORT)
    with suppress(ValueError):
        address = ip_address((found["v4"] or found["v6"]) if found else "")
    if address is None or not 1 <= port <= 65535:  # noqa: PLR2004  # a port has two bytes
        raise ValueError(f"{written!r} is not an address with an optional port, such as 127.0.0.1:53 or [::1]:53")
    return address, port


_KNOWN_EXTRAS = frozenset(
    {
        "AGORA_DATA", "AGORA_INSTANCE", "AGORA_SHARED_DATA", "AGORA_API_URL", "AGORA_API_KEY", "AGORA_WEBHOOK_SECRET",
    }
)  # fmt: skip
"""AGORA_ variables that are not settings of the platform: the CLI's own, and names that the Procfile uses."""


def variable_of(name: str) -> str:
    """The environment variable that sets the field ``name``."""
    return name.upper() if name in PLAIN_NAMES else f"AGORA_{name.upper()}"


def load_settings(environ: Mapping[str, str]) -> Settings:
    """Read settings from ``environ``.

    Raises:
        SettingsError: one line that names the variable, its value's fault, and for an unknown one its nearest name.
    """
    by_variable = {variable_of(name): name for name in Settings.model_fields}
    unknown = sorted(v for v in environ if v.startswith("AGORA_") and v not in by_variable and v not in _KNOWN_EXTRAS)
    if unknown:
        near = difflib.get_close_matches(unknown[0], by_variable, n=1)
        raise SettingsError(f"{unknown[0]} is not a setting" + (f"; did you mean {near[0]}?" if near else ""))
    values = {name: environ[variable] for variable, name in by_variable.items() if environ.get(variable, "") != ""}
    try:
        return Settings.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        names = [variable_of(str(part)) for part in first["loc"][:1]] or ["settings"]
        shown = "" if "secret" in names[0].lower() or "URL" in names[0] else f" (got {first['input']!r})"
        raise SettingsError(f"{names[0]}: {first['msg']}{shown if first['loc'] else ''}") from None


@lru_cache(maxsize=1)
def get_settings() -> Settings:
    """The settings of this process; the environment is read at the first call only."""
    return load_settings(os.environ)


def environment() -> dict[str, str]:
    """A copy of this process's environment, to hand to child processes."""
    return dict(os.environ)


@contextmanager
def override_environment(values: Mapping[str, str]) -> Iterator[None]:
    """Let this process see other settings for the length of the block: `agora up` prepares a platform that way."""
    kept = dict(os.environ)
    os.environ.update(values)
    get_settings.cache_clear()
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(kept)
        get_settings.cache_clear()
