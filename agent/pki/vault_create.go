package pki

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"rekindle/agent/status"
	"rekindle/agent/store"
)

// probeKey is written twice before the first authority, and stays: it shows that the store honours conditional writes.
const probeKey = "pki/private/conditional-writes"

// create makes an authority that the store does not have, unless there is evidence of one.
func (v *Vault) create(ctx context.Context, name string) (*Record, error) {
	return v.establish(ctx, name, func() (*Authority, error) {
		if err := v.mayCreate(ctx, name); err != nil {
			return nil, err
		}
		return New(name, v.Algorithm, v.AuthorityLife, time.Now())
	})
}

// establish puts the first record of an authority into the store, and returns whichever is there in the end: after a lost
// response that may be this node's own, after a conflict it is another's. make is called once, and not at all if a record
// has appeared meanwhile.
func (v *Vault) establish(ctx context.Context, name string, make func() (*Authority, error)) (*Record, error) {
	var own *Record
	for try := range tries {
		if err := v.pause(ctx, try, name); err != nil {
			return nil, err
		}
		record, err := v.record(ctx, name)
		if err == nil {
			v.tell(own, record)
			return record, nil
		}
		if !errors.Is(err, ErrAbsent) {
			return nil, err
		}
		if own == nil {
			if own, err = v.first(ctx, make); errors.Is(err, errAppeared) {
				own = nil
				continue
			} else if err != nil {
				return nil, err
			}
		}
		err = v.put(ctx, own, "")
		if err == nil {
			v.tell(own, own)
			return own, nil
		}
		if !errors.Is(err, store.ErrConflict) {
			return nil, err
		}
	}
	return nil, v.contended(PrivateKey(name))
}

func (v *Vault) tell(own, record *Record) {
	if own == nil || v.Logger == nil {
		return
	}
	if own.Holder.Nonce == record.Holder.Nonce {
		v.Logger.Info("authority created", "authority", record.Name)
	} else {
		v.Logger.Info("authority created by another", "authority", record.Name, "instance", record.Holder.Instance)
	}
}

// first makes the record, once the store has shown that only one writer can win.
func (v *Vault) first(ctx context.Context, make func() (*Authority, error)) (*Record, error) {
	if v.Cluster == "" {
		return nil, errors.New("the cluster's name is not known, so no authority can be made for it")
	}
	a, err := make()
	if err != nil {
		return nil, err
	}
	if err := v.probe(ctx); err != nil {
		return nil, err
	}
	return newRecord(v.Cluster, v.Instance, a, time.Now())
}

// probe finds out, once, whether the store honours conditional writes: some S3-compatible ones ignore the header, and then
// two masters could both create an authority. The object holds nothing and stays, so that nobody needs to delete.
func (v *Vault) probe(ctx context.Context) error {
	if v.probed.Load() {
		return nil
	}
	err := v.probeNow(ctx)
	v.probed.Store(err == nil)
	return err
}

func (v *Vault) probeNow(ctx context.Context) error {
	for range 2 {
		_, err := v.Records.Put(ctx, probeKey, []byte("{}\n"), "")
		if errors.Is(err, store.ErrConflict) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("self-test of conditional writes: %w", unknown(err))
		}
	}
	return status.Fail(status.ReasonPKIBlocked, "use a store that honours If-None-Match, such as S3",
		errors.New("the store ignores If-None-Match, so it cannot keep two masters from creating an authority each"))
}

// errAppeared says that the record came while the evidence was looked at: another master has just created it.
var errAppeared = errors.New("the authority appeared meanwhile")

// mayCreate looks for signs that the cluster has, or had, such an authority: a second one would lock every node out.
func (v *Vault) mayCreate(ctx context.Context, name string) error {
	if v.Anyway {
		return nil
	}
	why, err := v.evidence(ctx, name)
	if err != nil || why == "" {
		return err
	}
	// What was seen may be the work of a master that created the authority after this one found none.
	if _, _, err := v.get(ctx, name); !errors.Is(err, ErrAbsent) {
		return errAppeared
	}
	return status.Fail(status.ReasonPKIBlocked, "bring it back with `rekindle pki import DIR STORE`, from "+
		"/etc/kubernetes/pki of a master or an older version of the object; only if it is lost for good, and every node is "+
		"to be replaced: `rekindle pki init STORE --force`",
		fmt.Errorf("%s is not in the store, and %s: the cluster has this authority already", PrivateKey(name), why))
}

// evidence asks all at once who may know of the authority: before a first boot goes on, each answer costs a round trip.
func (v *Vault) evidence(ctx context.Context, name string) (string, error) {
	asked := []func(context.Context) (string, error){
		func(ctx context.Context) (string, error) { return v.elsewhere(ctx, name) },
		func(ctx context.Context) (string, error) { return v.announced(ctx, name) },
	}
	if name == Etcd || !v.EtcdApart {
		asked = append(asked, v.etcdEvidence)
	}
	found := make([]string, len(asked))
	group, ctx := errgroup.WithContext(ctx)
	for i, ask := range asked {
		group.Go(func() (err error) {
			found[i], err = ask(ctx)
			return err
		})
	}
	err := group.Wait()
	return cmp.Or(found...), err
}

func (v *Vault) elsewhere(ctx context.Context, name string) (string, error) {
	if v.Evidence == nil {
		return "", nil
	}
	place, err := v.Evidence(ctx, name)
	if err != nil {
		return "", fmt.Errorf("authority %s: %w", name, err)
	}
	if place == "" {
		return "", nil
	}
	return place + " is", nil
}

func (v *Vault) announced(ctx context.Context, name string) (string, error) {
	_, _, err := v.Records.Get(ctx, PublicKey(name))
	if errors.Is(err, store.ErrAbsent) {
		return "", nil
	}
	if err != nil {
		return "", unknown(err)
	}
	return PublicKey(name) + " is", nil
}

// enough bounds a listing: a cluster that has lived has backups, and the first of them says so.
const enough = 1000

// etcdEvidence looks whether an etcd cluster has served. A lineage that is still being created is none: the etcd step of a
// first boot runs beside this.
func (v *Vault) etcdEvidence(ctx context.Context) (string, error) {
	keys, err := v.Records.List(ctx, "etcd/", enough)
	if err != nil {
		return "", unknown(err)
	}
	for _, key := range keys {
		switch {
		case strings.HasSuffix(key, "/lineage.json"):
			lived, err := v.hasLived(ctx, key)
			if err != nil {
				return "", err
			}
			if lived {
				return key + " is", nil
			}
		case strings.Contains(key, "/selftest-"): // left behind by a test of conditional writes
		default:
			return key + " is", nil
		}
	}
	return "", nil
}

// hasLived reads of a lineage (package etcd) whether its cluster ever served. One that cannot be parsed has.
func (v *Vault) hasLived(ctx context.Context, key string) (bool, error) {
	data, _, err := v.Records.Get(ctx, key)
	if errors.Is(err, store.ErrAbsent) {
		return false, nil
	}
	if err != nil {
		return false, unknown(err)
	}
	var lineage struct{ State string }
	if err := json.Unmarshal(data, &lineage); err != nil {
		return true, nil
	}
	return lineage.State != "creating", nil
}
