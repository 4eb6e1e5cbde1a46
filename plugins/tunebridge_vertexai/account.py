"""A service account made for the emulator: a throw-away key, and tokens for assertions that it signed."""

import json
import os
import secrets
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

EMAIL = "rehearsal@rehearsal.iam.gserviceaccount.com"
KEY_BITS = 2048


class Account:
    """A key and a token in a folder that only its owner can read."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "account.json"
        if not self._path.exists():
            _write(self._path, {"token": f"ya29.{secrets.token_urlsafe(32)}", **_new_key()})
        record = json.loads(self._path.read_text())
        self.token: str = record["token"]
        self._key: str = record["private_key"]
        self._public: str = record["public_key"]

    def key_file(self, token_uri: str) -> Path:
        """Return a file as `gcloud iam service-accounts keys create` writes it, whose tokens come from an address."""
        path = self._path.with_name("key.json")
        known = {"type": "service_account", "project_id": "rehearsal", "private_key_id": "1", "client_id": "1"}
        _write(path, {**known, "client_email": EMAIL, "private_key": self._key, "token_uri": token_uri})
        return path

    def knows(self, authorization: str) -> bool:
        """Whether a header carries the account's token."""
        return secrets.compare_digest(authorization, f"Bearer {self.token}")

    def signed(self, form: str) -> bool:
        """Whether a token request holds an assertion that the account's key signed."""
        from google.auth import jwt

        try:
            claims = jwt.decode(parse_qs(form)["assertion"][0], certs=self._public)  # type: ignore[no-untyped-call]
        except (KeyError, ValueError):
            return False
        return bool(claims.get("iss") == EMAIL)


def _new_key() -> dict[str, str]:
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import rsa

    key = rsa.generate_private_key(public_exponent=65537, key_size=KEY_BITS)
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    public = key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    return {"private_key": private.decode(), "public_key": public.decode()}


def _write(path: Path, record: dict[str, Any]) -> None:
    partial = path.with_suffix(".partial")
    with os.fdopen(os.open(partial, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600), "w") as file:
        json.dump(record, file)
    partial.rename(path)
