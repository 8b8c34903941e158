package main

import (
	"context"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"fmt"
	"log"
	"net/http"
	"strings"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	pb "example.com/login/gen/tokenbroker/v1"
)

const (
	// How long a user has for one leg of the login.
	legLength = 10 * time.Minute
	// It ties the `state` to the browser that began the login.
	stateCookie = "login_state"
)

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
	ctx := request.Context()
	kept := &Payload{Verifier: random(), Nonce: random(), RedirectURI: s.base + "/callback/" + provider.Name}
	payload, err := json.Marshal(kept)
	if err != nil {
		s.abandon(writer, request, session, provider, err)
		return
	}
	state := random()
	metadata, err := provider.discover(ctx)
	if err != nil {
		s.abandon(writer, request, session, provider, err)
		return
	}
	to, err := provider.authorizationURL(metadata, state, kept)
	if err != nil {
		s.abandon(writer, request, session, provider, err)
		return
	}
	_, err = s.broker.pending.Create(ctx, &pb.CreateRequest{
		State: state, Provider: provider.Name, SessionId: session, ClientId: clientID, UserId: user,
		Payload: payload, Ttl: durationpb.New(legLength),
	})
	if err != nil {
		s.abandon(writer, request, session, provider, err)
		return
	}
	http.SetCookie(writer, s.cookie(stateCookie, state, legLength))
	http.Redirect(writer, request, to, http.StatusSeeOther)
}

// callback is where a provider sends the user back to. Each provider has a callback of its own, so that the broker notices an
// answer that comes to another provider's (RFC 9700, section 4.4).
func (s *Server) callback(writer http.ResponseWriter, request *http.Request) {
	provider, next := s.provider(request.PathValue("provider"))
	query := request.URL.Query()
	state := query.Get("state")
	cookie, err := request.Cookie(cookieOf(s.base, stateCookie))
	if provider == nil || err != nil || state == "" || subtle.ConstantTimeCompare([]byte(cookie.Value), []byte(state)) != 1 {
		// Nothing is consumed: the login of another browser can go on.
		refuse(writer, http.StatusBadRequest, "This browser didn't begin this login.")
		return
	}
	pending, err := s.broker.pending.Consume(request.Context(), &pb.ConsumeRequest{State: state, Provider: &provider.Name})
	if err != nil {
		logBroker("a callback is refused", err)
		http.SetCookie(writer, s.cookie(stateCookie, "", 0))
		switch reason(err) {
		case "STATE_NOT_FOUND", "PROVIDER_MISMATCH":
			refuse(writer, http.StatusBadRequest, "This login is over ("+reason(err)+"). Please begin again.")
		default:
			refuse(writer, http.StatusServiceUnavailable, "The login can't go on now. Please begin again.")
		}
		return
	}
	session := pending.GetSessionId()
	user, err := s.finishLeg(request.Context(), provider, pending, query.Get("iss"), query.Get("error"), query.Get("code"))
	if err != nil {
		s.abandon(writer, request, session, provider, err)
		return
	}
	if next != nil {
		s.beginLeg(writer, request, next, session, &user)
		return
	}
	token, err := s.sessions.issue(user, session, time.Now())
	if err != nil {
		s.abandon(writer, request, session, provider, err)
		return
	}
	http.SetCookie(writer, s.cookie(stateCookie, "", 0))
	http.SetCookie(writer, s.cookie(sessionCookie, token, sessionLength))
	http.Redirect(writer, request, "/", http.StatusSeeOther)
}

// errDenied says that the user or the provider declined.
var errDenied = errors.New("the provider denies the login")

