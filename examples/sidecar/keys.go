package main

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"math/big"
)

// A key is a public key of the auth server, for one algorithm.
type key struct {
	id, algorithm string
	verifies      func(signed, signature []byte) bool
}

// A jwk is a public key as RFC 7517 writes it.
type jwk struct {
	Kty, Kid, Alg, Use, Crv, N, E, X, Y string
}

// parseKeys reads the keys that signatures are verified by. Those of a kind that isn't known are for others.
func parseKeys(text []byte) ([]key, error) {
	var set struct{ Keys []jwk }
	if json.Unmarshal(text, &set) != nil {
		return nil, errors.New("-jwks: the file is no JWK set")
	}
	var keys []key
	for _, jwk := range set.Keys {
		algorithm, verifies := jwk.parse()
		if verifies == nil || (jwk.Use != "" && jwk.Use != "sig") || (jwk.Alg != "" && jwk.Alg != algorithm) {
			continue
		}
		keys = append(keys, key{jwk.Kid, algorithm, verifies})
	}
	if keys == nil {
		return nil, errors.New("-jwks: the file has no key for RS256, ES256 or EdDSA")
	}
	return keys, nil
}

func (j jwk) parse() (algorithm string, verifies func(signed, signature []byte) bool) {
	switch {
	case j.Kty == "RSA":
		e := new(big.Int).SetBytes(decoded(j.E))
		public := &rsa.PublicKey{N: new(big.Int).SetBytes(decoded(j.N)), E: int(e.Int64())}
		if public.N.BitLen() < 2048 || e.BitLen() > 31 || e.Bit(0) == 0 || public.E < 3 {
			return "", nil
		}
		return "RS256", func(signed, signature []byte) bool {
			hash := sha256.Sum256(signed)
			return rsa.VerifyPKCS1v15(public, crypto.SHA256, hash[:], signature) == nil
		}
	case j.Kty == "EC" && j.Crv == "P-256":
		point := append(append([]byte{4}, decoded(j.X)...), decoded(j.Y)...)
		public, err := ecdsa.ParseUncompressedPublicKey(elliptic.P256(), point)
		if err != nil {
			return "", nil
		}
		return "ES256", func(signed, signature []byte) bool {
			if len(signature) != 64 {
				return false
			}
			hash := sha256.Sum256(signed)
			r, s := new(big.Int).SetBytes(signature[:32]), new(big.Int).SetBytes(signature[32:])
			return ecdsa.Verify(public, hash[:], r, s)
		}
	case j.Kty == "OKP" && j.Crv == "Ed25519":
		public := ed25519.PublicKey(decoded(j.X))
		if len(public) != ed25519.PublicKeySize {
			return "", nil
		}
		return "EdDSA", func(signed, signature []byte) bool { return ed25519.Verify(public, signed, signature) }
	}
	return "", nil
}

// decoded returns the bytes of a value, and none if it can't be read.
func decoded(value string) []byte {
	bytes, err := base64.RawURLEncoding.DecodeString(value)
	if err != nil {
		return nil
	}
	return bytes
}
