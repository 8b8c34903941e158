// An auth server whose users log in at two upstream providers, one after the other. It keeps nothing itself: the token
// broker keeps authorizations that wait for their callback, users, and the providers' tokens.
//
// The README says what it shows, and what it leaves out.
package main

import (
	"context"
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
)

// A Server is one replica. Any other replica with the same settings can go on where this one stopped.
type Server struct {
	base     string // Its own URL, which is the issuer of its JWTs.
	broker   *Broker
	chain    []*Provider // In the order in which the user logs in.
	sessions *Sessions
}

func main() {
	if err := run(); err != nil {
		log.Fatal(err)
	}
}

func run() error {
	listen := flag.String("listen", "127.0.0.1:8080", "where to serve HTTP")
	base := flag.String("base", "", "the URL that browsers reach this program by; if empty, http:// and the address")
	address := flag.String("broker", "127.0.0.1:50051", "the address of the broker")
	config := flag.String("service-config", "../service_config.json", "a file with gRPC's deadlines and retries")
	providers := flag.String("providers", "providers.json", "a file with the providers")
	key := flag.String("key", "key.pem", "a file with the private key of the JWTs (P-256, PKCS #8)")
	flag.Parse()

	chain, err := readProviders(*providers)
	if err != nil {
		return err
	}
	serviceConfig, err := os.ReadFile(*config)
	if err != nil {
		return err
	}
	broker, err := connect(*address, string(serviceConfig))
	if err != nil {
		return err
	}
	listener, err := net.Listen("tcp", *listen)
	if err != nil {
		return err
	}
	if *base == "" {
		*base = "http://" + listener.Addr().String()
	}
	sessions, err := readSessionKey(*key, *base)
	if err != nil {
		return err
	}
	server := &Server{base: *base, broker: broker, chain: chain, sessions: sessions}
	return serve(listener, server)
}

func serve(listener net.Listener, server *Server) error {
	stop, done := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer done()
	web := &http.Server{
		Handler: server.handler(), ReadHeaderTimeout: 5 * time.Second, IdleTimeout: 2 * time.Minute, MaxHeaderBytes: 64 << 10,
	}
	go func() {
		if err := web.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			log.Fatal(err)
		}
	}()
	fmt.Println("listening on", listener.Addr())
	<-stop.Done()
	// What is under way has time to end.
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	return web.Shutdown(ctx)
}

func (s *Server) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", s.home)
	mux.HandleFunc("POST /login", s.login)
	mux.HandleFunc("GET /callback/{provider}", s.callback)
	mux.HandleFunc("GET /failed/{failure}", s.failed)
	mux.HandleFunc("POST /backend/{provider}", s.backend)
	mux.HandleFunc("POST /logout", s.logout)
	mux.HandleFunc("GET /jwks", s.sessions.jwks)
	for _, form := range []string{"GET /login", "GET /backend/{provider}", "GET /logout"} {
		mux.HandleFunc(form, toHome)
	}
	mux.HandleFunc("/", s.nowhere)
	// Another site's page can't send the forms of this one.
	protection := http.NewCrossOriginProtection()
	protection.SetDenyHandler(http.HandlerFunc(s.foreign))
	return http.HandlerFunc(func(writer http.ResponseWriter, request *http.Request) {
		header := writer.Header()
		// After a logout, the button for going back shows nothing of the session.
		header.Set("Cache-Control", "no-store")
		header.Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'; base-uri 'none'")
		// The URL of a callback holds a code and a state: no other site sees it. (With no-referrer this site's own forms would
		// come without their origin.)
		header.Set("Referrer-Policy", "same-origin")
		header.Set("X-Content-Type-Options", "nosniff")
		protection.Handler(mux).ServeHTTP(writer, request)
	})
}

// readProviders reads the chain of providers.
func readProviders(file string) ([]*Provider, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	var chain []*Provider
	if err := json.Unmarshal(text, &chain); err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	if len(chain) == 0 {
		return nil, fmt.Errorf("%s names no provider", file)
	}
	for _, provider := range chain {
		if provider.Name == "" || provider.Issuer == "" || provider.ClientID == "" {
			return nil, fmt.Errorf("%s: each provider needs name, issuer and client_id", file)
		}
		secret, err := os.ReadFile(provider.ClientSecretFile)
		if err != nil {
			return nil, err
		}
		provider.secret = strings.TrimRight(string(secret), "\r\n")
	}
	return chain, nil
}

// provider returns a provider of the chain and the one after it, or nil.
func (s *Server) provider(name string) (provider, next *Provider) {
	for at, one := range s.chain {
		if one.Name == name {
			if at+1 < len(s.chain) {
				next = s.chain[at+1]
			}
			return one, next
		}
	}
	return nil, nil
}
