package main

import (
	"bytes"
	"context"
	"io"
	"maps"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strings"
	"time"

	pb "example.com/token-sidecar/gen/tokenbroker/v1"
)

// placement says where the service takes the access token from.
type placement struct{ header, scheme string }

func (p placement) put(header http.Header, token *pb.AccessToken) {
	header.Set(p.header, strings.TrimLeft(p.scheme+" "+token.GetAccessToken(), " "))
}

type callerKey struct{}

// newProxy lets requests with a valid JWT through to the service.
func newProxy(target *url.URL, jwts *verifier, transport *tokenTransport) http.Handler {
	proxy := &httputil.ReverseProxy{
		Rewrite: func(request *httputil.ProxyRequest) {
			request.SetURL(target)
			request.Out.Host = request.In.Host
			request.SetXForwarded()
			// The JWT is for this sidecar. It holds the session, with which others could ask for the tokens.
			request.Out.Header.Del("Authorization")
			// A client doesn't choose the token that the service sees.
			request.Out.Header.Del(transport.to.header)
			// Services that make variables of headers (RFC 3875, section 4.1.18) take `_` for `-`.
			maps.DeleteFunc(request.Out.Header, func(name string, _ []string) bool { return strings.Contains(name, "_") })
			// Nor does a name that is announced as a trailer arrive.
			request.Out.Trailer = nil
		},
		Transport:    transport,
		ErrorHandler: refuse,
	}
	return http.HandlerFunc(func(writer http.ResponseWriter, request *http.Request) {
		if err := acceptable(request); err != nil {
			refuse(writer, request, err)
			return
		}
		from, err := jwts.caller(request.Header.Values("Authorization"))
		if err != nil {
			refuse(writer, request, err)
			return
		}
		proxy.ServeHTTP(writer, request.WithContext(context.WithValue(request.Context(), callerKey{}, from)))
	})
}

// acceptable refuses methods that aren't for services, and leaves out of a request what would take it away from the sidecar.
func acceptable(request *http.Request) error {
	switch request.Method {
	// A service that answers TRACE shows the client the access token (RFC 9110, section 9.3.8).
	case http.MethodTrace, http.MethodConnect:
		return &refusal{status: http.StatusMethodNotAllowed, reason: "no request with this method is passed on"}
	}
	// After another upgrade, to HTTP/2 for instance, the client would send the service requests that nobody looks at.
	if !strings.EqualFold(request.Header.Get("Upgrade"), "websocket") || len(request.Header.Values("Upgrade")) > 1 {
		request.Header.Del("Upgrade")
		request.Header.Del("Http2-Settings")
	}
	return nil
}

// serviceTransport is how the service is reached: directly, whatever proxy the environment names.
func serviceTransport(patience time.Duration) http.RoundTripper {
	return &http.Transport{
		ResponseHeaderTimeout: patience,
		MaxIdleConnsPerHost:   64,
		IdleConnTimeout:       90 * time.Second,
		DisableCompression:    true,
		ForceAttemptHTTP2:     true,
	}
}

// tokenTransport sends requests with the access token of their caller, and once more if the service refuses the token.
type tokenTransport struct {
	tokens  *accessTokens
	service http.RoundTripper
	to      placement
	// The longest body that is kept to be sent again, in bytes.
	replay int64
}

// RoundTrip implements http.RoundTripper.
func (t *tokenTransport) RoundTrip(request *http.Request) (*http.Response, error) {
	ctx := request.Context()
	from := ctx.Value(callerKey{}).(caller)
	token, err := t.tokens.get(ctx, from, nil)
	if err != nil {
		return nil, err
	}
	body, replayable, err := t.keep(request)
	if err != nil {
		return nil, &refusal{status: http.StatusBadRequest, reason: "the body of the request can't be read"}
	}
	answer, err := t.send(request, body, token)
	if err != nil || answer.StatusCode != http.StatusUnauthorized {
		return answer, err
	}
	// The broker takes the token for valid until it is told. It is told once: what is refused again isn't the token's fault.
	refused := token.GetVersion()
	token, err = t.tokens.get(ctx, from, &refused)
	switch {
	case err != nil:
		answer.Body.Close()
		return nil, err
	case token.GetVersion() == refused:
		return answer, nil // There is nothing newer.
	case !replayable:
		// The client's own JWT is good, which a 401 would deny.
		answer.Body.Close()
		return nil, &refusal{status: http.StatusServiceUnavailable, reason: "the token is new, and the body can't be sent again"}
	}
	answer.Body.Close()
	return t.send(request, body, token)
}

// keep reads a body that may have to be sent again. One that is long, or whose length the client doesn't say, isn't kept:
// it is sent as it arrives.
func (t *tokenTransport) keep(request *http.Request) (body []byte, replayable bool, err error) {
	if request.Body == nil || request.Body == http.NoBody {
		return nil, true, nil
	}
	if request.ContentLength < 0 || request.ContentLength > t.replay {
		return nil, false, nil
	}
	// It is no longer than its length says: the HTTP server sees to that.
	body, err = io.ReadAll(request.Body)
	return body, true, err
}

func (t *tokenTransport) send(request *http.Request, body []byte, token *pb.AccessToken) (*http.Response, error) {
	outgoing := request.Clone(request.Context())
	if body != nil {
		outgoing.Body = io.NopCloser(bytes.NewReader(body))
	}
	t.to.put(outgoing.Header, token)
	return t.service.RoundTrip(outgoing)
}
