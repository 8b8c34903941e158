"""The control of test_auth_server: auth servers that each lack one thing, which its tests have to notice."""

import json

import pytest

import test_auth_server as tests
from browser import Browser
from client import run as run_script
from login import LOGIN, site
from test_auth_server import build  # noqa: F401

# What is lacking: the file, what stands there, what stands there instead, and who notices.
FLAWS = {
    "the state isn't tied to the browser": (
        "login.go",
        "subtle.ConstantTimeCompare([]byte(cookie.Value), []byte(state)) != 1",
        "subtle.ConstantTimeCompare([]byte(cookie.Value), nil) == 1",
        tests.test_a_callback_works_once_and_only_in_the_browser_that_began,
    ),
    "any provider's callback will do": (
        "login.go",
        "&pb.ConsumeRequest{State: state, Provider: &provider.Name}",
        "&pb.ConsumeRequest{State: state}",
        tests.test_a_misrouted_callback_is_refused_and_its_state_is_burnt,
    ),
    "any issuer will do": (
        "login.go",
        "if issuer != provider.Issuer && (issuer != \"\" || metadata.NamesIssuer) {",
        "if false {",
        lambda *given: tests.test_a_callback_of_another_issuer_is_refused(*given, "two"),
    ),
    "an issuer that is left out will do": (
        "login.go",
        "(issuer != \"\" || metadata.NamesIssuer)",
        "issuer != \"\"",
        lambda *given: tests.test_a_callback_of_another_issuer_is_refused(*given, None),
    ),
    "all logins have one verifier": (
        "login.go",
        "Verifier: random()",
        "Verifier: strings.Repeat(\"v\", 43)",
        tests.test_a_code_of_another_login_is_refused,
    ),
    "an abandoned login leaves tokens": (
        "login.go",
        "s.broker.tokens.Delete(ctx, everything(session))",
        "s.broker.tokens.Delete(ctx, everything(\"another\"))",
        tests.test_a_user_who_denies_consent_isnt_logged_in_and_nothing_stays,
    ),
    "another user's account is taken": (
        "login.go",
        "return *user, err\n",
        "_ = err\n\treturn *user, nil\n",
        tests.test_a_user_who_comes_again_is_the_same_user_in_another_session,
    ),
    "the broker isn't told of a refused token": (
        "pages.go",
        "ask.RejectedVersion = &version",
        "_ = version\n\t\t\treturn \"\", err",
        tests.test_a_user_logs_in_at_both_providers_calls_backends_and_logs_out,
    ),
    "a token is logged": (
        "login.go",
        "claims, err := provider.verify(",
        "log.Print(answer.RefreshToken)\n\tclaims, err := provider.verify(",
        tests.test_a_user_logs_in_at_both_providers_calls_backends_and_logs_out,
    ),
}


@pytest.mark.parametrize("flaw", FLAWS)
def test_a_flaw_is_noticed(build, tmp_path, flaw):  # noqa: F811
    file, right, wrong, notices = FLAWS[flaw]
    text = (LOGIN / file).read_text()
    assert text.count(right) == 1
    (tmp_path / file).write_text(text.replace(right, wrong))
    overlay = tmp_path / "overlay.json"
    overlay.write_text(json.dumps({"Replace": {str(LOGIN / file): str(tmp_path / file)}}))
    program = tmp_path / "auth-server"
    run_script(f"go build -overlay {overlay} -o {program} .", LOGIN, 100)
    with site(tmp_path, program=program) as started, pytest.raises(AssertionError):
        notices(started, Browser())
