"""Tests that the log says what happened, and contains no secret."""

import json
import signal

from support.broker import running
from support.client import refusal

SECRETS = {"session-secret", "at-secret", "rt-secret", "id-secret"}


def test_no_line_has_a_token_or_a_session_id(redis):
    with running("--backend", "redis", "--redis-url", redis.url) as broker:
        client = broker.client
        row = {"session_id": "session-secret", "provider": "github"}
        tokens = {
            "access_token": "at-secret",
            "refresh_token": "rt-secret",
            "id_token": "id-secret",
            "user_id": "u",
        }
        client.Store(**row, tokens=tokens)
        client.Get(**row)
        client.GetAll(session_id=row["session_id"])
        client.ListUserSessions(user_id="u")
        refusal(client.Store, **row, tokens=tokens, precondition={"must_not_exist": True})
        # A row that can't be decoded gets a log line, which doesn't contain the row.
        redis.command(
            "SET", "thv:auth:{default:default}:upstream:session-secret:github", '{"access_token":"at-secret'
        )
        refusal(client.Get, **row)
        redis.kill()
        refusal(client.Get, **row)
        broker.process.send_signal(signal.SIGTERM)
        assert broker.process.wait(timeout=12) == 0
        stdout = broker.process.stdout.read()

    lines = [json.loads(line) for line in broker.log]
    assert {"timestamp", "level", "fields", "target"} <= set(lines[0])
    calls = [line for line in lines if line["level"] == "DEBUG" and "Get" in json.dumps(line["fields"])]
    assert calls, "at debug, every call has a line"
    assert not [line for line in broker.log for secret in SECRETS if secret in line]
    assert stdout == ""
