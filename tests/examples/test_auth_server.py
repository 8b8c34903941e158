"""Logs users in at the example auth server, through the forms of two real OpenID providers, and does what may go wrong."""

import json
import urllib.parse

import pytest

import blocks
from browser import Browser
from client import run as run_script
from login import LOGIN, claims, cookies_of, put_back, site


@pytest.fixture(scope="module")
def build():
    """Builds and checks the example, as its page says."""
    page = blocks.read(LOGIN / "README.md")
    (build,) = [block for block in page if block.tag in blocks.RUN]
    run_script(build.text + "go vet .\ngo test .\n", LOGIN, 280)
    assert not run_script("gofmt -l *.go", LOGIN, 20)


@pytest.fixture(scope="module")
def shared(build, tmp_path_factory):
    """A site for tests that don't restart anything. Each test has users of its own."""
    with site(tmp_path_factory.mktemp("site")) as started:
        yield started


@pytest.fixture
def browser(shared):
    """A browser. After the test no log has anything that it saw."""
    opened = Browser()
    yield opened
    check_logs(shared, opened)


def check_logs(site, *browsers) -> None:
    """Fails if a log holds a secret: cookie, code, state, client secret, token or session."""
    logs = site.logs()
    secrets = {(site.folder / f"{name}.secret").read_text() for name in ("one", "two")}
    for one in browsers:
        secrets |= one.seen
    for secret in list(secrets):
        if secret.count(".") == 2 and "tsid" in claims(secret):
            session = claims(secret)["tsid"]
            secrets.add(session)
            with site.client() as client:
                for entry in client.GetAll(session_id=session).entries.values():
                    tokens = entry.tokens
                    secrets |= {tokens.access_token, tokens.refresh_token, tokens.id_token} - {""}
    assert secrets and logs
    for secret in secrets:
        # A message with the secret would itself be a log that has it.
        assert secret not in logs, f"a secret of {len(secret)} characters is in a log"


def test_a_user_logs_in_at_both_providers_calls_backends_and_logs_out(shared, browser):
    page = browser.follow(shared.both_legs(browser))
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
    refused = browser.request(shared.url + "/logout", {}, {"Origin": "https://evil.example", "Sec-Fetch-Site": "cross-site"})
    assert refused.status == 403 and shared.rows(session["sub"])
    check_logs(shared, browser)
    before = cookies_of(browser)
    assert "Log in" in browser.submit(page, "/logout").text
    assert shared.rows(session["sub"]) == {}
    # Nor is the JWT good for anything, although it hasn't expired.
    put_back(browser, before)
    page = browser.request(shared.url + "/")
    assert "one: no token" in page.text and "two: no token" in page.text
    assert browser.submit(page, "/backend/one").status == 401


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
    assert (page.status, page.message) == (409, "This account at two is another user&#39;s.")
    assert shared.rows(shared.user("one", "mallory")) == {}


def test_a_misrouted_callback_is_refused_and_its_state_is_burnt(shared, browser):
    page = shared.first_leg(browser, "carol")
    before = cookies_of(browser)
    misrouted = page.location.replace(shared.callback("one"), shared.callback("two"))
    refused = browser.request(misrouted)
    assert refused.status == 400 and "PROVIDER_MISMATCH" in refused.message
    put_back(browser, before)
    refused = browser.request(page.location)
    assert refused.status == 400 and "STATE_NOT_FOUND" in refused.message
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
    refused = browser.request(f"{there}?{urllib.parse.urlencode(fields)}")
    assert (refused.status, refused.message) == (502, "The login at one failed.")
    assert "another issuer" in shared.logs()
    assert shared.rows(shared.user("one", name)) == {}


def test_a_code_of_another_login_is_refused(shared, browser):
    """PKCE: the thief's login has another verifier."""
    thief = Browser()
    codes = []
    for one, name in ((browser, "heidi"), (thief, "ivan")):
        page = shared.first_leg(one, name)
        codes.append(urllib.parse.parse_qs(urllib.parse.urlsplit(page.location).query)["code"][0])
    refused = thief.request(page.location.replace(codes[1], codes[0]))
    assert (refused.status, refused.message) == (502, "The login at one failed.")
    assert "the provider answers with status 400" in shared.logs()
    assert shared.rows(shared.user("one", "heidi")) == {} == shared.rows(shared.user("one", "ivan"))


def test_a_callback_works_once_and_only_in_the_browser_that_began(shared, browser):
    page = shared.first_leg(browser, "erin")
    # Somebody who was sent the link, with no login under way and with one.
    victim = Browser()
    assert victim.request(page.location).message == "This browser didn&#39;t begin this login."
    shared.begin(victim)
    assert victim.request(page.location).status == 400
    # That consumed nothing.
    before = cookies_of(browser)
    second = browser.follow(page)
    put_back(browser, before)
    refused = browser.request(page.location)
    assert refused.status == 400 and "STATE_NOT_FOUND" in refused.message
    # The replay takes nothing from who logged in.
    assert shared.rows(shared.user("one", "erin")) != {} and second.status == 200


def test_a_user_who_denies_consent_isnt_logged_in_and_nothing_stays(shared, browser):
    form = shared.log_in(browser, shared.begin(browser), "frank")
    page = browser.click(form, "/abort")
    assert (page.status, page.message) == (403, "You weren&#39;t logged in at one.")
    # Now at the second leg, when there are tokens of the first already. (The first provider knows that browser's user.)
    browser = Browser()
    form = browser.follow(shared.first_leg(browser, "frank"))
    user = shared.user("one", "frank")
    assert list(shared.rows(user).values()) == [{"one"}]
    page = browser.click(shared.log_in(browser, form, "frank-2"), "/abort")
    assert (page.status, page.message) == (403, "You weren&#39;t logged in at two.")
    assert shared.rows(user) == {}
    assert "Log in" in browser.request(shared.url + "/").text


def test_a_provider_that_is_down_at_the_second_leg_is_said_and_nothing_stays(shared, browser):
    page = shared.first_leg(browser, "grace")
    shared.two.tell("down")
    try:
        page = browser.follow(page)
    finally:
        shared.two.tell("up")
    said = (503, "two can&#39;t be reached. Please try again later.")
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
    assert "STATE_NOT_FOUND" in browser.request(page.location).message
    # When it is back, all is well.
    browser = Browser()
    assert browser.follow(shared.both_legs(browser, "grace", "grace-2")).status == 200
