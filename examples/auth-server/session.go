package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net/http"
	"os"
	"strings"
	"time"
)

const (
	// The OAuth client that the logins are for: this program's own pages.
	clientID = "pages"
	// How long a session lasts.
	sessionLength = 8 * time.Hour
	sessionCookie = "session"
)

// A Session is what the JWT in the cookie says.
type Session struct {
	Issuer    string `json:"iss"`
	UserID    string `json:"sub"`
	Audience  string `json:"aud"`
	IssuedAt  int64  `json:"iat"`
	ExpiresAt int64  `json:"exp"`
	ID        string `json:"tsid"` // The session at the broker.
}

// Sessions issues JWTs and verifies them. All replicas have the same key.
type Sessions struct {
	key    *ecdsa.PrivateKey
	issuer string
}

func readSessionKey(file, issuer string) (*Sessions, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(text)
	if block == nil {
		return nil, fmt.Errorf("%s isn't PEM", file)
	}
	parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	key, ok := parsed.(*ecdsa.PrivateKey)
	if err != nil || !ok || key.Curve != elliptic.P256() {
		return nil, fmt.Errorf("%s isn't a P-256 key in PKCS #8", file)
	}
	return &Sessions{key: key, issuer: issuer}, nil
}

// issue returns a JWT (RFC 7519), signed by ES256.
func (s *Sessions) issue(userID, sessionID string, now time.Time) (string, error) {
	claims, err := json.Marshal(Session{
		Issuer: s.issuer, UserID: userID, Audience: clientID, ID: sessionID,
		IssuedAt: now.Unix(), ExpiresAt: now.Add(sessionLength).Unix(),
	})
	if err != nil {
		return "", err
	}
	signed := encode([]byte(`{"alg":"ES256","kid":"1","typ":"JWT"}`)) + "." + encode(claims)
	digest := sha256.Sum256([]byte(signed))
	r, v, err := ecdsa.Sign(rand.Reader, s.key, digest[:])
	if err != nil {
		return "", err
	}
	signature := make([]byte, 64)
	r.FillBytes(signature[:32])
	v.FillBytes(signature[32:])
	return signed + "." + encode(signature), nil
}

// of returns the session of a request, or nil.
func (s *Sessions) of(request *http.Request, now time.Time) *Session {
	cookie, err := request.Cookie(cookieOf(s.issuer, sessionCookie))
	if err != nil {
		return nil
	}
	session, err := s.read(cookie.Value)
	if err != nil || session.Issuer != s.issuer || session.Audience != clientID || now.Unix() >= session.ExpiresAt {
		return nil
	}
	return session
}

func (s *Sessions) read(token string) (*Session, error) {
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return nil, errors.New("no JWT")
	}
	var header struct {
		Algorithm string `json:"alg"`
	}
	signature, err := base64.RawURLEncoding.DecodeString(parts[2])
	if err != nil || len(signature) != 64 || decode(parts[0], &header) != nil || header.Algorithm != "ES256" {
		return nil, errors.New("not signed by ES256")
	}
	digest := sha256.Sum256([]byte(parts[0] + "." + parts[1]))
	r, v := new(big.Int).SetBytes(signature[:32]), new(big.Int).SetBytes(signature[32:])
	if !ecdsa.Verify(&s.key.PublicKey, digest[:], r, v) {
		return nil, errors.New("another signature")
	}
	session := &Session{}
	return session, decode(parts[1], session)
}

// jwks serves the public key, by which a proxy verifies the JWTs (RFC 7517).
func (s *Sessions) jwks(writer http.ResponseWriter, _ *http.Request) {
	point, err := s.key.PublicKey.Bytes()
	if err != nil {
		http.Error(writer, "no key", http.StatusInternalServerError)
		return
	}
	writer.Header().Set("Content-Type", "application/jwk-set+json")
	writer.Header().Set("Cache-Control", "public, max-age=300")
	fmt.Fprintf(writer, `{"keys":[{"kty":"EC","crv":"P-256","alg":"ES256","use":"sig","kid":"1","x":"%s","y":"%s"}]}`,
		encode(point[1:33]), encode(point[33:]))
}

// cookieOf returns the name of a cookie. With the prefix, no other host of the domain can set it, which needs HTTPS.
func cookieOf(base, name string) string {
	if strings.HasPrefix(base, "https://") {
		return "__Host-" + name
	}
	return name
}

// cookie returns a cookie that scripts can't read. With an age of 0 it is removed.
func (s *Server) cookie(name, value string, age time.Duration) *http.Cookie {
	seconds := int(age.Seconds())
	if seconds == 0 {
		seconds = -1
	}
	return &http.Cookie{
		Name: cookieOf(s.base, name), Value: value, Path: "/", MaxAge: seconds, HttpOnly: true, SameSite: http.SameSiteLaxMode,
		Secure: strings.HasPrefix(s.base, "https://"),
	}
}

// random returns 256 random bits.
func random() string {
	bytes := make([]byte, 32)
	rand.Read(bytes)
	return encode(bytes)
}

func sha256URL(text string) string {
	digest := sha256.Sum256([]byte(text))
	return encode(digest[:])
}

func encode(bytes []byte) string { return base64.RawURLEncoding.EncodeToString(bytes) }
