// Takes the place of examples/go-auth-server/connect.go in a build for a test: nobody is asked before a refresh token is sent.
package main

import (
	"context"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	pb "example.com/auth-server/gen/tokenbroker/v1"
)

type uncoordinated struct {
	pb.TokenBrokerClient
	read sync.Map // what was read under each attempt's id
}

func (u *uncoordinated) BeginRefresh(ctx context.Context, request *pb.BeginRefreshRequest, _ ...grpc.CallOption) (*pb.BeginRefreshResponse, error) {
	read, err := u.Get(ctx, &pb.GetRequest{SessionId: request.SessionId, Provider: request.Provider})
	if err != nil {
		return nil, err
	}
	u.read.Store(string(request.AttemptId), read.Entry)
	lease := &pb.RefreshLease{Length: durationpb.New(time.Hour), Entry: read.Entry}
	return &pb.BeginRefreshResponse{Outcome: &pb.BeginRefreshResponse_Lease{Lease: lease}}, nil
}

func (u *uncoordinated) RenewRefresh(context.Context, *pb.RenewRefreshRequest, ...grpc.CallOption) (*pb.RenewRefreshResponse, error) {
	return &pb.RenewRefreshResponse{Length: durationpb.New(time.Hour)}, nil
}

func (u *uncoordinated) CompleteRefresh(ctx context.Context, request *pb.CompleteRefreshRequest, _ ...grpc.CallOption) (*pb.CompleteRefreshResponse, error) {
	found, _ := u.read.Load(string(request.AttemptId))
	entry := found.(*pb.TokenEntry)
	if tokens := request.GetTokens(); tokens != nil {
		entry.Tokens.AccessToken = tokens.AccessToken
		entry.Tokens.RefreshToken = tokens.RefreshToken
		entry.Tokens.ExpiresAt = timestamppb.New(time.Now().Add(tokens.ExpiresIn.AsDuration()))
		entry.Expired = false
		_, err := u.Store(ctx, &pb.StoreRequest{SessionId: request.SessionId, Provider: request.Provider, Tokens: entry.Tokens})
		if err != nil {
			return nil, err
		}
	}
	return &pb.CompleteRefreshResponse{Outcome: &pb.CompleteRefreshResponse_Entry{Entry: entry}}, nil
}

func connect(address string) (pb.TokenBrokerClient, error) {
	connection, err := grpc.NewClient(address, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return nil, err
	}
	return &uncoordinated{TokenBrokerClient: pb.NewTokenBrokerClient(connection)}, nil
}
