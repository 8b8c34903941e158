package main

import (
	"encoding/base64"
	"encoding/json"
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	pb "example.com/auth-server/gen/tokenbroker/v1"
)

// An Outcome is what became of a refresh token: Tokens, Refused, NotSent or Unknown.
type Outcome interface {
	tell(*pb.CompleteRefreshRequest)
}

// Tokens is the provider's answer (RFC 6749, section 5.1).
type Tokens struct {
	AccessToken      string `json:"access_token"`
	RefreshToken     string `json:"refresh_token"`
	IDToken          string `json:"id_token"`
	TokenType        string `json:"token_type"`
	Scope            string `json:"scope"`
	ExpiresIn        int64  `json:"expires_in"`
	RefreshExpiresIn int64  `json:"refresh_expires_in"`

	// When the request was sent, or before that, by sinceBoot.
	sentAt time.Duration
}

// Refused says that the provider refused the refresh token for good.
type Refused struct{}

// NotSent says that the refresh token surely wasn't redeemed, and for how long nobody should try again. If that is 0,
// anybody may try at once.
type NotSent struct{ RetryAfter time.Duration }

// Unknown says that the refresh token may have been redeemed.
type Unknown struct{}

func (t *Tokens) tell(request *pb.CompleteRefreshRequest) {
	request.Outcome = &pb.CompleteRefreshRequest_Tokens{Tokens: &pb.RefreshedTokens{
		AccessToken:      t.AccessToken,
		RefreshToken:     t.RefreshToken,
		IdToken:          t.IDToken,
		TokenType:        t.TokenType,
		Scopes:           strings.Fields(t.Scope),
		ExpiresIn:        t.life(t.ExpiresIn),
		RefreshExpiresIn: t.life(t.RefreshExpiresIn),
	}}
}

// life returns how long a token still lives. The provider told how long it would, and time has passed since.
func (t *Tokens) life(seconds int64) *durationpb.Duration {
	if seconds <= 0 {
		return nil
	}
	left := time.Duration(seconds)*time.Second - (sinceBoot() - t.sentAt)
	return durationpb.New(max(left, time.Second))
}

// dropDetails drops what the tokens can be used without. It returns whether there was anything to drop.
func (t *Tokens) dropDetails() bool {
	dropped := t.TokenType != "" || t.Scope != ""
	t.TokenType, t.Scope = "", ""
	return dropped
}

// isAbout says whether the tokens are those of this subject (OpenID Connect Core 1.0, section 12.2). The signature of the ID token
// needn't be checked: it came from the token endpoint, over TLS.
func (t *Tokens) isAbout(issuer, subject string) bool {
	if t.IDToken == "" || subject == "" {
		return true
	}
	parts := strings.Split(t.IDToken, ".")
	if len(parts) != 3 {
		return false
	}
	var claims struct{ Iss, Sub string }
	payload, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil || json.Unmarshal(payload, &claims) != nil {
		return false
	}
	return claims.Iss == issuer && claims.Sub == subject
}

func (Refused) tell(request *pb.CompleteRefreshRequest) {
	request.Outcome = &pb.CompleteRefreshRequest_Refused{Refused: true}
}

func (n NotSent) tell(request *pb.CompleteRefreshRequest) {
	told := &pb.RefreshNotSent{}
	if n.RetryAfter > 0 {
		told.RetryAfter = durationpb.New(n.RetryAfter)
	}
	request.Outcome = &pb.CompleteRefreshRequest_NotSent{NotSent: told}
}

func (Unknown) tell(request *pb.CompleteRefreshRequest) {
	request.Outcome = &pb.CompleteRefreshRequest_Unknown{Unknown: true}
}
