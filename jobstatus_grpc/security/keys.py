"""The public keys that tokens are verified with."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

import jwt
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import load_pem_public_key

_LEAST_RSA_BITS: Final = 2048
_RSA: Final = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512")
_CURVES: Final = {"secp256r1": ("ES256",), "secp384r1": ("ES384",), "secp521r1": ("ES512",)}
_BLOCK: Final = re.compile(rb"-----BEGIN ([A-Z ]+)-----.*?-----END \1-----", re.DOTALL)
_MOST_KEYS: Final = 100

ALGORITHMS: Final = frozenset((*_RSA, "ES256", "ES384", "ES512", "EdDSA"))
"""The signatures a token may have: none that a public key could make."""


class VerifyingKey(NamedTuple):
    """A public key.

    Attributes:
        key_id: its name in tokens; empty if it has none.
        key: what PyJWT takes.
        algorithms: the signatures it is for: a key of one kind never verifies another's.
    """

    key_id: str
    key: Any
    algorithms: tuple[str, ...]


def verifying_keys(contents: Sequence[bytes]) -> tuple[VerifyingKey, ...]:
    """Return the keys of a file: a JSON Web Key Set (RFC 7517), or public keys and certificates in PEM.

    Raises:
        ValueError: there is none, or one that cannot be used; no key is repeated.
    """
    (data,) = contents
    found = _of_key_set(data) if data.lstrip().startswith(b"{") else _of_pem(data)
    if not found:
        raise ValueError("there is no public key in it")
    if len(found) > _MOST_KEYS:
        raise ValueError(f"there are more than {_MOST_KEYS} keys in it")
    return tuple(found)


def _of_pem(data: bytes) -> list[VerifyingKey]:
    found = []
    for block in _BLOCK.finditer(data):
        kind = block[1].decode()
        if kind not in ("PUBLIC KEY", "CERTIFICATE"):
            raise ValueError(f"a {kind} is neither a PUBLIC KEY nor a CERTIFICATE")
        try:
            certificate = kind == "CERTIFICATE"
            key = (
                x509.load_pem_x509_certificate(block[0]).public_key()
                if certificate
                else load_pem_public_key(block[0])
            )
        except ValueError:
            raise ValueError(f"a {kind} in it cannot be read") from None
        found.append(VerifyingKey("", key, _algorithms(key)))
    return found


def _of_key_set(data: bytes) -> list[VerifyingKey]:
    try:
        keys = json.loads(data)["keys"]
        usable = [key for key in keys if key.get("use", "sig") == "sig"]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise ValueError("it is not a JSON Web Key Set") from None
    return [_of_entry(entry) for entry in usable]


def _of_entry(entry: Mapping[str, Any]) -> VerifyingKey:
    key_id = str(entry.get("kid", ""))
    if entry.get("kty") not in ("RSA", "EC", "OKP") or "d" in entry:
        raise ValueError(f"key {key_id!r} is not a public key")
    try:
        # Which signatures a key is for follows from its kind, not from what it says.
        key = jwt.PyJWK.from_dict({name: value for name, value in entry.items() if name != "alg"}).key
    except (jwt.PyJWTError, ValueError, TypeError):
        raise ValueError(f"key {key_id!r} cannot be read") from None
    algorithms = _algorithms(key)
    if "alg" in entry:
        algorithms = tuple(name for name in algorithms if name == entry["alg"])
        if not algorithms:
            raise ValueError(f"key {key_id!r} is not for the algorithm it names")
    return VerifyingKey(key_id, key, algorithms)


def _algorithms(key: object) -> tuple[str, ...]:
    if isinstance(key, rsa.RSAPublicKey):
        if key.key_size < _LEAST_RSA_BITS:
            raise ValueError(f"an RSA key has less than {_LEAST_RSA_BITS} bits")
        return _RSA
    if isinstance(key, ec.EllipticCurvePublicKey) and key.curve.name in _CURVES:
        return _CURVES[key.curve.name]
    if isinstance(key, ed25519.Ed25519PublicKey):
        return ("EdDSA",)
    raise ValueError("a key is none for RSA, ECDSA on a NIST curve, or Ed25519")
