package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"flag"
	"fmt"
	"net"
	"os"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"
)

// brokerOptions say where the broker is, and who the sidecar is there.
type brokerOptions struct {
	address, ca, certificate, key, bearer string
	tokens                                accessTokens
}

func (o *brokerOptions) flags() {
	flag.StringVar(&o.address, "broker", "127.0.0.1:50051", "the address of the broker")
	flag.StringVar(&o.ca, "broker-ca", "", "certificates to trust the broker by; without them the broker has to be on this machine")
	flag.StringVar(&o.certificate, "broker-cert", "", "the sidecar's certificate, which is read at each handshake")
	flag.StringVar(&o.key, "broker-key", "", "its key")
	flag.StringVar(&o.bearer, "broker-token-file", "", "a file with the sidecar's bearer token, which is read at each call")
	flag.StringVar(&o.tokens.provider, "provider", "", "the provider's name at the broker")
	flag.StringVar(&o.tokens.client, "bind-client", "", "take tokens of this OAuth client alone")
	flag.BoolVar(&o.tokens.bindUser, "bind-user", false, "take tokens alone of the user that the JWT's sub names")
	flag.DurationVar(&o.tokens.timeout, "broker-timeout", 10*time.Second, "how long a request waits for its token")
}

// connect makes the connection. It connects when it is used, and again whenever it is lost.
func (o *brokerOptions) connect() (*accessTokens, error) {
	if o.tokens.provider == "" || o.tokens.timeout <= 0 {
		return nil, errors.New("-provider has to be set, and -broker-timeout to be positive")
	}
	transport, err := o.transport()
	if err != nil {
		return nil, err
	}
	options := []grpc.DialOption{
		grpc.WithTransportCredentials(transport),
		// Uses all addresses of the name, not the first alone.
		grpc.WithDefaultServiceConfig(`{"loadBalancingConfig": [{"round_robin": {}}]}`),
		// Notices a broker that is gone without a word.
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: 20 * time.Second, Timeout: 5 * time.Second}),
	}
	if o.bearer != "" {
		options = append(options, grpc.WithPerRPCCredentials(bearerFile{o.bearer, o.ca != ""}))
	}
	tokens := o.tokens
	tokens.connection, err = grpc.NewClient(o.address, options...)
	return &tokens, err
}

// transport is TLS, unless the broker is on this machine: access tokens never cross a network in plain text.
func (o *brokerOptions) transport() (credentials.TransportCredentials, error) {
	if (o.certificate == "") != (o.key == "") || (o.certificate != "" && o.ca == "") {
		return nil, errors.New("-broker-cert needs -broker-key and -broker-ca")
	}
	if o.ca == "" {
		host, _, err := net.SplitHostPort(o.address)
		if strings.HasPrefix(o.address, "unix:") || (err == nil && isLoopback(host)) {
			return insecure.NewCredentials(), nil
		}
		return nil, errors.New("-broker: an address that isn't loopback or unix: needs -broker-ca")
	}
	text, err := os.ReadFile(o.ca)
	if err != nil {
		return nil, fmt.Errorf("-broker-ca: %w", err)
	}
	config := &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: x509.NewCertPool()}
	if !config.RootCAs.AppendCertsFromPEM(text) {
		return nil, errors.New("-broker-ca: it has no certificate")
	}
	if o.certificate == "" {
		return credentials.NewTLS(config), nil
	}
	if _, err := tls.LoadX509KeyPair(o.certificate, o.key); err != nil {
		return nil, fmt.Errorf("-broker-cert: %w", err)
	}
	config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
		pair, err := tls.LoadX509KeyPair(o.certificate, o.key)
		return &pair, err
	}
	return credentials.NewTLS(config), nil
}

// bearerFile is a file with the sidecar's own credential at the broker.
type bearerFile struct {
	path string
	tls  bool
}

func (b bearerFile) GetRequestMetadata(context.Context, ...string) (map[string]string, error) {
	text, err := os.ReadFile(b.path)
	if err != nil {
		return nil, errors.New("-broker-token-file can't be read")
	}
	return map[string]string{"authorization": "Bearer " + strings.TrimSpace(string(text))}, nil
}

func (b bearerFile) RequireTransportSecurity() bool { return b.tls }
