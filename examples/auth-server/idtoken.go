package main

import (
	"context"
	"crypto"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/json"
	"errors"
	"math/big"
	"strings"
	"time"
)

// How far a provider's clock may be off.
const leeway = time.Minute

// Claims are those of an ID token that are looked at (OpenID Connect Core 1.0, section 2).
type Claims struct {
	Issuer          string   `json:"iss"`
	Subject         string   `json:"sub"`
	Audience        audience `json:"aud"`
	AuthorizedParty string   `json:"azp"`
	ExpiresAt       int64    `json:"exp"`
	IssuedAt        int64    `json:"iat"`
	Nonce           string   `json:"nonce"`
}

// An audience is one string or several.
type audience []string

func (a *audience) UnmarshalJSON(text []byte) error {
	var one string
	if json.Unmarshal(text, &one) == nil {
		*a = audience{one}
		return nil
	}
	return json.Unmarshal(text, (*[]string)(a))
}

// jwk is an RSA key (RFC 7518, section 6.3).
type jwk struct {
	Type string `json:"kty"`
	ID   string `json:"kid"`
	Use  string `json:"use"`
	N    string `json:"n"`
	E    string `json:"e"`
}

// verify checks an ID token (OpenID Connect Core 1.0, section 3.1.3.7) and returns its claims. RS256 is the one algorithm that
// every provider has. No other is taken, whatever the token says.
func (p *Provider) verify(ctx context.Context, metadata *Metadata, token, nonce string, now time.Time) (*Claims, error) {
	var set struct {
		Keys []jwk `json:"keys"`
	}
	if err := get(ctx, metadata.JwksURI, "", &set); err != nil {
		return nil, err
	}
	claims, err := signedClaims(token, set.Keys)
	if err != nil {
		return nil, err
	}
	return claims, p.check(claims, nonce, now)
}

// check says what is wrong with the claims.
func (p *Provider) check(claims *Claims, nonce string, now time.Time) error {
	several := len(claims.Audience) != 1
	switch {
	case claims.Issuer != p.Issuer:
		return errors.New("the ID token is another issuer's")
	case several || claims.Audience[0] != p.ClientID:
		return errors.New("the ID token is for somebody else")
	case claims.AuthorizedParty != "" && claims.AuthorizedParty != p.ClientID:
		return errors.New("the ID token was issued to another client")
	case !now.Before(time.Unix(claims.ExpiresAt, 0).Add(leeway)):
		return errors.New("the ID token has expired")
	case time.Unix(claims.IssuedAt, 0).After(now.Add(leeway)):
		return errors.New("the ID token is from the future")
	case nonce == "" || subtle.ConstantTimeCompare([]byte(claims.Nonce), []byte(nonce)) != 1:
		return errors.New("the ID token is of another login: its nonce differs")
	case claims.Subject == "":
		return errors.New("the ID token names no subject")
	}
	return nil
}

// signedClaims checks the signature of a JWT (RFC 7515, section 5.2), and returns what it says.
func signedClaims(token string, keys []jwk) (*Claims, error) {
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return nil, errors.New("the ID token isn't a signed JWT")
	}
	var header struct {
		Algorithm string   `json:"alg"`
		KeyID     string   `json:"kid"`
		Critical  []string `json:"crit"`
	}
	if decode(parts[0], &header) != nil || header.Algorithm != "RS256" || header.Critical != nil {
		return nil, errors.New("the ID token isn't signed by RS256")
	}
	signature, err := base64.RawURLEncoding.DecodeString(parts[2])
	if err != nil {
		return nil, errors.New("the ID token's signature can't be read")
	}
	digest := sha256.Sum256([]byte(parts[0] + "." + parts[1]))
	for _, key := range keys {
		public, ok := key.rsa()
		if !ok || (header.KeyID != "" && key.ID != header.KeyID) {
			continue
		}
		if rsa.VerifyPKCS1v15(public, crypto.SHA256, digest[:], signature) == nil {
			claims := &Claims{}
			if decode(parts[1], claims) != nil {
				return nil, errors.New("the ID token's claims can't be read")
			}
			return claims, nil
		}
	}
	return nil, errors.New("no key of the provider signed the ID token")
}

func (k jwk) rsa() (*rsa.PublicKey, bool) {
	n, err := base64.RawURLEncoding.DecodeString(k.N)
	e, err2 := base64.RawURLEncoding.DecodeString(k.E)
	if k.Type != "RSA" || (k.Use != "" && k.Use != "sig") || err != nil || err2 != nil || len(n) < 256 || len(e) > 3 {
		return nil, false
	}
	exponent := int(new(big.Int).SetBytes(e).Int64())
	return &rsa.PublicKey{N: new(big.Int).SetBytes(n), E: exponent}, true
}

// decode reads a part of a JWT.
func decode(part string, into any) error {
	text, err := base64.RawURLEncoding.DecodeString(part)
	if err != nil {
		return err
	}
	return json.Unmarshal(text, into)
}
