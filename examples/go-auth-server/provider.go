package main

import (
	"crypto/tls"
	"encoding/json"
	"errors"
	"io"
	"log"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"

	pb "example.com/auth-server/gen/tokenbroker/v1"
)

const (
	// How long nobody tries again when the provider can't be reached, or doesn't say.
	backOff = 2 * time.Second
	// The most that is read of an answer. It has to fit into a call to the broker.
	maxAnswer = 128 << 10
)

// A Provider is the token endpoint of an upstream provider, and this program's credentials there.
type Provider struct {
	Issuer        string
	TokenEndpoint string
	ClientID      string
	ClientSecret  string
	client        *http.Client
}

// connectTo makes the HTTP client. A refresh token is sent once. So nothing may repeat a request: no redirect is followed,
// and each request has a connection of its own, which can't turn out to have been closed long ago.
//
// After the timeout no request is on its way any more. It must not be longer than the broker takes it for: the `timeout` of
// the provider in the broker's configuration, or 30 seconds if the provider isn't configured there.
func (p *Provider) connectTo(roots *tls.Config, timeout time.Duration) {
	p.client = &http.Client{
		Timeout: timeout,
		Transport: &http.Transport{
			Proxy:             http.ProxyFromEnvironment,
			TLSClientConfig:   roots,
			DisableKeepAlives: true,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// Redeem sends the refresh token of these tokens, once, if mayBeSent says yes when the connection is there.
func (p *Provider) Redeem(old *pb.UpstreamTokens, mayBeSent func() bool) Outcome {
	form := url.Values{"grant_type": {"refresh_token"}, "refresh_token": {old.GetRefreshToken()}}.Encode()
	body := &guardedBody{form: strings.NewReader(form), mayBeSent: mayBeSent}
	request, err := http.NewRequest(http.MethodPost, p.TokenEndpoint, body)
	if err != nil {
		return NotSent{RetryAfter: backOff}
	}
	request.ContentLength = int64(len(form))
	request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	request.Header.Set("Accept", "application/json")
	// RFC 6749, section 2.3.1: both are encoded first.
	request.SetBasicAuth(url.QueryEscape(p.ClientID), url.QueryEscape(p.ClientSecret))

	sentAt := sinceBoot()
	response, err := p.client.Do(request)
	switch {
	case err == nil:
	case !body.retract():
		return Unknown{}
	case errors.Is(err, errLeaseEnded):
		return NotSent{} // Somebody else takes it.
	default:
		return NotSent{RetryAfter: backOff}
	}
	defer response.Body.Close()
	outcome := read(response)
	tokens, ok := outcome.(*Tokens)
	if !ok {
		return outcome
	}
	if !tokens.isAbout(p.Issuer, old.GetUpstreamSubject()) {
		log.Print("the answer to a refresh is about another user: nothing of it is kept")
		return Refused{}
	}
	tokens.sentAt = sentAt
	return tokens
}

// read returns what a provider's answer means.
func read(response *http.Response) Outcome {
	text, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer))
	switch status := response.StatusCode; {
	case status == http.StatusOK:
		tokens := &Tokens{}
		if err != nil || json.Unmarshal(text, tokens) != nil || tokens.AccessToken == "" {
			return Unknown{} // There may be tokens that nobody has.
		}
		return tokens
	case status == http.StatusTooManyRequests,
		status == http.StatusServiceUnavailable && response.Header.Get("Retry-After") != "":
		return NotSent{RetryAfter: retryAfter(response)}
	case status < 400 || status >= 500 || err != nil:
		return Unknown{}
	}
	var refusal struct {
		Error string `json:"error"`
	}
	switch err := json.Unmarshal(text, &refusal); {
	case err != nil || refusal.Error == "":
		return Unknown{} // Not the answer of a token endpoint.
	case refusal.Error == "invalid_grant":
		return Refused{}
	}
	// The fault is this program's, as in invalid_client. An operator has to know, and the refresh token is still good.
	log.Printf("the provider refuses this client (status %d)", response.StatusCode)
	return NotSent{RetryAfter: backOff}
}

// retryAfter returns how long the provider asks to wait (RFC 9110, section 10.2.3).
func retryAfter(response *http.Response) time.Duration {
	header := response.Header.Get("Retry-After")
	if seconds, err := strconv.ParseUint(header, 10, 31); err == nil {
		return max(time.Duration(seconds)*time.Second, backOff)
	}
	if at, err := http.ParseTime(header); err == nil {
		return max(time.Until(at), backOff)
	}
	return backOff
}

var errLeaseEnded = errors.New("the lease has ended")

// guardedBody is the body of a request that may only be sent while a lease lasts. The HTTP client reads it when the
// connection is there, right before it sends it: that is the moment to look at the lease.
type guardedBody struct {
	form      io.Reader
	mayBeSent func() bool

	mutex     sync.Mutex
	isBegun   bool
	retracted bool
}

func (b *guardedBody) Read(buffer []byte) (int, error) {
	b.mutex.Lock()
	defer b.mutex.Unlock()
	if b.retracted || (!b.isBegun && !b.mayBeSent()) {
		return 0, errLeaseEnded
	}
	b.isBegun = true
	return b.form.Read(buffer)
}

func (b *guardedBody) Close() error { return nil }

// retract makes sure that nothing is sent later, and returns whether nothing was.
func (b *guardedBody) retract() bool {
	b.mutex.Lock()
	defer b.mutex.Unlock()
	b.retracted = true
	return !b.isBegun
}
