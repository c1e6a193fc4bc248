"""How hosts may be spelled, and which parts of a URL are refused. Nothing is dialled or looked up."""

import ipaddress

import pytest

from agora.egress.hosts import literal_of
from agora.egress.policy import EgressRefused, Policy

STRICT = Policy()
EVERYTHING = Policy(allow=(ipaddress.ip_network("0.0.0.0/0"), ipaddress.ip_network("::/0")), ports=(), allow_http=True)
"""What is refused even so is refused for how it is written."""


def refusal(policy, url):
    with pytest.raises(EgressRefused) as caught:
        policy.vet_url(url)
    return str(caught.value)


@pytest.mark.parametrize(
    "host",
    [
        "0x7f.1", "0x7f.0.0.1", "0X7F.0.0.1", "0x7f000001", "0x7F000001", "2130706433", "017700000001", "0177.0.0.1",
        "0177.0.0.01", "127.1", "127.0.1", "127.0.0.1.", "127.0.0.01", "127.000.000.001", "127.0.0.0x1", "1.2.3.4.5",
        "256.1.1.1", "0", "0x", "0x.0x.0x.0x", "receiver.0x1", "receiver.1", "a.b.0X", "4294967296", "8.8.8.8.",
        "08.8.8.8", "134744072", "00000000010.0.0.1",
    ],
)  # fmt: skip
def test_numbers_in_odd_spellings_are_refused(host):
    assert "is not an IPv4 address in its usual spelling" in refusal(EVERYTHING, f"http://{host}/hook")


@pytest.mark.parametrize(
    "host",
    [
        "\uff11\uff12\uff17.0.0.1",  # full-width digits
        "\uff18.\uff18.\uff18.\uff18",
        "127\u30020\u30020\u30021",  # ideographic full stops
        "127\uff0e0\uff0e0\uff0e1",  # full-width full stops
        "127\uff610\uff610\uff611",  # half-width ideographic full stops
        "\u2460\u2461\u2466.0.0.1",  # circled digits
        "\U0001d7cf\U0001d7d0\U0001d7d5.0.0.1",  # bold digits
        "\u00b9\u00b2\u2077.0.0.1",  # superscript digits
        "\u0661\u0662\u0667.0.0.1",  # Arabic-Indic digits
        "\u0967\u0968\u096d.0.0.1",  # Devanagari digits
        "\uff10x7f.1",
        "0\uff587f000001",
        "\uff12\uff11\uff13\uff10\uff17\uff10\uff16\uff14\uff13\uff13",
    ],
)
def test_numbers_in_other_scripts_are_refused(host):
    assert "is not an IPv4 address in its usual spelling" in refusal(EVERYTHING, f"http://{host}/hook")


@pytest.mark.parametrize(
    ("host", "sent"),
    [
        ("receiver.test", "receiver.test"),
        ("Receiver.TEST", "receiver.test"),
        ("receiver.test.", "receiver.test."),
        ("receiver", "receiver"),
        ("_hook.receiver.test", "_hook.receiver.test"),
        ("1password.test", "1password.test"),
        ("127.0.0.1.receiver.test", "127.0.0.1.receiver.test"),
        ("0x7f.test", "0x7f.test"),
        ("0xg", "0xg"),
        ("b\u00fccher.test", "xn--bcher-kva.test"),
        ("B\u00dcCHER.test", "xn--bcher-kva.test"),
        ("bu\u0308cher.test", "xn--bcher-kva.test"),
        ("xn--bcher-kva.test", "xn--bcher-kva.test"),
        ("XN--BCHER-KVA.test", "xn--bcher-kva.test"),
        ("fa\u00df.test", "xn--fa-hia.test"),
        ("\u4f8b\u3048.\u30c6\u30b9\u30c8", "xn--r8jz45g.xn--zckzah"),
        ("\u4f8b\u3048\u3002\u30c6\u30b9\u30c8", "xn--r8jz45g.xn--zckzah"),
        ("\uff52\uff45\uff43\uff45\uff49\uff56\uff45\uff52.test", "receiver.test"),
        ("8.8.8.8", "8.8.8.8"),
        ("[2606:4700::1111]", "2606:4700::1111"),
        ("[2606:4700:0:0::1111]", "2606:4700::1111"),
        ("[::ffff:8.8.8.8]", "::ffff:808:808"),
        ("a" * 63 + ".test", "a" * 63 + ".test"),
        (("a" * 49 + ".") * 5 + "abc", ("a" * 49 + ".") * 5 + "abc"),
    ],
)
def test_hosts_that_pass_and_what_is_sent_for_them(host, sent):
    assert STRICT.vet_url(f"https://{host}/hook?x=1").raw_host == sent


