"""The control of the tests of examples/auth-server: auth servers that each lack one thing, which a test has to notice."""

from functools import partial

import pytest

import people
import test_auth_server as tests
import test_auth_server_chromium as real
import test_auth_server_chromium_failures as failures
from auth_server_flaws import FLAWS
from browser import Browser
from login import check_logs, site

# Who notices a flaw, with an HTTP client for a browser.
BY_CLIENT = {
    "the state isn't tied to the browser": tests.test_a_callback_works_once_and_only_in_the_browser_that_began,
    "any provider's callback will do": tests.test_a_misrouted_callback_is_refused_and_its_state_is_burnt,
    "any issuer will do": partial(tests.test_a_callback_of_another_issuer_is_refused, issuer="two"),
    "an issuer that is left out will do": partial(tests.test_a_callback_of_another_issuer_is_refused, issuer=None),
    "all logins have one verifier": tests.test_a_code_of_another_login_is_refused,
    "an abandoned login leaves tokens": tests.test_a_user_who_denies_consent_isnt_logged_in_and_nothing_stays,
    "another user's account is taken": tests.test_a_user_who_comes_again_is_the_same_user_in_another_session,
    "the broker isn't told of a refused token": tests.test_a_user_logs_in_at_both_providers_calls_backends_and_logs_out,
    "a token is logged": tests.test_a_user_logs_in_at_both_providers_calls_backends_and_logs_out,
}
# Who notices it with Chromium.
BY_CHROMIUM = {
    "any provider's callback will do": failures.test_a_code_that_comes_to_another_providers_callback_is_refused,
    "any issuer will do": failures.test_an_answer_that_names_another_issuer_is_refused,
    "an error is taken for a code": partial(failures.test_a_user_who_declines_is_told_so_and_nothing_stays, leg="one"),
    "an abandoned login leaves tokens": failures.test_a_provider_that_is_down_before_the_second_leg,
    "a provider that is down is taken for one that refuses": failures.test_a_provider_that_redeems_no_code,
    "half a login lives as long as a session": failures.test_a_provider_that_goes_down_while_its_form_is_open,
    "a session lives as long as half a login": failures.test_a_code_of_the_second_leg_that_comes_to_the_firsts_callback_is_refused,
    "a failure is shown where the code is": failures.test_a_login_that_took_too_long_is_over,
    "all logins of a browser have one cookie": real.test_two_tabs_log_in_at_the_same_time_and_the_later_session_is_the_one,
    "the former session stays": real.test_two_tabs_log_in_at_the_same_time_and_the_later_session_is_the_one,
    "pages may be kept": real.test_after_a_logout_the_button_for_going_back_shows_nothing_of_the_session,
    "other sites' forms are taken": real.test_the_page_of_another_origin_logs_nobody_in_or_out,
    "scripts see the session": real.test_a_user_logs_in_calls_both_backends_and_logs_out,
}


@pytest.fixture(scope="module")
def flawed_site(flawed, tmp_path_factory):
    """A site with the flawed auth server."""
    flawed.choose("")
    with site(tmp_path_factory.mktemp("flawed"), program=flawed.program) as running:
        yield running


@pytest.fixture
def started(flawed_site):
    """The same, with a new broker and providers as they were, which know nothing of the tests before."""
    flawed_site.stop_broker()
    flawed_site.start_broker()
    for provider in (flawed_site.one, flawed_site.two):
        provider.tell("up")
    return flawed_site


@pytest.mark.parametrize("flaw", BY_CLIENT)
def test_a_flaw_is_noticed(started, flawed, flaw):
    flawed.choose(flaw)
    with pytest.raises(AssertionError):
        BY_CLIENT[flaw](started, Browser())


@pytest.mark.parametrize("flaw", BY_CHROMIUM)
def test_a_flaw_is_noticed_in_a_real_browser(started, flawed, chromium, flaw):
    flawed.choose(flaw)
    tab = chromium.person()
    with pytest.raises(AssertionError):
        BY_CHROMIUM[flaw](started, tab)
        # What the fixture looks at in the end.
        people.nothing_shown(started, tab)
    tab.leave()


def test_each_flaw_has_somebody_who_notices():
    # The last one is in test_auth_server_chromium_restart.py.
    assert {*BY_CLIENT, *BY_CHROMIUM} == set(FLAWS) - {"a login ends when the broker is away"}


def test_without_a_flaw_it_is_an_auth_server_like_the_other(started, flawed, chromium):
    flawed.choose("")
    tab = chromium.person()
    tab.go(started.url)
    people.logs_in(started, tab, "xaver")
    check_logs(started, tab)
    tab.leave()
