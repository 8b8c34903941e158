package main

import (
	"crypto/tls"
	"net/http"
	"net/http/httptest"
	"reflect"
	"sync/atomic"
	"testing"
	"time"

	pb "example.com/auth-server/gen/tokenbroker/v1"
)

var old = &pb.UpstreamTokens{RefreshToken: "r1"}

// redeemAt sends a refresh token to a server that handles it so. It returns the outcome, and how many requests arrived.
func redeemAt(t *testing.T, mayBeSent bool, handle http.HandlerFunc) (Outcome, int32) {
	t.Helper()
	var arrived atomic.Int32
	server := httptest.NewServer(http.HandlerFunc(func(writer http.ResponseWriter, request *http.Request) {
		if request.PostFormValue("refresh_token") == "r1" {
			arrived.Add(1)
		}
		handle(writer, request)
	}))
	defer server.Close()
	provider := &Provider{TokenEndpoint: server.URL, ClientID: "c", ClientSecret: "s"}
	provider.connectTo(&tls.Config{}, 10*time.Second)
	outcome := provider.Redeem(old, func() bool { return mayBeSent })
	return outcome, arrived.Load()
}

func TestEachAnswerHasItsMeaning(t *testing.T) {
	for _, test := range []struct {
		status           int
		retryAfter, body string
		want             Outcome
	}{
		{200, "", `{"access_token":"a"}`, &Tokens{AccessToken: "a"}},
		{200, "", `{"access_token":`, Unknown{}},
		{200, "", `{}`, Unknown{}},
		{302, "", ``, Unknown{}},
		{400, "", `{"error":"invalid_grant"}`, Refused{}},
		{401, "", `{"error":"invalid_client"}`, NotSent{backOff}},
		{404, "", `not found`, Unknown{}},
		{429, "7", ``, NotSent{7 * time.Second}},
		{429, "", ``, NotSent{backOff}},
		{500, "", `{"error":"invalid_grant"}`, Unknown{}},
		{503, "", ``, Unknown{}},
		{503, "7", ``, NotSent{7 * time.Second}},
	} {
		got, arrived := redeemAt(t, true, func(writer http.ResponseWriter, _ *http.Request) {
			if test.retryAfter != "" {
				writer.Header().Set("Retry-After", test.retryAfter)
			}
			writer.Header().Set("Location", "/elsewhere")
			writer.WriteHeader(test.status)
			writer.Write([]byte(test.body))
		})
		if tokens, ok := got.(*Tokens); ok {
			tokens.sentAt = 0
		}
		if !reflect.DeepEqual(got, test.want) || arrived != 1 {
			t.Errorf("%d %s: %#v, sent %d times", test.status, test.body, got, arrived)
		}
	}
}

func TestNothingIsSentWithoutALease(t *testing.T) {
	got, arrived := redeemAt(t, false, func(http.ResponseWriter, *http.Request) {})
	if got != (NotSent{}) || arrived != 0 {
		t.Errorf("%#v, sent %d times", got, arrived)
	}
}

func TestARequestWithoutAnAnswerIsUnknown(t *testing.T) {
	got, arrived := redeemAt(t, true, func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) })
	if got != (Unknown{}) || arrived != 1 {
		t.Errorf("%#v, sent %d times", got, arrived)
	}
}

func TestAProviderThatIsNotThereWasSentNothing(t *testing.T) {
	provider := &Provider{TokenEndpoint: "http://127.0.0.1:1"}
	provider.connectTo(&tls.Config{}, 10*time.Second)
	if got := provider.Redeem(old, func() bool { return true }); got != (NotSent{backOff}) {
		t.Errorf("%#v", got)
	}
}

func TestTimeThatHasPassedIsTakenOff(t *testing.T) {
	tokens := &Tokens{ExpiresIn: 60, RefreshExpiresIn: 5, sentAt: sinceBoot() - 10*time.Second}
	request := &pb.CompleteRefreshRequest{}
	tokens.tell(request)
	told := request.GetTokens()
	if left := told.ExpiresIn.AsDuration(); left > 50*time.Second || left < 45*time.Second {
		t.Errorf("%v left", left)
	}
	if left := told.RefreshExpiresIn.AsDuration(); left != time.Second {
		t.Errorf("%v left", left)
	}
}
