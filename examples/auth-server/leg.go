package main

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	pb "example.com/login/gen/tokenbroker/v1"
)

// finishLeg redeems the code, and stores the tokens under the session. It returns the user.
func (s *Server) finishLeg(ctx context.Context, provider *Provider, pending *pb.ConsumeResponse, answer answerOf) (string, error) {
	kept := &Payload{}
	if json.Unmarshal(pending.GetPayload(), kept) != nil {
		return "", errors.New("the payload can't be read")
	}
	metadata, err := provider.discover(ctx)
	if err != nil {
		return "", err
	}
	// RFC 9207, section 2.4, also for errors.
	if answer.issuer != provider.Issuer && (answer.issuer != "" || metadata.NamesIssuer) {
		return "", errors.New("the callback is another issuer's")
	}
	if err := refusalOf(answer); err != nil {
		return "", err
	}
	before := time.Now()
	got, err := provider.exchange(ctx, metadata, answer.code, kept)
	if err != nil {
		return "", err
	}
	claims, err := provider.verify(ctx, metadata, got.IDToken, kept.Nonce, time.Now())
	if err != nil {
		return "", err
	}
	user, err := s.resolve(ctx, provider, pending.UserId, claims.Subject)
	if err != nil {
		return "", err
	}
	tokens := &pb.UpstreamTokens{
		AccessToken: got.AccessToken, RefreshToken: got.RefreshToken, IdToken: got.IDToken,
		TokenType: got.TokenType, Scopes: strings.Fields(got.Scope),
		// The login isn't finished yet. If the user walks away, nobody deletes what is stored so far.
		SessionExpiresAt: timestamppb.New(before.Add(time.Duration(len(s.chain)) * legLength)),
		UserId:           user, UpstreamSubject: claims.Subject, ClientId: clientID,
	}
	if got.ExpiresIn > 0 {
		tokens.ExpiresAt = timestamppb.New(before.Add(time.Duration(got.ExpiresIn) * time.Second))
	}
	// Some providers give no refresh token when a user authorizes again.
	_, err = s.broker.tokens.Store(ctx, &pb.StoreRequest{
		SessionId: pending.GetSessionId(), Provider: provider.Name, Tokens: tokens, CarryForwardRefreshToken: true,
	})
	return user, err
}

// refusalOf says what an answer without a code means (RFC 6749, section 4.1.2.1).
func refusalOf(answer answerOf) error {
	switch answer.refusal {
	case "access_denied":
		return errDenied
	case "server_error", "temporarily_unavailable":
		return errDown
	case "":
		if answer.code != "" {
			return nil
		}
	}
	return errRefused
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

// keep lets the tokens of a finished login live as long as the session. Each provider of the chain has to be there.
func (s *Server) keep(ctx context.Context, session, user string) error {
	binding := (&Session{UserID: user}).binding()
	found, err := s.broker.tokens.GetAll(ctx, &pb.GetAllRequest{SessionId: session, Binding: binding})
	if err != nil {
		return err
	}
	until := timestamppb.New(time.Now().Add(sessionLength))
	for _, provider := range s.chain {
		entry := found.GetEntries()[provider.Name]
		if entry == nil {
			return errors.New("the tokens of " + provider.Name + " are gone")
		}
		entry.Tokens.SessionExpiresAt = until
		_, err := s.broker.tokens.Store(ctx, &pb.StoreRequest{
			SessionId: session, Provider: provider.Name, Tokens: entry.GetTokens(),
			Precondition: &pb.Precondition{Condition: &pb.Precondition_Version{Version: entry.GetVersion()}},
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// everything asks for all rows of a session to be deleted.
func everything(session string) *pb.DeleteRequest {
	return &pb.DeleteRequest{SessionId: session, Target: &pb.DeleteRequest_AllProviders{AllProviders: true}}
}
