package main

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"log"
	"sync/atomic"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	pb "example.com/auth-server/gen/tokenbroker/v1"
)

// How often BeginRefresh is called under one id.
const beginTries = 3

// errAnswerLost says that it isn't known whether an attempt has the lease.
var errAnswerLost = errors.New("the broker didn't answer")

// An attempt to redeem the refresh token of a row: what the broker is asked and told about it.
type attempt struct {
	broker pb.TokenBrokerClient
	row    Row
	// 16 random bytes. A call that is repeated has the same ones, so that the broker takes it for the same attempt.
	id      []byte
	version uint64
	// The broker knows refresh tokens by their hash.
	tokenHash [sha256.Size]byte
	// When the lease ends, by sinceBoot. 0: there is none.
	leaseEnds atomic.Int64
}

func newAttempt(broker pb.TokenBrokerClient, row Row, entry *pb.TokenEntry) *attempt {
	id := make([]byte, 16)
	rand.Read(id) // It never fails: see its documentation.
	return &attempt{
		broker:    broker,
		row:       row,
		id:        id,
		version:   entry.GetVersion(),
		tokenHash: sha256.Sum256([]byte(entry.GetTokens().GetRefreshToken())),
	}
}

// begin asks for the lease. After errAnswerLost the attempt may have it: it has to be completed as not sent.
func (a *attempt) begin(ctx context.Context) (*pb.BeginRefreshResponse, error) {
	request := &pb.BeginRefreshRequest{
		SessionId: a.row.Session, Provider: a.row.Provider, Version: a.version, AttemptId: a.id,
	}
	for range beginTries {
		before := sinceBoot()
		answer, err := call(ctx, a.broker.BeginRefresh, request)
		switch {
		case err == nil:
			if lease := answer.GetLease(); lease != nil {
				a.leaseEnds.Store(int64(before + lease.GetLength().AsDuration()))
			}
			return answer, nil
		case isFinal(err):
			return nil, err
		}
		pause(ctx, err)
	}
	return nil, errAnswerLost
}

// holdsLease says whether the refresh token may be sent now.
func (a *attempt) holdsLease() bool {
	return int64(sinceBoot()) < a.leaseEnds.Load()
}

// keepLease renews a lease of this length three times before it would end, until the returned function is called.
func (a *attempt) keepLease(length time.Duration) (stop func()) {
	ctx, stop := context.WithCancel(context.Background())
	request := &pb.RenewRefreshRequest{
		SessionId: a.row.Session, Provider: a.row.Provider, AttemptId: a.id, RefreshTokenSha256: a.tokenHash[:],
	}
	go func() {
		ticker := time.NewTicker(length * 3 / 10)
		defer ticker.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-ticker.C:
			}
			before := sinceBoot()
			within, cancel := context.WithTimeout(ctx, length*3/10)
			answer, err := call(within, a.broker.RenewRefresh, request)
			cancel()
			switch {
			case err != nil: // The lease has not ended yet: there is time for another try.
			case answer.GetLength() == nil:
				// It is lost for good. What was sent is still waited for, and its answer is still taken.
				a.leaseEnds.Store(0)
				return
			default:
				a.leaseEnds.Store(int64(before + answer.GetLength().AsDuration()))
			}
		}
	}()
	return stop
}

// complete tells the broker what became of the refresh token, until the broker has answered. It doesn't give up: if there
// are new tokens, this process has their only copy.
func (a *attempt) complete(outcome Outcome) (*pb.CompleteRefreshResponse, error) {
	ctx := context.Background()
	for try := 1; ; try++ {
		request := &pb.CompleteRefreshRequest{
			SessionId: a.row.Session, Provider: a.row.Provider, AttemptId: a.id,
			RefreshTokenSha256: a.tokenHash[:], Version: a.version,
		}
		outcome.tell(request) // Anew each time: tokens have less time to live.
		answer, err := call(ctx, a.broker.CompleteRefresh, request)
		switch {
		case err == nil:
			return answer, nil
		case status.Code(err) == codes.InvalidArgument:
			// A type or scopes of a form that the broker doesn't take. The tokens matter more.
			if tokens, ok := outcome.(*Tokens); ok && tokens.dropDetails() {
				continue
			}
			return nil, err
		case try%20 == 1:
			log.Printf("what became of a refresh can't be stored yet: %v", status.Code(err))
		}
		pause(ctx, err)
	}
}
