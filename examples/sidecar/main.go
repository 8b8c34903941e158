// A sidecar in front of an HTTP service: it takes the session from the caller's JWT, and gives the service the access token
// that the token broker keeps for that session.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log"
	"net"
	"net/http"
	"net/url"
	"os/signal"
	"regexp"
	"strings"
	"syscall"
	"time"
)

// How long requests may go on after SIGTERM.
const drain = 10 * time.Second

// A name of a header, and a scheme of credentials or none.
var headerName, schemeName = regexp.MustCompile(`^[A-Za-z0-9-]+$`), regexp.MustCompile(`^[A-Za-z0-9-]*$`)

func main() {
	if err := run(); err != nil {
		log.Fatal(err)
	}
}

func run() error {
	var (
		broker brokerOptions
		jwts   verifier
		to     placement
	)
	listen := flag.String("listen", "127.0.0.1:8080", "where to serve HTTP")
	health := flag.String("health-listen", "", "where to serve /livez and /readyz; empty: nowhere")
	service := flag.String("service", "http://127.0.0.1:9000", "the URL of the service")
	patience := flag.Duration("service-timeout", 30*time.Second, "how long the service may take until its answer begins")
	replay := flag.Int64("replay-bytes", 64<<10, "how long a body may be that is kept to be sent again")
	flag.StringVar(&to.header, "header", "Authorization", "the header that the service takes the access token from")
	flag.StringVar(&to.scheme, "scheme", "Bearer", "what stands before the access token; empty: nothing")
	flag.StringVar(&jwts.file, "jwks", "", "a file with the auth server's public keys, RFC 7517")
	flag.StringVar(&jwts.issuer, "issuer", "", "the issuer of the JWTs")
	flag.StringVar(&jwts.audience, "audience", "", "the audience that the JWTs have to name")
	broker.flags()
	flag.Parse()

	target, err := serviceURL(*service)
	if err != nil {
		return err
	}
	if !headerName.MatchString(to.header) || !schemeName.MatchString(to.scheme) {
		return errors.New("-header and -scheme: they consist of letters, digits and hyphens")
	}
	if jwts.issuer == "" || jwts.audience == "" {
		return errors.New("-issuer and -audience have to be set: a JWT for another service is none for this one")
	}
	if err := jwts.load(); err != nil {
		return err
	}
	tokens, err := broker.connect()
	if err != nil {
		return err
	}
	defer tokens.connection.Close()
	transport := &tokenTransport{tokens: tokens, service: serviceTransport(*patience), to: to, replay: *replay}
	stop, done := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer done()
	if *health != "" {
		// On its own address, so that it hides no path of the service.
		if _, err := serve("health", *health, healthHandler(tokens)); err != nil {
			return err
		}
	}
	server, err := serve("sidecar", *listen, newProxy(target, &jwts, transport))
	if err != nil {
		return err
	}
	<-stop.Done()
	within, cancel := context.WithTimeout(context.Background(), drain)
	defer cancel()
	return server.Shutdown(within)
}

// serviceURL refuses a service that access tokens would reach in plain text over a network. A path would keep nobody in it: `..` leads
// out.
func serviceURL(text string) (*url.URL, error) {
	target, err := url.Parse(text)
	if err != nil || target.Host == "" || target.User != nil || strings.Trim(target.Path, "/")+target.RawQuery+target.Fragment != "" {
		return nil, errors.New("-service: it has to be a URL with a host, and without a user, a path or a query")
	}
	if target.Scheme != "https" && !(target.Scheme == "http" && isLoopback(target.Hostname())) {
		return nil, errors.New("-service: it has to be https://, or http:// on this machine")
	}
	return target, nil
}

func isLoopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || (ip != nil && ip.IsLoopback())
}

func serve(name, address string, handler http.Handler) (*http.Server, error) {
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return nil, err
	}
	server := &http.Server{
		Handler:           handler,
		ReadHeaderTimeout: 5 * time.Second,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    64 << 10,
	}
	go func() {
		if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			log.Fatal(err)
		}
	}()
	fmt.Println(name, "on", listener.Addr())
	return server, nil
}

// healthHandler answers /livez always, and /readyz with 200 if the broker serves.
func healthHandler(tokens *accessTokens) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /livez", func(http.ResponseWriter, *http.Request) {})
	mux.HandleFunc("GET /readyz", func(writer http.ResponseWriter, request *http.Request) {
		if !tokens.ready(request.Context()) {
			writer.WriteHeader(http.StatusServiceUnavailable)
		}
	})
	return mux
}
