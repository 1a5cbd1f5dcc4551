"""Tokens as options of commands take them."""

from __future__ import annotations

import base64
import binascii

from jobstatus_grpc.cli.failures import Refused


def token_words(token: bytes) -> str:
    """Return a token as an option of a command takes it."""
    return base64.b64encode(token).decode()


def token_of(text: str, option: str) -> bytes:
    """Return the token that an option gives.

    Raises:
        Refused: it is none.
    """
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error as error:
        raise Refused(f"{option} is not base64: {error}") from error
