package main

import (
	"context"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// How long a call to the broker may take.
const callTimeout = 5 * time.Second

// call calls the broker once, with a deadline.
func call[Request, Answer any](
	ctx context.Context,
	rpc func(context.Context, *Request, ...grpc.CallOption) (*Answer, error),
	request *Request,
) (*Answer, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	return rpc(ctx, request)
}

// isFinal says whether the broker has looked at the call and refused it. After any other error the call may have been
// done, and it makes sense to repeat it.
func isFinal(err error) bool {
	switch status.Code(err) {
	case codes.InvalidArgument, codes.NotFound, codes.FailedPrecondition, codes.DataLoss,
		codes.PermissionDenied, codes.Unauthenticated, codes.Unimplemented:
		return true
	}
	return false
}

// pause waits before a call is repeated, for as long as the broker asked for. It returns early when the context ends.
func pause(ctx context.Context, err error) {
	wait := 200 * time.Millisecond
	for _, detail := range status.Convert(err).Details() {
		if retry, ok := detail.(*errdetails.RetryInfo); ok && retry.RetryDelay != nil {
			wait = retry.RetryDelay.AsDuration()
		}
	}
	sleep(ctx, wait)
}

func sleep(ctx context.Context, wait time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(wait):
	}
}
