"""The control of the tests of examples/sidecar: sidecars that each lack one thing, which a test has to notice."""

import inspect
from contextlib import ExitStack
from functools import partial

import pytest

import sidecar
import test_sidecar as tests
import test_sidecar_smuggling as smuggling
import test_sidecar_streams as streams
from flaws import Flawed
from sidecar_world import World
from test_sidecar_smuggling import service  # noqa: F401
from test_sidecar_streams import serving  # noqa: F401

# By what is lacking: the file, what stands there, and what stands there instead.
FLAWS = {
    "the JWT passes on": (
        "proxy.go",
        'request.Out.Header.Del("Authorization")',
        'if !flaw(NAME) {\nrequest.Out.Header.Del("Authorization")\n}',
    ),
    "a header with _ passes": (
        "proxy.go",
        'return strings.Contains(name, "_")',
        'return strings.Contains(name, "_") && !flaw(NAME)',
    ),
    "a trailer is announced": (
        "proxy.go",
        "request.Out.Trailer = nil",
        "if !flaw(NAME) {\nrequest.Out.Trailer = nil\n}",
    ),
    "an unsigned JWT will do": (
        "jwt.go",
        "if !v.signed(",
        'if !(flaw(NAME) && text(header["alg"]) == "none") && !v.signed(',
    ),
    "the first of two JWTs counts": (
        "jwt.go",
        "if len(authorization) > 1 ||",
        "if len(authorization) > 1 && !flaw(NAME) ||",
    ),
    "an upgrade needs no JWT": (
        "proxy.go",
        'request.Header.Values("Authorization"))\n\t\tif err != nil {',
        'request.Header.Values("Authorization"))\n\t\tif err != nil && !(flaw(NAME) && request.Header.Get("Upgrade") != "") {',
    ),
    "any upgrade passes": (
        "proxy.go",
        'if !strings.EqualFold(request.Header.Get("Upgrade"), "websocket")',
        'if !flaw(NAME) && !strings.EqualFold(request.Header.Get("Upgrade"), "websocket")',
    ),
    "TRACE passes": ("proxy.go", "case http.MethodTrace,", "case either(NAME, \"none\", http.MethodTrace),"),
    "who ends too soon is answered": (
        "refusal.go",
        "panic(http.ErrAbortHandler)",
        "if flaw(NAME) {\nreturn\n}\npanic(http.ErrAbortHandler)",
    ),
    "a body without a length is kept": (
        "proxy.go",
        "if request.ContentLength < 0 ||",
        "if request.ContentLength < 0 && !flaw(NAME) ||",
    ),
    "a body is kept that is too long": (
        "proxy.go",
        "request.ContentLength > t.replay {",
        "request.ContentLength > t.replay+either(NAME, int64(1), 0) {",
    ),
    "a body that wasn't kept is sent again": ("proxy.go", "case !replayable:", "case !replayable && !flaw(NAME):"),
    "the broker isn't told of a refused token": (
        "proxy.go",
        "t.tokens.get(ctx, from, &refused)",
        "t.tokens.get(ctx, from, without(NAME, &refused))",
    ),
    "whatever fails is repeated": (
        "proxy.go",
        "return t.service.RoundTrip(outgoing)",
        "answer, err := t.service.RoundTrip(outgoing)\nif err != nil && flaw(NAME) {\n"
        "outgoing.Body = io.NopCloser(bytes.NewReader(body))\nreturn t.service.RoundTrip(outgoing)\n}\nreturn answer, err",
    ),
}
# Who notices.
NOTICES = {
    "the JWT passes on": partial(
        smuggling.test_the_service_sees_one_token_whatever_it_takes_for_the_same_header, header="X-Upstream-Token"
    ),
    "a header with _ passes": partial(
        smuggling.test_the_service_sees_one_token_whatever_it_takes_for_the_same_header, header="X-Upstream-Token"
    ),
    "a trailer is announced": partial(
        smuggling.test_the_service_sees_one_token_whatever_it_takes_for_the_same_header, header="Authorization"
    ),
    "an unsigned JWT will do": tests.test_without_a_valid_jwt_nothing_is_asked_and_nothing_arrives,
    "the first of two JWTs counts": partial(
        smuggling.test_an_authorization_that_can_be_read_in_two_ways_is_none, kind="twice"
    ),
    "an upgrade needs no JWT": streams.test_a_websocket_without_a_valid_jwt_never_arrives,
    "any upgrade passes": partial(smuggling.test_no_client_gets_past_the_sidecar_by_an_upgrade, upgrade="h2c"),
    "TRACE passes": partial(smuggling.test_no_client_has_the_service_show_the_token, method="TRACE"),
    "who ends too soon is answered": streams.test_a_body_that_ends_too_soon_never_arrives,
    "a body without a length is kept": streams.test_a_body_without_a_length_arrives_while_it_is_sent,
    "a body is kept that is too long": partial(
        streams.test_a_body_is_sent_again_if_it_was_kept_and_only_then, size=11, status=503
    ),
    "a body that wasn't kept is sent again": partial(
        tests.test_a_body_that_was_not_kept_is_not_sent_again, body=b"x" * 70_000
    ),
    "the broker isn't told of a refused token": partial(
        streams.test_a_websocket_gets_the_token_and_both_sides_talk, first="refused"
    ),
    "whatever fails is repeated": streams.test_a_request_whose_answer_is_lost_isnt_sent_again,
}


@pytest.fixture(scope="module")
def flawed(tmp_path_factory):
    command = sidecar.built()
    built = Flawed(sidecar.SIDECAR, FLAWS, {}, tmp_path_factory.mktemp("flaws"))
    world = World(tmp_path_factory.mktemp("sidecar"), command.replace("build/sidecar", str(built.program)))
    with ExitStack() as stack:
        world.start(stack)
        yield built, world
        built.choose("")


@pytest.mark.parametrize("flaw", FLAWS)
def test_a_flaw_is_noticed(flawed, flaw, request, monkeypatch):
    built, world = flawed
    built.choose(flaw)
    monkeypatch.setattr(streams, "PATIENCE", 1)
    test = NOTICES[flaw]
    known = {"world", *getattr(test, "keywords", {})}
    others = {name: request.getfixturevalue(name) for name in inspect.signature(test).parameters if name not in known}
    with pytest.raises(AssertionError):
        test(world=world, **others)
