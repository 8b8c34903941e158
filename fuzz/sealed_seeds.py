"""Makes the seeds that are sealed: an envelope, and a row and a pending authorization as they were and sealed.

usage: python3 fuzz/sealed_seeds.py, with the package cryptography

It follows docs/data-layout.md and the comments in src/seal/, and shares no code with the broker. The keys are those of
fuzz/src/input.rs.
"""

import base64
import json
import struct
from pathlib import Path

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

SEEDS = Path(__file__).parent / "seeds"
KEY = ("a", bytes([0x5C]) * 32)
INFO = b"token-broker envelope 1 AES-256-GCM"
FINGERPRINT = b"token-broker key fingerprint 1"


def part(data):
    """A part of associated data: its length, and its bytes."""
    return struct.pack(">Q", len(data)) + data


def number(value):
    return part(struct.pack(">Q", value))


def optional(text):
    return number(0) if text is None else number(1) + part(text.encode())


def time(seconds):
    return number(1) + part(struct.pack(">q", seconds))


def seal(payload, associated, salt):
    name, key = KEY
    derived = HKDF(algorithm=hashes.SHA256(), length=32, salt=salt, info=INFO).derive(key)
    name += "." + HKDF(algorithm=hashes.SHA256(), length=8, salt=None, info=FINGERPRINT).derive(key).hex()
    bound = b"".join(part(text) for text in (b"envelope", b"1", name.encode(), associated))
    sealed = salt + AESGCM(derived).encrypt(bytes(12), payload, bound)
    return f"1.{name}." + base64.urlsafe_b64encode(sealed).decode().rstrip("=")


def envelope():
    bound = b"row\nsession\nprovider\n7"
    kind, *rest = bound.split(b"\n")
    associated = b"".join(part(each) for each in (kind, bound, *rest))
    text = seal(b"payload", associated, bytes(range(32)))
    (SEEDS / "envelope" / "sealed").write_bytes(text.encode() + b"\n" + bound)


def row():
    tokens = ["at", "rt", "it"]
    head = {"version": 4503599627370497, "user_id": "u", "provider_id": "p"}
    times = {"expires_at": 1700000000, "session_expires_at": 1800000000}
    rest = {"upstream_subject": "s", "client_id": "c", "updated_at": 1600000000, "token_type": "DPoP"}
    rest |= {"scopes": ["repo", "user:email"], "refresh_expires_at": 1900000000, "reauth": "in_doubt"}
    rest |= {"origin_server": "https://idp", "origin_client": "broker"}
    associated = b"".join(
        [part(b"row"), part(b"test:fuzz"), part(b"s"), part(b"p"), number(head["version"])]
        + [optional(text) for text in ("u", "s", "c")]
        + [time(at) for at in (1700000000, 1800000000, 1900000000, 1600000000)]
        + [optional(text) for text in ("in_doubt", "https://idp", "broker")]
        + [part(b"DPoP"), number(2), part(b"repo"), part(b"user:email")]
    )
    payload = b"".join(struct.pack(">I", len(token)) + token.encode() for token in tokens)
    names = ("access_token", "refresh_token", "id_token")
    for name, values, last in (
        ("plain", tokens, {}),
        ("sealed", ["", "", ""], {"sealed": seal(payload, associated, bytes(range(32, 64)))}),
    ):
        fields = head | dict(zip(names, values)) | times | rest | last
        text = json.dumps(fields, separators=(",", ":"))
        (SEEDS / "sealed_row" / f"{name}.json").write_text(text)


def pending():
    fields = {"broker": "0123456789abcdef0123456789abcdef", "provider": "p", "session": "s1", "client": "c1"}
    fields |= {"user": "u", "expires_at": 1800000000}
    payload = b"verifier"
    associated = b"".join(
        [part(text.encode()) for text in ("pending authorization", "test:fuzz", "x", *list(fields.values())[:4])]
        + [optional("u"), time(fields["expires_at"])]
    )
    for name, last in (
        ("plain", {"payload": base64.b64encode(payload).decode()}),
        ("sealed", {"sealed": seal(payload, associated, bytes(range(64, 96)))}),
    ):
        text = json.dumps(fields | last, separators=(",", ":"))
        (SEEDS / "pending" / f"{name}.json").write_text(text)


envelope()
row()
pending()
