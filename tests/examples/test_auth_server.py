"""Logs users in at the example auth server, through the forms of two real OpenID providers, and does what may go wrong."""

import json
import urllib.parse

import pytest

from browser import Browser
from login import check_logs, claims, cookies_of, put_back


@pytest.fixture
def browser(shared):
    """A browser. After the test no log has anything that it saw."""
    opened = Browser()
    yield opened
    check_logs(shared, opened)


FAILED = (502, "The login at one failed. Please begin again.")


def assert_over(page) -> None:
    """The state of a callback is used up."""
    assert (page.status, page.message) == (400, "This login took too long, or is over already. Please begin again.")


def test_a_user_logs_in_at_both_providers_calls_backends_and_logs_out(shared, browser):
    page = signed_in = browser.follow(shared.both_legs(browser))
    assert page.status == 200 and "one: has a token" in page.text and "two: has a token" in page.text
    token = browser.cookie("session")
    session = claims(token)
    assert session["sub"] == shared.user("one", "alice") == shared.user("two", "alice-2")
    assert shared.rows(session["sub"]) == {session["tsid"]: {"one", "two"}}
    check_logs(shared, browser)

    said = browser.submit(page, "/backend/one")
    assert said.message == "The backend of one knows you as alice."
    # The backend refuses the token before its time: the broker gets another one, and the user notices nothing.
    redeemed = json.loads(shared.two.tell("?"))["redemptions"]
    shared.two.tell("forget")
    for _ in range(2):
        assert browser.submit(page, "/backend/two").message == "The backend of two knows you as alice-2."
    assert json.loads(shared.two.tell("?"))["redemptions"] == redeemed + 1

    # Another site can't log the user out.
    for foreign in (
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Origin": "https://evil.example"},
    ):
        refused = browser.request(shared.url + "/logout", {}, foreign)
        assert (refused.status, refused.message) == (403, "Another site asked for this, so it wasn&#39;t done.")
        assert shared.rows(session["sub"])
    check_logs(shared, browser)
    before = cookies_of(browser)
    assert "Log in" in browser.submit(page, "/logout").text
    assert shared.rows(session["sub"]) == {}
    # Nor is the JWT good for anything, although it hasn't expired.
    put_back(browser, before)
    refused = browser.submit(signed_in, "/backend/one")
    assert (refused.status, refused.message) == (
        401,
        "There is no token of one any more. Please log out, and log in again.",
    )
    page = browser.request(shared.url + "/")
    assert page.message == "Your session has ended. Please log in again." and "Log in" in page.text


def test_a_user_who_comes_again_is_the_same_user_in_another_session(shared, browser):
    other = Browser()
    for one in (browser, other):
        assert one.follow(shared.both_legs(one, "bob", "bob-2")).status == 200
    first, second = claims(browser.cookie("session")), claims(other.cookie("session"))
    assert first["sub"] == second["sub"] and first["tsid"] != second["tsid"]
    assert shared.rows(first["sub"]) == {first["tsid"]: {"one", "two"}, second["tsid"]: {"one", "two"}}
    # Somebody else can't come with the second account.
    thief = Browser()
    page = thief.follow(shared.both_legs(thief, "mallory", "bob-2"))
    assert (page.status, page.message) == (
        409,
        "This account at two is another user&#39;s, so you weren&#39;t logged in.",
    )
    assert shared.rows(shared.user("one", "mallory")) == {}


def test_a_misrouted_callback_is_refused_and_its_state_is_burnt(shared, browser):
    page = shared.first_leg(browser, "carol")
    before = cookies_of(browser)
    misrouted = page.location.replace(shared.callback("one"), shared.callback("two"))
    refused = browser.visit(misrouted)
    assert refused.status == 400 and refused.message.startswith("Another provider answered")
    put_back(browser, before)
    assert_over(browser.visit(page.location))
    assert shared.rows(shared.user("one", "carol")) == {}


