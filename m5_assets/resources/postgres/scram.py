"""PostgreSQL's form of a password, so that statements that set one need not contain it."""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets

from m5_assets.errors import UserError

_ITERATIONS = 4096  # PostgreSQL's default; its passwords here are random


def verifier(password: str) -> str:
    """Return the SCRAM-SHA-256 verifier of a password, as PostgreSQL stores it (RFC 5803).

    Raises:
        UserError: if the password is empty or has other characters than printable ASCII. Others would have to be
            normalized first (SASLprep).
    """
    if not password or not password.isascii() or not password.isprintable():
        raise UserError("a database password must be printable ASCII; `openssl rand -hex 24` generates one")
    salt = secrets.token_bytes(16)
    salted = hashlib.pbkdf2_hmac("sha256", password.encode(), salt, _ITERATIONS)
    stored = hashlib.sha256(hmac.digest(salted, b"Client Key", "sha256")).digest()
    server = hmac.digest(salted, b"Server Key", "sha256")
    texts = [base64.b64encode(part).decode() for part in (salt, stored, server)]
    return f"SCRAM-SHA-256${_ITERATIONS}:{texts[0]}${texts[1]}:{texts[2]}"
