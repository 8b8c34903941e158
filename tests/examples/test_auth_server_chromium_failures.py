"""Logins that fail in a real browser: what the person sees, what the broker keeps, and that the person can log in from there."""

import time
import urllib.parse

import pytest

import people
from login import check_logs
from people import OVER

MISROUTED = "An auth server Another provider answered than the one that you were sent to, so nobody was logged in. Please begin again. Log in"
UNKNOWN = "An auth server This browser has no such login under way. It took too long, or it began in another browser. Please begin again. Log in"


@pytest.fixture
def tab(shared, chromium):
    """Somebody with a browser. Whatever happened, the providers are as they were, and what was seen is in no log."""
    opened = chromium.person()
    try:
        yield opened
    finally:
        for provider in (shared.one, shared.two):
            provider.tell("up")
    check_logs(shared, opened)
    people.nothing_shown(shared, opened)
    opened.leave()


def test_a_code_that_comes_to_another_providers_callback_is_refused(shared, tab):
    people.first_leg(shared, tab, "karl")
    state, stores = tab.state, shared.stores()
    shared.one.tell(f"rewrite {shared.callback('one')} {shared.callback('two')}")
    tab.click("Continue")
    assert (tab.url, tab.text) == (f"{shared.url}/failed/misrouted?at=two", MISROUTED)
    # Nothing is stored, under whichever session, and the authorization is burnt.
    assert shared.stores() == stores and shared.rows(shared.user("one", "karl")) == {}
    assert shared.consume(state) == "STATE_NOT_FOUND" and "session" not in tab.cookies
    shared.one.tell("up")
    people.logs_in(shared, tab, "karl")


def test_a_code_of_the_second_leg_that_comes_to_the_firsts_callback_is_refused(shared, tab):
    people.second_leg(shared, tab, "lotte")
    state, stores = tab.state, shared.stores()
    shared.two.tell(f"rewrite {shared.callback('two')} {shared.callback('one')}")
    tab.click("Continue")
    assert (tab.url, tab.text) == (f"{shared.url}/failed/misrouted?at=one", MISROUTED)
    # The broker doesn't tell whose session it was. What the first leg stored is nobody's, and ends soon.
    assert shared.stores() == stores > 0
    ((session, providers),) = shared.rows(shared.user("one", "lotte")).items()
    assert providers == {"one"} and shared.subjects(session) == {"one": "lotte"}
    assert shared.ends(session, "one") - time.time() < 1300
    assert shared.consume(state) == "STATE_NOT_FOUND" and "session" not in tab.cookies
    shared.two.tell("up")
    kept = people.logs_in(shared, tab, "lotte")
    # A session that somebody has lives on.
    assert min(shared.ends(kept, provider) for provider in ("one", "two")) - time.time() > 7 * 3600


def test_a_provider_that_sends_the_user_on_to_another_one_gets_no_code(shared, tab):
    """A mix-up (RFC 9700, section 4.4): the first provider is dishonest, and lets the second one answer its own request."""
    tab.go(shared.url)
    tab.click("Log in")
    state, stores = tab.state, shared.stores()
    asked = next(url for url in tab.requests if url.startswith(f"{shared.one.issuer}/auth?"))
    query = dict(urllib.parse.parse_qsl(urllib.parse.urlsplit(asked).query)) | {"redirect_uri": shared.callback("two")}
    assert query["state"] == state
    tab.go(f"{shared.two.issuer}/auth?{urllib.parse.urlencode(query)}")
    tab.sign_in("mona-2")
    tab.click("Continue")
    assert (tab.url, tab.text) == (f"{shared.url}/failed/misrouted?at=two", MISROUTED)
    assert shared.stores() == stores and shared.rows(shared.user("one", "mona")) == {}
    assert shared.consume(state) == "STATE_NOT_FOUND"
    people.logs_in(shared, tab, "mona")


