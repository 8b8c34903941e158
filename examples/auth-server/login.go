package main

import (
	"context"
	"crypto/subtle"
	"encoding/json"
	"net/http"
	"net/url"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	pb "example.com/login/gen/tokenbroker/v1"
)

// How long a user has for one leg of the login.
const legLength = 10 * time.Minute

// A Payload is what the broker keeps for the callback. It is secret.
type Payload struct {
	Verifier    string `json:"verifier"` // Of PKCE (RFC 7636).
	Nonce       string `json:"nonce"`
	RedirectURI string `json:"redirect_uri"`
}

// login begins a login under a new session. The id of a session is never taken from the browser: nobody can give a user a
// session that somebody else knows.
func (s *Server) login(writer http.ResponseWriter, request *http.Request) {
	s.beginLeg(writer, request, s.chain[0], random(), nil)
}

// beginLeg sends the user to a provider. The user is known from the second leg on.
func (s *Server) beginLeg(writer http.ResponseWriter, request *http.Request, provider *Provider, session string, user *string) {
	state := random()
	to, err := s.prepareLeg(request.Context(), provider, state, session, user)
	if err != nil {
		s.abandon(writer, request, session, provider, err)
		return
	}
	// It ties the `state` to this browser. Each login has a cookie of its own, so that two tabs can log in at the same time.
	http.SetCookie(writer, s.cookie(stateCookie(state), state, legLength))
	http.Redirect(writer, request, to, http.StatusSeeOther)
}

// prepareLeg has the broker keep what the callback needs, and returns where the user is sent.
func (s *Server) prepareLeg(ctx context.Context, provider *Provider, state, session string, user *string) (string, error) {
	kept := &Payload{Verifier: random(), Nonce: random(), RedirectURI: s.base + "/callback/" + provider.Name}
	payload, err := json.Marshal(kept)
	if err != nil {
		return "", err
	}
	metadata, err := provider.discover(ctx)
	if err != nil {
		return "", err
	}
	to, err := provider.authorizationURL(metadata, state, kept)
	if err != nil {
		return "", err
	}
	_, err = s.broker.pending.Create(ctx, &pb.CreateRequest{
		State: state, Provider: provider.Name, SessionId: session, ClientId: clientID, UserId: user,
		Payload: payload, Ttl: durationpb.New(legLength),
	})
	return to, err
}

// stateCookie returns the name of the cookie that holds this state.
func stateCookie(state string) string {
	return "login_" + sha256URL(state)[:12]
}

// An answerOf is a provider's answer to an authorization request (RFC 6749, section 4.1.2; RFC 9207, section 2).
type answerOf struct{ state, code, refusal, issuer string }

// readAnswer returns false if a parameter is there twice: which of them counts?
func readAnswer(query url.Values) (answerOf, bool) {
	for _, name := range []string{"state", "code", "error", "iss"} {
		if len(query[name]) > 1 {
			return answerOf{}, false
		}
	}
	return answerOf{query.Get("state"), query.Get("code"), query.Get("error"), query.Get("iss")}, true
}

// callback is where a provider sends the user back to. Each provider has a callback of its own, so that the broker notices an
// answer that comes to another provider's (RFC 9700, section 4.4).
func (s *Server) callback(writer http.ResponseWriter, request *http.Request) {
	provider, next := s.provider(request.PathValue("provider"))
	if provider == nil {
		s.nowhere(writer, request)
		return
	}
	answer, ok := readAnswer(request.URL.Query())
	cookie, err := request.Cookie(cookieOf(s.base, stateCookie(answer.state)))
	if !ok || err != nil || answer.state == "" || subtle.ConstantTimeCompare([]byte(cookie.Value), []byte(answer.state)) != 1 {
		// Nothing is consumed: the login of another browser can go on.
		s.tell(writer, request, "unknown", provider.Name)
		return
	}
	pending, err := s.broker.pending.Consume(request.Context(), &pb.ConsumeRequest{State: answer.state, Provider: &provider.Name})
	if err != nil && mayStillWait(err) {
		// The cookie stays, and so does the URL: the user tries again from here.
		logFailure("a callback has to wait", err)
		s.show(writer, http.StatusServiceUnavailable, View{Message: "Your login can't go on at the moment.", Again: true})
		return
	}
	http.SetCookie(writer, s.cookie(stateCookie(answer.state), "", 0))
	if err != nil {
		logFailure("a callback is refused", err)
		s.tell(writer, request, failureOf(err), provider.Name)
		return
	}
	session := pending.GetSessionId()
	user, err := s.finishLeg(request.Context(), provider, pending, answer)
	switch {
	case err != nil:
		s.abandon(writer, request, session, provider, err)
	case next != nil:
		s.beginLeg(writer, request, next, session, &user)
	default:
		s.finish(writer, request, provider, session, user)
	}
}

// finish gives the user the session, now that all providers' tokens are there.
func (s *Server) finish(writer http.ResponseWriter, request *http.Request, last *Provider, session, user string) {
	if err := s.keep(request.Context(), session, user); err != nil {
		s.abandon(writer, request, session, last, err)
		return
	}
	token, err := s.sessions.issue(user, session, time.Now())
	if err != nil {
		s.abandon(writer, request, session, last, err)
		return
	}
	// This browser's session until now, after which nobody could log out any more.
	if former := s.sessions.of(request, time.Now()); former != nil {
		s.forget(context.WithoutCancel(request.Context()), former.ID)
	}
	http.SetCookie(writer, s.cookie(sessionCookie, token, sessionLength))
	http.Redirect(writer, request, "/", http.StatusSeeOther)
}
