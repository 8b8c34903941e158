package main

import (
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	pb "example.com/auth-server/gen/tokenbroker/v1"
)

// connect returns a client of the broker. In production the connection has TLS and credentials.
//
// It has no service config with retries: this program repeats calls itself, because it notes the time before each.
func connect(address string) (pb.TokenBrokerClient, error) {
	connection, err := grpc.NewClient(address, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return nil, err
	}
	return pb.NewTokenBrokerClient(connection), nil
}
