package main

import (
	"errors"
	"fmt"
	"log"
	"math"
	"net"
	"net/http"
	"strings"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	pb "example.com/token-sidecar/gen/tokenbroker/v1"
)

// What the client is told by a 401, RFC 6750, section 3.
const (
	// There was no JWT, so that nothing is wrong with it.
	noToken = `Bearer`
	badJWT  = `Bearer error="invalid_token", error_description="the token is not valid here"`
	login   = `Bearer error="invalid_token", error_description="the user has to log in at the provider again"`
)

// A refusal is the answer to a request that the service gives none to.
type refusal struct {
	status int
	// The WWW-Authenticate of a 401.
	challenge string
	// When to try again. The client is told so with a 503.
	wait time.Duration
	// Whether the broker says that the call may be repeated after that.
	mayRepeat bool
	// What the log says. It holds nothing of the request, of the JWT or of a token.
	reason string
}

func (r *refusal) Error() string { return r.reason }

// refusalOf says what an error of the broker means for the client. It goes by the reason, and else by the code.
func refusalOf(err error) *refusal {
	failed := status.Convert(err)
	var reason string
	var retry *errdetails.RetryInfo
	for _, detail := range failed.Details() {
		switch detail := detail.(type) {
		case *errdetails.ErrorInfo:
			reason = detail.GetReason()
		case *errdetails.RetryInfo:
			retry = detail
		}
	}
	told := strings.TrimSpace(failed.Code().String() + " " + reason)
	switch reason {
	case "ROW_NOT_FOUND", "REAUTH_REQUIRED", "NO_REFRESH_TOKEN", "NOT_REFRESHABLE":
		return &refusal{status: http.StatusUnauthorized, challenge: login, reason: told}
	case "BINDING_MISMATCH":
		return &refusal{status: http.StatusForbidden, reason: told + ": the session is another's"}
	}
	if retry != nil {
		return &refusal{status: http.StatusServiceUnavailable, wait: retry.GetRetryDelay().AsDuration(), mayRepeat: true, reason: told}
	}
	switch failed.Code() {
	case codes.Unavailable, codes.DeadlineExceeded:
		return &refusal{status: http.StatusServiceUnavailable, wait: time.Second, reason: told}
	}
	// An operator has to look at it: nothing that the client does helps.
	return &refusal{status: http.StatusBadGateway, reason: told}
}

// usable refuses a token of a type that isn't known, RFC 6749, section 7.1: a DPoP token is of no use as a bearer token.
func usable(token *pb.AccessToken) (*pb.AccessToken, error) {
	if !strings.EqualFold(token.GetTokenType(), "Bearer") {
		return nil, &refusal{status: http.StatusBadGateway, reason: "the access token isn't a bearer token"}
	}
	return token, nil
}

// refuse answers a request that failed with this error.
func refuse(writer http.ResponseWriter, request *http.Request, err error) {
	if request.Context().Err() != nil {
		// The client has hung up, or sends no more in the middle of its body. Without this it would be answered by an empty 200.
		panic(http.ErrAbortHandler)
	}
	var refused *refusal
	var network net.Error
	switch {
	case errors.As(err, &refused):
	case errors.As(err, &network) && network.Timeout():
		refused = &refusal{status: http.StatusGatewayTimeout, reason: "the service doesn't answer"}
	default:
		refused = &refusal{status: http.StatusBadGateway, reason: "the service can't be reached"}
	}
	header := writer.Header()
	if refused.challenge != "" {
		header.Set("WWW-Authenticate", refused.challenge)
	}
	if refused.status == http.StatusServiceUnavailable {
		// Whole seconds, and never 0, at which clients would come back at once.
		seconds := max(1, math.Ceil(refused.wait.Seconds()))
		header.Set("Retry-After", fmt.Sprintf("%.0f", seconds))
	}
	header.Set("Cache-Control", "no-store")
	log.Printf("answered %d: %s", refused.status, refused.reason)
	http.Error(writer, http.StatusText(refused.status), refused.status)
}
