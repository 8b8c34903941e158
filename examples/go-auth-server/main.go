// An auth server that redeems its users' upstream refresh tokens itself, coordinated by the token broker.
//
// It shows the part of an auth server that refreshes, and no other: see the README.
package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"log"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

func main() {
	if err := run(); err != nil {
		log.Fatal(err)
	}
}

func run() error {
	var provider Provider
	listen := flag.String("listen", "127.0.0.1:8080", "where to serve HTTP")
	address := flag.String("broker", "127.0.0.1:50051", "the address of the broker")
	name := flag.String("provider", "idp", "the provider's name at the broker")
	flag.StringVar(&provider.Issuer, "issuer", "", "the provider's issuer")
	flag.StringVar(&provider.TokenEndpoint, "token-endpoint", "", "the provider's token endpoint")
	flag.StringVar(&provider.ClientID, "client-id", "", "this program's client id at the provider")
	secret := flag.String("client-secret-file", "", "a file with the client secret")
	ca := flag.String("ca-file", "", "certificates to trust the provider by, instead of the system's")
	timeout := flag.Duration("timeout", 10*time.Second, "how long the provider may take")
	flag.Parse()

	text, err := os.ReadFile(*secret)
	if err != nil {
		return err
	}
	provider.ClientSecret = strings.TrimRight(string(text), "\r\n")
	roots, err := trusted(*ca)
	if err != nil {
		return err
	}
	provider.connectTo(roots, *timeout)
	broker, err := connect(*address)
	if err != nil {
		return err
	}
	refresher := &Refresher{broker: broker, providers: map[string]*Provider{*name: &provider}}
	return serve(*listen, refresher)
}

// trusted returns whom to trust. Without a file that is whom the system trusts.
func trusted(file string) (*tls.Config, error) {
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	if file == "" {
		return config, nil
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	config.RootCAs = x509.NewCertPool()
	if !config.RootCAs.AppendCertsFromPEM(text) {
		return nil, fmt.Errorf("%s has no certificate", file)
	}
	return config, nil
}

// serve serves until SIGTERM. It ends when what it has sent to providers is answered, and stored.
func serve(address string, refresher *Refresher) error {
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return err
	}
	stop, done := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer done()
	mux := http.NewServeMux()
	// In the body, because what is in a URL ends up in logs, and a session id is a secret.
	mux.HandleFunc("POST /token", func(writer http.ResponseWriter, request *http.Request) {
		entry, err := refresher.AccessToken(request.Context(),
			request.PostFormValue("session"), request.PostFormValue("provider"))
		if err != nil {
			refuse(writer, err)
			return
		}
		answer(writer, http.StatusOK, map[string]string{"access_token": entry.GetTokens().GetAccessToken()})
	})
	server := &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second}
	go func() {
		if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			log.Fatal(err)
		}
	}()
	fmt.Println("listening on", listener.Addr())
	<-stop.Done()
	err = server.Shutdown(context.Background())
	refresher.Close()
	return err
}

func refuse(writer http.ResponseWriter, err error) {
	var login *LoginRequired
	switch {
	case errors.As(err, &login):
		answer(writer, http.StatusUnauthorized, map[string]string{"error": "login_required", "reason": login.Reason.String()})
	case status.Code(err) == codes.NotFound:
		answer(writer, http.StatusNotFound, map[string]string{"error": "not_found"})
	case errors.Is(err, ErrUnavailable), !isFinal(err):
		answer(writer, http.StatusServiceUnavailable, map[string]string{"error": "unavailable"})
	default:
		log.Printf("a refresh isn't possible: %v", status.Code(err))
		answer(writer, http.StatusBadGateway, map[string]string{"error": "not_possible"})
	}
}

func answer(writer http.ResponseWriter, code int, body map[string]string) {
	writer.Header().Set("Content-Type", "application/json")
	writer.Header().Set("Cache-Control", "no-store")
	writer.WriteHeader(code)
	json.NewEncoder(writer).Encode(body)
}
