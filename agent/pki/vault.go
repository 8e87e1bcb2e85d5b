package pki

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"rekindle/agent/aws"
	"rekindle/agent/status"
	"rekindle/agent/store"
)

// Vault keeps the authorities in the cluster's store. Its methods may be called concurrently, on as many nodes as there
// are: every write is conditional, and what is read back wins.
type Vault struct {
	Cluster  string // empty: that of the record, whichever it is; then nothing can be created
	Instance string // who writes: an instance's id, or the verb that a person ran
	Records  store.Records
	// Algorithm and AuthorityLife are those of new authorities.
	Algorithm     string
	AuthorityLife time.Duration
	// Seal opens sealed records, and seals new ones if it has a key. Nil: neither.
	Seal *Sealer
	// Evidence tells where else there is a sign of the authority, such as on this node's disk, "" if nowhere. With evidence
	// none is created: the one in the store was lost. May be nil.
	Evidence func(ctx context.Context, name string) (place string, err error)
	// EtcdApart says that etcd has nodes of its own. They live before there is a master, so that an etcd cluster that has
	// served is a sign of its own authority only.
	EtcdApart bool
	// Anyway creates in spite of any evidence.
	Anyway bool
	Logger *slog.Logger

	told   sync.Map    // what was warned of, by authority
	probed atomic.Bool // the store honours conditional writes
}

// tries bounds how often a write that another master was faster with is repeated.
const tries = 8

// maxPause is the longest pause between two of them.
const maxPause = 400 * time.Millisecond

// Private implements Source. An authority that never was is created; one that cannot be read, or that there is evidence
// of, is an error. Where the public part differs it is written again.
func (v *Vault) Private(ctx context.Context, name string) (*Authority, error) {
	record, err := v.record(ctx, name)
	if errors.Is(err, ErrAbsent) {
		record, err = v.create(ctx, name)
	}
	if err != nil {
		return nil, err
	}
	a, err := record.Authority()
	if err != nil {
		return nil, err
	}
	if err := expiry(a); err != nil {
		return nil, err
	}
	if err := v.Publish(ctx, a); err != nil {
		return nil, err
	}
	return a, nil
}

// Public implements Source.
func (v *Vault) Public(ctx context.Context, name string) (*Authority, error) {
	if err := known(name); err != nil {
		return nil, err
	}
	data, _, err := v.Records.Get(ctx, PublicKey(name))
	if errors.Is(err, store.ErrAbsent) {
		return nil, fmt.Errorf("%s: %w", PublicKey(name), ErrAbsent)
	}
	if err != nil {
		return nil, unknown(err)
	}
	a := &Authority{Name: name}
	if name == ServiceAccount {
		a.Keys, err = ParsePublicKeys(data)
	} else {
		a.Certificates, err = ParseCertificates(data)
	}
	if err == nil {
		err = a.sound()
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", PublicKey(name), status.Fail(status.ReasonPKIBlocked,
			"delete the object: the next master that looks writes it again", err))
	}
	if err := expiry(a); err != nil {
		return nil, err
	}
	return a, nil
}

// Record is what the store holds of an authority, its keys still sealed if they are, or ErrAbsent.
func (v *Vault) Record(ctx context.Context, name string) (*Record, error) {
	record, _, err := v.get(ctx, name)
	return record, err
}

// record is Record with the keys in clear.
func (v *Vault) record(ctx context.Context, name string) (*Record, error) {
	record, _, err := v.get(ctx, name)
	if err != nil {
		return nil, err
	}
	return v.Seal.open(ctx, record)
}

func (v *Vault) get(ctx context.Context, name string) (*Record, store.Version, error) {
	if err := known(name); err != nil {
		return nil, "", err
	}
	data, version, err := v.Records.Get(ctx, PrivateKey(name))
	if errors.Is(err, store.ErrAbsent) {
		return nil, "", fmt.Errorf("%s: %w", PrivateKey(name), ErrAbsent)
	}
	if err != nil {
		return nil, "", unknown(err)
	}
	record, err := parseRecord(data, v.Cluster, name)
	if err == nil && record.Sealed == nil && v.Seal.seals() {
		v.warn(name, "the authority's key lies unsealed in the store: run `rekindle pki seal STORE`")
	}
	return record, version, err
}

