"""An auth server with flaws, one of which is chosen while it runs: the control of the tests of examples/auth-server."""

import json
from pathlib import Path

from client import run
from login import LOGIN

# By what is lacking: the file, what stands there, and what stands there instead. `flaw` says whether this flaw is the chosen one.
FLAWS = {
    "the state isn't tied to the browser": (
        "login.go",
        "!ok || err != nil || answer.state ==",
        "!flaw(NAME) && (!ok || err != nil || answer.state ==",
        "[]byte(answer.state)) != 1 {",
        "[]byte(answer.state)) != 1) {",
    ),
    "any provider's callback will do": (
        "login.go",
        "State: answer.state, Provider: &provider.Name}",
        "State: answer.state, Provider: without(NAME, &provider.Name)}",
    ),
    "any issuer will do": ("leg.go", "if answer.issuer != provider.Issuer &&", "if !flaw(NAME) && answer.issuer != provider.Issuer &&"),
    "an issuer that is left out will do": ("leg.go", "|| metadata.NamesIssuer)", "|| metadata.NamesIssuer && !flaw(NAME))"),
    "all logins have one verifier": ("login.go", "Verifier: random()", 'Verifier: either(NAME, strings.Repeat("v", 43), random())'),
    "an abandoned login leaves tokens": (
        "failure.go",
        "s.broker.tokens.Delete(ctx, everything(session))",
        's.broker.tokens.Delete(ctx, everything(either(NAME, "another", session)))',
    ),
    "another user's account is taken": ("leg.go", "return *user, err\n", "return *user, without(NAME, err)\n"),
    "the broker isn't told of a refused token": ("pages.go", "ask.RejectedVersion = &version", "if flaw(NAME) {\n return \"\", err\n}\nask.RejectedVersion = &version"),
    "a token is logged": ("leg.go", "claims, err := provider.verify(", 'log.Print(either(NAME, got.RefreshToken, ""))\nclaims, err := provider.verify('),
    "an error is taken for a code": ("leg.go", "switch answer.refusal {", "if flaw(NAME) {\nreturn nil\n}\nswitch answer.refusal {"),
    "a provider that is down is taken for one that refuses": ("failure.go", "errors.Is(err, errDown):", "errors.Is(err, errDown) && !flaw(NAME):"),
    "a failure is shown where the code is": (
        "failure.go",
        "http.Redirect(writer, request, \"/failed/\"",
        "if flaw(NAME) {\ns.say(writer, request, failures[failure].code, strings.ReplaceAll(failures[failure].text, \"{provider}\", provider))\nreturn\n}\n"
        "http.Redirect(writer, request, \"/failed/\"",
    ),
    "half a login lives as long as a session": (
        "leg.go",
        "time.Duration(len(s.chain)) * legLength",
        "either(NAME, sessionLength, time.Duration(len(s.chain)) * legLength)",
    ),
    "a session lives as long as half a login": ("leg.go", "entry.Tokens.SessionExpiresAt = until", "if !flaw(NAME) {\nentry.Tokens.SessionExpiresAt = until\n}"),
    "all logins of a browser have one cookie": ("login.go", '"login_" + sha256URL(state)[:12]', '"login_" + either(NAME, "", sha256URL(state)[:12])'),
    "the former session stays": ("login.go", "former != nil {", "former != nil && !flaw(NAME) {"),
    "pages may be kept": ("main.go", '"Cache-Control", "no-store"', '"Cache-Control", either(NAME, "max-age=60", "no-store")'),
    "other sites' forms are taken": ("main.go", "protection.Handler(mux).ServeHTTP", "if flaw(NAME) {\nmux.ServeHTTP(writer, request)\nreturn\n}\nprotection.Handler(mux).ServeHTTP"),
    "a login ends when the broker is away": ("login.go", "err != nil && mayStillWait(err) {", "err != nil && mayStillWait(err) && !flaw(NAME) {"),
    "scripts see the session": ("session.go", "HttpOnly: true", "HttpOnly: !flaw(NAME)"),
}

_CHOICE = """package main

import "os"

func flaw(name string) bool {
	chosen, _ := os.ReadFile(%s)
	return string(chosen) == name
}

func either[T any](name string, wrong, right T) T {
	if flaw(name) {
		return wrong
	}
	return right
}

func without[T any](name string, right T) (wrong T) { return either(name, wrong, right) }
"""
# What the flaws need, by file.
_IMPORTS = {"leg.go": ["log"], "login.go": ["strings"]}


class Flawed:
    """An auth server with all flaws, of which none or one is chosen."""

    def __init__(self, folder: Path):
        self.program, self._choice = folder / "flawed", folder / "choice"
        self._choice.write_text("")
        files = {"flaws.go": _CHOICE % json.dumps(str(self._choice))}
        for name, (file, *changes) in FLAWS.items():
            text = files.get(file) or (LOGIN / file).read_text()
            for right, wrong in zip(changes[::2], changes[1::2], strict=True):
                assert text.count(right) == 1, f"{name}: {right}"
                text = text.replace(right, wrong.replace("NAME", json.dumps(name)))
            files[file] = text
        for file, imports in _IMPORTS.items():
            files[file] = files[file].replace("import (", "import (" + "".join(f'\n\t"{name}"' for name in imports))
        for file, text in files.items():
            (folder / file).write_text(text)
        overlay = folder / "overlay.json"
        overlay.write_text(json.dumps({"Replace": {str(LOGIN / file): str(folder / file) for file in files}}))
        run(f"go build -overlay {overlay} -o {self.program} .", LOGIN, 100)

    def choose(self, flaw: str) -> None:
        """Has it have this flaw from now on, or none."""
        assert not flaw or flaw in FLAWS
        self._choice.write_text(flaw)
