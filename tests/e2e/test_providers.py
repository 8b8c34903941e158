"""Tests `token-broker providers`: what it prints and with which exit code, and that no secret is in it."""

import http.server
import subprocess
import threading
from contextlib import closing, contextmanager

import pytest

from support.redis import Redis, ReservedPort
from test_command_line import run

SECRET = "S3cr3t-of-the-client"


@pytest.fixture
def config(tmp_path):
    """Returns a function that writes a configuration file and returns the arguments that name it."""
    secret = tmp_path / "secret"
    secret.write_text(SECRET + "\n")

    def write(text: str) -> list[str]:
        path = tmp_path / "broker.toml"
        path.write_text(text.replace("SECRET_FILE", str(secret)))
        return ["--config", str(path)]

    write.secret = secret
    return write


@contextmanager
def token_endpoint(status: int, body: str):
    """A token endpoint that always answers this. Gives its URL and the bodies of the requests."""
    received = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            received.append(self.rfile.read(int(self.headers["Content-Length"])).decode())
            self.do_GET()

        def do_GET(self):
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body.encode())

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/token", received
    finally:
        server.shutdown()
        server.server_close()


def provider(url: str) -> str:
    return f"""
        [providers.hub]
        token-endpoint = "{url}"
        client-id = "the-client"
        client-secret-file = "SECRET_FILE"
        client-authentication = "client_secret_post"
    """


def test_the_list_tells_each_value_and_where_it_is_from(config):
    arguments = config("""
        [providers.hub]
        preset = "github"
        client-id = "the-client"
        client-secret-file = "SECRET_FILE"
        margin = "90s"
        kills-access-token = false
    """)
    done = run("providers", *arguments)
    assert done.returncode == 0, done.stderr
    presets, configured = done.stdout.split("# Configured:\n")
    assert "[github]\n" in presets and "[google]\n" in presets
    lines = configured.splitlines()
    assert "[providers.hub]" in lines
    assert 'preset = "github"  # file' in lines
    assert 'margin = "90s"  # file, 1m 30s' in lines
    assert 'kills-access-token = "false"  # file' in lines
    assert 'token-endpoint = "https://github.com/login/oauth/access_token"  # preset' in lines
    assert 'client-authentication = "client_secret_post"  # preset' in lines
    assert '# timeout = "10s"  # default' in lines
    assert SECRET not in done.stdout + done.stderr


def test_without_providers_the_presets_are_listed():
    done = run("providers")
    assert done.returncode == 0, done.stderr
    assert "[github]\n" in done.stdout
    assert done.stdout.split("# Configured:\n")[1].strip() == ""


def test_a_mistake_is_told_with_its_setting(config):
    for command in (["providers"], ["providers", "test", "hub"]):
        done = run(*command, *config(f'[providers.hub]\npreset = "githib"\nclient-secret = "{SECRET}"\n'))
        assert done.returncode == 2 and done.stdout == ""
        assert "providers.hub.client-secret" in done.stderr
        assert SECRET not in done.stderr


def test_a_provider_that_is_not_configured_cannot_be_tried(config):
    done = run("providers", "test", "hub", *config(""))
    assert done.returncode == 2 and done.stdout == ""
    assert "no provider of this name is configured" in done.stderr


def test_a_name_that_is_nearly_right_is_told(config):
    with token_endpoint(500, "") as (url, _):
        done = run("providers", "test", "Hub", *config(provider(url)))
        assert done.returncode == 2
        assert "no provider of this name is configured; did you mean hub?" in done.stderr


def test_trying_connects_and_sends_nothing(config):
    with token_endpoint(500, "") as (url, received):
        done = run("providers", "test", "hub", *config(provider(url)))
        assert done.returncode == 0, done.stderr
        assert f"token endpoint: {url}\n" in done.stdout
        assert "revocation endpoint: unknown\n" in done.stdout
        assert done.stdout.endswith("connected; nothing was sent\n")
        assert received == []


