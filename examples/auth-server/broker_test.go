package main

import (
	"context"
	"testing"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"
)

// broken is an error of the broker. Without a reason it is like a lost connection.
func broken(code codes.Code, reason string, retry time.Duration) error {
	failed := status.New(code, "")
	if reason != "" {
		failed, _ = failed.WithDetails(&errdetails.ErrorInfo{Reason: reason})
	}
	if retry != 0 {
		failed, _ = failed.WithDetails(&errdetails.RetryInfo{RetryDelay: durationpb.New(retry)})
	}
	return failed.Err()
}

func TestACallIsRepeatedIfTheBrokerSaysThatItDidntDoIt(t *testing.T) {
	for name, test := range map[string]struct {
		err   error
		calls int
	}{
		"it starts":          {broken(codes.Unavailable, "MIGRATING", time.Millisecond), 2},
		"it says nothing":    {broken(codes.Unavailable, "", 0), 1},
		"it doesn't know":    {broken(codes.Unavailable, "OUTCOME_UNKNOWN", 0), 1},
		"it is done already": {broken(codes.Unavailable, "NOT_DURABLE", time.Millisecond), 1},
		"much later":         {broken(codes.Unavailable, "PROVIDER_UNAVAILABLE", time.Hour), 1},
		"it works":           {nil, 1},
	} {
		calls := 0
		invoke := func(context.Context, string, any, any, *grpc.ClientConn, ...grpc.CallOption) error {
			if calls++; calls == 1 {
				return test.err
			}
			return nil
		}
		err := repeat(context.Background(), "", nil, nil, nil, invoke)
		if calls != test.calls || (err == nil) != (calls == 2 || test.err == nil) {
			t.Errorf("%s: %d calls, %v", name, calls, err)
		}
	}
}

func TestOnlyAnAuthorizationThatMayBeThereIsTriedAgain(t *testing.T) {
	for name, test := range map[string]struct {
		err  error
		wait bool
		told string
	}{
		"away":         {broken(codes.Unavailable, "", 0), true, "stopped"},
		"late":         {broken(codes.DeadlineExceeded, "", 0), true, "stopped"},
		"starts":       {broken(codes.Unavailable, "MIGRATING", time.Second), true, "stopped"},
		"overloaded":   {broken(codes.ResourceExhausted, "OVERLOADED", time.Second), true, "stopped"},
		"unknown":      {broken(codes.Unavailable, "OUTCOME_UNKNOWN", 0), false, "stopped"},
		"not durable":  {broken(codes.Unavailable, "NOT_DURABLE", time.Second), false, "stopped"},
		"gone":         {broken(codes.NotFound, "STATE_NOT_FOUND", 0), false, "over"},
		"misrouted":    {broken(codes.FailedPrecondition, "PROVIDER_MISMATCH", 0), false, "misrouted"},
		"unreadable":   {broken(codes.DataLoss, "RECORD_UNREADABLE", 0), false, "failed"},
		"another's":    {broken(codes.AlreadyExists, "IDENTITY_LINKED", 0), false, "taken"},
		"the provider": {errRefused, false, "failed"},
	} {
		if mayStillWait(test.err) != test.wait || failureOf(test.err) != test.told {
			t.Errorf("%s: %t, %s", name, mayStillWait(test.err), failureOf(test.err))
		}
		if _, found := failures[failureOf(test.err)]; !found {
			t.Errorf("%s: there is no page", name)
		}
	}
}
