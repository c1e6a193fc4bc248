"""A certificate authority of a test's own, and the certificates of receivers, good and bad."""

import ssl
from datetime import timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from agora.clock import now

DAY = timedelta(days=1)


class Authority:
    """Signs certificates for names; ``trust`` is the context of a client that trusts it and nobody else."""

    def __init__(self, folder, name="authority"):
        self._folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = _name(name)
        constraint = x509.BasicConstraints(ca=True, path_length=0)
        made = _builder(self._name, self._name, self._key).add_extension(constraint, critical=True)
        self._file = folder / f"{name}.pem"
        self._file.write_bytes(made.sign(self._key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))

    @property
    def trust(self):
        """A client's context."""
        return ssl.create_default_context(cafile=self._file)

    def server(self, host, *, start=-DAY, end=DAY, self_signed=False):
        """The context of a server that calls itself ``host``; its certificate holds from ``start`` to ``end``."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = _name("receiver")
        builder = _builder(subject, subject if self_signed else self._name, key, start=start, end=end)
        names = x509.SubjectAlternativeName([x509.DNSName(host)])
        made = builder.add_extension(names, critical=False).sign(key if self_signed else self._key, hashes.SHA256())
        path = self._folder / f"{made.serial_number}.pem"
        private = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        path.write_bytes(made.public_bytes(serialization.Encoding.PEM) + private)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(path)
        return context


def _name(text):
    return x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, text)])


def _builder(subject, issuer, key, *, start=-DAY, end=DAY):
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now() + start)
        .not_valid_after(now() + end)
    )
