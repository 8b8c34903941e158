package main

import (
	"context"
	"errors"
	"log"
	"net/http"
	"net/url"
	"strings"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// A Failure is what a user is told of a login that ended without a session.
type Failure struct {
	code int
	text string // {provider} stands for its name.
}

// failures are all there are, by the name that the page's URL has for each. Nothing that a provider or the broker said is on the
// page: it could be anybody's words, and it doesn't tell the user what to do. The log has the reason.
var failures = map[string]Failure{
	"denied":    {http.StatusForbidden, "You weren't logged in: access was declined at {provider}."},
	"down":      {http.StatusServiceUnavailable, "{provider} can't be reached now, so you weren't logged in. Please try again later."},
	"failed":    {http.StatusBadGateway, "The login at {provider} failed. Please begin again."},
	"misrouted": {http.StatusBadRequest, "Another provider answered than the one that you were sent to, so nobody was logged in. Please begin again."},
	"over":      {http.StatusBadRequest, "This login took too long, or is over already. Please begin again."},
	"stopped":   {http.StatusServiceUnavailable, "The login couldn't go on. Please begin again in a moment."},
	"taken":     {http.StatusConflict, "This account at {provider} is another user's, so you weren't logged in."},
	"unknown":   {http.StatusBadRequest, "This browser has no such login under way. It took too long, or it began in another browser. Please begin again."},
}

// Causes of failures that this program finds itself.
var (
	errDenied  = errors.New("the user declined")
	errRefused = errors.New("the provider refuses the request")
	errDown    = errors.New("the provider can't be reached")
)

// failureOf returns the name of the failure that an error is.
func failureOf(err error) string {
	switch {
	case errors.Is(err, errDenied):
		return "denied"
	case errors.Is(err, errDown):
		return "down"
	case reason(err) == "IDENTITY_LINKED":
		return "taken"
	case reason(err) == "PROVIDER_MISMATCH":
		return "misrouted"
	case reason(err) == "STATE_NOT_FOUND":
		return "over"
	}
	switch status.Code(err) {
	case codes.Unavailable, codes.DeadlineExceeded, codes.ResourceExhausted:
		return "stopped"
	}
	return "failed"
}

// tell sends the browser to the page about a failure. The URL of a callback holds a code and a state, and nobody should stay there.
func (s *Server) tell(writer http.ResponseWriter, request *http.Request, failure, provider string) {
	http.Redirect(writer, request, "/failed/"+failure+"?at="+url.QueryEscape(provider), http.StatusSeeOther)
}

// failed is the page about a failure.
func (s *Server) failed(writer http.ResponseWriter, request *http.Request) {
	failure, found := failures[request.PathValue("failure")]
	provider := request.URL.Query().Get("at")
	// Who made the link chooses among these texts and the providers' names, and has no words of his own.
	if known, _ := s.provider(provider); !found || (known == nil && strings.Contains(failure.text, "{provider}")) {
		s.nowhere(writer, request)
		return
	}
	view := View{Message: strings.ReplaceAll(failure.text, "{provider}", provider)}
	if session := s.sessions.of(request, time.Now()); session != nil {
		view.User, view.Still = session.UserID, true
	}
	s.show(writer, failure.code, view)
}

// abandon ends a login that can't go on, and removes what it stored so far.
func (s *Server) abandon(writer http.ResponseWriter, request *http.Request, session string, provider *Provider, err error) {
	logFailure("a login at "+provider.Name+" is abandoned", err)
	// Also if the browser has hung up.
	s.forget(context.WithoutCancel(request.Context()), session)
	s.tell(writer, request, failureOf(err), provider.Name)
}

// forget deletes the tokens of a session that nobody will use.
func (s *Server) forget(ctx context.Context, session string) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	if _, err := s.broker.tokens.Delete(ctx, everything(session)); err != nil {
		logFailure("tokens that nobody uses stay until they expire", err)
	}
}

// logFailure logs why something failed. The errors of this program hold no secret, and of the broker's only code and reason are
// taken: no id, no token.
func logFailure(what string, err error) {
	if code := status.Code(err); code != codes.Unknown {
		log.Printf("%s: %v %s", what, code, reason(err))
		return
	}
	log.Printf("%s: %v", what, err)
}
