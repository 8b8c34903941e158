"""What people do in a real browser at the example auth server, and what they come to see."""

from chromium_browser import Tab
from login import Site, claims

LOG_IN = "An auth server Log in"
OVER = "An auth server This login took too long, or is over already. Please begin again. Log in"


def first_leg(site: Site, tab: Tab, name: str) -> None:
    """Begins, and signs in at the first provider, which asks for consent."""
    tab.go(site.url)
    assert tab.text == LOG_IN
    tab.click("Log in")
    tab.sign_in(name)


def second_leg(site: Site, tab: Tab, name: str) -> None:
    """Comes to the second provider's question for consent. The name there is another one."""
    first_leg(site, tab, name)
    tab.click("Continue")
    tab.sign_in(f"{name}-2")


def logs_in(site: Site, tab: Tab, name: str) -> str:
    """Logs in from the page that the tab shows, and returns the session.

    The broker has a row for each provider, with the account there, and the page says so.
    """
    tab.click("Log in")
    goes_through(site, tab, name)
    return logged_in(site, tab, name)


def goes_through(site: Site, tab: Tab, name: str) -> None:
    """Answers the providers' forms until there are no more."""
    names = {site.one.issuer: name, site.two.issuer: f"{name}-2"}
    for _ in range(6):
        account = next((account for issuer, account in names.items() if tab.url.startswith(issuer)), None)
        if account is None:
            return
        # A provider that knows the browser's user already asks for consent alone.
        if tab.text.startswith("Sign-in"):
            tab.sign_in(account)
        tab.click("Continue")
    raise AssertionError(f"the providers' forms don't end: {tab.text}")


def logged_in(site: Site, tab: Tab, name: str) -> str:
    """Returns the session of somebody who is logged in."""
    user = site.user("one", name)
    row = "{}: has a token Call the backend"
    said = f"An auth server You are logged in as {user}. {row.format('one')} {row.format('two')} Log out"
    assert (tab.url, tab.text) == (f"{site.url}/", said)
    session = claims(tab.cookies["session"]["value"])
    assert session["sub"] == user
    assert site.subjects(session["tsid"]) == {"one": name, "two": f"{name}-2"}
    assert site.rows(user)[session["tsid"]] == {"one", "two"}
    return session["tsid"]


def nothing_shown(site: Site, tab: Tab) -> None:
    """No code, state or session was ever in the address bar of the auth server."""
    seen = tab.seen
    for address in tab.addresses:
        assert not address.startswith(site.url) or not any(secret in address for secret in seen)
