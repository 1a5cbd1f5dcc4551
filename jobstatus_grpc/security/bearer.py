"""Bearer tokens: signed by an issuer the operator trusts, for this service, at this time."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

import jwt

from jobstatus_grpc.errors import CredentialsExpired, CredentialsInvalid
from jobstatus_grpc.security.keys import ALGORITHMS, VerifyingKey, verifying_keys
from jobstatus_grpc.security.principals import Grant, Principal
from jobstatus_grpc.security.rereading import Reread

MAX_TOKEN_BYTES: Final = 8192
_REMEMBERED: Final = 10_000
_REQUIRED: Final = ("exp", "aud", "iss", "sub")
# What reading a token may fail with: its header and its claims are anybody's JSON.
_UNREADABLE: Final = (jwt.PyJWTError, ValueError, TypeError, OverflowError, RecursionError)
# A time that a float holds to the second.
_LAST_MOMENT: Final = 2**53


class Issuer(NamedTuple):
    """Whose tokens are taken.

    Attributes:
        keys_file: the public keys of the issuer.
        issuer: what `iss` has to be.
        audience: what `aud` has to be, or to contain.
        projects_claim: the claim that lists the caller's projects.
        leeway: how many seconds the clocks of issuer and server may differ.
    """

    keys_file: str
    issuer: str
    audience: str
    projects_claim: str
    leeway: float


class BearerTokens:
    """Verifies JSON Web Tokens (RFC 7519), and remembers those it has verified until they expire.

    Not safe in several threads. A change of the keys forgets everything.

    Args:
        issuer: whose tokens are taken.

    Raises:
        ConfigInvalid: the file of keys cannot be used.
    """

    def __init__(self, issuer: Issuer) -> None:
        self._issuer = issuer
        self._keys = Reread({"jwt_keys_file": issuer.keys_file}, verifying_keys)
        self._generation = self._keys.generation
        self._known: dict[str, Grant] = {}

    def grant(self, token: str) -> Grant:
        """Return what a token proves.

        Raises:
            CredentialsExpired: its time is over.
            CredentialsInvalid: it is none, or none for this service.
        """
        keys = self._keys.current()
        if self._generation != self._keys.generation:
            self._generation = self._keys.generation
            self._known.clear()
        known = self._known.get(token)
        if known is None:
            known = self._verified(token, keys)
            if len(self._known) >= _REMEMBERED:
                del self._known[next(iter(self._known))]
            self._known[token] = known
        if time.time() >= known.expires:
            del self._known[token]
            raise CredentialsExpired
        return known

    def look(self) -> None:
        """Look at the file, so that the log tells soon what is wrong with it."""
        self._keys.current()

    def _verified(self, token: str, keys: tuple[VerifyingKey, ...]) -> Grant:
        if len(token) > MAX_TOKEN_BYTES:
            raise CredentialsInvalid(f"the token takes more than {MAX_TOKEN_BYTES} bytes")
        try:
            header = jwt.get_unverified_header(token)
        except _UNREADABLE:
            raise CredentialsInvalid("it is not a token") from None
        algorithm, key_id = header.get("alg"), header.get("kid", "")
        if not isinstance(algorithm, str) or algorithm not in ALGORITHMS:
            raise CredentialsInvalid("the algorithm is none of those taken")
        failure = CredentialsInvalid("no key is for it")
        for key in keys:
            if algorithm in key.algorithms and (not key_id or not key.key_id or key.key_id == key_id):
                try:
                    return self._grant_of(self._claims(token, key, algorithm))
                except jwt.InvalidSignatureError:
                    failure = CredentialsInvalid("no key has signed it")
        raise failure

    def _claims(self, token: str, key: VerifyingKey, algorithm: str) -> Mapping[str, Any]:
        try:
            claims: Mapping[str, Any] = jwt.decode(
                token,
                key.key,
                algorithms=[algorithm],
                audience=self._issuer.audience,
                issuer=self._issuer.issuer,
                leeway=self._issuer.leeway,
                options={"require": list(_REQUIRED)},
            )
        except jwt.InvalidSignatureError:
            raise
        except jwt.ExpiredSignatureError:
            raise CredentialsExpired from None
        except _UNREADABLE as error:
            raise CredentialsInvalid(type(error).__name__) from None
        return claims

    def _grant_of(self, claims: Mapping[str, Any]) -> Grant:
        # As RFC 8693 has it, a text of words; some issuers have a list, of another name.
        scopes = _words(claims.get("scope", claims.get("scp", "")))
        projects = _words(claims.get(self._issuer.projects_claim, []))
        expires = min(int(claims["exp"]), _LAST_MOMENT) + self._issuer.leeway
        return Grant(Principal(str(claims["sub"]), scopes, projects), expires)


def _words(claim: object) -> frozenset[str]:
    if isinstance(claim, str):
        return frozenset(claim.split())
    if isinstance(claim, list) and all(isinstance(each, str) for each in claim):
        return frozenset(claim)
    raise CredentialsInvalid("scopes or projects are neither a text nor a list of texts")
