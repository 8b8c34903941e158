"""The auth server of examples/auth-server with its providers and a broker, as its script `run` starts them."""

import base64
import json
from contextlib import ExitStack, contextmanager
from copy import copy
from functools import partial
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path

import grpc

from browser import Browser, Page
from client import EXAMPLES
from support.client import Client, refusal
from support.redis import ReservedPort
from support.log_lines import count_calls
from tokenbroker.v1 import identities_pb2, identities_pb2_grpc
from tokenbroker.v1 import pending_authorizations_pb2, pending_authorizations_pb2_grpc

LOGIN = EXAMPLES / "auth-server"


def _script():
    loader = SourceFileLoader("auth_server_run", str(LOGIN / "run"))
    module = module_from_spec(spec_from_loader(loader.name, loader))
    loader.exec_module(module)
    return module


run = _script()
MEMORY = ("--backend", "memory")


class Site:
    """Everything that runs. The broker and the auth server can be replaced in the middle of a login."""

    def __init__(self, folder: Path, options: tuple, program: Path, config: Path):
        self.folder = folder
        self._options = ("--log-level", "debug", *options)
        self._program, self._config = program, config
        self._providers = ExitStack()
        self._broker = ExitStack()
        self._server = ExitStack()
        self.url = None
        # Nobody else gets them while the broker or the auth server is away.
        self._ports = ReservedPort(), ReservedPort()
        self.address = f"127.0.0.1:{self._ports[0].number}"
        try:
            self.one, self.two = self._providers.enter_context(run.providers(folder))
            self.start_broker()
            self._start_server()
        except BaseException:
            self.close()
            raise

    def _start_server(self) -> None:
        told = [] if self.url else [self.one, self.two]
        port = self._ports[1].number
        started = run.auth_server(self.folder, self.address, told, port, self._program, self._config)
        self.url = self._server.enter_context(started)

    def restart(self) -> None:
        """Kills the broker and the auth server, and starts new ones at the same addresses."""
        self._server.close()
        self.stop_broker()
        self.start_broker()
        self._start_server()

    def stop_broker(self) -> None:
        """Kills the broker."""
        self._broker.close()

    def start_broker(self) -> None:
        """Starts a broker, at the address of the former one if there was one."""
        self._broker.enter_context(run.broker(self.folder, self.address, self._options))

    def close(self) -> None:
        for each in (self._server, self._broker, self._providers, *self._ports):
            each.close()

    def callback(self, name: str) -> str:
        return f"{self.url}/callback/{name}"

    # The steps of a user.

    def begin(self, browser: Browser) -> Page:
        """Opens the page, and goes to the first provider, which asks for a name."""
        return browser.submit(browser.request(self.url + "/"), "/login")

    def log_in(self, browser: Browser, form: Page, name: str) -> Page:
        """Tells a provider a name, and comes to its question for consent."""
        return browser.submit(form, login=name, password="x")

    def consent(self, browser: Browser, form: Page, provider: str) -> Page:
        """Consents, and stops before the provider's callback."""
        page = browser.submit(form, before=self.url)
        assert page.location and page.location.startswith(self.callback(provider) + "?"), page
        return page

    def first_leg(self, browser: Browser, name: str = "alice") -> Page:
        """Stops before the first callback."""
        return self.consent(browser, self.log_in(browser, self.begin(browser), name), "one")

    def both_legs(self, browser: Browser, name: str = "alice", other: str = "alice-2") -> Page:
        """Stops before the second callback."""
        form = browser.follow(self.first_leg(browser, name))
        return self.consent(browser, self.log_in(browser, form, other), "two")

    # What the broker has.

    @contextmanager
    def client(self):
        client = Client(self.address)
        with client.channel:
            yield client

    def user(self, provider: str, subject: str) -> str:
        """Returns the user that an identity leads to."""
        with self.client() as client:
            stub = identities_pb2_grpc.IdentitiesStub(client.channel)
            request = identities_pb2.ResolveUserRequest(provider=provider, provider_subject=subject)
            return stub.ResolveUser(request, timeout=10).user_id

    def rows(self, user: str) -> dict[str, set[str]]:
        """Returns the providers of each session of a user."""
        found = {}
        with self.client() as client:
            for row in client.ListUserSessions(user_id=user).sessions:
                found.setdefault(row.session_id, set()).add(row.provider)
        return found

    def subjects(self, session: str) -> dict[str, str]:
        """Returns whose account each row of a session is of, by provider."""
        with self.client() as client:
            entries = client.GetAll(session_id=session).entries
            return {provider: entry.tokens.upstream_subject for provider, entry in entries.items()}

    def stores(self) -> int:
        """Returns how often anything was stored, under whatever session."""
        with self.client() as client:
            return count_calls("Store", client, (self.folder / "broker.log").read_text)

    def ends(self, session: str, provider: str) -> float:
        """Returns when a row ends, in seconds since 1970."""
        with self.client() as client:
            return client.Get(session_id=session, provider=provider).entry.tokens.session_expires_at.ToSeconds()

    def consume(self, state: str) -> str:
        """Takes an authorization that waits. Returns why there is none, or nothing."""
        with self.client() as client:
            stub = pending_authorizations_pb2_grpc.PendingAuthorizationsStub(client.channel)
            call = partial(stub.Consume, pending_authorizations_pb2.ConsumeRequest(state=state), timeout=10)
            try:
                call()
            except grpc.RpcError:
                return refusal(call).reason
            return ""

    def logs(self) -> str:
        """Returns what the broker and the auth server logged."""
        return "".join((self.folder / f"{name}.log").read_text() for name in ("broker", "auth-server"))


def claims(token: str) -> dict:
    """Returns what a JWT says."""
    part = token.split(".")[1]
    return json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))


def check_logs(site: Site, *browsers) -> None:
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
        # Not by `assert`, whose message would have the secret.
        if secret in logs:
            raise AssertionError(f"a secret of {len(secret)} characters is in a log")


def cookies_of(browser: Browser) -> list:
    """Returns a copy of the cookies, to be put back later as an attacker or a stubborn browser would."""
    return [copy(cookie) for cookie in browser.cookies]


def put_back(browser: Browser, cookies: list) -> None:
    for cookie in cookies:
        browser.cookies.set_cookie(cookie)


@contextmanager
def site(
    folder: Path,
    options: tuple = MEMORY,
    program: Path = LOGIN / "build/auth-server",
    config: Path = EXAMPLES / "service_config.json",
):
    """A site that runs during a `with` block."""
    started = Site(folder, options, program, config)
    try:
        yield started
    finally:
        started.close()
