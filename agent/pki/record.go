package pki

import (
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"rekindle/agent/status"
)

// recordVersion is the format that this agent reads and writes.
const recordVersion = 1

// maxGenerations bounds what a record may hold: a rotation has two.
const maxGenerations = maxCertificates

// Record is what the store keeps of an authority under pki/private/. It is changed by compare-and-swap only.
type Record struct {
	Version int       `json:"version"`
	Name    string    `json:"name"`
	Cluster string    `json:"cluster"`
	Created time.Time `json:"created"`
	Holder  Writer    `json:"holder"`
	// Rotation is nil while there is none.
	Rotation *Rotation `json:"rotation,omitempty"`
	// Generations are all that is trusted; the first signs.
	Generations []Generation `json:"generations"`
	// Retired are the fingerprints of generations that rotations have dropped, the last maxRetired of them: a master that
	// was off meanwhile knows by them that its own was replaced, and not another cluster's.
	Retired []string `json:"retired,omitempty"`
	// Sealed holds the private keys, where they are sealed; then no generation has one.
	Sealed *Sealed `json:"sealed,omitempty"`
}

// maxRetired bounds Retired.
const maxRetired = 16

// Writer is who changed the record last. The nonce tells its own retried write from another's.
type Writer struct {
	Instance string `json:"instance"`
	Nonce    string `json:"nonce"`
}

// Generation is one certificate with its key, or one key pair of ServiceAccount.
type Generation struct {
	Certificate string  `json:"certificate,omitempty"` // PEM; not of ServiceAccount
	PublicKey   string  `json:"publicKey,omitempty"`   // PEM; of ServiceAccount alone
	Key         KeyText `json:"key,omitempty"`         // empty: sealed, or of one that is only trusted
}

// KeyText is a private key, PEM. It prints as nothing but its name.
type KeyText string

// Format implements fmt.Formatter: no verb shows the key.
func (k KeyText) Format(w fmt.State, _ rune) { _, _ = io.WriteString(w, "[private key]") }

// PrivateKey and PublicKey are where an authority lies in the store.
func PrivateKey(name string) string { return "pki/private/" + name + ".json" }

// PublicKey is where what to trust lies: certificates, and of ServiceAccount the public keys.
func PublicKey(name string) string {
	if name == ServiceAccount {
		return "pki/public/" + name + ".pub"
	}
	return "pki/public/" + name + ".crt"
}

// newRecord is the record of an authority that the store does not have.
func newRecord(cluster, instance string, a *Authority, now time.Time) (*Record, error) {
	r := &Record{
		Version: recordVersion, Name: a.Name, Cluster: cluster, Created: now.UTC().Truncate(time.Second),
		Holder: Writer{Instance: instance, Nonce: nonce()},
	}
	for _, certificate := range a.Certificates {
		one := &Authority{Name: a.Name}
		one.Certificates = append(one.Certificates, certificate)
		r.Generations = append(r.Generations, Generation{Certificate: string(one.CertificatePEM())})
	}
	for _, key := range a.Keys {
		r.Generations = append(r.Generations, Generation{PublicKey: string(publicPEM(key))})
	}
	private, err := a.KeyPEM()
	if err != nil {
		return nil, err
	}
	r.Generations[0].Key = KeyText(private)
	return r, nil
}

// parseRecord reads a record of an authority; one that makes no sense is an error, never an absent record. An empty
// cluster accepts any.
func parseRecord(data []byte, cluster, name string) (*Record, error) {
	r, err := decodeRecord(data)
	if err == nil {
		err = r.belongs(cluster, name)
	}
	if err == nil {
		err = status.Fail(status.ReasonPKIBlocked, "restore an older version of the object, or `rekindle pki import` the "+
			"authority after moving the object away", r.validate())
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", PrivateKey(name), err)
	}
	return r, nil
}

