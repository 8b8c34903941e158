"""What is too large, too many or malformed is refused with the field or the limit that it breaks."""

import pytest
from grpc import StatusCode

from support.client import assert_refused

KIB = 1024
ROW_TOKENS = {"access_token": "at"}


@pytest.mark.parametrize(
    ("rpc", "fields", "named"),
    [
        ("Store", {"provider": "github", "tokens": ROW_TOKENS}, ["session_id"]),
        ("Store", {"session_id": "s", "tokens": ROW_TOKENS}, ["provider"]),
        ("Store", {"session_id": "s", "provider": "github"}, ["tokens"]),
        (
            "Store",
            {"session_id": "s" * 513, "provider": "git\nhub", "tokens": ROW_TOKENS},
            ["session_id", "provider"],
        ),
        ("Get", {"provider": "github"}, ["session_id"]),
        ("Get", {"session_id": "s"}, ["provider"]),
        ("GetAll", {}, ["session_id"]),
        ("Delete", {"session_id": "s"}, ["target"]),
        ("Delete", {"session_id": "s", "provider": ""}, ["provider"]),
        ("Delete", {"session_id": "s", "all_providers": True, "version": 7}, ["version"]),
        ("DeleteUser", {}, ["user_id"]),
        ("GetLatestForUser", {"user_id": "u"}, ["provider"]),
        ("ListUserSessions", {"user_id": "u", "page_size": -1}, ["page_size"]),
    ],
)
def test_each_bad_field_is_named(client, rpc, fields, named):
    refused = assert_refused(getattr(client, rpc), StatusCode.INVALID_ARGUMENT, "INVALID_FIELD", **fields)
    assert sorted(refused.fields) == sorted(named)


def test_a_row_needs_a_token(client, names):
    assert_refused(
        client.Store,
        StatusCode.INVALID_ARGUMENT,
        "INVALID_FIELD",
        session_id=names.session,
        provider="github",
        tokens={"user_id": names.user},
    )


def test_a_token_above_the_limit_is_too_large(client, names):
    row = {"session_id": names.session, "provider": "github"}
    client.Store(**row, tokens={"access_token": "a" * 32 * KIB})
    refused = assert_refused(
        client.Store,
        StatusCode.RESOURCE_EXHAUSTED,
        "TOO_LARGE",
        **row,
        tokens={"access_token": "b" * (32 * KIB + 1)},
    )
    assert "bbb" not in refused.message
    assert len(client.Get(**row).entry.tokens.access_token) == 32 * KIB


def full_size_tokens(names, more: int = 0) -> dict:
    """A row as large as it may be and as wordy on the wire as it can be, and `more` bytes."""
    bound = {
        "user_id": names.user.ljust(512, "u"),
        "upstream_subject": "s" * 512,
        "client_id": "c" * 512,
        "token_type": "Bearer",
    }
    text = sum(len(value) for value in bound.values())
    later = {"seconds": 253402300799}
    return bound | {
        "access_token": "a" * (30 * KIB),
        "refresh_token": "r" * (30 * KIB - text + more),
        "expires_at": later,
        "session_expires_at": later,
        "refresh_expires_at": later,
    }


def test_a_full_session_is_read_by_a_client_with_default_limits(client, names):
    tokens = full_size_tokens(names)
    providers = {f"p{number:02}".ljust(512, "p") for number in range(64)}
    for provider in providers:
        client.Store(session_id=names.session, provider=provider, tokens=tokens)

    answer = client.GetAll(session_id=names.session)
    assert set(answer.entries) == providers
    assert not answer.unreadable
    for entry in answer.entries.values():
        assert entry.tokens.access_token == tokens["access_token"]
        assert entry.tokens.refresh_token == tokens["refresh_token"]
    assert 64 * 60 * KIB < answer.ByteSize() < 4096 * KIB

    assert_refused(
        client.Store,
        StatusCode.RESOURCE_EXHAUSTED,
        "TOO_MANY_PROVIDERS",
        session_id=names.session,
        provider="p64",
        tokens=ROW_TOKENS,
    )
    assert len(client.GetAll(session_id=names.session).entries) == 64


def test_a_row_above_the_limit_is_too_large(client, names):
    assert_refused(
        client.Store,
        StatusCode.RESOURCE_EXHAUSTED,
        "TOO_LARGE",
        session_id=names.session,
        provider="github",
        tokens=full_size_tokens(names, more=1),
    )


def test_a_request_above_the_limit_is_too_large(client, names):
    assert_refused(
        client.Store,
        StatusCode.RESOURCE_EXHAUSTED,
        "TOO_LARGE",
        session_id=names.session,
        provider="github",
        tokens={"access_token": "a" * 1024 * KIB},
    )
