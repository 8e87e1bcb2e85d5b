package pki

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"time"

	"rekindle/agent/status"
)

// layout is where a tool keeps an authority. Of the certificates all that exist are taken, of the keys the first.
type layout struct {
	tool         string
	authority    string
	certificates []string
	keys         []string
}

// layouts are kubeadm's (/etc/kubernetes/pki) and kube-aws's (credentials/). kube-aws has one CA for everything, unless
// somebody gave it a second as worker-ca, which then signs kubelets; its first versions signed service account tokens
// with the API server's key.
var layouts = []layout{
	{"kubeadm", Kubernetes, []string{"ca.crt"}, []string{"ca.key"}},
	{"kubeadm", Etcd, []string{"etcd/ca.crt"}, []string{"etcd/ca.key"}},
	{"kubeadm", FrontProxy, []string{"front-proxy-ca.crt"}, []string{"front-proxy-ca.key"}},
	{"kubeadm", ServiceAccount, []string{"sa.pub"}, []string{"sa.key"}},
	{"kube-aws", Kubernetes, []string{"ca.pem", "worker-ca.pem"}, []string{"ca-key.pem", "worker-ca-key.pem"}},
	{"kube-aws", ServiceAccount, nil, []string{"service-account-key.pem", "apiserver-key.pem"}},
}

// kubeAWSEtcd is what kube-aws's etcd trusts. It has no key of its own.
const kubeAWSEtcd = "etcd-trusted-ca.pem"

// Import is an authority that was found in a directory.
type Import struct {
	*Authority
	Files []string // what it was taken from
}

// FindImports reads the authorities that lie in a directory under the names of kubeadm or kube-aws, of those in only (nil:
// all). Everything is checked, and all mistakes are reported. Notes say what was passed over, and why.
func FindImports(dir fs.FS, only []string, now time.Time) (found []Import, notes []string, err error) {
	var mistakes []error
	for _, l := range layouts {
		if only != nil && !slices.Contains(only, l.authority) {
			continue
		}
		one, err := l.read(dir, now)
		switch {
		case err != nil:
			mistakes = append(mistakes, err)
		case one == nil:
		case slices.ContainsFunc(found, func(i Import) bool { return i.Name == one.Name }):
			mistakes = append(mistakes, blocked("leave the files of one of them in the directory",
				fmt.Errorf("%s: there under kubeadm's names and under kube-aws's", one.Name)))
		default:
			found = append(found, *one)
		}
	}
	if only == nil || slices.Contains(only, Etcd) {
		note, err := noteEtcd(dir, found)
		mistakes = append(mistakes, err)
		notes = append(notes, note...)
	}
	if err := errors.Join(mistakes...); err != nil {
		return nil, nil, err
	}
	if len(found) == 0 {
		return nil, nil, blocked("name the directory with ca.crt and ca.key (kubeadm) or ca.pem and ca-key.pem (kube-aws)",
			errors.New("no authority in it"))
	}
	return found, notes, nil
}

// read is one authority, or nil where the directory has nothing of it.
func (l layout) read(dir fs.FS, now time.Time) (*Import, error) {
	var trusted []byte
	var files []string
	for _, file := range l.certificates {
		data, err := readPEM(dir, file)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		trusted = append(append(trusted, data...), '\n')
		files = append(files, file)
	}
	key, from, err := l.key(dir)
	if err != nil {
		return nil, err
	}
	switch {
	case from == "" && trusted == nil:
		return nil, nil
	case from == "" && l.keys[0] == "sa.key": // API servers alone need no more, but nobody could sign
		return nil, blocked("add sa.key", errors.New("sa.pub without its private key"))
	case from == "":
		return nil, blocked("add "+l.keys[0]+", or leave the authority out with --only",
			fmt.Errorf("%s: no key beside it (%s)", files[0], l.keys[0]))
	case trusted == nil && l.authority != ServiceAccount:
		return nil, blocked("add "+l.certificates[0], fmt.Errorf("%s: no certificate beside it (%s)", from, l.certificates[0]))
	}
	files = append(files, from)
	a, err := assemble(l.authority, trusted, key)
	if err == nil {
		a.Certificates = distinct(a.Certificates)
		err = a.check(now)
	}
	if err != nil {
		return nil, blocked("correct the files, or leave the authority out with --only", fmt.Errorf("%s: %v: %w", l.authority, files, err))
	}
	return &Import{Authority: a, Files: files}, nil
}

