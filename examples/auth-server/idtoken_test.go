package main

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/json"
	"math/big"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"
)

var key, _ = rsa.GenerateKey(rand.Reader, 2048)

// keys serves the key, as a provider does.
func keys(t *testing.T) *Metadata {
	set := map[string][]jwk{"keys": {{
		Type: "RSA", ID: "k", Use: "sig",
		N: encode(key.N.Bytes()), E: encode(big.NewInt(int64(key.E)).Bytes()),
	}}}
	server := httptest.NewServer(http.HandlerFunc(func(writer http.ResponseWriter, _ *http.Request) {
		json.NewEncoder(writer).Encode(set)
	}))
	t.Cleanup(server.Close)
	return &Metadata{JwksURI: server.URL}
}

func signed(header, claims map[string]any, by *rsa.PrivateKey) string {
	first, _ := json.Marshal(header)
	second, _ := json.Marshal(claims)
	text := encode(first) + "." + encode(second)
	digest := sha256.Sum256([]byte(text))
	signature, _ := rsa.SignPKCS1v15(rand.Reader, by, crypto.SHA256, digest[:])
	return text + "." + encode(signature)
}

func TestAnIDTokenIsTakenOnlyIfEverythingIsRight(t *testing.T) {
	metadata := keys(t)
	provider := &Provider{Name: "p", Issuer: "https://p.example", ClientID: "c"}
	now := time.Unix(1_800_000_000, 0)
	other, _ := rsa.GenerateKey(rand.Reader, 2048)
	// Each case changes one thing of a token that is right.
	cases := map[string]struct {
		claim  string
		value  any
		header string
		in     any
		by     *rsa.PrivateKey
		fits   bool
	}{
		"right":            {fits: true},
		"right, as a list": {claim: "aud", value: []string{"c"}, fits: true},
		"issuer":           {claim: "iss", value: "https://q.example"},
		"audience":         {claim: "aud", value: "d"},
		"two audiences":    {claim: "aud", value: []string{"c", "d"}},
		"no audience":      {claim: "aud", value: []string{}},
		"authorized party": {claim: "azp", value: "d"},
		"expired":          {claim: "exp", value: now.Add(-leeway).Unix()},
		"from the future":  {claim: "iat", value: now.Add(2 * leeway).Unix()},
		"nonce":            {claim: "nonce", value: "m"},
		"no nonce":         {claim: "nonce", value: ""},
		"no subject":       {claim: "sub", value: ""},
		"subject":          {claim: "sub", value: 7},
		"no signature":     {header: "alg", in: "none"},
		"algorithm":        {header: "alg", in: "HS256"},
		"another key's id": {header: "kid", in: "l"},
		"critical":         {header: "crit", in: []string{"b64"}},
		"another key":      {by: other},
	}
	for name, one := range cases {
		t.Run(name, func(t *testing.T) {
			header := map[string]any{"alg": "RS256", "kid": "k"}
			claims := map[string]any{
				"iss": provider.Issuer, "sub": "s", "aud": "c", "nonce": "n", "iat": now.Unix(), "exp": now.Add(time.Minute).Unix(),
			}
			if one.claim != "" {
				claims[one.claim] = one.value
			}
			if one.header != "" {
				header[one.header] = one.in
			}
			by := key
			if one.by != nil {
				by = one.by
			}
			got, err := provider.verify(t.Context(), metadata, signed(header, claims, by), "n", now)
			if (err == nil) != one.fits || (one.fits && got.Subject != "s") {
				t.Fatal(got, err)
			}
		})
	}
	if _, err := provider.verify(t.Context(), metadata, "a.b", "n", now); err == nil {
		t.Fatal("two parts")
	}
}
