package main

import (
	"context"
	"encoding/json"
	"fmt"

	cpu "github.com/cpu/goacmedns"
	"github.com/mholt/acmez/v3/acme"
	nrdcg "github.com/nrdcg/goacmedns"
)

func register(ctx context.Context, which, url string, allowFrom []string) (account any, err error) {
	switch which {
	case "cpu":
		return cpu.NewClient(url).RegisterAccount(allowFrom)
	case "nrdcg":
		client, err := nrdcg.NewClient(url)
		if err != nil {
			return nil, err
		}
		return client.RegisterAccount(ctx, allowFrom)
	}
	return nil, fmt.Errorf("no goacmedns %q", which)
}

// The setting is the account, as `register` prints it.
func cpuGoacmedns(ctx context.Context, order order, config []byte) ([]byte, error) {
	var account cpu.Account
	if err := json.Unmarshal(config, &account); err != nil {
		return nil, err
	}
	client := cpu.NewClient(account.ServerURL)
	return order.withSolver(ctx, solver{present: func(_ context.Context, challenge acme.Challenge) error {
		return client.UpdateTXTRecord(account, challenge.DNS01KeyAuthorization())
	}})
}

func nrdcgGoacmedns(ctx context.Context, order order, config []byte) ([]byte, error) {
	var account nrdcg.Account
	if err := json.Unmarshal(config, &account); err != nil {
		return nil, err
	}
	client, err := nrdcg.NewClient(account.ServerURL)
	if err != nil {
		return nil, err
	}
	return order.withSolver(ctx, solver{present: func(ctx context.Context, challenge acme.Challenge) error {
		return client.UpdateTXTRecord(ctx, account, challenge.DNS01KeyAuthorization())
	}})
}
