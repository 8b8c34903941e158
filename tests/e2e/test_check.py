"""Tests `token-broker check` next to a serving broker: exit codes, reports, and that no key appears in a log."""

import json

import pytest

from support.broker import running
from support.redis import Redis
from test_command_line import run

PREFIX = "thv:auth:{default:default}:"
ROW = f"{PREFIX}upstream:session-secret:github"
SESSION_INDEX = f"{PREFIX}upstream:idx:session-secret"
USER_INDEX = f"{PREFIX}user:upstream:user-secret"
SECRETS = ("session-secret", "user-secret", "at-secret")


@pytest.fixture
def served(redis):
    """A Redis with a row in it, and the broker that stored it."""
    with running(*redis.options) as broker:
        tokens = {"access_token": "at-secret", "user_id": "user-secret"}
        broker.client.Store(session_id="session-secret", provider="github", tokens=tokens)
        yield redis, broker


def check(redis: Redis, *arguments: str, log_level: str = "trace"):
    """Runs `check` at the most verbose log level. Only its report may name what was stored."""
    options = [*redis.options, "--log-level", log_level]
    done = run("check", *options, *arguments)
    for secret in SECRETS:
        assert secret not in done.stderr
    assert PREFIX not in done.stderr
    assert "at-secret" not in done.stdout
    return done


def test_a_sound_tenant_is_done_with_0(served):
    redis, _ = served
    done = check(redis)
    assert done.returncode == 0, done.stderr
    assert "Damage: none" in done.stdout
    report = json.loads(check(redis, "--report", "json").stdout)
    assert (report["counts"]["rows"], report["damage"], report["leftovers"]) == (1, [], [])
    assert report["found"] == {}


def test_damage_is_refused_with_3_and_mended_with_repair(served):
    redis, broker = served
    redis.command("SREM", SESSION_INDEX, ROW)
    redis.command("SADD", USER_INDEX, "somebody:else")
    assert not broker.client.GetAll(session_id="session-secret").entries

    done = check(redis)
    assert done.returncode == 3
    assert f"{ROW} not in {SESSION_INDEX}" in done.stdout
    assert f"somebody:else in {USER_INDEX}" in done.stdout
    assert "token-broker: damage: 2; --repair mends it" in done.stderr
    assert redis.command("SMEMBERS", SESSION_INDEX) == "", "nothing was asked to be mended"

    done = check(redis, "--repair", "--report", "json")
    assert done.returncode == 0, done.stderr
    damage = [(one["kind"], one["key"], one["index"], one["mended"]) for one in json.loads(done.stdout)["damage"]]
    assert damage == [
        ("missing-in-session-index", ROW, SESSION_INDEX, True),
        ("foreign-member", "somebody:else", USER_INDEX, True),
    ]
    assert "github" in broker.client.GetAll(session_id="session-secret").entries
    assert check(redis).returncode == 0


def test_what_no_repair_mends_stays_and_stays_refused(served):
    redis, broker = served
    redis.command("SET", ROW, '{"access_token":"at-secret', "KEEPTTL")
    for more in ([], ["--repair"]):
        done = check(redis, *more)
        assert done.returncode == 3
        assert "unreadable-row" in done.stdout and ROW in done.stdout
        assert "damage: 1, which needs you" in done.stderr
        assert redis.command("GET", ROW) == '{"access_token":"at-secret'
    # The report says that another login replaces it.
    broker.client.Store(session_id="session-secret", provider="github", tokens={"access_token": "at"})
    assert check(redis, "--repair").returncode == 0


def test_the_log_counts_kinds(served):
    redis, _ = served
    redis.command("SREM", SESSION_INDEX, ROW)
    lines = [json.loads(line) for line in check(redis).stderr.splitlines() if line.startswith("{")]
    kinds = [line["fields"].get("kind") for line in lines if line["level"] == "WARN"]
    assert kinds == ["missing-in-session-index"]


def test_a_list_has_a_length(served):
    redis, _ = served
    redis.command("SADD", USER_INDEX, *(f"foreign-{number}" for number in range(9)))
    done = check(redis, "--list-at-most", "4")
    assert done.returncode == 3
    assert done.stdout.count(" in " + USER_INDEX) == 4
    assert "and 5 more" in done.stdout


def test_a_tenant_that_is_not_there(served):
    redis, _ = served
    done = check(redis, "--tenant", "prod:typo")
    assert done.returncode == 1
    assert "tenant: nothing is stored under prod:typo" in done.stderr
    assert "In this Redis these do: default:default" in done.stdout
    report = json.loads(check(redis, "--tenant", "prod:typo", "--report", "json").stdout)
    assert report["tenants_with_data"] == {"names": ["default:default"], "are_all": True}

    # Nothing is to be migrated there, which is no failure. But the operator may have meant another one.
    for more in (["--dry-run"], [], ["--finish"]):
        options = [*redis.options, "--tenant", "prod:typo"]
        done = run("migrate", *options, *more)
        assert done.returncode == 0
        assert "tenant: prod:typo holds no data; in this Redis these do: default:default" in done.stderr
    # From now on the tenant is known: it is merely empty.
    assert check(redis, "--tenant", "prod:typo").returncode == 0

    redis.command("FLUSHALL")
    done = check(redis)
    assert done.returncode == 0, "a new Redis, in which nobody has anything yet"
    assert "In this Redis no tenant does" in done.stdout


def test_bad_usage_and_a_redis_that_is_not_there(redis):
    assert run("check").returncode == 2, "the default backend keeps nothing"
    assert run("check", "--backend", "redis", "--report", "xml").returncode == 2
    redis.kill()
    done = check(redis, "--repair")
    assert done.returncode == 1
    assert done.stdout == ""
    assert "can't be reached" in done.stderr
