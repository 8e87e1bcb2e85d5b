package peers_test

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	bolt "go.etcd.io/bbolt"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"rekindle/agent/etcd/etcdtest"
	"rekindle/agent/etcd/peers"
)

// One cluster with a tiny quota carries all of this.
func TestUpkeep(t *testing.T) {
	t.Parallel()
	c := etcdtest.Start(t, 3, etcdtest.Options{Quota: 6 << 20})
	t.Run("nothing to do", func(t *testing.T) { testNothingToDo(t, c) })
	t.Run("defragment", func(t *testing.T) { testDefragment(t, c) })
	t.Run("history fills it", func(t *testing.T) { testHistoryFills(t, c) })
	t.Run("live keys fill it", func(t *testing.T) { testLiveKeysFill(t, c) })
	t.Run("one differs", func(t *testing.T) { testOneDiffers(t, c) })
	t.Run("corrupt", func(t *testing.T) { testCorrupt(t, c) })
}

func testNothingToDo(t *testing.T, c *etcdtest.Cluster) {
	client := dialTo(t, c, nil)
	done, err := client.Defragment(t.Context(), peers.DefragPolicy{}, nil)
	if err != nil || done.Name != "" || done.Why == "" {
		t.Errorf("%+v, %v", done, err)
	}
	space, err := client.FreeSpace(t.Context(), peers.SpaceOptions{})
	if err != nil || space.Alarmed || space.Compacted != 0 || len(space.Defragmented) != 0 {
		t.Errorf("%+v, %v", space, err)
	}
}

