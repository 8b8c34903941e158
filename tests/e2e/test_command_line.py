"""Tests that a mistake in the configuration ends the program with exit code 2 and the name of the setting."""

import json
import re
import subprocess

import pytest

from support.broker import running
from support.paths import ROOT, broker_binary
from support.processes import clean_environment
from support.redis import PATIENT, Redis


def run(*arguments: str, env: dict[str, str] | None = None) -> subprocess.CompletedProcess:
    """Runs the binary to its end. A binary that serves in spite of a mistake runs into the timeout."""
    return subprocess.run(
        [broker_binary(), *arguments],
        env=clean_environment(env),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
    )


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["--listen", "nonsense"], ["listen"]),
        (["--listen", "0.0.0.0:0"], ["listen", "insecure-allow-remote"]),
        (["--backend", "postgres"], ["backend"]),
        (["--backend", "redis", "--redis-url", "http://127.0.0.1/"], ["redis-url"]),
        (["--tenant", "No Colon"], ["tenant"]),
        (["--legacy-provider", "oidc"], ["legacy-provider"]),
        (["--log-format", "xml"], ["log-format"]),
        (["--shutdown-grace", "soon"], ["shutdown-grace"]),
        (["--config", "/nonexistent/broker.toml"], ["config", "/nonexistent/broker.toml"]),
        (["--no-such-flag"], ["no-such-flag"]),
        (["no-such-command"], ["no-such-command"]),
    ],
)
def test_a_bad_flag_is_named(arguments, named):
    done = run(*arguments)
    assert done.returncode == 2, done.stderr
    for name in named:
        assert name in done.stderr


@pytest.mark.parametrize(
    ("variable", "value", "named"),
    [("TOKEN_BROKER_LISTEN", "nonsense", "listen"), ("TOKEN_BROKER_TENANT", "No Colon", "tenant")],
)
def test_a_bad_variable_is_named(variable, value, named):
    done = run("serve", env={variable: value})
    assert done.returncode == 2, done.stderr
    assert named in done.stderr.lower()


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ('listen = "nonsense"', "listen"),
        ("no-such-setting = 1", "no-such-setting"),
        ("tenant = 7", "tenant"),
        ("\nlisten = ", "line 2"),
    ],
)
def test_a_bad_key_of_the_file_is_named(tmp_path, text, named):
    file = tmp_path / "broker.toml"
    file.write_text(text + "\n")
    done = run("serve", "--config", str(file))
    assert done.returncode == 2, done.stderr
    assert named in done.stderr


def test_all_mistakes_are_reported_at_once(tmp_path):
    file = tmp_path / "broker.toml"
    file.write_text('tenant = "No Colon"\n')
    done = run(
        "serve", "--listen", "0.0.0.0:0", "--config", str(file), env={"TOKEN_BROKER_SHUTDOWN_GRACE": "soon"}
    )
    assert done.returncode == 2
    for name in ("--listen: ", "tenant: ", "TOKEN_BROKER_SHUTDOWN_GRACE: "):
        assert name in done.stderr


@pytest.mark.parametrize("command", ["serve", "migrate", "check"])
def test_a_password_on_the_command_line_is_refused(command):
    done = run(command, "--backend", "redis", "--redis-url", "redis://:hunter2@127.0.0.1:1/0")
    assert done.returncode == 2, done.stderr
    assert "redis-url" in done.stderr and "TOKEN_BROKER_REDIS_URL" in done.stderr
    assert "hunter2" not in done.stderr + done.stdout


def test_a_password_in_the_environment_works_and_is_logged_nowhere():
    redis = Redis(password="hunter2")
    try:
        with running("--backend", "redis", *PATIENT, env={"TOKEN_BROKER_REDIS_URL": redis.url_with_password}) as broker:
            broker.client.Store(session_id="s", provider="github", tokens={"access_token": "at"})
            assert redis.command("EXISTS", "thv:auth:{default:default}:upstream:s:github") == "1"
            assert "hunter2" not in "".join(broker.log)
    finally:
        redis.close()


def test_a_flag_beats_the_environment_which_beats_the_file(tmp_path, redis):
    file = tmp_path / "broker.toml"
    file.write_text('tenant = "from:file"\nbackend = "redis"\n')
    env = {"TOKEN_BROKER_TENANT": "from:environment", "TOKEN_BROKER_REDIS_URL": redis.url}
    for flags, tenant in (([], "from:environment"), (["--tenant", "from:flag"], "from:flag")):
        with running("--config", str(file), *flags, *PATIENT, env=env) as broker:
            broker.client.Store(session_id="s", provider="github", tokens={"access_token": "at"})
        assert redis.command("EXISTS", f"thv:auth:{{{tenant}}}:upstream:s:github") == "1"


def test_help_and_version_are_not_mistakes():
    help_text = run("--help")
    assert help_text.returncode == 0
    for name in ("serve", "migrate", "check", "health", "--listen", "--redis-url", "TOKEN_BROKER_REDIS_URL"):
        assert name in help_text.stdout + run("serve", "--help").stdout
    assert run("--version").stdout == f"token-broker {version()}\n"


