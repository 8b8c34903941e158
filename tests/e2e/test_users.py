"""DeleteUser, GetLatestForUser and ListUserSessions, on each backend."""

import time

from grpc import StatusCode

from support.client import assert_refused


def store(client, session: str, provider: str, user: str, **fields) -> None:
    client.Store(
        session_id=session,
        provider=provider,
        tokens={"access_token": f"at-{session}", "user_id": user} | fields,
    )


def test_delete_user_removes_the_rows_in_every_session(client, names):
    other = f"{names.user}-other"
    for number in range(3):
        store(client, f"{names.session}-{number}", "github", names.user)
        store(client, f"{names.session}-{number}", "google", names.user)
    store(client, f"{names.session}-0", "corp-okta", other)

    answer = client.DeleteUser(user_id=names.user)
    assert (answer.deleted_rows, answer.existed) == (6, True)
    for number in (1, 2):
        assert not client.GetAll(session_id=f"{names.session}-{number}").entries
    assert set(client.GetAll(session_id=f"{names.session}-0").entries) == {"corp-okta"}
    assert_refused(
        client.GetLatestForUser, StatusCode.NOT_FOUND, "ROW_NOT_FOUND", user_id=names.user, provider="github"
    )

    again = client.DeleteUser(user_id=names.user)
    assert (again.deleted_rows, again.deleted_identities, again.existed) == (0, 0, False)


def test_a_row_stored_for_another_user_moves_to_that_user(client, names):
    other = f"{names.user}-other"
    store(client, names.session, "github", names.user)
    store(client, names.session, "github", other)
    assert client.DeleteUser(user_id=names.user).deleted_rows == 0
    assert client.DeleteUser(user_id=other).deleted_rows == 1


def test_the_latest_row_is_the_one_that_expires_last(client, names):
    now = int(time.time())
    for number, seconds in enumerate((600, 1200, -600)):
        store(
            client, f"{names.session}-{number}", "github", names.user, expires_at={"seconds": now + seconds}
        )
    latest = client.GetLatestForUser(user_id=names.user, provider="github").entry
    assert latest.tokens.access_token == f"at-{names.session}-1"

    store(client, f"{names.session}-forever", "github", names.user)
    latest = client.GetLatestForUser(user_id=names.user, provider="github").entry
    assert latest.tokens.access_token == f"at-{names.session}-forever"
    assert_refused(
        client.GetLatestForUser, StatusCode.NOT_FOUND, "ROW_NOT_FOUND", user_id=names.user, provider="google"
    )


def test_the_latest_row_is_returned_even_when_it_expired(client, names):
    store(client, names.session, "github", names.user, expires_at={"seconds": int(time.time()) - 60})
    latest = client.GetLatestForUser(user_id=names.user, provider="github").entry
    assert latest.expired and latest.tokens.access_token == f"at-{names.session}"


def test_sessions_are_listed_page_by_page_without_tokens(client, names):
    stored = [
        (f"{names.session}-{number}", provider) for number in range(5) for provider in ("github", "google")
    ]
    for session, provider in stored:
        store(
            client,
            session,
            provider,
            names.user,
            client_id="client-1",
            expires_at={"seconds": int(time.time()) + 3600},
        )

    listed, page_token, pages = [], "", 0
    while pages == 0 or page_token:
        page = client.ListUserSessions(user_id=names.user, page_size=4, page_token=page_token)
        assert len(page.sessions) <= 4
        assert b"at-" not in page.SerializeToString()
        listed += page.sessions
        page_token, pages = page.next_page_token, pages + 1
    assert [(row.session_id, row.provider) for row in listed] == stored
    assert pages == 3
    assert all(
        row.client_id == "client-1" and row.expires_at.seconds and row.updated_at.seconds for row in listed
    )


def test_a_forged_page_token_is_refused(client, names):
    refused = assert_refused(
        client.ListUserSessions,
        StatusCode.INVALID_ARGUMENT,
        "INVALID_FIELD",
        user_id=names.user,
        page_token="forged",
    )
    assert refused.fields == ["page_token"]
