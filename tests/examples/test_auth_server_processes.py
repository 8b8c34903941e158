"""Replaces the processes of the example auth server in the middle of a login, and starts them by one command."""

import socket
import subprocess
from pathlib import Path

import pytest

from browser import Browser
from login import LOGIN, check_logs, claims, site
from support.processes import clean_environment
from support.redis import Redis
from test_auth_server import assert_over


def test_the_broker_and_the_auth_server_are_replaced_in_the_middle_of_a_login(build, tmp_path):
    redis, browser = Redis(), Browser()
    try:
        with site(tmp_path, redis.options) as started:
            page = started.first_leg(browser)
            started.restart()
            page = browser.follow(page)
            started.restart()
            page = browser.follow(started.consent(browser, started.log_in(browser, page, "alice-2"), "two"))
            started.restart()
            page = browser.request(started.url + "/")
            assert "one: has a token" in page.text and "two: has a token" in page.text
            assert browser.submit(page, "/backend/two").message == "The backend of two knows you as alice-2."
            check_logs(started, browser)
            session = claims(browser.cookie("session"))
            assert "Log in" in browser.submit(page, "/logout").text
            assert started.rows(session["sub"]) == {}
    finally:
        redis.close()


def test_a_broker_that_forgets_in_the_middle_ends_the_login(build, tmp_path):
    """The control of the test above: in memory nothing outlives the broker."""
    browser = Browser()
    with site(tmp_path) as started:
        page = started.first_leg(browser)
        started.restart()
        assert_over(browser.follow(page))


def test_one_command_runs_it_has_it_fail_and_cleans_up(build):
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen([LOGIN / "run"], env=clean_environment(), text=True, **pipes) as running:

        def told(line: str) -> str:
            print(line, file=running.stdin, flush=True)
            return running.stdout.readline().strip()

        def read_help() -> None:
            while not running.stdout.readline().startswith("  restart "):
                pass

        try:
            line = running.stdout.readline()
            told_where = " in a browser, and log in with any names and passwords; the logs are in "
            url, folder = line.removeprefix("open ").split(told_where)
            read_help()
            browser = Browser()
            page = browser.request(url + "/")
            assert "Log in" in page.text
            assert told("three down").startswith("what can be typed")
            read_help()
            assert told("one down") == "done"
            assert browser.submit(page, "/login").message.startswith("one can&#39;t be reached now")
            assert told("one up") == "done"
            form = browser.submit(page, "/login")
            assert "Sign-in" in form.text
            page = browser.submit(form, login="zoe", password="x", before=url)
            assert told("restart") == "done"
            assert_over(browser.submit(page))
        finally:
            running.terminate()
        assert (running.wait(timeout=20), running.stderr.read()) == (0, "")
    with pytest.raises(OSError):
        Browser().request(url + "/")
    assert not Path(folder.strip()).exists()


def test_it_says_what_is_missing_and_what_is_wrong(build, tmp_path):
    """No trace of Python. What was started has ended when it says so."""

    def told(*arguments: str, **environment: str) -> str:
        command = [LOGIN / "run", *arguments]
        done = subprocess.run(command, env=clean_environment(environment), capture_output=True, text=True, timeout=60)
        assert done.returncode != 0 and "Traceback" not in done.stderr
        return done.stderr

    lacking = tmp_path / "broker"
    assert told(BROKER_BINARY=str(lacking)) == f"{lacking} is missing; build the broker: cargo build\n"
    assert "invalid int value" in told("x") and "PORT is from 1 to 65535" in told("70000")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        said = told(str(taken.getsockname()[1]))
        assert said.startswith("the auth server doesn't start: ") and "address already in use" in said
