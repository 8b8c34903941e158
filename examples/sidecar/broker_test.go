package main

import (
	"context"
	"errors"
	"net"
	"net/http"
	"testing"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"

	pb "example.com/token-sidecar/gen/tokenbroker/v1"
)

// A failing broker fails the first calls.
type failing struct {
	pb.UnimplementedAccessTokensServer
	failures int
	retry    *errdetails.RetryInfo
	calls    int
}

func (f *failing) GetAccessToken(context.Context, *pb.GetAccessTokenRequest) (*pb.GetAccessTokenResponse, error) {
	f.calls++
	if f.calls > f.failures {
		return &pb.GetAccessTokenResponse{Token: &pb.AccessToken{AccessToken: "t", TokenType: "bearer"}}, nil
	}
	failed := status.New(codes.Unavailable, "")
	if f.retry != nil {
		failed, _ = failed.WithDetails(f.retry)
	}
	return nil, failed.Err()
}

// getFrom asks this broker for a token, within forty seconds.
func getFrom(t *testing.T, broker *failing) (*pb.AccessToken, error) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer()
	pb.RegisterAccessTokensServer(server, broker)
	go server.Serve(listener)
	defer server.Stop()
	options := brokerOptions{address: listener.Addr().String()}
	options.tokens.provider, options.tokens.timeout = "idp", 40*time.Second
	tokens, err := options.connect()
	if err != nil {
		t.Fatal(err)
	}
	defer tokens.connection.Close()
	return tokens.get(context.Background(), caller{"s", "alice"}, nil)
}

func TestACallIsRepeatedAsTheBrokerAsks(t *testing.T) {
	in := func(wait time.Duration) *errdetails.RetryInfo {
		return &errdetails.RetryInfo{RetryDelay: durationpb.New(wait)}
	}
	for name, test := range map[string]struct {
		failures int
		retry    *errdetails.RetryInfo
		calls    int
		wait     time.Duration // 0: there is a token.
	}{
		"soon":         {2, in(20 * time.Millisecond), 3, 0},
		"too often":    {9, in(20 * time.Millisecond), 3, 20 * time.Millisecond},
		"too late":     {1, in(time.Minute), 1, time.Minute},
		"doesn't say":  {1, nil, 1, time.Second},
		"doesn't fail": {0, nil, 1, 0},
	} {
		broker := &failing{failures: test.failures, retry: test.retry}
		start := time.Now()
		token, err := getFrom(t, broker)
		var refused *refusal
		switch {
		case broker.calls != test.calls:
			t.Errorf("%s: %d calls", name, broker.calls)
		case test.wait == 0 && (err != nil || token.GetAccessToken() != "t"):
			t.Errorf("%s: %v", name, err)
		case test.wait != 0 && (!errors.As(err, &refused) || refused.status != http.StatusServiceUnavailable || refused.wait != test.wait):
			t.Errorf("%s: %v", name, err)
		case time.Since(start) > 39*time.Second:
			t.Errorf("%s: it waited until the deadline", name)
		}
	}
}