// put writes a record if it is still at version was, sealed where that is asked for.
func (v *Vault) put(ctx context.Context, record *Record, was store.Version) error {
	if v.Seal.seals() {
		return v.putSealed(ctx, record, was, v.Seal.KeyID)
	}
	return v.write(ctx, record, was)
}

func (v *Vault) putSealed(ctx context.Context, record *Record, was store.Version, kmsKey string) error {
	sealed, err := v.Seal.seal(ctx, record, kmsKey)
	if err != nil {
		return fmt.Errorf("authority %s: %w", record.Name, err)
	}
	return v.write(ctx, sealed, was)
}

func (v *Vault) write(ctx context.Context, record *Record, was store.Version) error {
	data, err := record.encode()
	if err != nil {
		return err
	}
	_, err = v.Records.Put(ctx, PrivateKey(record.Name), data, was)
	if errors.Is(err, store.ErrConflict) {
		return err
	}
	return unknown(err)
}

// Publish makes pki/public/ say what the record says. The public object is read before the record is: whoever changes the
// record afterwards changes the object afterwards as well, and then this write conflicts.
func (v *Vault) Publish(ctx context.Context, a *Authority) error {
	key := PublicKey(a.Name)
	for try := range tries {
		if err := v.pause(ctx, try, a.Name); err != nil {
			return err
		}
		now, version, err := v.Records.Get(ctx, key)
		if err != nil && !errors.Is(err, store.ErrAbsent) {
			return unknown(err)
		}
		if bytes.Equal(now, a.CertificatePEM()) {
			return nil
		}
		record, _, err := v.get(ctx, a.Name)
		if err != nil {
			return err
		}
		if a, err = record.Authority(); err != nil {
			return err
		}
		_, err = v.Records.Put(ctx, key, a.CertificatePEM(), version)
		if err != nil && !errors.Is(err, store.ErrConflict) {
			return unknown(err)
		}
	}
	return v.contended(key)
}

// pause lets others finish before the next try; the first needs none.
func (v *Vault) pause(ctx context.Context, try int, name string) error {
	if try == 0 {
		return nil
	}
	defer status.Waiting(ctx, "pki: "+name, "another master writes it, too")()
	select {
	case <-time.After(rand.N(min(maxPause, 50*time.Millisecond<<try))):
		return nil
	case <-ctx.Done():
		return fmt.Errorf("authority %s: %w", name, context.Cause(ctx))
	}
}

func (v *Vault) contended(key string) error {
	return status.Fail(status.ReasonPKIBlocked, "run it again; if it stays so, look who else writes to the store",
		fmt.Errorf("%s: changed by somebody else %d times in a row", key, tries))
}

func (v *Vault) warn(name, text string) {
	if _, told := v.told.LoadOrStore(name+text, true); !told && v.Logger != nil {
		v.Logger.Warn(text, "authority", name)
	}
}

func known(name string) error {
	if !slices.Contains(Names, name) {
		return fmt.Errorf("authority %q: they are %s", name, strings.Join(Names, ", "))
	}
	return nil
}

// expiry refuses an authority whose time is over or has not come: nobody would accept what it signs.
func expiry(a *Authority) error {
	return status.Fail(status.ReasonPKIBlocked, "check the node's clock; an authority that has expired is replaced with "+
		"`rekindle pki rotate STORE begin "+a.Name+"`, then promote --force, see docs/pki.md", a.Check(time.Now()))
}

// unknown gives the store's error a reason: the truth is not known, which never means that there is no authority.
func unknown(err error) error {
	if err == nil {
		return nil
	}
	err = aws.Explain(err)
	if reason, _ := status.ReasonOf(err); reason != status.ReasonUnknown {
		return err
	}
	return status.Fail(status.ReasonStoreUnreached, "", err)
}
