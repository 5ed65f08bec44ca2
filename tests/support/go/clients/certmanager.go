package main

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/cert-manager/cert-manager/pkg/issuer/acme/dns/acmedns"
	"github.com/cert-manager/cert-manager/pkg/issuer/acme/dns/rfc2136"
	"github.com/cert-manager/cert-manager/pkg/issuer/acme/dns/util"
	"github.com/mholt/acmez/v3/acme"
)

// What an Issuer has under `acmeDNS`, with the Secret that it refers to.
type issuerACMEDNS struct {
	Host     string          `json:"host"`
	Accounts json.RawMessage `json:"accounts"`
}

// What an Issuer has under `rfc2136`, with the Secret that it refers to.
type issuerRFC2136 struct {
	Nameserver    string `json:"nameserver"`
	TSIGAlgorithm string `json:"tsigAlgorithm"`
	TSIGKeyName   string `json:"tsigKeyName"`
	TSIGSecret    string `json:"tsigSecret"`
	CNAMEStrategy string `json:"cnameStrategy"`
}

func certManagerACMEDNS(ctx context.Context, order order, config []byte) ([]byte, error) {
	var issuer issuerACMEDNS
	if err := json.Unmarshal(config, &issuer); err != nil {
		return nil, err
	}
	resolvers, ofServers := order.checks()
	provider, err := acmedns.NewDNSProviderHostBytes(issuer.Host, issuer.Accounts, resolvers)
	if err != nil {
		return nil, err
	}
	return order.withSolver(ctx, solver{
		present: func(ctx context.Context, challenge acme.Challenge) error {
			domain, value := challenge.Identifier.Value, challenge.DNS01KeyAuthorization()
			fqdn, err := util.DNS01LookupFQDN(ctx, domain, false, resolvers...)
			if err != nil {
				return err
			}
			if err := provider.Present(ctx, domain, fqdn, value); err != nil {
				return err
			}
			return checkPropagation(ctx, domain, value, resolvers, ofServers)
		},
		cleanUp: func(ctx context.Context, challenge acme.Challenge) error {
			return provider.CleanUp(ctx, challenge.Identifier.Value, "", challenge.DNS01KeyAuthorization())
		},
	})
}

func certManagerRFC2136(ctx context.Context, order order, config []byte) ([]byte, error) {
	var issuer issuerRFC2136
	if err := json.Unmarshal(config, &issuer); err != nil {
		return nil, err
	}
	provider, err := rfc2136.NewDNSProviderCredentials(
		issuer.Nameserver, issuer.TSIGAlgorithm, issuer.TSIGKeyName, issuer.TSIGSecret)
	if err != nil {
		return nil, err
	}
	resolvers, ofServers := order.checks()
	// As pkg/issuer/acme/dns/dns.go makes the arguments.
	change := func(ctx context.Context, challenge acme.Challenge, how func(_, fqdn, zone, value string) error) error {
		domain, value := challenge.Identifier.Value, challenge.DNS01KeyAuthorization()
		fqdn, err := util.DNS01LookupFQDN(ctx, domain, issuer.CNAMEStrategy == "Follow", resolvers...)
		if err != nil {
			return err
		}
		zone, err := util.FindZoneByFqdn(ctx, fqdn, resolvers)
		if err != nil {
			return err
		}
		return how(domain, fqdn, zone, value)
	}
	return order.withSolver(ctx, solver{
		present: func(ctx context.Context, challenge acme.Challenge) error {
			if err := change(ctx, challenge, provider.Present); err != nil {
				return err
			}
			domain, value := challenge.Identifier.Value, challenge.DNS01KeyAuthorization()
			return checkPropagation(ctx, domain, value, resolvers, ofServers)
		},
		cleanUp: func(ctx context.Context, challenge acme.Challenge) error {
			return change(ctx, challenge, provider.CleanUp)
		},
	})
}

// Where the self check looks: as by default, or as it is with --dns01-recursive-nameservers and -only.
func (order order) checks() (resolvers []string, ofServers bool) {
	if len(order.resolvers) == 0 {
		return util.RecursiveNameservers, true
	}
	return order.resolvers, false
}

// cert-manager's self check. A value has to be there when the provider returns, so there is no second look.
func checkPropagation(ctx context.Context, domain, value string, resolvers []string, ofServers bool) error {
	fqdn, err := util.DNS01LookupFQDN(ctx, domain, false, resolvers...)
	if err != nil {
		return err
	}
	seen, err := util.PreCheckDNS(ctx, fqdn, value, resolvers, ofServers)
	if err == nil && !seen {
		err = fmt.Errorf("the value is not at %s yet", fqdn)
	}
	return err
}
