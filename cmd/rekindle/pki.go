package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"rekindle/agent/aws"
	"rekindle/agent/config"
	"rekindle/agent/pki"
	"rekindle/agent/store"
)

// pkiFlags are those of all that `rekindle pki` does with a store.
type pkiFlags struct {
	config, cluster   string
	region, endpoint  string
	pathStyle, seal   bool
	kmsKey, algorithm string
}

func pkiCommand(shared *common) *cobra.Command {
	var flags pkiFlags
	command := &cobra.Command{
		Use:   "pki",
		Short: "make, bring, show, rotate and seal the cluster's authorities; look at the node's certificates",
		Long: `The cluster's authorities lie in its store, pki/private/ and pki/public/. The first master creates what is not there;
nobody needs this verb for that. docs/pki.md tells the rest.`,
		Args: arguments(cobra.NoArgs), // cobra's own refusal of an unknown verb would exit with 1
		RunE: func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	for _, verb := range []*cobra.Command{
		pkiInitCommand(shared, &flags), pkiImportCommand(shared, &flags), pkiShowCommand(shared, &flags),
		pkiRotateCommand(shared, &flags), pkiSealCommand(shared, &flags),
	} {
		flags.add(verb.Flags())
		command.AddCommand(verb)
	}
	command.AddCommand(pkiCheckCommand(shared)) // of this node, not of a store
	return command
}

func (f *pkiFlags) add(set *pflag.FlagSet) {
	set.StringVar(&f.config, "config", "", "cluster.yaml: `cluster`, `pki` and `aws.region` are taken from it")
	set.StringVar(&f.cluster, "cluster", "", "the cluster's name; without it that of --config, or of what is in the store")
	set.StringVar(&f.region, "region", "", "the bucket's region; without it the profile's")
	set.StringVar(&f.endpoint, "endpoint", "", "URL of an S3-compatible store")
	set.BoolVar(&f.pathStyle, "path-style", false, "address the bucket by path")
	set.StringVar(&f.kmsKey, "kms-key", "", "KMS key that encrypts private keys in the bucket (pki.kmsKey)")
	set.BoolVar(&f.seal, "seal", false, "encrypt private keys before they leave this machine, too (pki.seal)")
	set.StringVar(&f.algorithm, "key-algorithm", "", "of new keys: "+strings.Join(pki.Algorithms, ", ")+" (pki.keyAlgorithm)")
}

// settings are the flags over the configuration over its defaults.
func (f *pkiFlags) settings() (*config.Config, error) {
	asked := config.Default()
	if f.config != "" {
		data, err := os.ReadFile(f.config)
		if err != nil {
			return nil, exit{exitUsage, err}
		}
		loaded, problems := config.Load(config.Layer{Name: f.config, Data: data})
		if loaded == nil {
			return nil, exit{exitUsage, problems}
		}
		asked = loaded
	}
	for _, over := range []struct {
		field *string
		value string
	}{
		{&asked.Cluster, f.cluster}, {&asked.AWS.Region, f.region}, {&asked.PKI.KMSKey, f.kmsKey},
		{&asked.PKI.KeyAlgorithm, f.algorithm},
	} {
		if over.value != "" {
			*over.field = over.value
		}
	}
	asked.PKI.Seal = asked.PKI.Seal || f.seal
	switch {
	case !slices.Contains(pki.Algorithms, asked.PKI.KeyAlgorithm):
		return nil, exit{exitUsage, fmt.Errorf("--key-algorithm %q: use %s", asked.PKI.KeyAlgorithm, strings.Join(pki.Algorithms, ", "))}
	case asked.PKI.Seal && asked.PKI.KMSKey == "":
		return nil, exit{exitUsage, errors.New("--seal needs --kms-key")}
	}
	return asked, nil
}

// vault opens the store that place names.
func (f *pkiFlags) vault(ctx context.Context, shared *common, place string, stderr io.Writer) (*pki.Vault, *config.Config, error) {
	asked, err := f.settings()
	if err != nil {
		return nil, nil, err
	}
	logger := shared.logger(stderr)
	vault := &pki.Vault{
		Cluster: asked.Cluster, Instance: "rekindle pki", Algorithm: asked.PKI.KeyAlgorithm,
		AuthorityLife: asked.PKI.AuthorityLife, EtcdApart: len(asked.Etcd.Endpoints) > 0, Logger: logger,
	}
	if dir, ok := strings.CutPrefix(place, "dir://"); ok && strings.HasPrefix(dir, "/") {
		vault.Records = store.NewDir(dir)
		if asked.PKI.KMSKey == "" {
			return vault, asked, nil
		}
	}
	bucket, prefix, _ := strings.Cut(strings.TrimPrefix(place, "s3://"), "/")
	if vault.Records == nil && (!strings.HasPrefix(place, "s3://") || bucket == "") {
		return nil, nil, exit{exitUsage, fmt.Errorf("store %q: use s3://BUCKET/PREFIX or dir:///PATH", place)}
	}
	options := aws.Options{Region: asked.AWS.Region, PathStyle: f.pathStyle, Logger: logger}
	if f.endpoint != "" {
		options.Endpoints = map[string]string{"s3": f.endpoint}
	}
	clients, err := aws.New(ctx, options)
	if err != nil {
		return nil, nil, err
	}
	if vault.Records == nil {
		var options []store.S3Option
		if asked.PKI.KMSKey != "" {
			options = append(options, store.EncryptUnder("pki/private/", asked.PKI.KMSKey))
		}
		vault.Records = store.NewS3(clients.S3(""), bucket, prefix, options...)
	}
	vault.Seal = &pki.Sealer{Encrypt: clients.KMS().Encrypt, Decrypt: clients.KMS().Decrypt}
	if asked.PKI.Seal {
		vault.Seal.KeyID = asked.PKI.KMSKey
	}
	return vault, asked, nil
}

// named refuses to make anything for a cluster without a name.
func named(asked *config.Config) error {
	if asked.Cluster == "" {
		return exit{exitUsage, errors.New("for which cluster? give --cluster NAME, or --config with cluster.yaml")}
	}
	return nil
}

// chosen checks a list of authorities; an empty one means all.
func chosen(only []string) ([]string, error) {
	if len(only) == 0 {
		return pki.Names, nil
	}
	for _, name := range only {
		if !slices.Contains(pki.Names, name) {
			return nil, exit{exitUsage, fmt.Errorf("--only %q: the authorities are %s", name, strings.Join(pki.Names, ", "))}
		}
	}
	return only, nil
}

// line describes an authority: its signer, for how long, and how it is recognised.
func line(a *pki.Authority) string {
	if a.Name == pki.ServiceAccount {
		return "a key pair, sha256 " + a.Fingerprint()
	}
	signer := a.Certificates[0]
	return fmt.Sprintf("%s, until %s, sha256 %s", signer.Subject, signer.NotAfter.UTC().Format(time.DateOnly), a.Fingerprint())
}

// ensure makes the authority where the store has none, and says which it was.
func ensure(ctx context.Context, vault *pki.Vault, name string) (a *pki.Authority, created bool, err error) {
	record, err := vault.Record(ctx, name)
	if errors.Is(err, pki.ErrAbsent) {
		a, err = vault.Private(ctx, name)
		return a, err == nil, err
	}
	if err != nil {
		return nil, false, err
	}
	if a, err = record.Authority(); err != nil {
		return nil, false, err
	}
	return a, false, vault.Publish(ctx, a)
}

// refused gives an error about the store the exit code 3 where only time is missing.
func refused(err error) error {
	if errors.Is(err, pki.ErrTooEarly) {
		return exit{exitNotYet, err}
	}
	return err
}
