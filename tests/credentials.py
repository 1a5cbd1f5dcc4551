"""What callers prove themselves with, good and bad: tokens of an issuer, certificates of an authority."""

from __future__ import annotations

import hashlib
import hmac
import json
import time
from pathlib import Path
from typing import Any, Final

import jwt
import trustme
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

ISSUER: Final = "https://issuer.example"
AUDIENCE: Final = "jobstatus.example"
SCOPES: Final = ("jobstatus.read", "jobstatus.report", "jobstatus.admin")


class Issuer:
    """Signs tokens, and tells its public key in a file.

    Args:
        home: where the file is.

    Attributes:
        file: its path.
        public: what is in it.
    """

    def __init__(self, home: Path) -> None:
        self.file = home / "issuer.pem"
        self.renew()

    def renew(self) -> None:
        """Sign with another key from now on."""
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.public = self.key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        self.file.write_bytes(self.public)

    @property
    def settings(self) -> dict[str, str]:
        """What has a server take the tokens, to the second."""
        return {
            "jwt_keys_file": str(self.file),
            "jwt_issuer": ISSUER,
            "jwt_audience": AUDIENCE,
            "jwt_leeway": "0",
        }

    def claims(self, *projects: str, seconds: float = 600, **more: Any) -> dict[str, Any]:
        """Return what a good token says; a claim that is `None` is left out."""
        claims = {
            "iss": ISSUER,
            "aud": AUDIENCE,
            "sub": "somebody",
            "exp": int(time.time() + seconds),
            "scope": " ".join(SCOPES),
            "projects": list(projects or "*"),
        } | more
        return {name: value for name, value in claims.items() if value is not None}

    def token(self, *projects: str, seconds: float = 600, **more: Any) -> str:
        """Return a token for these projects, or for all, with every scope unless told otherwise."""
        return jwt.encode(self.claims(*projects, seconds=seconds, **more), self.key, "ES256")

    def unsigned(self) -> str:
        """Return a token that says it needs no signature."""
        return jwt.encode(self.claims(), None, "none")  # type: ignore[arg-type]

    def swapped(self) -> str:
        """Return a token signed with the public key, as if it were a shared secret."""
        head, body = (
            jwt.utils.base64url_encode(json.dumps(part).encode()).decode()
            for part in ({"alg": "HS256", "typ": "JWT"}, self.claims())
        )
        mac = hmac.new(self.public, f"{head}.{body}".encode(), hashlib.sha256).digest()
        return f"{head}.{body}.{jwt.utils.base64url_encode(mac).decode()}"


class Authority:
    """Issues certificates.

    Args:
        home: where the files are.

    Attributes:
        file: its own certificate.
    """

    def __init__(self, home: Path) -> None:
        self.home = home
        self._ca = trustme.CA()
        self.file = home / "ca.pem"
        self.pem = self._ca.cert_pem.bytes()
        self.file.write_bytes(self.pem)

    def issue(self, name: str, *, stem: str) -> tuple[Path, Path]:
        """Write a certificate and its key for a name or address; return the files."""
        issued = self._ca.issue_cert(name)
        files = self.home / f"{stem}.pem", self.home / f"{stem}.key"
        files[1].write_bytes(issued.private_key_pem.bytes())
        files[0].write_bytes(b"".join(part.bytes() for part in issued.cert_chain_pems))
        return files

    def serve(self, stem: str = "server") -> dict[str, str]:
        """Issue a server's certificate; return the settings for it."""
        cert, key = self.issue("127.0.0.1", stem=stem)
        return {"tls_cert_file": str(cert), "tls_key_file": str(key)}
