"""The broker is restarted in the middle of a login in a real browser, or is away at the callback."""

import json

import pytest

import people
from client import EXAMPLES
from login import LOGIN, check_logs, site
from people import LOG_IN, OVER
from support.redis import Redis

# How long the auth server waits for a broker that is away. It has to be enough for a call to one that is there.
IMPATIENT = "2s"
AWAY = "An auth server Your login can't go on at the moment. Try again or begin again"


@pytest.fixture
def redis():
    started = Redis()
    yield started
    started.close()


def in_redis(folder, redis, program=LOGIN / "build/auth-server", patience="15s"):
    """A site whose broker keeps everything in Redis. The auth server waits so long for the broker."""
    config = json.loads((EXAMPLES / "service_config.json").read_text())
    for method in config["methodConfig"]:
        method["timeout"] = patience
    (folder / "service_config.json").write_text(json.dumps(config))
    return site(folder, redis.options, program, folder / "service_config.json")


def test_a_broker_that_is_restarted_is_noticed_by_nobody(build, chromium, redis, tmp_path):
    with in_redis(tmp_path, redis) as started:
        tab = chromium.person()
        people.first_leg(started, tab, "ulla")
        state = tab.state
        started.stop_broker()
        # The callback comes while there is no broker, and waits for it.
        tab.press("Continue")
        started.start_broker()
        tab.arrived(f"{started.two.issuer}/**")
        assert started.consume(state) == "STATE_NOT_FOUND"
        ((session, providers),) = started.rows(started.user("one", "ulla")).items()
        assert providers == {"one"}
        tab.sign_in("ulla-2")
        started.stop_broker()
        started.start_broker()
        tab.click("Continue")
        assert people.logged_in(started, tab, "ulla") == session
        check_logs(started, tab)
        tab.leave()


def tries_again(tab) -> None:
    """Tries until something else is on the page. Connections to a broker that was away come back after a second."""
    for _ in range(30):
        tab.click("Try again")
        if "Try again" not in tab.text:
            return


def goes_on_when_it_is_back(started, chromium):
    """The broker is away for longer than the auth server waits. The person is told so, and goes on later."""
    tab = chromium.person()
    people.second_leg(started, tab, "vera")
    ((session, _),) = started.rows(started.user("one", "vera")).items()
    state = tab.state
    started.stop_broker()
    for act in (lambda: tab.click("Continue"), tab.reload):
        act()
        assert tab.text == AWAY
    # Who begins again meanwhile is told, too.
    other = tab.another()
    other.go(started.url)
    other.click("Log in")
    assert other.text == "An auth server The login couldn't go on. Please begin again in a moment. Log in"
    assert tab.state == state
    started.start_broker()
    # The authorization was still there, and now it is used.
    tries_again(tab)
    assert people.logged_in(started, tab, "vera") == session
    assert started.consume(state) == "STATE_NOT_FOUND"
    # A session outlives the broker, and isn't taken for none while that is away.
    started.stop_broker()
    tab.reload()
    assert tab.text == "An auth server Your session can't be looked at now. Try again or begin again"
    started.start_broker()
    tries_again(tab)
    assert people.logged_in(started, tab, "vera") == session
    check_logs(started, tab)
    people.nothing_shown(started, other)
    tab.leave()


def test_a_broker_that_is_away_at_the_callback_ends_no_login(build, chromium, redis, tmp_path):
    with in_redis(tmp_path, redis, patience=IMPATIENT) as started:
        goes_on_when_it_is_back(started, chromium)


def test_a_broker_that_forgot_what_was_pending_ends_the_login_and_the_next_one_works(build, chromium, tmp_path):
    """What a broker keeps in memory, as the example's script has it, ends with the broker: logins under way and sessions."""
    with site(tmp_path) as started:
        tab = chromium.person()
        people.second_leg(started, tab, "willy")
        started.stop_broker()
        started.start_broker()
        tab.click("Continue")
        assert (tab.url, tab.text) == (f"{started.url}/failed/over?at=two", OVER)
        assert started.rows(started.user("one", "willy")) == {}
        people.logs_in(started, tab, "willy")
        started.stop_broker()
        started.start_broker()
        tab.reload()
        assert tab.text == "An auth server Your session has ended. Please log in again. Log in"
        tab.reload()
        assert tab.text == LOG_IN
        people.logs_in(started, tab, "willy")
        check_logs(started, tab)
        tab.leave()


def test_a_login_that_is_dropped_while_the_broker_is_away_is_noticed(flawed, chromium, redis, tmp_path):
    """The control of the tests above."""
    flawed.choose("a login ends when the broker is away")
    with in_redis(tmp_path, redis, flawed.program, IMPATIENT) as started, pytest.raises(AssertionError):
        goes_on_when_it_is_back(started, chromium)
