package peers_test

import (
	"crypto/tls"
	"errors"
	"strings"
	"testing"
	"time"

	"rekindle/agent/etcd/etcdtest"
	"rekindle/agent/etcd/peers"
)

// One cluster carries all of this, from what leaves it whole to what takes it apart.
func TestThreeMembers(t *testing.T) {
	t.Parallel()
	c := etcdtest.Start(t, 3, etcdtest.Options{})
	t.Run("view", func(t *testing.T) { testView(t, c) })
	t.Run("certificates", func(t *testing.T) { testCertificates(t, c) })
	t.Run("another cluster", func(t *testing.T) { testOther(t, c) })
	t.Run("health", func(t *testing.T) { testHealth(t, c) })
	t.Run("hashes", func(t *testing.T) { testHashesEqual(t, c) })
	t.Run("learner", func(t *testing.T) { testLearner(t, c) })
	t.Run("leader goes", func(t *testing.T) { testLeaderGoes(t, c) })
	t.Run("dead voter", func(t *testing.T) { testDeadVoter(t, c) })
	t.Run("quorum lost", func(t *testing.T) { testQuorumLost(t, c) })
}

// eventually repeats what strict-reconfig-check refuses until connections between peers are five seconds old.
func eventually(t *testing.T, do func() error) {
	t.Helper()
	deadline := time.Now().Add(30 * time.Second)
	for {
		err := do()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
		if !errors.Is(err, peers.ErrUnhealthy) && !errors.Is(err, peers.ErrNotReady) {
			t.Log("once more after:", err)
		}
		time.Sleep(200 * time.Millisecond)
	}
}

func testView(t *testing.T, c *etcdtest.Cluster) {
	// The silent one comes first and would take all of the time. A busy machine may need several attempts, each with new
	// connections; without asking all at once none succeeds.
	var client *peers.Client
	var view peers.View
	attempts := 0
	eventually(t, func() (err error) {
		if attempts++; attempts > 5 {
			t.Fatal("no answer in five attempts")
		}
		client = dialTo(t, c, func(o *peers.Options) {
			o.Timeout = 2 * time.Second
			o.Endpoints = append([]peers.Endpoint{silent(t, c), c.New(t).Endpoint()}, o.Endpoints...)
		})
		view, err = client.View(t.Context())
		return err
	})
	want := map[string]string{}
	for _, m := range c.Members {
		want[m.Name] = m.PeerURL
	}
	for _, m := range view.Members {
		if m.Learner || len(m.PeerURLs) != 1 || want[m.Name] != m.PeerURLs[0] {
			t.Errorf("member %+v", m)
		}
		delete(want, m.Name)
	}
	if len(want) != 0 || view.ClusterID == 0 {
		t.Errorf("view %+v lacks %v", view, want)
	}
	if _, err := client.Raw().Put(t.Context(), "raw", "over all endpoints"); err != nil {
		t.Error(err)
	}
	local, err := client.Local(c.Members[1].Endpoint())
	if err != nil {
		t.Fatal(err)
	}
	got, err := local.Get(t.Context(), "raw")
	if err != nil || got.Count != 1 || got.Header.MemberId != c.Members[1].ID() {
		t.Errorf("local: %v, %v", got, err)
	}
	if _, err := client.Local(c.New(t).Endpoint()); !errors.Is(err, peers.ErrNotDefined) {
		t.Errorf("got %v, want ErrNotDefined", err)
	}
}

// Each certificate is checked against its own endpoint's name, also where one client speaks to several.
func testCertificates(t *testing.T, c *etcdtest.Cluster) {
	stranger := c.Members[1].Endpoint()
	stranger.URL = "https://" + stranger.Name + ".events.etcd.internal.demo:2379"
	client := dialTo(t, c, func(o *peers.Options) {
		o.TLS = o.TLS.Clone()
		o.TLS.ServerName = "any.main.etcd.internal.demo" // would make any name good
		o.Endpoints = []peers.Endpoint{c.Members[0].Endpoint(), stranger}
	})
	if _, err := client.Health(t.Context(), stranger); err == nil || !strings.Contains(err.Error(), "not "+stranger.Name+".events") {
		t.Errorf("got %v, want that the certificate is for another name", err)
	}
	for range 20 {
		got, err := client.Raw().Get(t.Context(), "x")
		if err != nil {
			t.Fatal(err)
		}
		if got.Header.MemberId != c.Members[0].ID() {
			t.Fatal("the client over all endpoints took a certificate for another name")
		}
	}
	bare := dialTo(t, c, func(o *peers.Options) {
		o.TLS = &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: c.TLS.RootCAs}
		o.Timeout = time.Second
	})
	if view, err := bare.View(t.Context()); err == nil {
		t.Errorf("a client without certificate got %+v", view)
	}
}

func testOther(t *testing.T, c *etcdtest.Cluster) {
	view, err := dialTo(t, c, nil).View(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	expect := func(o *peers.Options) { o.ExpectCluster = view.ClusterID + 1 }
	if _, err := dialTo(t, c, expect).View(t.Context()); !errors.Is(err, peers.ErrOtherServer) {
		t.Errorf("got %v, want ErrOtherServer", err)
	}
	if _, err := dialTo(t, c, expect).AddLearner(t.Context(), "https://10.0.0.1:2380"); !errors.Is(err, peers.ErrOtherServer) {
		t.Errorf("got %v, want ErrOtherServer", err)
	}
	// One that does not answer may yet be the right one.
	mixed := dialTo(t, c, func(o *peers.Options) {
		expect(o)
		o.Timeout = time.Second
		o.Endpoints = append(o.Endpoints, silent(t, c))
	})
	if _, err := mixed.View(t.Context()); err == nil || errors.Is(err, peers.ErrOtherServer) {
		t.Errorf("got %v, want an error that is not ErrOtherServer", err)
	}
	// What answers faster, a single member, is not taken.
	other := etcdtest.Start(t, 1, etcdtest.Options{Plaintext: true})
	plain := etcdtest.Start(t, 1, etcdtest.Options{Plaintext: true})
	both := dialTo(t, plain, func(o *peers.Options) {
		o.Endpoints = append(other.Endpoints(), o.Endpoints...)
		own := dialTo(t, plain, nil)
		view, err := own.View(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		o.ExpectCluster = view.ClusterID
	})
	for range 10 {
		got, err := both.View(t.Context())
		if err != nil || got.Members[0].Name != plain.Members[0].Name {
			t.Fatalf("got %+v, %v", got, err)
		}
	}
}

func testHealth(t *testing.T, c *etcdtest.Cluster) {
	client := dialTo(t, c, nil)
	leaders := 0
	for _, m := range c.Members {
		h, err := client.Health(t.Context(), m.Endpoint())
		if err != nil {
			t.Fatal(err)
		}
		if h.IsLeader {
			leaders++
		}
		if h.Name != m.Name || h.ID != m.ID() || h.Leader == 0 || h.Learner || h.DBSize == 0 || h.Quota != 2<<30 ||
			!strings.HasPrefix(h.Version, "3.6.") || !strings.HasPrefix(h.StorageVersion, "3.6.") || len(h.Errors) != 0 {
			t.Errorf("%+v", h)
		}
	}
	if leaders != 1 {
		t.Errorf("%d leaders", leaders)
	}
	if _, err := client.Health(t.Context(), c.New(t).Endpoint()); !errors.Is(err, peers.ErrNotDefined) {
		t.Errorf("got %v, want ErrNotDefined", err)
	}
}
