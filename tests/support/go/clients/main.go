// Command clients lets the code of ACME clients that are no command lines talk to a server: what Caddy runs (certmagic
// with libdns), cert-manager's providers, and both goacmedns. It stands between their functions and the tests, and
// adds nothing to what they send.
//
//	clients register cpu|nrdcg URL [CIDR...]     registers and prints the account as JSON
//	clients obtain -directory URL -root FILE [-resolver ADDRESS] -client NAME -config JSON DOMAIN...
//	                                             one order for all the names, prints the chain
//
// Without a resolver those that check for their values use the system's, and ask the name servers on port 53.
package main

import (
	"context"
	"crypto/x509"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"time"
)

// An order to be made, and where.
type order struct {
	directory string         // URL of the CA's directory
	roots     *x509.CertPool // the root of the CA's HTTPS
	resolvers []string       // recursive resolver, with its port; none: the system's, and the name servers themselves
	names     []string
}

// Gets one certificate for an order with a client that is set as its users set it, in JSON.
type obtain func(ctx context.Context, order order, config []byte) (chain []byte, err error)

var clients = map[string]obtain{
	"certmagic-acmedns":    certmagicACMEDNS,
	"certmagic-rfc2136":    certmagicRFC2136,
	"cert-manager-acmedns": certManagerACMEDNS,
	"cert-manager-rfc2136": certManagerRFC2136,
	"goacmedns-cpu":        cpuGoacmedns,
	"goacmedns-nrdcg":      nrdcgGoacmedns,
}

func main() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := run(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "clients:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, arguments []string) error {
	switch {
	case len(arguments) >= 3 && arguments[0] == "register":
		account, err := register(ctx, arguments[1], arguments[2], arguments[3:])
		if err != nil {
			return err
		}
		return json.NewEncoder(os.Stdout).Encode(account)
	case len(arguments) > 0 && arguments[0] == "obtain":
		return runObtain(ctx, arguments[1:])
	}
	return errors.New("usage: clients register|obtain ...")
}

func runObtain(ctx context.Context, arguments []string) error {
	flags := flag.NewFlagSet("obtain", flag.ContinueOnError)
	directory := flags.String("directory", "", "URL of the CA's directory")
	root := flags.String("root", "", "PEM file with the root of the CA's HTTPS")
	resolver := flags.String("resolver", "", "recursive resolver, with its port (default: the system's)")
	name := flags.String("client", "", "which client")
	config := flags.String("config", "{}", "its settings, as JSON")
	if err := flags.Parse(arguments); err != nil {
		return err
	}
	pem, err := os.ReadFile(*root)
	if err != nil {
		return err
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(pem) {
		return fmt.Errorf("no certificate in %s", *root)
	}
	obtain, known := clients[*name]
	if !known {
		return fmt.Errorf("no client %q", *name)
	}
	order := order{directory: *directory, roots: roots, names: flags.Args()}
	if *resolver != "" {
		order.resolvers = []string{*resolver}
	}
	chain, err := obtain(ctx, order, []byte(*config))
	if err != nil {
		return fmt.Errorf("%s: %w", *name, err)
	}
	_, err = os.Stdout.Write(chain)
	return err
}
