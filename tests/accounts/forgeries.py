"""JWTs that must not hold, one for each way that RFC 8725 warns of. For the tests of the signer and of the service."""

import base64
import hashlib
import hmac
import json
import time
from collections.abc import Iterator
from typing import Any

import jwt

ATTACKERS_KEY = b"a" * 32
PUBLIC_KEY = b"-----BEGIN PUBLIC KEY-----\nMFwwDQYJKoZIhvcNAQEBBQADSwAwSAJBAJ\n-----END PUBLIC KEY-----\n"


def forgeries(key: bytes, subject: str, version: int) -> Iterator[tuple[str, str]]:
    """What is wrong with it, and the token. All but those that need it are signed with the right `key`."""
    now = int(time.time())
    good = {"sub": subject, "ver": version, "iat": now, "exp": now + 600, "iss": "glimt", "aud": "glimt-api"}
    header = {"alg": "HS256", "typ": "JWT"}

    def but(**claims: Any) -> str:
        return signed(header, good | claims, key)

    yield "nothing", ""
    yield "no token", "nonsense"
    yield "three empty parts", ".."
    yield "not ASCII", "é.é.é"
    yield "five parts, as an encrypted one", "a.b.c.d.e"
    yield "a huge one", but(note="x" * 100_000)
    yield "a deep header", signed(b"[" * 500, b"", key)
    yield "a header that is no object", signed(b"[]", good, key)
    yield "a header that is no JSON", signed(b"{", good, key)
    yield "a header with a huge number", signed(b'{"alg":' + b"9" * 500 + b"}", b"", key)
    yield "claims that are no object", signed(header, b"[]", key)
    yield "claims that are no JSON", signed(header, b"{", key)
    yield "another's key", signed(header, good, ATTACKERS_KEY)
    yield "an empty key", signed(header, good, b"")
    for algorithm in ("none", "None", "NONE", "nOnE"):
        yield f"alg {algorithm}", f"{part({'alg': algorithm, 'typ': 'JWT'})}.{part(good)}."
        yield f"alg {algorithm}, signed", signed({"alg": algorithm, "typ": "JWT"}, good, key)
    yield "the signature cut off", but().rpartition(".")[0] + "."
    yield "no signature part", but().rpartition(".")[0]
    yield "HS512 with our key", jwt.encode(good, key * 2, algorithm="HS512")
    yield (
        "RS256, signed with a public key as if it were the secret",
        signed({"alg": "RS256", "typ": "JWT"}, good, PUBLIC_KEY),
    )
    yield "no alg", signed({"typ": "JWT"}, good, key)
    yield "a list of algs", signed({"alg": ["HS256"], "typ": "JWT"}, good, key)
    own = {"kty": "oct", "k": part(ATTACKERS_KEY)}
    for name, value in {
        "jwk": own,
        "jku": "http://evil.test/keys.json",
        "x5u": "http://evil.test/cert.pem",
        "kid": "../../../../dev/null",
        "crit": ["exp"],
        "b64": False,
        "zip": "DEF",
        "cty": "JWT",
    }.items():
        yield f"{name}, with our key", signed(header | {name: value}, good, key)
        yield f"{name}, with the attacker's", signed(header | {name: value}, good, ATTACKERS_KEY)
    yield "kid of an empty file", signed(header | {"kid": "/dev/null"}, good, b"")
    yield "another typ", signed(header | {"typ": "at+jwt"}, good, key)
    yield "no typ", signed({"alg": "HS256"}, good, key)
    yield "expired", but(exp=now - 1)
    yield "expired at this second", but(exp=now)
    yield "an exp that is no number", but(exp="tomorrow")
    yield "issued in the future", but(iat=now + 600)
    yield "not yet valid", but(nbf=now + 600)
    yield "for somebody else", but(aud="another-api")
    yield "for others too, not for us", but(aud=["another-api", "glimt-api-2"])
    yield "by somebody else", but(iss="another")
    for name in good:
        yield f"no {name}", signed(header, {other: good[other] for other in good if other != name}, key)
        yield f"{name} null", but(**{name: None})
    yield "a number as subject", but(sub=int(subject))
    yield "a subject with a blank", but(sub=f"{subject} ")
    yield "a subject in other digits", but(sub="\u0661")
    yield "a negative subject", but(sub="-1")
    yield "nobody's subject", but(sub="999999999")
    yield "a subject no row can have", but(sub="9999999999")
    yield "LOCAL in capitals", but(sub="LOCAL")
    yield "an older version", but(ver=version - 1)
    yield "a later version", but(ver=version + 1)
    yield "a version as text", but(ver=str(version))
    yield "a version that equals 1", but(ver=True)
    yield "a version with a fraction", but(ver=float(version))


def signed(header: object, claims: object, key: bytes) -> str:
    """Whatever it says, an HMAC with SHA-256 of it."""
    text = f"{part(header)}.{part(claims)}"
    return f"{text}.{part(hmac.digest(key, text.encode(), hashlib.sha256))}"


def part(content: object) -> str:
    """JSON, or bytes as they are, in base64url without padding."""
    data = content if isinstance(content, bytes) else json.dumps(content).encode()
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
