package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

func sessions(t *testing.T, issuer string) *Sessions {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return &Sessions{key: key, issuer: issuer}
}

func TestASessionIsTakenOnlyIfThisServerIssuedIt(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	mine, other := sessions(t, "http://a"), sessions(t, "http://a")
	elsewhere := &Sessions{key: mine.key, issuer: "http://b"}
	token, err := mine.issue("u", "s", now)
	if err != nil {
		t.Fatal(err)
	}
	of := func(by *Sessions, token string, at time.Time) *Session {
		request := httptest.NewRequest("GET", "/", nil)
		request.AddCookie(&http.Cookie{Name: cookieOf(by.issuer, sessionCookie), Value: token})
		return by.of(request, at)
	}
	if session := of(mine, token, now); session == nil || session.UserID != "u" || session.ID != "s" {
		t.Fatal("it isn't taken")
	}
	parts := strings.Split(token, ".")
	unsigned := encode([]byte(`{"alg":"none"}`)) + "." + parts[1] + "."
	renamed := encode([]byte(`{"alg":"HS256"}`)) + "." + parts[1] + "." + parts[2]
	for name, taken := range map[string]*Session{
		"unsigned": of(mine, unsigned, now), "another algorithm": of(mine, renamed, now),
		"another key": of(other, token, now), "another issuer": of(elsewhere, token, now),
		"expired": of(mine, token, now.Add(sessionLength)), "nonsense": of(mine, "a.b.c", now), "nothing": of(mine, "", now),
	} {
		if taken != nil {
			t.Error(name)
		}
	}
}

func TestCookiesAreOfThisHostAndNotForScripts(t *testing.T) {
	for base, prefix := range map[string]string{"http://a": "", "https://a": "__Host-"} {
		server := &Server{base: base}
		cookie := server.cookie(stateCookie("state"), "state", legLength)
		named := cookie.Name == prefix+stateCookie("state") && cookie.Domain == "" && cookie.Path == "/"
		if !named || !cookie.HttpOnly || cookie.SameSite != http.SameSiteLaxMode || cookie.Secure != (prefix != "") {
			t.Errorf("%s: %s", base, cookie)
		}
		if cookie.MaxAge != 600 || server.cookie(sessionCookie, "", 0).MaxAge >= 0 {
			t.Errorf("%s: another age", base)
		}
	}
	if stateCookie("one") == stateCookie("two") {
		t.Error("two logins share a cookie")
	}
}
