package main

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

var encode = base64.RawURLEncoding.EncodeToString

// A signer signs JWTs as an auth server does.
type signer struct {
	header, jwk string
	sign        func(signed []byte) []byte
}

func (s signer) token(claims string) string {
	signed := encode([]byte(s.header)) + "." + encode([]byte(claims))
	return signed + "." + encode(s.sign([]byte(signed)))
}

func edDSA(id string) signer {
	public, private, _ := ed25519.GenerateKey(rand.Reader)
	return signer{
		fmt.Sprintf(`{"alg":"EdDSA","kid":%q}`, id),
		fmt.Sprintf(`{"kty":"OKP","crv":"Ed25519","kid":%q,"x":%q}`, id, encode(public)),
		func(signed []byte) []byte { return ed25519.Sign(private, signed) },
	}
}

func rs256(id string) (signer, []byte) {
	private, _ := rsa.GenerateKey(rand.Reader, 2048)
	n := private.N.Bytes()
	return signer{
		fmt.Sprintf(`{"alg":"RS256","kid":%q}`, id),
		fmt.Sprintf(`{"kty":"RSA","kid":%q,"use":"sig","n":%q,"e":"AQAB"}`, id, encode(n)),
		func(signed []byte) []byte {
			hash := sha256.Sum256(signed)
			signature, _ := rsa.SignPKCS1v15(nil, private, crypto.SHA256, hash[:])
			return signature
		},
	}, n
}

func es256(id string) signer {
	private, _ := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	point, _ := private.PublicKey.Bytes()
	return signer{
		fmt.Sprintf(`{"alg":"ES256","kid":%q}`, id),
		fmt.Sprintf(`{"kty":"EC","crv":"P-256","kid":%q,"x":%q,"y":%q}`, id, encode(point[1:33]), encode(point[33:])),
		func(signed []byte) []byte {
			hash := sha256.Sum256(signed)
			r, s, _ := ecdsa.Sign(rand.Reader, private, hash[:])
			return append(pad(r), pad(s)...)
		},
	}
}

func pad(number *big.Int) []byte { return number.FillBytes(make([]byte, 32)) }

func verifierOf(t *testing.T, signers ...signer) *verifier {
	t.Helper()
	v := &verifier{file: filepath.Join(t.TempDir(), "jwks"), issuer: "i", audience: "a"}
	write(t, v, signers...)
	if err := v.load(); err != nil {
		t.Fatal(err)
	}
	return v
}

func write(t *testing.T, v *verifier, signers ...signer) {
	t.Helper()
	var jwks []json.RawMessage
	for _, signer := range signers {
		jwks = append(jwks, json.RawMessage(signer.jwk))
	}
	text, _ := json.Marshal(map[string]any{"keys": jwks})
	// Renamed, as files are that are changed while they are read.
	if os.WriteFile(v.file+".new", text, 0o600) != nil || os.Rename(v.file+".new", v.file) != nil {
		t.Fatal("the keys can't be written")
	}
}

const good = `{"iss":"i","aud":"a","exp":1000,"sub":"alice","tsid":"s"}`

func TestEachAlgorithmIsVerified(t *testing.T) {
	rsa, _ := rs256("r")
	signers := []signer{rsa, es256("e"), edDSA("d")}
	v := verifierOf(t, signers...)
	for _, signer := range signers {
		token := signer.token(good)
		if from, err := v.verify(token, time.Unix(900, 0)); err != nil || from != (caller{"s", "alice"}) {
			t.Errorf("%s: %v", signer.header, err)
		}
		at := strings.LastIndex(token, ".") + 9
		other := map[bool]string{true: "B", false: "A"}[token[at] == 'A']
		if _, err := v.verify(token[:at]+other+token[at+1:], time.Unix(900, 0)); err == nil {
			t.Errorf("%s: a changed signature", signer.header)
		}
	}
}

func TestNoKeyIsTakenForAnotherAlgorithm(t *testing.T) {
	rsa, n := rs256("r")
	v := verifierOf(t, rsa, edDSA("d"))
	forged := func(header string, secret []byte) string {
		return signer{header: header, sign: func(signed []byte) []byte {
			mac := hmac.New(sha256.New, secret)
			mac.Write(signed)
			return mac.Sum(nil)
		}}.token(good)
	}
	none := signer{header: `{"alg":"none","kid":"r"}`, sign: func([]byte) []byte { return nil }}
	critical := rsa
	critical.header = `{"alg":"RS256","kid":"r","crit":["b64"]}`
	another := rsa
	another.header = `{"alg":"RS512","kid":"r"}`
	for name, token := range map[string]string{
		"another name":          another.token(good),
		"none":                  none.token(good),
		"HS256 by a public key": forged(`{"alg":"HS256","kid":"r"}`, n),
		"RS256 by a public key": forged(`{"alg":"RS256","kid":"r"}`, n),
		"another key":           edDSA("d").token(good),
		"an unknown key":        edDSA("x").token(good),
		"a critical header":     critical.token(good),
		"no JWT":                "opaque",
	} {
		if _, err := v.verify(token, time.Unix(900, 0)); err == nil {
			t.Errorf("%s is accepted", name)
		}
	}
}

func TestClaimsHaveToFit(t *testing.T) {
	signer := edDSA("d")
	v := verifierOf(t, signer)
	for claims, valid := range map[string]bool{
		good: true,
		strings.Replace(good, `"a"`, `["b","a"]`, 1):                      true,
		strings.Replace(good, `"exp":1000`, `"exp":880`, 1):               false,
		strings.Replace(good, `"exp":1000`, `"exp":"1000"`, 1):            false,
		strings.Replace(good, `"exp":1000,`, ``, 1):                       false,
		strings.Replace(good, `"exp"`, `"nbf":950,"exp"`, 1):              false,
		strings.Replace(good, `"aud":"a"`, `"aud":["b"]`, 1):              false,
		strings.Replace(good, `"aud":"a",`, ``, 1):                        false,
		strings.Replace(good, `"i"`, `"j"`, 1):                            false,
		strings.Replace(good, `"tsid":"s"`, `"tsid":7`, 1):                false,
		strings.Replace(good, `"tsid":"s"`, `"TSID":"s"`, 1):              false,
		strings.Replace(good, `,"tsid":"s"`, ``, 1):                       false,
		strings.Replace(good, `"s"`, `"`+strings.Repeat("s", 513)+`"`, 1): false,
	} {
		if _, err := v.verify(signer.token(claims), time.Unix(900, 0)); (err == nil) != valid {
			t.Errorf("%s: %v", claims, err)
		}
	}
	later := strings.TrimSuffix(good, "}") + `,"Tsid":"another"}`
	if from, err := v.verify(signer.token(later), time.Unix(900, 0)); err != nil || from.session != "s" {
		t.Errorf("another claim was taken for the session: %v", err)
	}
}

func TestKeysAreRotated(t *testing.T) {
	old, next := edDSA("1"), edDSA("2")
	v := verifierOf(t, old)
	write(t, v, next)
	if _, err := v.verify(next.token(good), time.Unix(900, 0)); err != nil {
		t.Error(err)
	}
	if _, err := v.verify(old.token(good), time.Unix(900, 0)); err == nil {
		t.Error("a key that was taken away still counts")
	}
	os.WriteFile(v.file, []byte("{"), 0o600)
	if _, err := v.verify(next.token(good), time.Unix(900, 0)); err != nil {
		t.Errorf("a broken file took the keys away: %v", err)
	}
}
