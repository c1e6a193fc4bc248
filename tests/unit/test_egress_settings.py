"""The settings of the egress guard."""

import asyncio
import ipaddress

import pytest

from agora.egress.policy import Policy
from agora.egress.resolver import SystemLookUp, look_up_of
from agora.errors import SettingsError
from agora.settings import load_settings
from tests.support.nameserver import Nameserver


def test_the_setting_chooses_the_look_up():
    assert isinstance(look_up_of(load_settings({})), SystemLookUp)
    with Nameserver() as nameserver:
        nameserver.say("receiver.test", ["127.0.0.1"])
        look_up = look_up_of(load_settings({"AGORA_EGRESS_NAMESERVERS": f"127.0.0.1:{nameserver.port}"}))
        assert asyncio.run(look_up("receiver.test", 443)) == ["127.0.0.1"]


def test_nothing_is_open_unless_it_is_set():
    assert Policy.of(load_settings({})) == Policy()


def test_what_is_set_is_open():
    made = Policy.of(
        load_settings(
            {
                "AGORA_EGRESS_ALLOW": "10.1.0.0/16, ::1/128",
                "AGORA_EGRESS_PORTS": "443,8443",
                "AGORA_EGRESS_ALLOW_HTTP": "1",
            }
        )
    )
    blocks = (ipaddress.ip_network("10.1.0.0/16"), ipaddress.ip_network("::1/128"))
    assert made == Policy(allow=blocks, ports=(443, 8443), allow_http=True)
    assert Policy.of(load_settings({"AGORA_EGRESS_PORTS": "any"})).ports == ()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("AGORA_EGRESS_ALLOW", "10.0.0.1/8"),
        ("AGORA_EGRESS_ALLOW", "receiver.test"),
        ("AGORA_EGRESS_PORTS", "https"),
        ("AGORA_EGRESS_ALLOW_HTTP", "perhaps"),
    ],
)
def test_a_wrong_value_stops_the_start_with_a_line_that_names_the_variable(name, value):
    with pytest.raises(SettingsError, match=f"^{name}: [^\n]*{value}[^\n]*$"):
        load_settings({name: value})


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("127.0.0.1", [("127.0.0.1", 53)]),
        ("127.0.0.1:5353,[::1]:53", [("127.0.0.1", 5353), ("::1", 53)]),
        (" 127.0.0.1 , [::1] ,", [("127.0.0.1", 53), ("::1", 53)]),
        ("", []),
    ],
)
def test_name_servers_are_read(written, read):
    found = load_settings({"AGORA_EGRESS_NAMESERVERS": written}).egress_nameservers
    assert [(str(address), port) for address, port in found] == read


@pytest.mark.parametrize(
    "written",
    [
        "dns.test", "dns.test:53", "127.0.0.1:0", "127.0.0.1:65536", "127.0.0.1:", "127.0.0.1:dns", "127.0.0.1:-1",
        "::1", "::1:5353", "[127.0.0.1]:53", "[::1", "[::1]53", "[dns]:53", "256.1.1.1", "127.1", "127.0.0.1;::1",
        "127.0.0.1,dns.test", "https://127.0.0.1/",
    ],
)  # fmt: skip
def test_a_wrong_name_server_stops_the_start_with_a_line_that_names_the_variable(written):
    with pytest.raises(SettingsError) as caught:
        load_settings({"AGORA_EGRESS_NAMESERVERS": written})
    assert str(caught.value).startswith("AGORA_EGRESS_NAMESERVERS: ")
    assert "is not an address with an optional port, such as 127.0.0.1:53" in str(caught.value)
    assert "\n" not in str(caught.value)
