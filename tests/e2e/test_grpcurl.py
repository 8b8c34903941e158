"""Makes calls with grpcurl, which knows the API only by reflection."""

import json

from support.broker import TOKEN_BROKER


def call(broker, rpc: str, **fields) -> dict:
    done = broker.grpcurl(f"{TOKEN_BROKER}/{rpc}", data=fields)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_a_row_lives_and_dies(broker, names):
    row = {"session_id": names.session, "provider": "github"}
    tokens = {
        "access_token": "at-1",
        "refresh_token": "rt-1",
        "user_id": names.user,
        "expires_at": "2100-01-01T00:00:00Z",
    }
    version = call(broker, "Store", **row, tokens=tokens)["version"]

    entry = call(broker, "Get", **row)["entry"]
    assert entry["version"] == version
    assert entry["tokens"]["accessToken"] == "at-1"
    assert entry["tokens"]["expiresAt"] == "2100-01-01T00:00:00Z"

    call(broker, "Store", session_id=names.session, provider="google", tokens=tokens)
    entries = call(broker, "GetAll", session_id=names.session)["entries"]
    assert set(entries) == {"github", "google"}
    assert entries["google"]["tokens"]["provider"] == "google"

    assert call(broker, "Delete", **row) == {"deleted": "1"}
    assert call(broker, "Delete", **row) == {}
    assert call(broker, "DeleteUser", user_id=names.user) == {"deletedRows": "1", "existed": True}
    assert call(broker, "GetAll", session_id=names.session) == {}


def test_an_error_shows_its_reason(broker, names):
    done = broker.grpcurl(f"{TOKEN_BROKER}/Get", data={"session_id": names.session, "provider": "github"})
    assert done.returncode == 64 + 5, done.stderr  # grpcurl exits with 64 plus the gRPC code, here NOT_FOUND.
    assert "ROW_NOT_FOUND" in done.stderr
    assert names.session not in done.stderr
