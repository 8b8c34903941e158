package main

import (
	"log"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	pb "example.com/login/gen/tokenbroker/v1"
)

// A Broker is the four services of the broker on one connection.
type Broker struct {
	tokens     pb.TokenBrokerClient
	access     pb.AccessTokensClient
	identities pb.IdentitiesClient
	pending    pb.PendingAuthorizationsClient
}

// connect returns clients of the broker. The service config sets the deadlines, and which calls gRPC repeats: `Create`,
// `Consume` and `Store` aren't repeated when their outcome isn't known. The user begins the login again. In production the
// connection has TLS and credentials.
func connect(address, serviceConfig string) (*Broker, error) {
	connection, err := grpc.NewClient(address,
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultServiceConfig(serviceConfig))
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

// reason returns the stable reason of a broker's error, such as STATE_NOT_FOUND. It is empty if there is none.
func reason(err error) string {
	for _, detail := range status.Convert(err).Details() {
		if info, ok := detail.(*errdetails.ErrorInfo); ok {
			return info.Reason
		}
	}
	return ""
}

// logBroker logs what the broker refused: code and reason. No id, no token.
func logBroker(what string, err error) {
	log.Printf("%s: %v %s", what, status.Code(err), reason(err))
}