def test_an_answer_that_names_another_issuer_is_refused(shared, tab):
    """RFC 9207: callback and state are right, and `iss` isn't."""
    people.first_leg(shared, tab, "nora")
    state, stores = tab.state, shared.stores()
    names = [urllib.parse.quote(provider.issuer, safe="") for provider in (shared.one, shared.two)]
    shared.one.tell(f"rewrite iss={names[0]} iss={names[1]}")
    tab.click("Continue")
    assert tab.text == "An auth server The login at one failed. Please begin again. Log in"
    assert any(f"iss={names[1]}" in url for url in tab.requests)
    assert shared.stores() == stores and shared.rows(shared.user("one", "nora")) == {}
    assert shared.consume(state) == "STATE_NOT_FOUND"
    shared.one.tell("up")
    people.logs_in(shared, tab, "nora")


@pytest.mark.parametrize("leg", ["one", "two"])
def test_a_user_who_declines_is_told_so_and_nothing_stays(shared, tab, leg):
    name = f"otto-{leg}"
    {"one": people.first_leg, "two": people.second_leg}[leg](shared, tab, name)
    state, user = tab.state, shared.user("one", name)
    assert list(shared.rows(user).values()) == [{"one"}] * (leg == "two")
    tab.click("[ Cancel ]")
    assert tab.text == f"An auth server You weren't logged in: access was declined at {leg}. Log in"
    assert tab.url == f"{shared.url}/failed/denied?at={leg}"
    assert shared.rows(user) == {} and shared.consume(state) == "STATE_NOT_FOUND"
    # Going back leads to no login that is half there.
    tab.reload()
    assert "access was declined" in tab.text
    people.logs_in(shared, tab, name)


def test_a_provider_that_is_down_before_the_second_leg(shared, tab):
    people.first_leg(shared, tab, "paula")
    state = tab.state
    shared.two.tell("down")
    tab.click("Continue")
    assert (
        tab.text == "An auth server two can't be reached now, so you weren't logged in. Please try again later. Log in"
    )
    assert shared.rows(shared.user("one", "paula")) == {} and shared.consume(state) == "STATE_NOT_FOUND"
    # It is still down: the person comes to the same page.
    tab.click("Log in")
    tab.click("Continue")
    assert tab.text.startswith("An auth server two can't be reached now")
    shared.two.tell("up")
    people.logs_in(shared, tab, "paula")


def test_a_provider_that_goes_down_while_its_form_is_open(shared, tab):
    """The browser has no page of ours then. The login still waits, and the person can go on with it or begin again."""
    people.second_leg(shared, tab, "quinn")
    state, user = tab.state, shared.user("one", "quinn")
    shared.two.tell("down")
    assert tab.click("Continue") == "ERR_CONNECTION_REFUSED"
    (half,) = shared.rows(user)
    assert shared.ends(half, "one") - time.time() < 1300 and tab.state == state
    tab.go(shared.url)
    assert tab.text == people.LOG_IN
    shared.two.tell("up")
    people.logs_in(shared, tab, "quinn")
    assert shared.consume(state) == ""


def test_a_provider_that_redeems_no_code(shared, tab):
    people.second_leg(shared, tab, "rosa")
    state, user = tab.state, shared.user("one", "rosa")
    shared.two.tell("failing")
    tab.click("Continue")
    assert (
        tab.text == "An auth server two can't be reached now, so you weren't logged in. Please try again later. Log in"
    )
    assert shared.rows(user) == {} and shared.consume(state) == "STATE_NOT_FOUND"
    shared.two.tell("up")
    people.logs_in(shared, tab, "rosa")


def test_a_login_that_took_too_long_is_over(shared, tab):
    people.first_leg(shared, tab, "selma")
    # As when its time is over at the broker: it isn't there.
    assert shared.consume(tab.state) == ""
    tab.click("Continue")
    assert (tab.url, tab.text) == (f"{shared.url}/failed/over?at=one", OVER)
    people.logs_in(shared, tab, "selma")


def test_a_login_whose_cookie_is_gone_is_over_here_and_not_elsewhere(shared, tab):
    people.first_leg(shared, tab, "tilda")
    state, kept = tab.state, tab.cookies
    tab.clear_cookies()
    # The provider knows its user. The auth server doesn't.
    for name, cookie in kept.items():
        if not name.startswith("login_"):
            tab.add_cookie(**cookie)
    tab.click("Continue")
    assert (tab.url, tab.text) == (f"{shared.url}/failed/unknown?at=one", UNKNOWN)
    # It may be somebody else's, who goes on.
    assert shared.consume(state) == ""
    people.logs_in(shared, tab, "tilda")
