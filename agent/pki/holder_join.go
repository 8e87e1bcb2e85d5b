package pki

import (
	"context"
	"crypto"
	"crypto/x509"
	"errors"
	"fmt"
	"time"

	"rekindle/agent/status"
)

// join has masters sign what this node cannot: one request for all that it needs of an authority.
func (b *batch) join(ctx context.Context) error {
	var errs []error
	for _, name := range Names {
		var asking []*heldLeaf
		for _, leaf := range b.leaves {
			if leaf.Join != "" && leaf.Authority == name && leaf.verdict.State != Good {
				asking = append(asking, leaf)
			}
		}
		if len(asking) > 0 {
			errs = append(errs, b.request(ctx, b.authorities[name].held.Certificates, asking))
		}
	}
	return errors.Join(errs...)
}

func (b *batch) request(ctx context.Context, roots []*x509.Certificate, asking []*heldLeaf) error {
	keys := make([]crypto.Signer, len(asking))
	requests := make([]Request, len(asking))
	limit := min(b.limit(), maxWait)
	for i, leaf := range asking {
		if leaf.verdict.State == Bad {
			limit = b.limit()
		}
		var err error
		if keys[i], err = b.fresh(leaf); err != nil {
			return err
		}
		if requests[i].CSR, err = NewCSR(leaf.Spec, keys[i]); err != nil {
			return fmt.Errorf("pki: certificate %s: %w", leaf.Path, err)
		}
		requests[i].Name = leaf.Join
	}
	signed, err := b.send(ctx, limit, roots, requests)
	if err != nil {
		return b.withoutAny(asking, err)
	}
	var errs []error
	for i, leaf := range asking {
		if err := b.joined(leaf, signed[i], keys[i]); err != nil {
			errs = append(errs, b.without(leaf, err))
		}
	}
	return errors.Join(errs...)
}

// withoutAny goes on with what there is of all the certificates that no master signed. Those that the node cannot do
// without are one error: their reason is the same.
func (b *batch) withoutAny(asking []*heldLeaf, err error) error {
	var bad []*heldLeaf
	for _, leaf := range asking {
		if leaf.verdict.State == Bad {
			bad = append(bad, leaf)
		} else if err := b.without(leaf, err); err != nil {
			return err
		}
	}
	switch len(bad) {
	case 0:
		return nil
	case 1:
		return b.without(bad[0], err)
	}
	return fmt.Errorf("pki: %d certificates, the first %s (%s): %w", len(bad), bad[0].Path, bad[0].verdict.Why, err)
}

// send waits for a master that answers.
func (b *batch) send(ctx context.Context, limit time.Duration, roots []*x509.Certificate, requests []Request) ([][]byte, error) {
	if b.Holder.Join == nil {
		return nil, errors.New("this node neither signs it nor knows how to ask a master")
	}
	sending, cancel := context.WithTimeoutCause(ctx, limit, fmt.Errorf("join: nothing after %s: %w", limit, context.DeadlineExceeded))
	defer cancel()
	defer status.Waiting(sending, "pki: join", "a master that signs this node's certificates")()
	signed, err := b.Holder.Join.Join(sending, roots, requests)
	switch {
	case err != nil:
		return nil, err // also at the deadline: it says what the masters answered
	case len(signed) != len(requests):
		return nil, fmt.Errorf("the master sent %d certificates for %d requests", len(signed), len(requests))
	}
	return signed, nil
}

// joined takes what a master signed.
func (b *batch) joined(leaf *heldLeaf, der []byte, key crypto.Signer) error {
	cert, err := x509.ParseCertificate(der)
	if err == nil {
		err = b.accept(leaf, cert, key)
	}
	if err != nil {
		return status.Fail(status.ReasonJoinRefused, "run one version of the agent with one cluster.yaml on masters and nodes",
			fmt.Errorf("what the master signed: %w", err))
	}
	return nil
}
