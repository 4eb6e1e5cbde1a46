"""A certificate authority of the emulator's own: the SDK speaks TLS only, and trusts what it is told to trust."""

import ipaddress
import os
import ssl
from datetime import timedelta
from pathlib import Path
from typing import Any

from tunebridge.job import now

AUTHORITY_FILE = "authority.pem"
SERVER_FILE = "server.pem"
LIFETIME = timedelta(days=365)
STORAGE_DOMAIN = "blob.core.localhost"


def server_context(folder: Path) -> tuple[ssl.SSLContext, Path]:
    """Return a server's TLS context and the file of the authority that vouches for it, made anew when they end."""
    authority, server = folder / AUTHORITY_FILE, folder / SERVER_FILE
    if not authority.exists() or now().timestamp() - authority.stat().st_mtime > LIFETIME.total_seconds() / 2:
        _write(authority, server)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(server)
    return context, authority


def _write(authority: Path, server: Path) -> None:
    from cryptography import x509
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import NameOID

    root, leaf = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    root_name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "TuneBridge emulator")])
    names = [
        x509.DNSName("localhost"),
        x509.DNSName(f"*.{STORAGE_DOMAIN}"),
        x509.IPAddress(ipaddress.ip_address("127.0.0.1")),
    ]
    root_certificate = (
        _builder(root_name, root_name, root.public_key())
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(signs=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(root.public_key()), critical=False)
        .sign(root, _sha256())
    )
    leaf_name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    certificate = (
        _builder(root_name, leaf_name, leaf.public_key())
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(root.public_key()), critical=False)
        .sign(root, _sha256())
    )
    pem = serialization.Encoding.PEM
    key = leaf.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    _write_private(server, key + certificate.public_bytes(pem))
    _write_private(authority, root_certificate.public_bytes(pem))  # last: with it both are whole


def _builder(issuer: Any, subject: Any, key: Any) -> Any:
    from cryptography import x509

    return (
        x509.CertificateBuilder()
        .issuer_name(issuer)
        .subject_name(subject)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now() - timedelta(days=1))
        .not_valid_after(now() + LIFETIME)
    )


def _usage(*, signs: bool) -> Any:
    from cryptography import x509

    others = ("content_commitment", "data_encipherment", "encipher_only", "decipher_only", "key_agreement")
    unused = dict.fromkeys((*others, "key_encipherment"), False)
    return x509.KeyUsage(digital_signature=True, key_cert_sign=signs, crl_sign=signs, **unused)


def _sha256() -> Any:
    from cryptography.hazmat.primitives import hashes

    return hashes.SHA256()


def _write_private(path: Path, content: bytes) -> None:
    partial = path.with_name(f"{path.name}.partial")
    with os.fdopen(os.open(partial, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600), "wb") as file:
        file.write(content)
    partial.rename(path)
