package main

import (
	"context"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	pb "example.com/login/gen/tokenbroker/v1"
)

// How long a call is repeated that the broker couldn't do.
const patience = 10 * time.Second

// A Broker is the four services of the broker on one connection.
type Broker struct {
	tokens     pb.TokenBrokerClient
	access     pb.AccessTokensClient
	identities pb.IdentitiesClient
	pending    pb.PendingAuthorizationsClient
}

// connect returns clients of the broker. The service config sets the deadlines, and which calls gRPC repeats: `Create`,
// `Consume` and `Store` aren't repeated when their outcome isn't known. In production the connection has TLS and credentials.
func connect(address, serviceConfig string) (*Broker, error) {
	connection, err := grpc.NewClient(address,
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultServiceConfig(serviceConfig),
		// A broker that is restarted is away for a moment. Until their deadline, calls wait for it.
		grpc.WithDefaultCallOptions(grpc.WaitForReady(true)),
		grpc.WithUnaryInterceptor(repeat))
	if err != nil {
		return nil, err
	}
	return &Broker{
		tokens:     pb.NewTokenBrokerClient(connection),
		access:     pb.NewAccessTokensClient(connection),
		identities: pb.NewIdentitiesClient(connection),
		pending:    pb.NewPendingAuthorizationsClient(connection),
	}, nil
}

// repeat repeats a call that the broker surely didn't do, when the broker says so: while it starts, for instance. gRPC itself knows
// the code alone, and an `UNAVAILABLE` may also be a call that was done.
func repeat(
	ctx context.Context, method string, request, answer any, connection *grpc.ClientConn, invoke grpc.UnaryInvoker, options ...grpc.CallOption,
) error {
	end := time.Now().Add(patience)
	for {
		err := invoke(ctx, method, request, answer, connection, options...)
		wait := retryAfter(err)
		// What is done, and isn't durable yet, isn't done twice.
		if wait == 0 || reason(err) == "NOT_DURABLE" || time.Until(end) < wait {
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(wait):
		}
	}
}

// retryAfter returns when the broker wants to be asked again, or 0.
func retryAfter(err error) time.Duration {
	for _, detail := range status.Convert(err).Details() {
		if retry, ok := detail.(*errdetails.RetryInfo); ok {
			return retry.GetRetryDelay().AsDuration()
		}
	}
	return 0
}

// reason returns the stable reason of a broker's error, such as STATE_NOT_FOUND. It is empty if there is none.
func reason(err error) string {
	for _, detail := range status.Convert(err).Details() {
		if info, ok := detail.(*errdetails.ErrorInfo); ok {
			return info.Reason
		}
	}
	return ""
}

// mayStillWait says whether the authorization may still be there after a `Consume` that failed. At worst it is gone, and the next
// one says so.
func mayStillWait(err error) bool {
	switch reason(err) {
	case "STATE_NOT_FOUND", "PROVIDER_MISMATCH", "NOT_DURABLE", "OUTCOME_UNKNOWN":
		return false
	}
	switch status.Code(err) {
	case codes.Unavailable, codes.DeadlineExceeded, codes.ResourceExhausted:
		return true
	}
	return false
}
