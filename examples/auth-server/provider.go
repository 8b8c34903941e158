package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// The most that is read of a provider's answer.
const maxAnswer = 128 << 10

// A Provider is an upstream OpenID provider, and this program's client there.
type Provider struct {
	Name             string `json:"name"` // Its logical name at the broker.
	Issuer           string `json:"issuer"`
	ClientID         string `json:"client_id"`
	ClientSecretFile string `json:"client_secret_file"`
	secret           string
}

// Metadata is where a provider's endpoints are (OpenID Connect Discovery 1.0, section 3).
type Metadata struct {
	Issuer                string `json:"issuer"`
	AuthorizationEndpoint string `json:"authorization_endpoint"`
	TokenEndpoint         string `json:"token_endpoint"`
	UserinfoEndpoint      string `json:"userinfo_endpoint"`
	JwksURI               string `json:"jwks_uri"`
	NamesIssuer           bool   `json:"authorization_response_iss_parameter_supported"`
}

// Answer is a token endpoint's answer (RFC 6749, section 5.1).
type Answer struct {
	AccessToken  string `json:"access_token"`
	RefreshToken string `json:"refresh_token"`
	IDToken      string `json:"id_token"`
	TokenType    string `json:"token_type"`
	Scope        string `json:"scope"`
	ExpiresIn    int64  `json:"expires_in"`
}

// A request is sent once: no redirect is followed, which could send a secret somewhere else.
var client = &http.Client{
	Timeout:       10 * time.Second,
	CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
}

// discover reads the provider's metadata. It does so for each leg, so that a provider that is down is noticed before the user
// is sent there. A program with more users keeps the metadata for a while.
func (p *Provider) discover(ctx context.Context) (*Metadata, error) {
	metadata := &Metadata{}
	where := strings.TrimRight(p.Issuer, "/") + "/.well-known/openid-configuration"
	if err := get(ctx, where, "", metadata); err != nil {
		return nil, err
	}
	if metadata.Issuer != p.Issuer {
		return nil, errors.New("the metadata is another issuer's")
	}
	return metadata, nil
}

// authorizationURL returns where the user is sent (RFC 6749, section 4.1.1; RFC 7636, section 4.3).
func (p *Provider) authorizationURL(metadata *Metadata, state string, kept *Payload) (string, error) {
	to, err := url.Parse(metadata.AuthorizationEndpoint)
	if err != nil {
		return "", errors.New("the authorization endpoint isn't a URL")
	}
	query := to.Query()
	for name, value := range map[string]string{
		"response_type":         "code",
		"client_id":             p.ClientID,
		"redirect_uri":          kept.RedirectURI,
		"scope":                 "openid offline_access",
		"prompt":                "consent", // Without it there is no refresh token.
		"state":                 state,
		"nonce":                 kept.Nonce,
		"code_challenge":        sha256URL(kept.Verifier),
		"code_challenge_method": "S256",
	} {
		query.Set(name, value)
	}
	to.RawQuery = query.Encode()
	return to.String(), nil
}

// exchange redeems an authorization code (RFC 6749, section 4.1.3).
func (p *Provider) exchange(ctx context.Context, metadata *Metadata, code string, kept *Payload) (*Answer, error) {
	form := url.Values{
		"grant_type":    {"authorization_code"},
		"code":          {code},
		"redirect_uri":  {kept.RedirectURI},
		"code_verifier": {kept.Verifier},
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, metadata.TokenEndpoint, strings.NewReader(form.Encode()))
	if err != nil {
		return nil, errors.New("the token endpoint isn't a URL")
	}
	request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	// RFC 6749, section 2.3.1: both are encoded first.
	request.SetBasicAuth(url.QueryEscape(p.ClientID), url.QueryEscape(p.secret))
	answer := &Answer{}
	if err := send(request, answer); err != nil {
		return nil, err
	}
	if answer.AccessToken == "" || answer.IDToken == "" {
		return nil, errors.New("the provider's answer lacks a token")
	}
	return answer, nil
}

// errStatus is an answer other than 200.
type errStatus int

func (e errStatus) Error() string { return fmt.Sprintf("the provider answers with status %d", int(e)) }

// get reads JSON, with an access token if there is one (RFC 6750).
func get(ctx context.Context, from, accessToken string, into any) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, from, nil)
	if err != nil {
		return errors.New("an endpoint isn't a URL")
	}
	if accessToken != "" {
		request.Header.Set("Authorization", "Bearer "+accessToken)
	}
	return send(request, into)
}

// send sends a request. Its errors hold neither the request nor the answer, because they are logged.
func send(request *http.Request, into any) error {
	response, err := client.Do(request)
	if err != nil {
		return errDown
	}
	defer response.Body.Close()
	if response.StatusCode >= 500 {
		return errDown
	}
	if response.StatusCode != http.StatusOK {
		return errStatus(response.StatusCode)
	}
	text, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer))
	if err != nil {
		return errDown
	}
	if json.Unmarshal(text, into) != nil {
		return errors.New("the provider's answer isn't JSON of the right form")
	}
	return nil
}
