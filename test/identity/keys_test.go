package identity

import (
	"errors"
	"fmt"
	"maps"
	"net/http"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"

	"rekindle/agent/pki"
	"rekindle/agent/status"
	"rekindle/test/identity/clusters"
	"rekindle/test/lab/node"
	"rekindle/test/lab/region"
	"rekindle/test/s3"
)

// TestMinionCannotReadKeys: with all that a minion may use, nobody gets at a private key of the cluster.
func TestMinionCannotReadKeys(t *testing.T) {
	t.Parallel()
	c, _, minion := agedCluster(t)
	own := c.Cloud.Credentials(minion.ID)
	client := c.S3.ClientFor(s3.Key{ID: own.AccessKeyID, Secret: own.SecretAccessKey}, own.SessionToken)
	for _, name := range pki.Names {
		key := pki.PrivateKey(name)
		if _, err := c.ReadStoreAs(t.Context(), minion.ID, c.Store, key); !denied(err) {
			t.Errorf("the minion reads %s: %v", key, err)
		}
		c.Object(t.Context(), t, key) // it is there
		if _, err := c.ReadStoreAs(t.Context(), minion.ID, c.Store, pki.PublicKey(name)); err != nil {
			t.Error(err)
		}
		for _, key := range []string{key, pki.PublicKey(name)} {
			_, err := client.PutObject(t.Context(), &awss3.PutObjectInput{
				Bucket: &c.Bucket, Key: aws.String("cluster/" + key), Body: strings.NewReader("{}"),
			})
			if !denied(err) {
				t.Errorf("the minion writes %s: %v", key, err)
			}
		}
	}
	if _, err := clusters.Held(minion, pki.Kubernetes); err == nil {
		t.Error("the minion has the authority's key on its disk")
	}
}

func denied(err error) bool { return err != nil && strings.Contains(err.Error(), "AccessDenied") }

// TestMasterThatMayNotReadKeys: what cannot be read is never taken for what is not there. Once it can, the boot goes on.
func TestMasterThatMayNotReadKeys(t *testing.T) {
	t.Parallel()
	c := cluster(t, "denied")
	key := pki.PrivateKey(pki.Kubernetes)
	role := fmt.Sprintf("arn:%s:iam::%s:role/%s", c.Cloud.Partition(), c.Cloud.AccountID(), region.MasterProfile)
	var allowed []string
	for _, path := range []string{"manifest.json", "roles/*", "etcd/*", "discovery/*", "nodes/*", "locks/*", "pki/public/*",
		"pki/private/conditional-writes", pki.PrivateKey(pki.Etcd), pki.PrivateKey(pki.FrontProxy), pki.PrivateKey(pki.ServiceAccount)} {
		allowed = append(allowed, "cluster/"+path)
	}
	allow := func(paths []string) {
		t.Helper()
		if err := c.S3.SetPolicy(t.Context(), c.Bucket,
			s3.Statement{Principals: []string{role}, Actions: []string{"s3:ListBucket", "s3:ListBucketVersions"}, Resources: []string{""}},
			s3.Statement{Principals: []string{role}, Actions: []string{"s3:GetObject", "s3:PutObject"}, Resources: paths},
		); err != nil {
			t.Fatal(err)
		}
	}
	allow(allowed)
	n := c.Launch(t, c.Spec("master"))
	failed := blocked(t, n, key)
	if failed.Reason != status.ReasonStoreDenied && failed.Reason != status.ReasonPKIBlocked || !strings.Contains(failed.Hint, "s3:GetObject") {
		t.Errorf("%s: %s: %s", failed.Reason, failed.Message, failed.Hint)
	}
	for _, q := range c.S3.Requests() {
		if q.Method == http.MethodPut && q.Path == c.Path(key) {
			t.Errorf("it wrote %s: %d", q.Path, q.Status)
		}
	}
	if data, err := c.ReadStore(t.Context(), c.Store, key); err == nil {
		t.Errorf("%s was created: %d bytes", key, len(data))
	}

	allow(append(allowed, "cluster/"+key))
	clusters.Await(t.Context(), t, "the master boots", func() error {
		s, err := n.Status()
		if err == nil && s.State != status.StateReady {
			err = fmt.Errorf("%s: %s: %s", s.State, s.Reason, s.Message)
		}
		return err
	})
	if a := c.Authority(t.Context(), t, pki.Kubernetes); a.Key == nil {
		t.Error("no key in the store")
	}
}

// blocked waits until the agent says that it failed, and why.
func blocked(t *testing.T, n *node.Node, why string) (s *status.Status) {
	t.Helper()
	clusters.Await(t.Context(), t, "the boot fails", func() (err error) {
		s, err = n.Status()
		if err == nil && (s.State != status.StateFailed || !strings.Contains(s.Message, why)) {
			err = fmt.Errorf("%s: %s: %s", s.State, s.Reason, s.Message)
		}
		return err
	})
	return s
}

// TestStoreAway: with sound certificates on its disk a master goes on, and says what it could not look at.
func TestStoreAway(t *testing.T) {
	t.Parallel()
	c, master, _ := agedCluster(t)
	before, err := clusters.Leaves(master)
	if err != nil {
		t.Fatal(err)
	}
	away := func(do s3.Effect) *s3.ActiveFault {
		return c.S3.Faults().Add(s3.Fault{Path: c.Path("pki/*"), AccessKeyID: c.Cloud.Credentials(master.ID).AccessKeyID, Do: do})
	}
	goesOn := func(fault *s3.ActiveFault, when string) {
		t.Helper()
		s := clusters.Ready(t.Context(), t, master)
		if s.State != status.StateReady || warned(s) != len(pki.Names) || fault.Hits() == 0 {
			t.Errorf("%s: %s, warnings %v, %d requests failed", when, s.State, s.Warnings, fault.Hits())
		}
		now, err := clusters.Leaves(master)
		if err != nil || !maps.EqualFunc(before, now, func(a, b clusters.Leaf) bool { return a.Equal(b.Certificate) }) {
			t.Errorf("%s: the certificates are others: %v", when, err)
		}
	}
	fault := away(s3.Deny)
	clusters.Resync(t.Context(), t, master)
	goesOn(fault, "denied at a resync")
	fault.Remove()
	clusters.Resync(t.Context(), t, master)
	clusters.Await(t.Context(), t, "the warnings go", func() error {
		s, err := master.Status()
		if err == nil && warned(s) > 0 {
			err = errors.New(s.Warnings[0].Message)
		}
		return err
	})

	fault = away(s3.Reset) // which is tried for a minute: no answer may be one in a moment
	defer fault.Remove()
	if err := master.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	goesOn(fault, "unreachable at a boot")
}

// warned counts the authorities that could not be looked at.
func warned(s *status.Status) int {
	count := 0
	for _, w := range s.Warnings {
		if w.Reason == status.ReasonCertificate && strings.Contains(w.Message, "serves on") {
			count++
		}
	}
	return count
}
