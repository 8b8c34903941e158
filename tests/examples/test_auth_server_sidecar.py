"""The JWTs of the example auth server at the example sidecar."""

import urllib.request

import sidecar
from browser import Browser
from login import check_logs, claims
from sidecar import Answer, Server


def test_a_service_behind_the_sidecar_is_called_with_the_session_of_the_auth_server(shared, tmp_path):
    """Until the logout: the JWT is valid for hours, and there is no token behind it any more."""
    browser = Browser()
    page = browser.follow(shared.both_legs(browser, "yvonne", "yvonne-2"))
    jwt = browser.cookie("session")
    with urllib.request.urlopen(f"{shared.url}/jwks", timeout=10) as keys:
        (tmp_path / "jwks.json").write_bytes(keys.read())
    with shared.client() as client:
        entries = client.GetAll(session_id=claims(jwt)["tsid"]).entries
        tokens = {name: entry.tokens.access_token for name, entry in entries.items()}
    service = Server(lambda request: Answer(200, {}, request.headers["authorization"].encode()))
    told = ["-issuer", shared.url, "-audience", "pages", "-bind-user", "-bind-client", "pages", "-provider", "two"]
    try:
        with sidecar.running(sidecar.built(), shared.address, service.url, tmp_path / "jwks.json", *told) as started:
            answer = started.request(jwt)
            assert (answer.status, answer.body.decode()) == (200, f"Bearer {tokens['two']}")
            check_logs(shared, browser)
            assert "Log in" in browser.submit(page, "/logout").text
            assert started.request(jwt).status == 401
            log = started.stop()
            assert "ROW_NOT_FOUND" in log and jwt not in log and tokens["two"] not in log
    finally:
        service.close()