// finishLeg redeems the code, and stores the tokens under the session. It returns the user.
func (s *Server) finishLeg(
	ctx context.Context, provider *Provider, pending *pb.ConsumeResponse, issuer, refusal, code string,
) (string, error) {
	kept := &Payload{}
	if json.Unmarshal(pending.GetPayload(), kept) != nil {
		return "", errors.New("the payload can't be read")
	}
	metadata, err := provider.discover(ctx)
	if err != nil {
		return "", err
	}
	// RFC 9207, section 2.4, also for errors.
	if issuer != provider.Issuer && (issuer != "" || metadata.NamesIssuer) {
		return "", errors.New("the callback is another issuer's")
	}
	if refusal != "" || code == "" {
		return "", errDenied
	}
	before := time.Now()
	answer, err := provider.exchange(ctx, metadata, code, kept)
	if err != nil {
		return "", err
	}
	claims, err := provider.verify(ctx, metadata, answer.IDToken, kept.Nonce, time.Now())
	if err != nil {
		return "", err
	}
	user, err := s.resolve(ctx, provider, pending.UserId, claims.Subject)
	if err != nil {
		return "", err
	}
	tokens := &pb.UpstreamTokens{
		AccessToken: answer.AccessToken, RefreshToken: answer.RefreshToken, IdToken: answer.IDToken,
		TokenType: answer.TokenType, Scopes: strings.Fields(answer.Scope),
		SessionExpiresAt: timestamppb.New(before.Add(sessionLength)),
		UserId:           user, UpstreamSubject: claims.Subject, ClientId: clientID,
	}
	if answer.ExpiresIn > 0 {
		tokens.ExpiresAt = timestamppb.New(before.Add(time.Duration(answer.ExpiresIn) * time.Second))
	}
	// Some providers give no refresh token when a user authorizes again.
	_, err = s.broker.tokens.Store(ctx, &pb.StoreRequest{
		SessionId: pending.GetSessionId(), Provider: provider.Name, Tokens: tokens, CarryForwardRefreshToken: true,
	})
	return user, err
}

// resolve returns whose login this is. The first provider says who the user is. At a later one the user is known, and the
// identity there is linked: it must not be another user's.
func (s *Server) resolve(ctx context.Context, provider *Provider, user *string, subject string) (string, error) {
	if user == nil {
		found, err := s.broker.identities.ResolveUser(ctx, &pb.ResolveUserRequest{Provider: provider.Name, ProviderSubject: subject})
		return found.GetUserId(), err
	}
	_, err := s.broker.identities.LinkIdentity(ctx, &pb.LinkIdentityRequest{
		UserId: *user, Provider: provider.Name, ProviderSubject: subject,
	})
	return *user, err
}

// abandon ends a login that can't go on, and removes what it stored so far.
func (s *Server) abandon(writer http.ResponseWriter, request *http.Request, session string, provider *Provider, err error) {
	if status.Code(err) != codes.Unknown {
		logBroker("a login at "+provider.Name+" is abandoned", err)
	} else {
		log.Printf("a login at %s is abandoned: %v", provider.Name, err)
	}
	// Also if the browser has hung up.
	ctx := context.WithoutCancel(request.Context())
	if _, failed := s.broker.tokens.Delete(ctx, everything(session)); failed != nil {
		logBroker("the tokens of an abandoned login stay until they expire", failed)
	}
	http.SetCookie(writer, s.cookie(stateCookie, "", 0))
	switch {
	case errors.Is(err, errDenied):
		refuse(writer, http.StatusForbidden, fmt.Sprintf("You weren't logged in at %s.", provider.Name))
	case errors.Is(err, errDown):
		refuse(writer, http.StatusServiceUnavailable, fmt.Sprintf("%s can't be reached. Please try again later.", provider.Name))
	case reason(err) == "IDENTITY_LINKED":
		refuse(writer, http.StatusConflict, fmt.Sprintf("This account at %s is another user's.", provider.Name))
	case status.Code(err) == codes.Unavailable, status.Code(err) == codes.DeadlineExceeded, status.Code(err) == codes.ResourceExhausted:
		refuse(writer, http.StatusServiceUnavailable, "The login can't go on now. Please begin again.")
	default:
		refuse(writer, http.StatusBadGateway, fmt.Sprintf("The login at %s failed.", provider.Name))
	}
}

// everything asks for all rows of a session to be deleted.
func everything(session string) *pb.DeleteRequest {
	return &pb.DeleteRequest{SessionId: session, Target: &pb.DeleteRequest_AllProviders{AllProviders: true}}
}