func decodeRecord(data []byte) (*Record, error) {
	var head struct {
		Version int `json:"version"`
	}
	err := json.Unmarshal(data, &head)
	if err == nil && head.Version != recordVersion {
		return nil, status.Fail(status.ReasonPKIBlocked, "use the version of the agent that wrote it, or a newer one",
			fmt.Errorf("a record of version %d; this agent knows %d", head.Version, recordVersion))
	}
	r := new(Record)
	if err == nil {
		strict := json.NewDecoder(bytes.NewReader(data))
		strict.DisallowUnknownFields() // what is not known would be lost with the next write
		err = strict.Decode(r)
	}
	if err != nil {
		// Not err's own words: those of a syntax error could quote a key.
		return nil, status.Fail(status.ReasonPKIBlocked, "restore an older version of the object",
			errors.New("it is no record of an authority: not JSON of this form"))
	}
	return r, nil
}

// belongs refuses a record that was copied from elsewhere.
func (r *Record) belongs(cluster, name string) error {
	if cluster != "" && r.Cluster != cluster {
		return status.Fail(status.ReasonPKIBlocked, "give every cluster a store of its own, or correct `cluster`",
			fmt.Errorf("the record of cluster %q in the store of %q", r.Cluster, cluster))
	}
	if r.Name != name {
		return status.Fail(status.ReasonPKIBlocked, "restore an older version of the object",
			fmt.Errorf("the record of authority %q", r.Name))
	}
	return nil
}

func (r *Record) validate() error {
	switch {
	case !slices.Contains(Names, r.Name):
		return fmt.Errorf("authority %q: they are %s", r.Name, strings.Join(Names, ", "))
	case r.Holder.Nonce == "":
		return errors.New("it has no holder")
	case len(r.Generations) == 0 || len(r.Generations) > maxGenerations:
		return fmt.Errorf("%d generations: want 1 to %d", len(r.Generations), maxGenerations)
	}
	for i, g := range r.Generations {
		if g.Key != "" && r.Sealed != nil {
			return errors.New("it is sealed, and has a private key in clear as well")
		}
		if _, err := r.generation(i); err != nil {
			return fmt.Errorf("generation %d: %w", i, err)
		}
	}
	if r.Generations[0].Key == "" && r.Sealed == nil {
		return errors.New("the first generation has no private key")
	}
	return r.Rotation.validate(r)
}

// generation is one of them as an authority of its own, sound.
func (r *Record) generation(i int) (*Authority, error) {
	g := r.Generations[i]
	a := &Authority{Name: r.Name}
	var err error
	if r.Name == ServiceAccount {
		a.Keys, err = ParsePublicKeys([]byte(g.PublicKey))
	} else {
		a.Certificates, err = ParseCertificates([]byte(g.Certificate))
	}
	switch {
	case err != nil:
		return nil, err
	case len(a.Keys)+len(a.Certificates) != 1:
		return nil, errors.New("more than one certificate or key")
	}
	if g.Key != "" {
		if a.Key, err = ParseKey([]byte(g.Key)); err != nil {
			return nil, err
		}
	}
	return a, a.sound()
}

// Authority is what the record says: without a key while it is sealed.
func (r *Record) Authority() (*Authority, error) {
	a := &Authority{Name: r.Name, Retired: slices.Clone(r.Retired)}
	for i := range r.Generations {
		one, err := r.generation(i)
		if err != nil {
			return nil, fmt.Errorf("authority %s: generation %d: %w", r.Name, i, err)
		}
		a.Certificates = append(a.Certificates, one.Certificates...)
		a.Keys = append(a.Keys, one.Keys...)
		if i == 0 {
			a.Key = one.Key
		}
	}
	return a, nil
}

func (r *Record) encode() ([]byte, error) {
	data, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("authority %s: record: %w", r.Name, err)
	}
	return append(data, '\n'), nil
}

// clone is a record that can be changed without the other.
func (r *Record) clone() *Record {
	c := *r
	c.Generations, c.Retired = slices.Clone(r.Generations), slices.Clone(r.Retired)
	if r.Rotation != nil {
		rotation := *r.Rotation
		c.Rotation = &rotation
	}
	return &c
}

func nonce() string {
	raw := make([]byte, 16)
	_, _ = rand.Read(raw) // never fails: crypto/rand aborts the process instead
	return hex.EncodeToString(raw)
}
