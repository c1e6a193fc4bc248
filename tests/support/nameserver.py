"""A name server on loopback, over UDP and TCP, whose answers are told beforehand; messages made by hand (RFC 1035)."""

import contextlib
import ipaddress
import socket
import socketserver
import struct
import threading
from dataclasses import dataclass, field

NOERROR, SERVFAIL, NXDOMAIN, REFUSED = 0, 2, 3, 5
KINDS = {"A": 1, "CNAME": 5, "AAAA": 28}
LONGEST_DATAGRAM = 512
RESPONSE, TRUNCATED = 0x8180, 0x8380


@dataclass(frozen=True)
class Question:
    """What was asked, and ``source``: by whom."""

    id: int
    name: str
    kind: str
    wire: bytes
    over: str
    source: tuple

    @classmethod
    def read(cls, message, over, source):
        labels, at = [], 12
        while message[at]:
            labels.append(message[at + 1 : at + 1 + message[at]].decode())
            at += 1 + message[at]
        (kind,) = struct.unpack_from("!H", message, at + 1)
        kinds = {number: name for name, number in KINDS.items()}
        (id_,) = struct.unpack_from("!H", message)
        return cls(id_, ".".join(labels).lower(), kinds.get(kind, str(kind)), message[12 : at + 5], over, source)


@dataclass(frozen=True)
class Alias:
    """A CNAME record."""

    name: str
    target: str


@dataclass(frozen=True)
class Address:
    """An A or AAAA record of any name, not only of the one that was asked for."""

    name: str
    address: str


def name_in_wire(name):
    return b"".join(bytes([len(label)]) + label.encode() for label in name.split(".")) + b"\0"


def record_in_wire(record):
    if isinstance(record, Alias):
        kind, data = KINDS["CNAME"], name_in_wire(record.target)
    else:
        data = ipaddress.ip_address(record.address).packed
        kind = KINDS["A" if len(data) == 4 else "AAAA"]
    return name_in_wire(record.name) + struct.pack("!HHIH", kind, 1, 0, len(data)) + data


def reply(question, records=(), *, code=NOERROR, id_=None, wire=None):
    """An answer; plain addresses are records of the name that was asked for, of its kind only."""
    answers = [Address(question.name, one) if isinstance(one, str) else one for one in records]
    version = {"A": 4, "AAAA": 6}.get(question.kind)
    kept = [one for one in answers if isinstance(one, Alias) or ipaddress.ip_address(one.address).version == version]
    head = struct.pack("!6H", question.id if id_ is None else id_, RESPONSE | code, 1, len(kept), 0, 0)
    message = head + (wire or question.wire) + b"".join(map(record_in_wire, kept))
    if question.over == "udp" and len(message) > LONGEST_DATAGRAM:
        return struct.pack("!6H", question.id, TRUNCATED | code, 1, 0, 0, 0) + question.wire
    return message


def silence(question):
    """No answer at all."""
    return []


@dataclass
class Nameserver:
    """``say(name, *answers)``: an answer for each time that a kind of address is asked for, the last one for ever.

    An answer is a list of records (addresses, Alias, Address), a code such as NXDOMAIN, or a function that takes the
    question and returns the datagrams to send. Unknown names are NXDOMAIN.
    """

    host: str = "127.0.0.1"
    asked: list = field(default_factory=list)
    _answers: dict = field(default_factory=dict)
    _servers: list = field(default_factory=list)

    def say(self, name, *answers):
        for kind in ("A", "AAAA"):
            self._answers[name, kind] = list(answers)

    def answer(self, message, over, source):
        """The messages that go out for one that came in."""
        question = Question.read(message, over, source)
        self.asked.append((question.name, question.kind, over))
        answers = self._answers.get((question.name, question.kind), [NXDOMAIN])
        # The question that follows a truncated answer, over TCP, is the same one still.
        answer = answers.pop(0) if len(answers) > 1 and over == "udp" else answers[0]
        if callable(answer):
            return answer(question)
        return [reply(question, code=answer) if isinstance(answer, int) else reply(question, answer)]

    @property
    def address(self):
        return ipaddress.ip_address(self.host), self.port

    def __enter__(self):
        family = {"address_family": socket.AF_INET6 if ":" in self.host else socket.AF_INET}
        udp_server, tcp_server = (
            type("", (kind,), family) for kind in (socketserver.UDPServer, socketserver.TCPServer)
        )
        for _ in range(20):
            udp = udp_server((self.host, 0), self._handler("udp"))
            try:
                tcp = tcp_server(udp.server_address, self._handler("tcp"))
            except OSError:  # that port is taken over TCP
                udp.server_close()
                continue
            break
        self.port = udp.server_address[1]
        self._servers = [udp, tcp]
        for server in self._servers:
            threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        return self

    def __exit__(self, *_):
        for server in self._servers:
            server.shutdown()
            server.server_close()

    def _handler(self, over):
        nameserver = self

        class Udp(socketserver.BaseRequestHandler):
            def handle(self):
                message, ours = self.request
                for datagram in nameserver.answer(message, over, self.client_address):
                    ours.sendto(datagram, self.client_address)

        class Tcp(socketserver.StreamRequestHandler):
            def handle(self):
                with contextlib.suppress(struct.error):  # closed without a question
                    (length,) = struct.unpack("!H", self.rfile.read(2))
                    for message in nameserver.answer(self.rfile.read(length), over, self.client_address):
                        self.wfile.write(struct.pack("!H", len(message)) + message)

        return Udp if over == "udp" else Tcp