// fill puts 64 KiB under the key that n gives until etcd takes no more, or limit times.
func fill(t *testing.T, c *etcdtest.Cluster, limit int, key func(n int) string) (full bool) {
	t.Helper()
	client := c.Client(t)
	value := strings.Repeat("x", 64<<10)
	for n := range limit {
		_, err := client.Put(t.Context(), key(n), value)
		if errors.Is(err, rpctypes.ErrNoSpace) {
			return true
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return false
}

func testDefragment(t *testing.T, c *etcdtest.Cluster) {
	fill(t, c, 48, func(n int) string { return fmt.Sprint("/tmp/", n%2) }) // 3 MiB of history
	plain := c.Client(t)
	got, err := plain.Get(t.Context(), "x")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := plain.Compact(t.Context(), got.Header.Revision); err != nil {
		t.Fatal(err)
	}
	client := dialTo(t, c, nil)
	policy, last := peers.DefragPolicy{Spare: 1 << 20}, map[string]time.Time{}
	allDue(t, c, plain, policy.Spare)
	leader := c.Leader(t).Name
	var order []string
	for range c.Members {
		done, err := client.Defragment(t.Context(), policy, last)
		if err != nil || done.Name == "" {
			t.Fatalf("after %v: %+v, %v", order, done, err)
		}
		if last[done.Name] = time.Now(); done.After > done.Before-policy.Spare || done.Took <= 0 {
			t.Errorf("%+v", done)
		}
		order = append(order, done.Name)
	}
	t.Log("defragmented", order)
	if order[2] != leader && c.Leader(t).Name == leader {
		t.Errorf("%s led and still leads, but was not the last of %v", leader, order)
	}
	for _, m := range c.Members {
		h, err := client.Health(t.Context(), m.Endpoint())
		if err != nil || h.DBSize > 1<<20 {
			t.Errorf("%+v, %v", h, err)
		}
	}
}

// allDue waits until every member would give back so many bytes: each compacts in its own time, and tells of it one
// commit later. Before that the leader can be the only one that is due, and leads again when its turn is over.
func allDue(t *testing.T, c *etcdtest.Cluster, plain *clientv3.Client, spare int64) {
	t.Helper()
	client := dialTo(t, c, nil)
	deadline := time.Now().Add(time.Minute)
	for _, m := range c.Members {
		for {
			if _, err := plain.Put(t.Context(), "small", "write"); err != nil {
				t.Fatal(err)
			}
			h, err := client.Health(t.Context(), m.Endpoint())
			if err == nil && h.DBSize-h.DBInUse >= spare {
				break
			}
			if time.Now().After(deadline) {
				t.Fatalf("%s: %+v, %v", m.Name, h, err)
			}
			time.Sleep(50 * time.Millisecond)
		}
	}
}

func testHistoryFills(t *testing.T, c *etcdtest.Cluster) {
	if !fill(t, c, 1000, func(int) string { return "/registry/leases/one" }) {
		t.Fatal("the database was never full")
	}
	client := dialTo(t, c, nil)
	alarms, err := client.Alarms(t.Context())
	if err != nil || len(alarms) == 0 || alarms[0].Kind != peers.NoSpace || alarms[0].Name == "" {
		t.Fatalf("%+v, %v", alarms, err)
	}
	if _, err := c.Client(t).Put(t.Context(), "small", "too much"); !errors.Is(err, rpctypes.ErrNoSpace) {
		t.Fatalf("got %v, want ErrNoSpace", err)
	}
	leader := c.Leader(t).Name
	space, err := client.FreeSpace(t.Context(), peers.SpaceOptions{})
	if err != nil || !space.Alarmed || !space.Disarmed || space.Advice != "" || space.Compacted == 0 {
		t.Fatalf("%+v, %v", space, err)
	}
	if len(space.Defragmented) != 3 || space.Defragmented[2].Name != leader {
		t.Errorf("led by %s: %+v", leader, space.Defragmented)
	}
	if now := c.Leader(t).Name; now == leader {
		t.Errorf("%s was defragmented while it led", now)
	}
	if alarms, err := client.Alarms(t.Context()); err != nil || len(alarms) != 0 {
		t.Errorf("%+v, %v", alarms, err)
	}
	if full := fill(t, c, 10, func(int) string { return "/registry/leases/one" }); full {
		t.Error("full again after 640 KiB")
	}
}

func testLiveKeysFill(t *testing.T, c *etcdtest.Cluster) {
	client := dialTo(t, c, nil)
	var space peers.Space
	for round := 0; space.Advice == ""; round++ { // as long as there is history to throw away, that is done
		if round == 10 {
			t.Fatalf("full and solved ten times: %+v", space)
		}
		if !fill(t, c, 1000, func(n int) string { return fmt.Sprintf("/registry/configmaps/default/big-%d-%d", round, n) }) {
			t.Fatal("the database was never full")
		}
		var err error
		if space, err = client.FreeSpace(t.Context(), peers.SpaceOptions{}); err != nil || !space.Alarmed {
			t.Fatalf("%+v, %v", space, err)
		}
	}
	if space.Disarmed {
		t.Errorf("%+v", space)
	}
	t.Log(space.Advice)
	if len(space.Fill) < 2 || space.Fill[0].Prefix != "/registry/configmaps/" || space.Fill[0].Keys < 40 || space.Fill[0].Bytes < 3<<20 {
		t.Errorf("%+v", space.Fill)
	}
	if alarms, err := client.Alarms(t.Context()); err != nil || len(alarms) == 0 {
		t.Errorf("the alarm is gone although the database is full: %v", err)
	}
	// The operator deletes, which etcd takes under the alarm too.
	_, err := c.Client(t).Delete(t.Context(), "/registry/configmaps/", clientv3.WithPrefix())
	if err != nil {
		t.Fatal(err)
	}
	if space, err = client.FreeSpace(t.Context(), peers.SpaceOptions{}); err != nil || !space.Disarmed {
		t.Fatalf("%+v, %v", space, err)
	}
}

func testOneDiffers(t *testing.T, c *etcdtest.Cluster) {
	if _, err := c.Client(t).Put(t.Context(), "key", "genuine"); err != nil {
		t.Fatal(err)
	}
	client := dialTo(t, c, nil)
	if got, err := client.CompareHashes(t.Context()); err != nil || got.Outcome != peers.Equal {
		t.Fatalf("%+v, %v", got, err)
	}
	victim := c.Members[0]
	victim.Stop()
	if got, err := client.CompareHashes(t.Context()); err != nil || got.Outcome != peers.NotComparable {
		t.Errorf("%+v, %v", got, err)
	}
	tamper(t, victim, "genuine", "altered")
	victim.Restart(t)
	c.Leader(t)
	eventually(t, func() error { // the connection comes back
		_, err := client.Health(t.Context(), victim.Endpoint())
		return err
	})
	got, err := client.CompareHashes(t.Context())
	if err != nil || got.Outcome != peers.Differs || len(got.Minority) != 1 || got.Minority[0] != victim.Name {
		t.Errorf("%+v, %v", got, err)
	}
	t.Log(got.Why)
}

// tamper replaces a value in a stopped member's database by another of the same length.
func tamper(t *testing.T, m *etcdtest.Member, from, to string) {
	t.Helper()
	db, err := bolt.Open(m.DB(), 0o600, &bolt.Options{Timeout: 5 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	found := false
	err = db.Update(func(tx *bolt.Tx) error {
		bucket := tx.Bucket([]byte("key"))
		return bucket.ForEach(func(k, v []byte) error {
			if found || !bytes.Contains(v, []byte(from)) {
				return nil
			}
			found = true
			return bucket.Put(k, bytes.Replace(v, []byte(from), []byte(to), 1))
		})
	})
	if err = errors.Join(err, db.Close()); err != nil || !found {
		t.Fatalf("found %v: %v", found, err)
	}
}

func testCorrupt(t *testing.T, c *etcdtest.Cluster) {
	client := dialTo(t, c, nil)
	raise := pb.NewMaintenanceClient(c.Client(t).ActiveConnection())
	_, err := raise.Alarm(t.Context(), &pb.AlarmRequest{
		Action: pb.AlarmRequest_ACTIVATE, Alarm: pb.AlarmType_CORRUPT, MemberID: c.Members[0].ID(),
	})
	if err != nil {
		t.Fatal(err)
	}
	alarms, err := client.Alarms(t.Context())
	if err != nil || len(alarms) != 1 || alarms[0].Kind != peers.Corrupt || alarms[0].Name != c.Members[0].Name || alarms[0].Remedy == "" {
		t.Fatalf("%+v, %v", alarms, err)
	}
	space, err := client.FreeSpace(t.Context(), peers.SpaceOptions{})
	if err != nil || space.Advice != alarms[0].Remedy || len(space.Defragmented) != 0 {
		t.Errorf("%+v, %v", space, err)
	}
	done, err := client.Defragment(t.Context(), peers.DefragPolicy{Spare: 1, Share: 1e-9, Stall: true}, nil)
	if err != nil || done.Name != "" {
		t.Errorf("%+v, %v", done, err)
	}
}
