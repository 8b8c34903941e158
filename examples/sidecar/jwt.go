package main

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"log"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"time"
)

// How far the auth server's clock may be off.
const leeway = 10 * time.Second

// A verifier checks the JWTs that the auth server issued, by its public keys. It reads the file of keys again when it
// changes, so that keys can be rotated.
type verifier struct {
	file, issuer, audience string

	mutex sync.Mutex
	read  os.FileInfo
	keys  []key
}

// load reads the keys if the file has changed.
func (v *verifier) load() error {
	v.mutex.Lock()
	defer v.mutex.Unlock()
	now, err := os.Stat(v.file)
	if err != nil {
		return errors.New("-jwks: the file can't be read")
	}
	if v.read != nil && os.SameFile(v.read, now) && v.read.ModTime().Equal(now.ModTime()) && v.read.Size() == now.Size() {
		return nil
	}
	text, err := os.ReadFile(v.file)
	if err != nil {
		return errors.New("-jwks: the file can't be read")
	}
	keys, err := parseKeys(text)
	if err != nil {
		return err
	}
	v.read, v.keys = now, keys
	return nil
}

// caller returns whom the values of Authorization speak for. An error is a *refusal.
func (v *verifier) caller(authorization []string) (caller, error) {
	if len(authorization) == 0 {
		return caller{}, &refusal{status: http.StatusUnauthorized, challenge: noToken, reason: "no token"}
	}
	scheme, token, _ := strings.Cut(authorization[0], " ")
	if len(authorization) > 1 || !strings.EqualFold(scheme, "Bearer") {
		return caller{}, &refusal{status: http.StatusUnauthorized, challenge: noToken, reason: "no bearer token"}
	}
	from, err := v.verify(strings.TrimLeft(token, " "), time.Now())
	if err != nil {
		return caller{}, &refusal{status: http.StatusUnauthorized, challenge: badJWT, reason: "the JWT: " + err.Error()}
	}
	return from, nil
}

// verify checks signature, issuer, audience and times, RFC 7519 and RFC 8725, and returns the claims that matter here.
func (v *verifier) verify(token string, now time.Time) (caller, error) {
	if err := v.load(); err != nil {
		log.Print(err, "; the keys stay as they were")
	}
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return caller{}, errors.New("it has another form")
	}
	header, err := object(parts[0])
	if err != nil {
		return caller{}, err
	}
	if _, found := header["crit"]; found {
		return caller{}, errors.New("it has a header that has to be understood, and isn't")
	}
	signature, err := base64.RawURLEncoding.Strict().DecodeString(parts[2])
	if err != nil {
		return caller{}, errors.New("it has another form")
	}
	if !v.signed(text(header["kid"]), text(header["alg"]), []byte(parts[0]+"."+parts[1]), signature) {
		return caller{}, errors.New("no key of that id and algorithm has signed it")
	}
	claims, err := object(parts[1])
	if err != nil {
		return caller{}, err
	}
	return v.claims(claims, now)
}

func (v *verifier) claims(claims map[string]json.RawMessage, now time.Time) (caller, error) {
	audiences := []string{text(claims["aud"])}
	json.Unmarshal(claims["aud"], &audiences) // It may be an array.
	expires, found := seconds(claims["exp"])
	from := caller{session: text(claims["tsid"]), user: text(claims["sub"])}
	switch {
	case text(claims["iss"]) != v.issuer:
		return caller{}, errors.New("it is of another issuer")
	case !slices.Contains(audiences, v.audience):
		return caller{}, errors.New("it is for another audience")
	case !found || !now.Before(expires.Add(leeway)):
		return caller{}, errors.New("it has expired")
	case from.session == "" || len(from.session) > 512 || from.user == "":
		return caller{}, errors.New("it names no session or no user")
	}
	if begins, found := seconds(claims["nbf"]); found && now.Add(leeway).Before(begins) {
		return caller{}, errors.New("it isn't valid yet")
	}
	return from, nil
}

func (v *verifier) signed(id, algorithm string, signed, signature []byte) bool {
	v.mutex.Lock()
	keys := v.keys
	v.mutex.Unlock()
	return slices.ContainsFunc(keys, func(key key) bool {
		// The key says which algorithm it is for, not the token: RFC 8725, section 3.1.
		return key.id == id && key.algorithm == algorithm && key.verifies(signed, signature)
	})
}

// object decodes a part of a JWT. A map, because a struct would take a claim of another case, as `TSID`, for the same.
func object(part string) (map[string]json.RawMessage, error) {
	var members map[string]json.RawMessage
	decoded, err := base64.RawURLEncoding.Strict().DecodeString(part)
	if err != nil || json.Unmarshal(decoded, &members) != nil {
		return nil, errors.New("it has another form")
	}
	return members, nil
}

// text returns a string, and nothing for anything else.
func text(value json.RawMessage) (found string) {
	if json.Unmarshal(value, &found) != nil {
		return ""
	}
	return found
}

// seconds returns a NumericDate.
func seconds(value json.RawMessage) (time.Time, bool) {
	var number *float64
	if json.Unmarshal(value, &number) != nil || number == nil || *number < 0 || *number > 1e11 {
		return time.Time{}, false
	}
	return time.Unix(int64(*number), 0), true
}
