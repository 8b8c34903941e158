package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"

	pb "example.com/auth-server/gen/tokenbroker/v1"
)

const (
	// An access token that ends sooner is refreshed. Choose much less than your tokens live.
	margin = 30 * time.Second
	// How long it is waited for others who redeem the same refresh token.
	patience = 30 * time.Second
	// How often the row is looked at meanwhile.
	lookEvery = 100 * time.Millisecond
)

// ErrUnavailable says that there is no valid access token now, and that it makes sense to ask again.
var ErrUnavailable = errors.New("no access token can be had now")

// LoginRequired is the error if the user has to log in at the provider again.
type LoginRequired struct{ Reason pb.ReauthReason }

func (e *LoginRequired) Error() string {
	return fmt.Sprintf("the user has to log in again: %v", e.Reason)
}

// A Row is what the tokens of a session at a provider are stored under. The session is a secret.
type Row struct{ Session, Provider string }

// A Refresher hands out access tokens, and refreshes those that are about to end. However many replicas of this program
// there are, and whatever else refreshes the same rows, each refresh token is redeemed once.
type Refresher struct {
	broker    pb.TokenBrokerClient
	providers map[string]*Provider
	// Who asks for a row that this process is refreshing waits for that.
	flights singleflight.Group

	mutex    sync.Mutex
	stopping bool
	work     sync.WaitGroup
}

// AccessToken returns the row of a session at a provider, with a valid access token.
//
// The errors are ErrUnavailable, LoginRequired, and errors of the broker. The caller's context bounds how long the caller
// waits. A redemption that has begun isn't affected by it.
func (r *Refresher) AccessToken(ctx context.Context, session, provider string) (*pb.TokenEntry, error) {
	row := Row{Session: session, Provider: provider}
	read, err := call(ctx, r.broker.Get, &pb.GetRequest{SessionId: session, Provider: provider})
	if err != nil {
		return nil, err
	}
	entry := read.GetEntry()
	if !isDue(entry) {
		return entry, nil
	}
	refreshed, err := r.shared(ctx, row, entry)
	if err != nil && !entry.GetExpired() {
		return entry, nil // It isn't fresh, but it is valid.
	}
	return refreshed, err
}

// Close lets no further refresh begin, and waits for those that have begun.
func (r *Refresher) Close() {
	r.mutex.Lock()
	r.stopping = true
	r.mutex.Unlock()
	r.work.Wait()
}

func isDue(entry *pb.TokenEntry) bool {
	expires := entry.GetTokens().GetExpiresAt()
	return entry.GetExpired() || (expires != nil && time.Until(expires.AsTime()) < margin)
}

// shared refreshes a row once for all who ask for it.
func (r *Refresher) shared(ctx context.Context, row Row, entry *pb.TokenEntry) (*pb.TokenEntry, error) {
	key := fmt.Sprintf("%q %q", row.Session, row.Provider)
	flight := r.flights.DoChan(key, func() (any, error) {
		r.mutex.Lock()
		if r.stopping {
			r.mutex.Unlock()
			return nil, ErrUnavailable
		}
		r.work.Add(1)
		r.mutex.Unlock()
		defer r.work.Done()
		return r.refresh(row, entry)
	})
	select {
	case <-ctx.Done():
		return nil, ctx.Err()
	case landed := <-flight:
		if landed.Err != nil {
			return nil, landed.Err
		}
		return landed.Val.(*pb.TokenEntry), nil
	}
}

// refresh makes attempts until one has the lease, or there is nothing to redeem. It sends at most one request to the
// provider: when to try again after that is for the broker to say, at the next call.
func (r *Refresher) refresh(row Row, entry *pb.TokenEntry) (*pb.TokenEntry, error) {
	provider, known := r.providers[row.Provider]
	if !known {
		return nil, fmt.Errorf("the provider %q isn't configured", row.Provider)
	}
	// Not the caller's context: one who hangs up must not stop what others wait for.
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	for ctx.Err() == nil {
		attempt := newAttempt(r.broker, row, entry)
		begun, err := attempt.begin(ctx)
		if errors.Is(err, errAnswerLost) {
			// The token may be taken now. Nothing was sent, so that others may have it.
			r.work.Go(func() { attempt.complete(NotSent{}) })
			return nil, ErrUnavailable
		}
		if err != nil {
			return nil, err
		}
		switch outcome := begun.GetOutcome().(type) {
		case *pb.BeginRefreshResponse_Lease:
			return redeem(provider, attempt, outcome.Lease)
		case *pb.BeginRefreshResponse_Fresher:
			entry = outcome.Fresher
		case *pb.BeginRefreshResponse_Wait:
			entry, err = r.watch(ctx, row, entry, outcome.Wait.AsDuration())
			if err != nil {
				return nil, err
			}
		case *pb.BeginRefreshResponse_ReauthRequired:
			return nil, &LoginRequired{Reason: outcome.ReauthRequired}
		default:
			return nil, ErrUnavailable // A newer broker's answer.
		}
		if !isDue(entry) {
			return entry, nil
		}
	}
	return nil, ErrUnavailable
}

// watch waits while somebody else has the refresh token, and returns the row as it is then. Who has it is most often done
// long before that time has passed, and a read costs little.
func (r *Refresher) watch(ctx context.Context, row Row, entry *pb.TokenEntry, wait time.Duration) (*pb.TokenEntry, error) {
	request := &pb.GetRequest{SessionId: row.Session, Provider: row.Provider}
	for end := time.Now().Add(wait); time.Now().Before(end) && ctx.Err() == nil; {
		sleep(ctx, min(lookEvery, time.Until(end)))
		read, err := call(ctx, r.broker.Get, request)
		switch {
		case err != nil && isFinal(err):
			return nil, err
		case err != nil: // The next look may succeed.
		case read.GetEntry().GetVersion() != entry.GetVersion():
			return read.GetEntry(), nil
		case read.GetEntry().GetReauthRequired():
			return nil, &LoginRequired{Reason: read.GetEntry().GetReauthReason()}
		}
	}
	return entry, nil
}

// redeem sends the refresh token that the attempt has the lease of, and stores what came of it before anything else.
//
// If the process dies here, nobody knows whether the provider has redeemed the token. The broker notices that the lease
// isn't renewed, and what follows is as if one of its own kind had died.
func redeem(provider *Provider, attempt *attempt, lease *pb.RefreshLease) (*pb.TokenEntry, error) {
	stop := attempt.keepLease(lease.GetLength().AsDuration())
	defer stop()
	outcome := provider.Redeem(lease.GetEntry().GetTokens(), attempt.holdsLease)
	completed, err := attempt.complete(outcome)
	if err != nil {
		return nil, err
	}
	switch completed := completed.GetOutcome().(type) {
	case *pb.CompleteRefreshResponse_ReauthRequired:
		return nil, &LoginRequired{Reason: completed.ReauthRequired}
	case *pb.CompleteRefreshResponse_Entry:
		// If nothing came of it, this is the row as it was.
		if entry := completed.Entry; !entry.GetExpired() {
			return entry, nil
		}
	}
	return nil, ErrUnavailable
}
