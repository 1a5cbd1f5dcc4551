"""The files that say whom to believe: keys in PEM and in key sets, and principals."""

from __future__ import annotations

import json
from typing import Any

import jwt
import pytest
import trustme
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from jobstatus_grpc.security.keys import verifying_keys
from jobstatus_grpc.security.principals import principals

RSA = rsa.generate_private_key(65537, 2048)
WEAK = rsa.generate_private_key(65537, 1024)
P256 = ec.generate_private_key(ec.SECP256R1())
ED = ed25519.Ed25519PrivateKey.generate()


def pem(key: Any) -> bytes:
    return bytes(key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))


def entry(algorithm: str, key: Any, **more: Any) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(jwt.get_algorithm_by_name(algorithm).to_jwk(key))
    found.pop("key_ops", None)
    return found | more


def test_keys_in_pem_are_for_the_signatures_of_their_kind() -> None:
    certificate = trustme.CA().issue_cert("issuer.example").cert_chain_pems[0].bytes()
    keys = verifying_keys([b"\n".join(map(pem, (RSA, P256, ED))) + certificate])
    assert [key.algorithms[0] for key in keys] == ["RS256", "ES256", "EdDSA", keys[3].algorithms[0]]
    assert not {name for key in keys for name in key.algorithms if name.startswith("HS") or name == "none"}


def test_keys_in_a_key_set_have_names_and_may_be_for_one_signature() -> None:
    entries = [
        entry("RS256", RSA.public_key(), kid="a", alg="PS256", use="sig"),
        entry("ES256", P256.public_key(), kid="b"),
        entry("RS256", WEAK.public_key(), kid="ignored", use="enc"),
    ]
    keys = verifying_keys([json.dumps({"keys": entries}).encode()])
    assert [(key.key_id, key.algorithms) for key in keys] == [("a", ("PS256",)), ("b", ("ES256",))]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "there is no public key"),
        (b"{}", "not a JSON Web Key Set"),
        (b'{"keys": 7}', "not a JSON Web Key Set"),
        (b'{"keys": ["x"]}', "not a JSON Web Key Set"),
        (b'{"keys": []}', "there is no public key"),
        (b'{"keys": [{"kty": "oct", "k": "aHVudGVyMg", "kid": "s"}]}', "'s' is not a public key"),
        (json.dumps({"keys": [entry("ES256", P256)]}).encode(), "is not a public key"),
        (
            json.dumps({"keys": [entry("ES256", P256.public_key(), alg="HS256")]}).encode(),
            "not for the algorithm",
        ),
        (b'{"keys": [{"kty": "EC", "crv": "P-256", "x": "AA", "y": "AA"}]}', "cannot be read"),
        (pem(WEAK), "less than 2048 bits"),
        (pem(dsa.generate_private_key(1024)), "none for RSA"),
        (pem(ec.generate_private_key(ec.SECP256K1())), "none for RSA"),
        (
            P256.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()),
            "a PRIVATE KEY is neither a PUBLIC KEY nor a CERTIFICATE",
        ),
        (b"-----BEGIN PUBLIC KEY-----\nhunter2\n-----END PUBLIC KEY-----", "cannot be read"),
        (pem(ED) * 101, "more than 100 keys"),
    ],
)
def test_what_is_no_public_key_is_refused_and_not_repeated(content: bytes, words: str) -> None:
    with pytest.raises(ValueError, match=words) as caught:
        verifying_keys([content])
    assert "hunter2" not in str(caught.value)
    assert "aHVudGVyMg" not in str(caught.value)


def test_principals_are_known_by_their_names() -> None:
    content = b'[principals."a.example"]\nscopes = ["jobstatus.read"]\nprojects = ["p", "q"]\n'
    known = principals([content])["a.example"]
    assert (known.sees("p"), known.sees("r"), set(known.scopes)) == (True, False, {"jobstatus.read"})


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("nonsense", "not TOML"),
        ("", "not one table `principals`"),
        ("[principals]", "not one table `principals`"),
        ("x = 1\n[principals.a]", "not one table `principals`"),
        ("[principals.a]\nscopes = ['jobstatus.read']", "'a' has other keys than scopes and projects"),
        (
            "[principals.a]\nscopes = ['jobstatus.write']\nprojects = ['p']",
            "'a' has unknown scopes: jobstatus.write",
        ),
        (
            "[principals.a]\nscopes=['jobstatus.read']\nprojects=[]\n[principals.b]\nscopes=''\nprojects=['']",
            "projects of 'a' is not a list of texts; scopes of 'b' is not a list of texts",
        ),
    ],
)
def test_what_is_wrong_with_principals_is_told_all_at_once(content: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        principals([content.encode()])
