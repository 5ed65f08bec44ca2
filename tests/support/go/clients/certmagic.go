package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"os"

	"github.com/caddyserver/certmagic"
	"github.com/libdns/acmedns"
	"github.com/libdns/rfc2136"
	"go.uber.org/zap"
)

// What a Caddyfile has under `dns`, in Caddy's JSON, and `dns_challenge_override_domain`.
type caddyDNS[P any] struct {
	Provider       P      `json:"provider"`
	OverrideDomain string `json:"override_domain"`
}

func certmagicACMEDNS(ctx context.Context, order order, config []byte) ([]byte, error) {
	var dns caddyDNS[acmedns.Provider]
	if err := json.Unmarshal(config, &dns); err != nil {
		return nil, err
	}
	return order.withCertmagic(ctx, &dns.Provider, dns.OverrideDomain)
}

func certmagicRFC2136(ctx context.Context, order order, config []byte) ([]byte, error) {
	var dns caddyDNS[rfc2136.Provider]
	if err := json.Unmarshal(config, &dns); err != nil {
		return nil, err
	}
	return order.withCertmagic(ctx, &dns.Provider, dns.OverrideDomain)
}

// One order by certmagic's issuer, which Caddy calls with one name at a time; its solver does the zone look-ups, the
// updates and the propagation checks.
func (order order) withCertmagic(ctx context.Context, dns certmagic.DNSProvider, override string) ([]byte, error) {
	folder, err := os.MkdirTemp("", "certmagic")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(folder)
	logger, err := zap.NewDevelopment() // to the standard error output
	if err != nil {
		return nil, err
	}
	storage := &certmagic.FileStorage{Path: folder}
	cache := certmagic.NewCache(certmagic.CacheOptions{
		GetConfigForCert: func(certmagic.Certificate) (*certmagic.Config, error) { return &certmagic.Config{}, nil },
		Logger:           logger,
	})
	defer cache.Stop()
	magic := certmagic.New(cache, certmagic.Config{Storage: storage, Logger: logger})
	issuer := certmagic.NewACMEIssuer(magic, certmagic.ACMEIssuer{
		CA:           order.directory,
		Email:        "someone@example.test",
		Agreed:       true,
		TrustedRoots: order.roots,
		Logger:       logger,
		DNS01Solver: &certmagic.DNS01Solver{DNSManager: certmagic.DNSManager{
			DNSProvider:    dns,
			Resolvers:      order.resolvers,
			OverrideDomain: override,
			Logger:         logger,
		}},
	})
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{DNSNames: order.names}, key)
	if err != nil {
		return nil, err
	}
	request, err := x509.ParseCertificateRequest(der)
	if err != nil {
		return nil, err
	}
	issued, err := issuer.Issue(ctx, request)
	if err != nil {
		return nil, err
	}
	return issued.Certificate, nil
}
