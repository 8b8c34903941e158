"""Tests that the largest possible answer fits into gRPC's default limit."""

from grpc import StatusCode

from support.client import assert_refused

KIB = 1024


def full_size_tokens(names) -> dict:
    """Returns a row of the largest size, which takes the most bytes on the wire."""
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
        "refresh_token": "r" * (30 * KIB - text),
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
        tokens={"access_token": "at"},
    )
    assert len(client.GetAll(session_id=names.session).entries) == 64
