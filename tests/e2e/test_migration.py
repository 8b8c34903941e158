"""Tests that data in the old format is migrated at the start, and that the first call finds its row."""

import json

import pytest

from support.broker import running
from support.waiting import eventually
from test_command_line import run

PREFIX = "thv:auth:{default:default}:"
LEGACY_KEY = f"{PREFIX}upstream:session-old"


@pytest.fixture
def old_redis(redis):
    row = {
        "provider_id": "oidc",
        "access_token": "at-old",
        "refresh_token": "rt-old",
        "id_token": "",
        "expires_at": 4102444800,
        "user_id": "user-old",
        "upstream_subject": "subject",
        "client_id": "client",
    }
    redis.command("SET", LEGACY_KEY, json.dumps(row), "PX", "3600000")
    redis.command("SET", "somebody:else", "untouched")
    return redis


def options(redis) -> list[str]:
    return [*redis.options, "--legacy-provider", "oidc=corp-okta"]


def test_an_old_row_is_served_under_its_provider(old_redis):
    with running(*options(old_redis)) as broker:
        tokens = broker.client.Get(session_id="session-old", provider="corp-okta").entry.tokens
        assert (tokens.access_token, tokens.refresh_token, tokens.provider) == (
            "at-old",
            "rt-old",
            "corp-okta",
        )
        left = int(old_redis.command("PTTL", f"{PREFIX}upstream:session-old:corp-okta"))
        assert 3_540_000 < left <= 3_600_000
        assert old_redis.command("EXISTS", LEGACY_KEY) == "0"
        assert old_redis.command("GET", "somebody:else") == "untouched"
        assert broker.client.DeleteUser(user_id="user-old").deleted_rows == 1


def test_a_dry_run_changes_nothing(old_redis):
    before = old_redis.command("GET", LEGACY_KEY)
    done = run("migrate", "--dry-run", *options(old_redis))
    assert done.returncode == 0, done.stderr
    assert old_redis.command("GET", LEGACY_KEY) == before
    assert sorted(old_redis.command("KEYS", "*").split()) == sorted([LEGACY_KEY, "somebody:else"])


def test_a_row_that_cannot_be_migrated_refuses_the_start(old_redis):
    old_redis.command("SET", f"{PREFIX}upstream:session-corrupt", "not json")
    done = run("serve", "--listen", "127.0.0.1:0", *options(old_redis))
    assert done.returncode == 3, done.stderr
    assert "migrate --dry-run" in done.stderr
    assert "allow-unmigrated" in done.stderr
    # A key contains a session's id. The report names it, but a log never does.
    assert "session-corrupt" not in done.stdout + done.stderr
    report = run("migrate", "--dry-run", *options(old_redis))
    assert report.returncode == 3, report.stderr
    assert f"{PREFIX}upstream:session-corrupt: " in report.stdout
    assert "session-corrupt" not in report.stderr

    with running(*options(old_redis), "--allow-unmigrated") as broker:
        assert broker.client.Get(session_id="session-old", provider="corp-okta").entry.version


def test_an_old_row_that_a_replica_of_old_writes_later_is_picked_up(old_redis):
    with running(*options(old_redis), "--legacy-sweep-interval", "1s") as broker:
        late = json.dumps({"provider_id": "oidc", "access_token": "at-late", "user_id": "user-old"})
        old_redis.command("SET", f"{PREFIX}upstream:session-late", late)
        eventually(
            "the late row is there",
            lambda: "corp-okta" in broker.client.GetAll(session_id="session-late").entries,
            within=20,
        )