@pytest.mark.parametrize("issuer", ["two", None])
def test_a_callback_of_another_issuer_is_refused(shared, browser, issuer):
    name = f"dave-{issuer}"
    page = shared.first_leg(browser, name)
    there, query = page.location.split("?")
    fields = dict(urllib.parse.parse_qsl(query))
    assert fields.pop("iss") == shared.one.issuer
    if issuer:
        fields["iss"] = shared.two.issuer
    refused = browser.visit(f"{there}?{urllib.parse.urlencode(fields)}")
    assert (refused.status, refused.message) == FAILED
    assert "another issuer" in shared.logs()
    assert shared.rows(shared.user("one", name)) == {}


def test_a_code_of_another_login_is_refused(shared, browser):
    """PKCE: the thief's login has another verifier."""
    thief = Browser()
    codes = []
    for one, name in ((browser, "heidi"), (thief, "ivan")):
        page = shared.first_leg(one, name)
        codes.append(urllib.parse.parse_qs(urllib.parse.urlsplit(page.location).query)["code"][0])
    refused = thief.visit(page.location.replace(codes[1], codes[0]))
    assert (refused.status, refused.message) == FAILED
    assert "the provider answers with status 400" in shared.logs()
    assert shared.rows(shared.user("one", "heidi")) == {} == shared.rows(shared.user("one", "ivan"))


def test_a_callback_works_once_and_only_in_the_browser_that_began(shared, browser):
    page = shared.first_leg(browser, "erin")
    # Somebody who was sent the link, with no login under way and with one.
    victim = Browser()
    assert victim.visit(page.location).message.startswith("This browser has no such login under way.")
    shared.begin(victim)
    assert victim.visit(page.location).status == 400
    # That consumed nothing.
    before = cookies_of(browser)
    second = browser.follow(page)
    put_back(browser, before)
    assert_over(browser.visit(page.location))
    # The replay takes nothing from who logged in.
    assert shared.rows(shared.user("one", "erin")) != {} and second.status == 200


def test_a_user_who_denies_consent_isnt_logged_in_and_nothing_stays(shared, browser):
    form = shared.log_in(browser, shared.begin(browser), "frank")
    page = browser.click(form, "/abort")
    assert (page.status, page.message) == (403, "You weren&#39;t logged in: access was declined at one.")
    # Now at the second leg, when there are tokens of the first already. (The first provider knows that browser's user.)
    browser = Browser()
    form = browser.follow(shared.first_leg(browser, "frank"))
    user = shared.user("one", "frank")
    assert list(shared.rows(user).values()) == [{"one"}]
    page = browser.click(shared.log_in(browser, form, "frank-2"), "/abort")
    assert (page.status, page.message) == (403, "You weren&#39;t logged in: access was declined at two.")
    assert shared.rows(user) == {}
    assert "Log in" in browser.request(shared.url + "/").text


def test_a_provider_that_is_down_at_the_second_leg_is_said_and_nothing_stays(shared, browser):
    page = shared.first_leg(browser, "grace")
    shared.two.tell("down")
    try:
        page = browser.follow(page)
    finally:
        shared.two.tell("up")
    said = (503, "two can&#39;t be reached now, so you weren&#39;t logged in. Please try again later.")
    assert (page.status, page.message) == said
    user = shared.user("one", "grace")
    assert shared.rows(user) == {}
    # The same with a provider that is lost after the user consented. (Another user, who has to log in anew.)
    browser = Browser()
    page = shared.both_legs(browser, "grace", "grace-2")
    assert list(shared.rows(user).values()) == [{"one"}]
    before = cookies_of(browser)
    shared.two.tell("down")
    try:
        refused = browser.follow(page)
    finally:
        shared.two.tell("up")
    assert (refused.status, refused.message) == said
    assert shared.rows(user) == {}
    put_back(browser, before)
    assert_over(browser.visit(page.location))
    # When it is back, all is well.
    browser = Browser()
    assert browser.follow(shared.both_legs(browser, "grace", "grace-2")).status == 200