@pytest.mark.parametrize("command", ["serve", "health"])
def test_an_empty_variable_of_the_file_is_told_of_as_any_other(command):
    done = run(command, env={"TOKEN_BROKER_CONFIG": ""})
    assert done.returncode == 2
    assert "config: is set to nothing" in done.stderr


def test_a_system_without_authorities_is_told_of(tmp_path):
    env = {"SSL_CERT_FILE": str(tmp_path / "none.pem"), "SSL_CERT_DIR": str(tmp_path)}
    done = run("--check-config", env=env | {"TOKEN_BROKER_REDIS_URL": "rediss://nowhere.invalid"})
    assert done.returncode == 2, done.stderr
    assert "redis-tls-ca: the system has no certificate authorities" in done.stderr


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["--check-config"]])
def test_what_cannot_be_printed_is_no_success(arguments):
    with open("/dev/full", "w") as full:
        done = subprocess.run([broker_binary(), *arguments], env=clean_environment(), stdout=full, timeout=60)
    assert done.returncode == 1


@pytest.mark.parametrize("arguments", [["--listen", "nonsense"], ["check", "--backend", "memory"]])
def test_the_exit_code_is_the_same_where_messages_cannot_be_printed(arguments):
    with open("/dev/full", "w") as full:
        done = subprocess.run([broker_binary(), *arguments], env=clean_environment(), stderr=full, timeout=60)
    assert done.returncode == 2


def version() -> str:
    """Returns the version in the workspace's manifest."""
    manifest = (ROOT / "Cargo.toml").read_text()
    return re.search(r'^version = "(.+)"$', manifest, re.MULTILINE).group(1)


def test_the_line_that_says_serving_has_the_version():
    with running() as broker:
        (line,) = [line for line in broker.log if '"serving"' in line]
        assert json.loads(line)["fields"]["version"] == version()


def test_a_variable_that_names_no_setting_is_warned_of():
    env = {
        "TOKEN_BROKER_LISTEM": "hunter2",
        "TOKEN_BROKER_PORT": "tcp://10.0.0.7:50051",
        "TOKEN_BROKER_SERVICE_HOST": "10.0.0.7",
    }
    told = "TOKEN_BROKER_LISTEM: is the variable of no setting; did you mean TOKEN_BROKER_LISTEN?"
    with running(env=env) as broker:
        warnings = [line for line in broker.log if "of no setting" in line]
        assert len(warnings) == 1 and told in warnings[0] and "hunter2" not in warnings[0]
    done = run("--check-config", "--max-calls", "0", env=env)
    assert done.returncode == 2
    assert f"warning: {told}" in done.stderr and "--max-calls: " in done.stderr


def test_the_configuration_is_checked_without_a_start(tmp_path):
    password = tmp_path / "password"
    password.write_text("hunter2\n")
    file = tmp_path / "broker.toml"
    file.write_text(f'redis-password-file = "{password}"\nmax-providers = 1000\n')
    env = {"TOKEN_BROKER_REDIS_URL": "redis://user@nowhere.invalid/3"}
    arguments = ("--check-config", "--config", str(file), "--redis-timeout", "2s")
    for command in ([], ["serve"]):
        done = run(*command, *arguments, env=env)
        assert done.returncode == 0, done.stderr
        lines = done.stdout.splitlines()
        for line in (
            'backend = "redis"  # because redis-url is set',
            'redis-url = "redis://user@nowhere.invalid/3"  # TOKEN_BROKER_REDIS_URL',
            f'redis-password-file = "{password}"  # file',
            'redis-timeout = "2s"  # --redis-timeout',
            '# call-timeout = "10s"  # default',
        ):
            assert line in lines, done.stdout
        assert "warning: max-row-bytes: " in done.stderr
        assert "hunter2" not in done.stdout + done.stderr
    password.unlink()
    done = run(*arguments, env=env)
    assert done.returncode == 2 and done.stdout == ""
    assert "redis-password-file: no such file" in done.stderr


SECRET = "S3cr3t/S3cr3t@S3cr3t"


def test_no_output_quotes_what_was_set_in_the_wrong_place():
    flags = re.findall(r"^ +--([a-z-]+)", run("--help").stdout, re.MULTILINE)
    settings = [flag for flag in flags if flag not in ("check-config", "config", "help", "version")]
    assert len(settings) > 30
    for setting in settings:
        variable = "TOKEN_BROKER_" + setting.upper().replace("-", "_")
        if setting in ("redis-sentinel-username", "redis-password", "redis-sentinel-password"):
            continue  # What is set there is right.
        for arguments, env in ((["--help"], {variable: SECRET}), (["--check-config"], {variable: SECRET})):
            done = run(*arguments, env=env)
            assert "S3cr3t" not in done.stdout + done.stderr, (setting, arguments)
    for arguments in (["--no-such-flag=" + SECRET], ["health", "--addr", SECRET]):
        assert "S3cr3t" not in run(*arguments).stderr
