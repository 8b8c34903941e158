package main

import (
	"context"
	"time"

	"google.golang.org/grpc"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"

	pb "example.com/token-sidecar/gen/tokenbroker/v1"
)

const (
	// How often the broker is asked for a token at most, if it says when to ask again.
	tries = 3
	// How long the broker's health may take.
	healthTimeout = time.Second
)

// A caller is what the JWT of a request says. The session is a secret: nothing prints it.
type caller struct{ session, user string }

// accessTokens asks the broker for access tokens, over one connection that all requests share.
type accessTokens struct {
	connection *grpc.ClientConn
	provider   string
	// The OAuth client whose rows alone are taken. Empty: any.
	client string
	// Whether a row has to be of the user that the JWT names.
	bindUser bool
	// How long a request waits for its token.
	timeout time.Duration
}

// get returns the access token of a caller. `rejected` is the version that the service refused, or nil.
//
// An error is a *refusal. It repeats the call when the broker says when, and there is time for it. gRPC's own retries
// would wait until the deadline for a broker that asks to come back later, and then nothing says when that is.
func (a *accessTokens) get(ctx context.Context, from caller, rejected *uint64) (*pb.AccessToken, error) {
	ctx, cancel := context.WithTimeout(ctx, a.timeout)
	defer cancel()
	request := &pb.GetAccessTokenRequest{
		SessionId: from.session, Provider: a.provider, RejectedVersion: rejected, Binding: a.binding(from),
	}
	for try := 1; ; try++ {
		answer, err := pb.NewAccessTokensClient(a.connection).GetAccessToken(ctx, request)
		if err == nil {
			return usable(answer.GetToken())
		}
		refused := refusalOf(err)
		end, _ := ctx.Deadline()
		if try == tries || !refused.mayRepeat || time.Until(end) < 2*refused.wait {
			return nil, refused
		}
		select {
		case <-ctx.Done():
			return nil, refused
		case <-time.After(refused.wait):
		}
	}
}

// binding is what the row has to be of. The broker refuses a binding without a field.
func (a *accessTokens) binding(from caller) *pb.Binding {
	binding := &pb.Binding{}
	if a.client != "" {
		binding.ClientId = &a.client
	}
	if a.bindUser {
		binding.UserId = &from.user
	}
	if binding.ClientId == nil && binding.UserId == nil {
		return nil
	}
	return binding
}

// ready says whether the broker serves.
func (a *accessTokens) ready(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, healthTimeout)
	defer cancel()
	answer, err := healthpb.NewHealthClient(a.connection).Check(ctx, &healthpb.HealthCheckRequest{})
	return err == nil && answer.GetStatus() == healthpb.HealthCheckResponse_SERVING
}
