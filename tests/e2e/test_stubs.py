"""Makes every call once with generated Python stubs, on each backend, and parses errors with Google's types.

The Rust tests in tests/conformance and tests/rpc show what each call does.
"""

import time

from grpc import StatusCode

from support.client import assert_refused

HOUR = 3600


def tokens(**fields) -> dict:
    return {"access_token": "an-access-token", "refresh_token": "a-refresh-token"} | fields


def test_what_was_stored_is_read_back(client, names):
    expires_at = int(time.time()) + HOUR
    sent = tokens(
        id_token="an-id-token",
        token_type="DPoP",
        scopes=["openid", "repo"],
        expires_at={"seconds": expires_at, "nanos": 900_000_000},
        session_expires_at={"seconds": expires_at + HOUR},
        refresh_expires_at={"seconds": expires_at + 2 * HOUR},
        user_id=names.user,
        upstream_subject="subject-1",
        client_id="client-1",
    )
    before = int(time.time())
    stored = client.Store(session_id=names.session, provider="github", tokens=sent)
    entry = client.Get(session_id=names.session, provider="github").entry

    assert 0 < stored.version < 2**53
    assert entry.version == stored.version
    assert not entry.expired and not entry.reauth_required
    read = entry.tokens
    assert (read.access_token, read.refresh_token, read.id_token) == (
        "an-access-token",
        "a-refresh-token",
        "an-id-token",
    )
    assert (read.token_type, list(read.scopes)) == ("DPoP", ["openid", "repo"])
    assert (read.expires_at.seconds, read.expires_at.nanos) == (expires_at, 0)
    assert read.session_expires_at.seconds == expires_at + HOUR
    assert read.refresh_expires_at.seconds == expires_at + 2 * HOUR
    assert (read.user_id, read.upstream_subject, read.client_id) == (names.user, "subject-1", "client-1")
    assert read.provider == "github"
    assert before <= read.updated_at.seconds <= int(time.time())


def test_each_other_call(client, names):
    row = {"session_id": names.session, "provider": "github"}
    for provider in ("github", "google", "corp-okta"):
        client.Store(
            session_id=names.session,
            provider=provider,
            tokens=tokens(user_id=names.user, client_id="client-1"),
            precondition={"must_not_exist": True},
        )
    client.Store(**row, tokens={"access_token": "a-new-one", "user_id": names.user})

    entries = client.GetAll(session_id=names.session, binding={"user_id": names.user}).entries
    assert set(entries) == {"github", "google", "corp-okta"}
    latest = client.GetLatestForUser(user_id=names.user, provider="github").entry
    assert latest.tokens.access_token == "a-new-one"

    first = client.ListUserSessions(user_id=names.user, page_size=2)
    second = client.ListUserSessions(user_id=names.user, page_size=2, page_token=first.next_page_token)
    assert len(first.sessions) == 2 and first.next_page_token
    assert len(second.sessions) == 1 and not second.next_page_token
    listed = [(row.session_id, row.provider) for page in (first, second) for row in page.sessions]
    assert sorted(listed) == [(names.session, provider) for provider in ("corp-okta", "github", "google")]

    assert client.Delete(**row).deleted == 1
    assert client.Delete(session_id=names.session, all_providers=True).deleted == 2
    client.Store(**row, tokens=tokens(user_id=names.user))
    gone = client.DeleteUser(user_id=names.user)
    assert (gone.deleted_rows, gone.existed) == (1, True)


def test_an_error_is_read_by_googles_own_types(client, names):
    row = {"session_id": names.session, "provider": "github"}
    assert_refused(client.Get, StatusCode.NOT_FOUND, "ROW_NOT_FOUND", **row)
    refused = assert_refused(
        client.Store,
        StatusCode.INVALID_ARGUMENT,
        "INVALID_FIELD",
        session_id="s" * 513,
        provider="git\nhub",
        tokens=tokens(),
    )
    assert sorted(refused.fields) == ["provider", "session_id"]