func (l layout) key(dir fs.FS) (data []byte, file string, err error) {
	for _, file := range l.keys {
		data, err := readPEM(dir, file)
		if err == nil {
			return data, file, nil
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return nil, "", err
		}
		if _, err := fs.Stat(dir, file+".enc"); err == nil {
			return nil, "", blocked("decrypt it: aws kms decrypt --ciphertext-blob fileb://"+file+".enc --query Plaintext "+
				"--output text | base64 -d > "+file, fmt.Errorf("%s.enc: encrypted by kube-aws with KMS", file))
		}
	}
	return nil, "", nil
}

func readPEM(dir fs.FS, file string) ([]byte, error) {
	info, err := fs.Stat(dir, file)
	if err != nil {
		return nil, err
	}
	if info.Size() == 0 || info.Size() > maxPEM {
		return nil, fmt.Errorf("%s: %d bytes: want 1 to %d", file, info.Size(), maxPEM)
	}
	return fs.ReadFile(dir, file)
}

// noteEtcd tells what becomes of kube-aws's etcd-trusted-ca.pem. Usually it is ca.pem, which would open etcd to every
// certificate of every node.
func noteEtcd(dir fs.FS, found []Import) ([]string, error) {
	data, err := readPEM(dir, kubeAWSEtcd)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	trusted, err := ParseCertificates(data)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", kubeAWSEtcd, err)
	}
	at := slices.IndexFunc(found, func(i Import) bool { return i.Name == Kubernetes })
	if slices.ContainsFunc(found, func(i Import) bool { return i.Name == Etcd }) {
		return []string{kubeAWSEtcd + ": passed over: there is etcd/ca.crt"}, nil
	}
	for _, certificate := range trusted {
		if at < 0 || !slices.ContainsFunc(found[at].Certificates, certificate.Equal) {
			return nil, blocked("give its certificate and key as etcd/ca.crt and etcd/ca.key, or leave etcd out with --only",
				fmt.Errorf("%s: an authority of its own, whose key kube-aws does not keep", kubeAWSEtcd))
		}
	}
	return []string{kubeAWSEtcd + ": passed over: it is the cluster's CA, so every node's certificate would open etcd; " +
		"etcd gets an authority of its own"}, nil
}

// Foreign fails if the store holds another authority of that name, and says whether it holds this one.
func (v *Vault) Foreign(ctx context.Context, a *Authority) (there bool, err error) {
	record, err := v.Record(ctx, a.Name)
	if errors.Is(err, ErrAbsent) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	return true, v.same(record, a)
}

func (v *Vault) same(record *Record, a *Authority) error {
	now, err := record.Authority()
	if err != nil {
		return err
	}
	if now.Fingerprint() == a.Fingerprint() {
		return nil
	}
	return status.Fail(status.ReasonPKIBlocked, "two authorities of one cluster lock its nodes out: to replace the one in "+
		"the store, `rekindle pki rotate STORE begin "+a.Name+"`; to bring another cluster's, use a store of its own",
		fmt.Errorf("authority %s: the store has %s since %s, and this is %s", a.Name, now.Fingerprint(),
			record.Created.Format(time.RFC3339), a.Fingerprint()))
}

// Import puts an authority into the store, unless it is there already; another one there is an error.
func (v *Vault) Import(ctx context.Context, a *Authority) (created bool, err error) {
	if there, err := v.Foreign(ctx, a); err != nil {
		return false, err
	} else if there {
		return false, v.sync(ctx, a.Name)
	}
	record, err := v.establish(ctx, a.Name, func() (*Authority, error) { return a, nil })
	if err != nil {
		return false, err
	}
	if err := v.same(record, a); err != nil {
		return false, err
	}
	_, err = v.published(ctx, record)
	return true, err
}

// sync makes the public part agree with the record.
func (v *Vault) sync(ctx context.Context, name string) error {
	record, err := v.Record(ctx, name)
	if err == nil {
		_, err = v.published(ctx, record)
	}
	return err
}

// distinct drops a certificate that was there before: kube-aws's files are often links to one another.
func distinct(all []*x509.Certificate) []*x509.Certificate {
	var out []*x509.Certificate
	for _, certificate := range all {
		if !slices.ContainsFunc(out, certificate.Equal) {
			out = append(out, certificate)
		}
	}
	return out
}