@pytest.mark.parametrize(
    "host",
    [
        "\u2603.test",  # a symbol, which IDNA 2008 leaves out
        "-\u00fc-.test",
        "\u00fc_a.test",
        "xn--a.test",
        "xn--.test",
        "xn--n3h.test",  # the symbol again
        "xn--bcher-kva8.test",
        "xn--\u00fc.test",
        "\u05d0a.test",  # both directions in one label
        "\u0338a.test",  # begins with a combining mark
        "receiver.test\u200b",
        "re\u00adceiver.test",
        "receiver\u2024test",  # one dot leader
        "\ud800.test",
        "\u00fc" * 60 + ".test",  # longer than a label in ASCII
    ],
)
def test_illegal_international_hosts_are_refused(host):
    assert refusal(EVERYTHING, f"https://{host}/")


@pytest.mark.parametrize(
    "host",
    [
        "ex%61mple.test", "%31%32%37.0.0.1", "127%2e0%2e0%2e1", "receiver.test%00.evil.test", "receiver.test%2f", "%",
        "receiver.test%23", "receiver.test%40evil.test", "%5b::1%5d", "receiver.test%3a80",
    ],
)  # fmt: skip
def test_percent_signs_in_hosts_are_refused(host):
    refusal(EVERYTHING, f"https://{host}/")


@pytest.mark.parametrize(
    "host",
    [
        "", ".", "..", "a..test", ".receiver.test", "receiver.test..", "a b", "a'b", "a*b", "*.test", "a,b", "a|b",
        "a" * 64 + ".test", "a." * 200 + "test", ("a" * 49 + ".") * 5 + "abcd", "receiver.test\x00", "receiver!",
        "[]", "[::1", "::1]", "::1", "[::1].test", "a[::1]", "[127.0.0.1]", "[receiver.test]", "[::1%25eth0]",
        "[::1%eth0]", "[fe80::1%1]", "[fe80::1%25]", "[v1.fe80::a]", "[1::2::3]", "[12345::]", "[::1]:80:90", "[[::1]]",
        "[::127.1]", "[::0x7f000001]", "[\uff1a\uff1a1]",
    ],
)  # fmt: skip
def test_what_is_no_host_is_refused(host):
    refusal(EVERYTHING, f"https://{host}/")


@pytest.mark.parametrize(
    "url",
    [
        "https://user@receiver.test/", "https://user:pass@receiver.test/", "https://:@receiver.test/",
        "https://@receiver.test/", "https://:pass@receiver.test/", "https://user%40@receiver.test/",
        "https://receiver.test@evil.test/", "https://receiver.test:443@evil.test/", "https://a@b@receiver.test/",
        "https://user@[::1]/", "https://[::1]@receiver.test/", "https://receiver.test@/",
        "https://receiver.test\\@evil.test/", "https://evil.test\\@receiver.test/", "https://receiver.test\\.evil.test/",
        "https://receiver.test\\", "https:\\\\receiver.test/", "https://\\receiver.test/",
        "https://receiver.test\uff20evil.test/", "https://receiver.test\ufe6bevil.test/",
        "https://receiver.test\uff0fevil.test/", "https://receiver.test\uff03.evil.test/",
        "https://receiver.test\uff1f.evil.test/", "https://receiver.test\uff1a443/", "https://receiver.test\u2100.evil.test/",
        "https://receiver.test\uff3c.evil.test/", "https://receiver.test\t@evil.test/",
    ],
)  # fmt: skip
def test_user_names_and_what_hides_them_are_refused(url):
    refusal(EVERYTHING, url)


