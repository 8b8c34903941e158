// A small client of the token broker: it waits until the broker serves, stores and reads tokens, and reads errors.
//
// usage: go run . [ADDRESS]
package main

import (
	"context"
	"fmt"
	"log"
	"os"
	"strings"
	"time"

	"google.golang.org/genproto/googleapis/rpc/code"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/timestamppb"

	pb "example.com/token-broker-client/gen/tokenbroker/v1"
)

func main() {
	address := "127.0.0.1:50051"
	if len(os.Args) > 1 {
		address = os.Args[1]
	}
	// Deadlines and retries. gRPC itself obeys the broker's grpc-retry-pushback-ms.
	config, err := os.ReadFile("../service_config.json")
	if err != nil {
		log.Fatal(err)
	}
	connection, err := grpc.NewClient(address,
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultServiceConfig(string(config)))
	if err != nil {
		log.Fatal(err)
	}
	defer connection.Close()

	ctx := context.Background()
	if err := waitUntilServing(ctx, connection); err != nil {
		log.Fatal(err)
	}
	fmt.Println("health: SERVING")
	run(ctx, pb.NewTokenBrokerClient(connection))
}

// waitUntilServing returns when the broker serves, and fails after ten seconds.
func waitUntilServing(ctx context.Context, connection *grpc.ClientConn) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	watch, err := healthpb.NewHealthClient(connection).Watch(ctx, &healthpb.HealthCheckRequest{}, grpc.WaitForReady(true))
	if err != nil {
		return err
	}
	for {
		answer, err := watch.Recv()
		if err != nil {
			return err
		}
		if answer.Status == healthpb.HealthCheckResponse_SERVING {
			return nil
		}
	}
}

func run(ctx context.Context, broker pb.TokenBrokerClient) {
	session := fmt.Sprintf("example-go-%d", time.Now().UnixNano())
	tokens := &pb.UpstreamTokens{
		AccessToken:  "an-access-token",
		RefreshToken: "a-refresh-token",
		UserId:       "alice",
		Scopes:       []string{"repo"},
		// For a token without an end leave ExpiresAt nil: Go's zero time isn't accepted.
		ExpiresAt: timestamppb.New(time.Now().Add(time.Hour)),
	}
	row := &pb.StoreRequest{SessionId: session, Provider: "github", Tokens: tokens}
	first, err := broker.Store(ctx, row)
	show("store", "ok", err)

	read, err := broker.Get(ctx, &pb.GetRequest{SessionId: session, Provider: "github"})
	entry := read.GetEntry()
	show("get", fmt.Sprintf("tokens of %s, expired %t", entry.GetTokens().GetUserId(), entry.GetExpired()), err)

	// A write that depends on what was read names the version. Another caller may have been faster.
	row.Precondition = &pb.Precondition{Condition: &pb.Precondition_Version{Version: first.GetVersion()}}
	_, err = broker.Store(ctx, row)
	show("store on the version", "ok", err)
	_, err = broker.Store(ctx, row)
	show("store on an old version", "ok", err)

	_, err = broker.Get(ctx, &pb.GetRequest{SessionId: session, Provider: "google"})
	show("get of an unknown row", "ok", err)

	tokens.Scopes = []string{"repo", "two scopes"}
	_, err = broker.Store(ctx, &pb.StoreRequest{SessionId: session, Tokens: tokens})
	show("store of nonsense", "ok", err)

	deleted, err := broker.Delete(ctx, &pb.DeleteRequest{
		SessionId: session,
		Target:    &pb.DeleteRequest_AllProviders{AllProviders: true},
	})
	show("delete", fmt.Sprintf("%d row", deleted.GetDeleted()), err)
}

// show prints what came of a call.
func show(call, outcome string, err error) {
	if err != nil {
		outcome = describe(err)
	}
	fmt.Printf("%s: %s\n", call, outcome)
}

// describe returns an error's code, reason, and the fields that are wrong. A program decides by the reason.
func describe(err error) string {
	failed := status.Convert(err)
	words := []string{code.Code(failed.Code()).String()}
	for _, detail := range failed.Details() {
		switch detail := detail.(type) {
		case *errdetails.ErrorInfo:
			words = append(words, detail.Reason)
		case *errdetails.BadRequest:
			for _, violation := range detail.FieldViolations {
				words = append(words, violation.Field)
			}
		}
	}
	return strings.Join(words, " ")
}
