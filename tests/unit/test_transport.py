"""What we do otherwise than kombu."""

import pytest
from kombu.exceptions import OperationalError
from kombu.utils import functional

from agora import transport
from agora.broker import app
from agora.errors import SettingsError
from agora.runtime.ports import free_port
from agora.settings import load_settings


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
    assert transport.options_for("redis://127.0.0.1/0")["visibility_timeout"] == 3600


def test_a_broker_that_is_not_supported_is_refused_by_name():
    with pytest.raises(SettingsError, match="AGORA_BROKER_URL"):
        load_settings({"AGORA_BROKER_URL": "sqs://queue"})
    assert load_settings({"AGORA_BROKER_URL": "amqp://127.0.0.1//"}).broker_url == "amqp://127.0.0.1//"
