"""What examples/auth-server lacks in the control of its tests. See flaws.py."""

# By what is lacking: the file, what stands there, and what stands there instead.
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
    "any issuer will do": (
        "leg.go",
        "if answer.issuer != provider.Issuer &&",
        "if !flaw(NAME) && answer.issuer != provider.Issuer &&",
    ),
    "an issuer that is left out will do": (
        "leg.go",
        "|| metadata.NamesIssuer)",
        "|| metadata.NamesIssuer && !flaw(NAME))",
    ),
    "all logins have one verifier": (
        "login.go",
        "Verifier: random()",
        'Verifier: either(NAME, strings.Repeat("v", 43), random())',
    ),
    "an abandoned login leaves tokens": (
        "failure.go",
        "s.broker.tokens.Delete(ctx, everything(session))",
        's.broker.tokens.Delete(ctx, everything(either(NAME, "another", session)))',
    ),
    "another user's account is taken": ("leg.go", "return *user, err\n", "return *user, without(NAME, err)\n"),
    "the broker isn't told of a refused token": (
        "pages.go",
        "ask.RejectedVersion = &version",
        'if flaw(NAME) {\n return "", err\n}\nask.RejectedVersion = &version',
    ),
    "a token is logged": (
        "leg.go",
        "claims, err := provider.verify(",
        'log.Print(either(NAME, got.RefreshToken, ""))\nclaims, err := provider.verify(',
    ),
    "an error is taken for a code": (
        "leg.go",
        "switch answer.refusal {",
        "if flaw(NAME) {\nreturn nil\n}\nswitch answer.refusal {",
    ),
    "a provider that is down is taken for one that refuses": (
        "failure.go",
        "errors.Is(err, errDown):",
        "errors.Is(err, errDown) && !flaw(NAME):",
    ),
    "a failure is shown where the code is": (
        "failure.go",
        'http.Redirect(writer, request, "/failed/"',
        'if flaw(NAME) {\ns.say(writer, request, failures[failure].code, strings.ReplaceAll(failures[failure].text, "{provider}", provider))\nreturn\n}\n'
        'http.Redirect(writer, request, "/failed/"',
    ),
    "half a login lives as long as a session": (
        "leg.go",
        "time.Duration(len(s.chain)) * legLength",
        "either(NAME, sessionLength, time.Duration(len(s.chain)) * legLength)",
    ),
    "a session lives as long as half a login": (
        "leg.go",
        "entry.Tokens.SessionExpiresAt = until",
        "if !flaw(NAME) {\nentry.Tokens.SessionExpiresAt = until\n}",
    ),
    "all logins of a browser have one cookie": (
        "login.go",
        '"login_" + sha256URL(state)[:12]',
        '"login_" + either(NAME, "", sha256URL(state)[:12])',
    ),
    "the former session stays": ("login.go", "former != nil {", "former != nil && !flaw(NAME) {"),
    "pages may be kept": (
        "main.go",
        '"Cache-Control", "no-store"',
        '"Cache-Control", either(NAME, "max-age=60", "no-store")',
    ),
    "other sites' forms are taken": (
        "main.go",
        "protection.Handler(mux).ServeHTTP",
        "if flaw(NAME) {\nmux.ServeHTTP(writer, request)\nreturn\n}\nprotection.Handler(mux).ServeHTTP",
    ),
    "a login ends when the broker is away": (
        "login.go",
        "err != nil && mayStillWait(err) {",
        "err != nil && mayStillWait(err) && !flaw(NAME) {",
    ),
    "scripts see the session": ("session.go", "HttpOnly: true", "HttpOnly: !flaw(NAME)"),
}
# What the flaws need, by file.
IMPORTS = {"leg.go": ["log"], "login.go": ["strings"]}