@pytest.mark.parametrize(
    "url",
    [
        "https://receiver.test/@evil.test", "https://receiver.test/a:b@evil.test/c", "https://receiver.test?x=@evil.test",
        "https://receiver.test/\\@evil.test", "https://receiver.test#@evil.test", "https://receiver.test/?u=https://a:b@c",
        "https://receiver.test//evil.test/", "https://receiver.test/%40",
    ],
)  # fmt: skip
def test_an_at_sign_behind_the_host_names_no_user(url):
    assert EVERYTHING.vet_url(url).raw_host == "receiver.test"


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("http://receiver.test/", "AGORA_EGRESS_ALLOW_HTTP"),
        ("ftp://receiver.test/", "https://"),
        ("file:///etc/passwd", "https://"),
        ("gopher://receiver.test/", "https://"),
        ("javascript:alert(1)", "https://"),
        ("//receiver.test/", "https://"),
        ("hook", "https://"),
        ("", "https://"),
        ("https:receiver.test", "https://"),
        ("https:/receiver.test", "https://"),
        ("https:///receiver.test", "https://"),
        (" https://receiver.test/", "no spaces"),
        ("https://receiver.test/ ", "no spaces"),
        ("https://receiver.test/a b", "no spaces"),
        ("https://rec\teiver.test/", "no spaces"),
        ("ht\ntps://receiver.test/", "no spaces"),
        ("https://receiver.test/\r\nHost: evil.test", "no spaces"),
        ("https://receiver.test/\u2028", "no spaces"),
        ("https://receiver.test/\x7f", "no spaces"),
        ("https://user@receiver.test/", "user name"),
        ("https://[::1/", "cannot be read"),
        ("https://127.0.0.1/", "127.0.0.0/8"),
        ("https://[::1]/", "::1/128"),
        ("https://[::]/", "::/96"),
        ("https://[::ffff:7f00:1]/", "127.0.0.0/8"),
        ("https://[64:ff9b::a9fe:a9fe]/", "169.254.0.0/16"),
        ("https://0.0.0.0/", "0.0.0.0/8"),
        ("https://169.254.169.254/latest/meta-data", "169.254.0.0/16"),
        ("https://[fe80::1%25eth0]/", "is not a plain IPv6 address"),
        ("https://localhost/", "127.0.0.0/8"),
        ("https://LOCALHOST./", "127.0.0.0/8"),
        ("https://hook.localhost/", "127.0.0.0/8"),
        ("https://\uff4cocalhost/", "127.0.0.0/8"),
    ],
)
def test_urls_are_judged_by_their_form(url, why):
    assert why in refusal(STRICT, url)


@pytest.mark.parametrize("host", ["localhost", "hook.localhost", "localhost."])
def test_localhost_passes_where_loopback_is_open(host):
    for block in ("127.0.0.0/8", "::1/128"):
        policy = Policy(allow=(ipaddress.ip_network(block),))
        assert policy.vet_url(f"https://{host}/").raw_host == host


def test_names_that_only_look_like_localhost_are_left_to_the_resolver():
    for host in ("notlocalhost", "localhost.test", "localhost.localdomain"):
        assert STRICT.vet_url(f"https://{host}/")


@pytest.mark.parametrize(
    ("url", "ports", "port"),
    [
        ("https://receiver.test/", (443,), 443),
        ("https://receiver.test:/", (443,), 443),
        ("https://receiver.test:443/", (443,), 443),
        ("https://[2606:4700::1]:8443/", (443, 8443), 8443),
        ("http://receiver.test/", (80,), 80),
        ("https://receiver.test:1/", (), 1),
        ("https://receiver.test:65535/", (), 65535),
    ],
)
def test_ports_that_pass(url, ports, port):
    assert Policy(ports=ports, allow_http=True).vet_url(url).port == port


@pytest.mark.parametrize(
    ("port", "why"),
    [
        ("8443", "port 8443 is not one of 443 (setting AGORA_EGRESS_PORTS)"),
        ("22", "AGORA_EGRESS_PORTS"),
        ("0", "port 0 is not one of 443"),
        ("00000", "port 0 is not one of 443"),
        ("65536", "cannot be read"),
        ("99999", "cannot be read"),
        ("-1", "cannot be read"),
        ("https", "cannot be read"),
        ("443:443", "cannot be read"),
        ("+443", "is not a host with an optional port"),
        ("4_43", "is not a host with an optional port"),
        ("000443", "is not a host with an optional port"),
        ("\uff14\uff14\uff13", "is not a host with an optional port"),
        ("\u0664\u0664\u0663", "is not a host with an optional port"),
    ],
)
def test_ports_that_do_not(port, why):
    assert why in refusal(STRICT, f"https://receiver.test:{port}/")


def test_plain_http_has_its_own_port():
    assert "port 80 is not one of 443" in refusal(Policy(allow_http=True), "http://receiver.test/")


def test_port_0_is_refused_where_every_port_is_allowed():
    assert "port 0 is not one of 1 to 65535" in refusal(EVERYTHING, "https://receiver.test:0/")


def test_the_error_names_host_address_rule_and_setting():
    with pytest.raises(EgressRefused) as caught:
        STRICT.vet_url("https://169.254.169.254/")
    assert caught.value.extra == {
        "host": "169.254.169.254", "address": "169.254.169.254", "setting": "AGORA_EGRESS_ALLOW",
        "rule": "169.254.0.0/16 (link-local and cloud metadata)",
    }  # fmt: skip


def test_a_password_is_not_repeated_in_the_error():
    assert "hunter2" not in refusal(STRICT, "https://user:hunter2@receiver.test/")


def test_names_are_not_literals():
    assert literal_of("receiver.test") is None
    assert literal_of("_dmarc.receiver.test.") is None
    assert literal_of("1password.test") is None
    assert literal_of("8.8.8.8") == ipaddress.ip_address("8.8.8.8")