@pytest.mark.parametrize(
    ("status", "body", "code", "told"),
    [
        (400, '{"error":"invalid_grant"}', 0, "the provider accepts the client"),
        (401, '{"error":"invalid_client"}', 1, "the provider refuses the client: the answer is the error invalid_client"),
        (403, '{"error":"unauthorized_client"}', 1, "the provider refuses the client or the request: the answer is the error"),
        (404, "", 1, "the token endpoint doesn't take the request: the answer has status 404"),
        (400, '{"error":"their_own_code"}', 1, "the answer is the error their_own_code, and it isn't known"),
        (500, "oops", 1, "the answer says nothing about the client: the answer has status 500"),
        (200, '{"access_token":"S3cr3t-token"}', 1, "the answer says nothing about the client"),
    ],
)
def test_a_made_up_token_tells_whether_the_client_is_accepted(config, status, body, code, told):
    with token_endpoint(status, body) as (url, received):
        done = run("providers", "test", "hub", "--with-made-up-token", *config(provider(url)))
        assert done.returncode == code, done.stderr
        assert told in (done.stdout if code == 0 else done.stderr)
        assert len(received) == 1 and "client_id=the-client" in received[0] and "made-up" in received[0]
        assert "S3cr3t" not in done.stdout + done.stderr


def test_atlassian_says_of_a_dead_token_what_others_say_of_a_client(config):
    with token_endpoint(403, '{"error":"unauthorized_client","error_description":"refresh_token is invalid"}') as (url, _):
        settings = provider(url).replace("[providers.hub]", '[providers.hub]\npreset = "atlassian"')
        done = run("providers", "test", "hub", "--with-made-up-token", *config(settings))
        assert done.returncode == 0, done.stderr
        assert "the provider accepts the client" in done.stdout


def test_a_provider_that_is_not_there_is_told(config):
    with closing(ReservedPort()) as port:
        arguments = config(provider(f"http://127.0.0.1:{port.number}/token"))
        done = run("providers", "test", "hub", *arguments)
    assert done.returncode == 1
    assert "the provider can't be reached: the connection was refused" in done.stderr
    config.secret.write_text("")
    done = run("providers", "test", "hub", *arguments)
    assert done.returncode == 2
    assert "providers.hub.client-secret-file: it is empty" in done.stderr


def test_metadata_of_another_issuer_is_shown(config):
    settings = """
        [providers.hub]
        issuer = "ISSUER"
        client-id = "the-client"
        client-authentication = "none"
    """
    with token_endpoint(200, '{"issuer":"https://other.example\\u001b[2J"}') as (url, _):
        done = run("providers", "test", "hub", *config(settings.replace("ISSUER", url)))
    assert done.returncode == 2
    assert f"metadata: {url}/.well-known/openid-configuration: of the issuer " in done.stdout
    assert "https://other.example" in done.stdout and "\x1b" not in done.stdout
    assert "that of another issuer" in done.stderr
    with token_endpoint(404, "") as (url, _):
        done = run("providers", "test", "hub", *config(settings.replace("ISSUER", url)))
    assert done.returncode == 2
    assert done.stdout.count("metadata: ") == 2 and done.stdout.count(": the answer has status 404") == 2
    assert "is the issuer right?" in done.stderr


def test_refusals_of_a_misspelt_provider_are_not_taken_back(config):
    def clear(name: str, redis: Redis) -> subprocess.CompletedProcess:
        arguments = config(provider("https://idp.example/token"))
        return run("providers", "clear-refused", name, "--since", "1h", *arguments, *redis.options)

    redis = Redis()
    try:
        done = clear("hup", redis)
        assert done.returncode == 2 and done.stdout == "", done.stdout
        assert "no provider of this name is configured" in done.stderr
        done = clear("hub", redis)
        assert done.returncode == 0, done.stderr
        left = "0 older than --since, 0 for good, 0 in doubt, 0 that can't be read, 0 whose record can't be read"
        assert done.stdout == f"refusals taken back: 0\nleft as they are: {left}\n"
    finally:
        redis.close()
