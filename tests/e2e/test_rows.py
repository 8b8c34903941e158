"""Store, Get, GetAll and Delete, on each backend."""

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


def test_a_token_without_type_or_end_is_a_bearer_token_that_does_not_expire(client, names):
    client.Store(session_id=names.session, provider="github", tokens=tokens())
    entry = client.Get(session_id=names.session, provider="github").entry
    assert entry.tokens.token_type == "Bearer"
    assert not entry.tokens.HasField("expires_at")
    assert not entry.expired


def test_an_expired_row_is_returned(client, names):
    client.Store(
        session_id=names.session,
        provider="github",
        tokens=tokens(expires_at={"seconds": int(time.time()) - HOUR}),
    )
    one = client.Get(session_id=names.session, provider="github").entry
    all_of_them = client.GetAll(session_id=names.session).entries
    for entry in (one, all_of_them["github"]):
        assert entry.expired
        assert entry.tokens.refresh_token == "a-refresh-token"


def test_an_unknown_row_is_not_found_and_an_unknown_session_is_empty(client, names):
    assert_refused(
        client.Get, StatusCode.NOT_FOUND, "ROW_NOT_FOUND", session_id=names.session, provider="github"
    )
    answer = client.GetAll(session_id=names.session)
    assert not answer.entries and not answer.unreadable


def test_get_all_reads_the_whole_session_and_nothing_else(client, names):
    for provider in ("github", "corp-okta"):
        client.Store(
            session_id=names.session, provider=provider, tokens=tokens(access_token=f"at-{provider}")
        )
    client.Store(session_id=f"{names.session}-other", provider="google", tokens=tokens())
    entries = client.GetAll(session_id=names.session).entries
    assert {provider: entry.tokens.access_token for provider, entry in entries.items()} == {
        "github": "at-github",
        "corp-okta": "at-corp-okta",
    }


def test_a_precondition_decides_about_the_write(client, names):
    row = {"session_id": names.session, "provider": "github", "tokens": tokens()}
    first = client.Store(**row, precondition={"must_not_exist": True}).version
    assert_refused(
        client.Store, StatusCode.ALREADY_EXISTS, "ROW_EXISTS", **row, precondition={"must_not_exist": True}
    )
    second = client.Store(**row, precondition={"version": first}).version
    assert second != first
    assert_refused(
        client.Store,
        StatusCode.FAILED_PRECONDITION,
        "VERSION_MISMATCH",
        **row,
        precondition={"version": first},
    )


def test_a_version_from_before_a_delete_is_of_no_use_after_a_new_store(client, names):
    row = {"session_id": names.session, "provider": "github", "tokens": tokens()}
    old = client.Store(**row).version
    client.Delete(session_id=names.session, provider="github")
    client.Store(**row)
    assert_refused(
        client.Store, StatusCode.FAILED_PRECONDITION, "VERSION_MISMATCH", **row, precondition={"version": old}
    )
    assert_refused(
        client.Delete,
        StatusCode.FAILED_PRECONDITION,
        "VERSION_MISMATCH",
        session_id=names.session,
        provider="github",
        version=old,
    )


def test_a_refresh_token_is_carried_forward_on_request(client, names):
    row = {"session_id": names.session, "provider": "google"}
    bound = {"user_id": names.user, "upstream_subject": "subject-1"}
    client.Store(**row, tokens=tokens(**bound))
    client.Store(**row, tokens={"access_token": "second", **bound}, carry_forward_refresh_token=True)
    carried = client.Get(**row).entry.tokens
    assert (carried.access_token, carried.refresh_token) == ("second", "a-refresh-token")
    client.Store(**row, tokens={"access_token": "third", **bound})
    assert client.Get(**row).entry.tokens.refresh_token == ""


def test_a_row_bound_to_another_user_is_not_returned(client, names):
    client.Store(session_id=names.session, provider="github", tokens=tokens(user_id=names.user))
    row = {"session_id": names.session, "provider": "github"}
    assert client.Get(**row, binding={"user_id": names.user}).entry.tokens.user_id == names.user
    assert_refused(
        client.Get, StatusCode.PERMISSION_DENIED, "BINDING_MISMATCH", **row, binding={"user_id": "mallory"}
    )
    assert_refused(
        client.GetAll,
        StatusCode.PERMISSION_DENIED,
        "BINDING_MISMATCH",
        session_id=names.session,
        binding={"user_id": "mallory"},
    )


def test_delete_takes_one_row_or_all_and_may_be_repeated(client, names):
    for provider in ("github", "google", "corp-okta"):
        client.Store(session_id=names.session, provider=provider, tokens=tokens())
    assert client.Delete(session_id=names.session, provider="github").deleted == 1
    assert client.Delete(session_id=names.session, provider="github").deleted == 0
    assert set(client.GetAll(session_id=names.session).entries) == {"google", "corp-okta"}
    assert client.Delete(session_id=names.session, all_providers=True).deleted == 2
    assert client.Delete(session_id=names.session, all_providers=True).deleted == 0
    assert not client.GetAll(session_id=names.session).entries


def test_ids_that_look_alike_in_a_key_are_different_ids(client, names):
    pairs = [
        (f"{names.session}:a", "b"),
        (names.session, "a:b"),
        (f"{names.session}%3Aa", "b"),
        (f"{{{names.session}}}", "b"),
        (f"{names.session} a", "b"),
        ("idx", names.session),
        (f"{names.session}-ключ", "b"),
    ]
    for number, (session, provider) in enumerate(pairs):
        client.Store(session_id=session, provider=provider, tokens=tokens(access_token=f"at-{number}"))
    for number, (session, provider) in enumerate(pairs):
        entries = client.GetAll(session_id=session).entries
        assert {name: entry.tokens.access_token for name, entry in entries.items()} == {
            provider: f"at-{number}"
        }
