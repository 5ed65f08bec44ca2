package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"net/http"

	"github.com/mholt/acmez/v3"
	"github.com/mholt/acmez/v3/acme"
)

// Functions of a client that is no ACME client by itself.
type solver struct {
	present func(ctx context.Context, challenge acme.Challenge) error
	cleanUp func(ctx context.Context, challenge acme.Challenge) error // nil: there is none
}

func (s solver) Present(ctx context.Context, challenge acme.Challenge) error {
	return s.present(ctx, challenge)
}

func (s solver) CleanUp(ctx context.Context, challenge acme.Challenge) error {
	if s.cleanUp == nil {
		return nil
	}
	return s.cleanUp(ctx, challenge)
}

// One order by acmez, which presents all the challenges before it has any validated. A failure to clean up is a
// failure.
func (order order) withSolver(ctx context.Context, s solver) ([]byte, error) {
	var failed error
	watched := solver{present: s.present, cleanUp: func(ctx context.Context, challenge acme.Challenge) error {
		err := s.CleanUp(ctx, challenge)
		if err != nil {
			failed = err
		}
		return err
	}}
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: order.roots}}
	client := acmez.Client{
		Client: &acme.Client{
			Directory:  order.directory,
			HTTPClient: &http.Client{Transport: transport},
			UserAgent:  "clients",
		},
		ChallengeSolvers: map[string]acmez.Solver{acme.ChallengeTypeDNS01: watched},
	}
	accountKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	account, err := client.NewAccount(ctx, acme.Account{TermsOfServiceAgreed: true, PrivateKey: accountKey})
	if err != nil {
		return nil, err
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	chains, err := client.ObtainCertificateForSANs(ctx, account, key, order.names)
	if err != nil {
		return nil, err
	}
	return chains[0].ChainPEM, failed
}
