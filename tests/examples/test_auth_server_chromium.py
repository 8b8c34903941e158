"""People log in at the example auth server in a headless Chromium, and out. What may go wrong on the way is in the files beside it."""

from html import escape

import pytest

import people
from login import check_logs
from people import LOG_IN
from sidecar import Answer, Server


@pytest.fixture
def tab(shared, chromium):
    """Somebody with a browser. What they saw is in no log, and no secret was in the address bar."""
    opened = chromium.person()
    yield opened
    check_logs(shared, opened)
    people.nothing_shown(shared, opened)
    opened.leave()


def test_a_user_logs_in_calls_both_backends_and_logs_out(shared, tab):
    tab.go(shared.url)
    session = people.logs_in(shared, tab, "cecil")
    for name, account in (("one", "cecil"), ("two", "cecil-2")):
        tab.click("Call the backend", f"#provider-{name}")
        assert f"The backend of {name} knows you as {account}." in tab.text
        # Who reloads or comes back isn't asked whether to send a form again.
        tab.go(tab.url)
        people.logged_in(shared, tab, "cecil")
    cookie = tab.cookies["session"]
    assert (cookie["httpOnly"], cookie["sameSite"]) == (True, "Lax")
    assert tab.evaluate("document.cookie") == ""
    check_logs(shared, tab)
    tab.click("Log out")
    assert (tab.url, tab.text) == (f"{shared.url}/", LOG_IN)
    assert shared.subjects(session) == {} and "session" not in tab.cookies


def test_after_a_logout_the_button_for_going_back_shows_nothing_of_the_session(shared, tab):
    tab.go(shared.url)
    people.logs_in(shared, tab, "edith")
    user = shared.user("one", "edith")
    tab.go(f"{shared.url}/failed/denied?at=one")
    said = "You weren't logged in: access was declined at one. You are still logged in as"
    assert tab.text == f"An auth server {said} {user}. Back Log out"
    tab.go(f"{shared.url}/nowhere")
    assert tab.text == f"An auth server There is no such page. You are logged in as {user}. Back Log out"
    tab.click("Log out")
    for _ in range(2):
        tab.back()
        assert user not in tab.text and tab.text.endswith("Log in")
    # Nor does a tab that was left open.
    other = tab.another()
    other.go(shared.url)
    people.logs_in(shared, tab, "edith")
    other.reload()
    tab.click("Log out")
    other.click("Call the backend", "#provider-two")
    assert other.text == "An auth server You are logged out. Please log in. Log in"
    people.logs_in(shared, other, "edith")


def test_two_tabs_log_in_at_the_same_time_and_the_later_session_is_the_one(shared, tab):
    first, second = tab, tab.another()
    people.first_leg(shared, first, "fanny")
    second.go(shared.url)
    second.click("Log in")
    # Both are between the providers now.
    for one in (first, second):
        one.click("Continue")
        assert one.text.startswith("Sign-in")
    former = None
    for one in (first, second):
        people.goes_through(shared, one, "fanny")
        cookies = one.cookies
        assert (one.url, "session" in cookies) == (f"{shared.url}/", True)
        user = shared.user("one", "fanny")
        rows = {session: providers for session, providers in shared.rows(user).items() if providers == {"one", "two"}}
        assert len(rows) == 1 and rows != former
        former = rows
    assert shared.rows(user) == rows
    for one in (first, second):
        one.reload()
        people.logged_in(shared, one, "fanny")


def test_a_login_never_goes_on_with_a_session_that_was_there_before(shared, tab, chromium):
    """Session fixation: somebody has put a session into the browser that they know."""
    thief = chromium.person()
    thief.go(shared.url)
    known = people.logs_in(shared, thief, "greta")
    people.first_leg(shared, tab, "hugo")
    planted = thief.cookies["session"]
    tab.add_cookie(name="session", value=planted["value"], url=shared.url)
    people.goes_through(shared, tab, "hugo")
    assert people.logged_in(shared, tab, "hugo") != known
    # What was there before is over.
    assert shared.subjects(known) == {}
    thief.reload()
    assert thief.text == "An auth server Your session has ended. Please log in again. Log in"
    check_logs(shared, thief)
    thief.leave()


def test_the_page_of_another_origin_logs_nobody_in_or_out(shared, tab):
    """Another site, and another port. Cookies don't tell ports apart: to them that is the same site."""
    forms = {
        f"/{name}": f'<form method="post" action="{escape(shared.url)}/{name}"><button>Win</button></form>'
        for name in ("login", "logout")
    }
    page = {"Content-Type": "text/html"}
    evil = Server(lambda request: Answer(200, page, forms.get(request.path, "").encode()))
    try:
        tab.go(shared.url)
        session = people.logs_in(shared, tab, "ida")
        for host in ("evil.test", "127.0.0.1"):
            for path in forms:
                tab.go(evil.url.replace("127.0.0.1", host) + path)
                tab.click("Win")
                assert tab.text == "An auth server Another site asked for this, so it wasn't done. Back"
                tab.click("Back")
                assert people.logged_in(shared, tab, "ida") == session
    finally:
        evil.close()


def test_who_types_the_address_of_a_form_comes_to_the_page(shared, chromium):
    tab = chromium.person()
    for path in ("/login", "/logout", "/backend/one"):
        tab.go(shared.url + path)
        assert (tab.url, tab.text) == (f"{shared.url}/", LOG_IN)
    for path in ("/failed/denied", "/failed/denied?at=Your+bank", "/failed/?at=one", "/callback/three?state=x"):
        tab.go(shared.url + path)
        assert tab.text == "An auth server There is no such page. Log in"
    tab.leave()
