"""What we do otherwise than kombu."""

import pytest
from kombu.exceptions import OperationalError
from kombu.utils import functional

from agora import transport, valkey
from agora.broker import app
from agora.errors import SettingsError
from agora.runtime.ports import free_port
from agora.settings import Settings, load_settings


def test_a_broker_that_is_away_is_looked_for_every_second(monkeypatch):
    """kombu's own pauses grow to half a minute: a worker would be missing that long after the broker is back."""
    pauses = []
    monkeypatch.setattr(functional, "sleep", lambda _: None)
    with app._connection(f"redis://127.0.0.1:{free_port()}/0") as connection, pytest.raises(OperationalError):
        connection.ensure_connection(lambda _error, pause: pauses.append(pause), max_retries=5)
    assert pauses == [transport.RETRY_SECONDS] * 5
    assert isinstance(app.connection_for_read(), transport.Connection)


def test_each_broker_gets_options_that_its_transport_knows():
    assert transport.options_for("amqp://127.0.0.1//") == {"read_timeout": 5, "write_timeout": 5}
    assert transport.options_for("redis://127.0.0.1/0")["ack_emulation"] is False


def test_a_broker_that_is_not_supported_is_refused_by_name():
    with pytest.raises(SettingsError, match="AGORA_BROKER_URL"):
        load_settings({"AGORA_BROKER_URL": "sqs://queue"})
    assert load_settings({"AGORA_BROKER_URL": "amqp://127.0.0.1//"}).broker_url == "amqp://127.0.0.1//"


@pytest.mark.parametrize("variable", ["REDIS_URL", "AGORA_BROKER_URL"])
def test_sentinels_are_a_broker_and_a_cluster_is_refused_with_the_reason(variable):
    listed = "sentinel://:secret@127.0.0.1:26379;sentinel://:secret@127.0.0.1:26380/0"
    assert getattr(load_settings({variable: listed}), variable.removeprefix("AGORA_").lower()) == listed
    with pytest.raises(SettingsError, match=f"{variable}: .*Cluster"):
        load_settings({variable: "redis+cluster://127.0.0.1:7000"})


def test_a_live_stream_is_no_matter_of_rabbitmq():
    with pytest.raises(SettingsError, match=r"REDIS_URL: .*must start with one of redis://, rediss://, sentinel://"):
        load_settings({"REDIS_URL": "amqp://127.0.0.1//"})


def test_what_sentinels_are_asked(monkeypatch):
    monkeypatch.setattr(valkey, "get_settings", lambda: Settings(sentinel_master="bell", sentinel_password="theirs"))
    made = valkey.client("sentinel://:ours%40@127.0.0.1:26400;sentinel://127.0.0.1/3", socket_timeout=7)
    pool = made.connection_pool
    assert (pool.service_name, pool.connection_kwargs["password"], pool.connection_kwargs["db"]) == ("bell", "ours@", 3)
    asked = [one.connection_pool.connection_kwargs for one in pool.sentinel_manager.sentinels]
    assert [(one["port"], one["password"], one["socket_timeout"]) for one in asked] == [
        (26400, "theirs", 1.0),
        (26379, "theirs", 1.0),
    ]
    with pytest.raises(SettingsError, match="name a host"):
        valkey.client("sentinel://")
