//go:build vm

package vm

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"rekindle/test/cloud"
)

// point is a moment at which the power goes: the nth time that something is seen.
type point struct {
	name  string
	event string
	nth   int
	// again says that the disk knows nothing yet of the generation that the record begins: there will be another.
	again bool
}

// The most telling come first: -cuts takes them in this order. What is seen as "s3 did" was done by S3, and the machine has not
// heard of it.
var firstBoot = []point{
	{"the lineage is created, no answer", `^s3 did: PUT etcd/main/lineage.json 200`, 1, true},
	{"the first authority is made, no answer", `^s3 did: PUT pki/private/.*\.json 200`, 1, false},
	{"etcd starts", `^console: .*Starting etcd-main.service`, 1, false},
	{"the lineage is to be running", `^s3: PUT etcd/main/lineage.json`, 2, false},
	{"the first backup counts, no answer", `^s3 did: PUT etcd/main/backups/.*/manifest.json 200`, 1, false},
	{"files are written, the first unit starts", `^console: .*Stopped systemd-modules-lo`, 1, false},
	{"the lineage is to be created", `^s3: PUT etcd/main/lineage.json`, 1, false},
	{"gossip's keys are made, no answer", `^s3 did: PUT discovery/keyring.json 200`, 1, false},
	{"two authorities are public", `^s3 did: PUT pki/public/`, 2, false},
	{"the agent asks for the first time", `^imds: agent: PUT`, 1, false},
}

var restore = []point{
	{"the lineage is taken over, no answer", `^s3 did: PUT etcd/main/lineage.json 200`, 1, true},
	{"the second range of the backup", `^s3 did: GET etcd/main/backups/.*/snapshot.zst bytes=`, 2, false},
	{"a delta is read", `^s3 did: GET etcd/main/backups/.*delta`, 1, false},
	{"etcd starts", `^console: .*Starting etcd-main.service`, 1, false},
	{"the lineage is running, no answer", `^s3 did: PUT etcd/main/lineage.json 200`, 2, false},
	{"the lineage is to be taken over", `^s3: PUT etcd/main/lineage.json`, 1, false},
	{"files are written, the first unit starts", `^console: .*Stopped systemd-modules-lo`, 1, false},
	{"the first range of the backup", `^s3: GET etcd/main/backups/.*/snapshot.zst bytes=`, 1, false},
	{"the backup's manifest is read", `^s3 did: GET etcd/main/backups/.*/manifest.json`, 1, false},
	{"the lineage is read", `^s3 did: GET etcd/main/lineage.json 200`, 1, false},
}

// outcome is a row of the table.
type outcome struct {
	kind   string
	point  point
	at     event         // at which the power went
	ready  time.Duration // from the next start on
	used   time.Duration // of a processor, in both boots
	saw    string
	failed error
}

// cut resumes a machine whose agent is about to start, takes its power at a point, starts the disk that is left, and looks
// at what comes of it. With lost data the cluster is to be restored, and to be what it was.
func (b *bench) cut(t *testing.T, lane int, kind string, p point, lost *data) (o outcome) {
	o = outcome{kind: kind, point: p}
	ctx, cancel := context.WithTimeout(t.Context(), cutLimit)
	defer cancel()
	if time.Since(b.frozen[lane]) > stale {
		if err := b.freeze(ctx, lane); err != nil {
			t.Fatal(err)
		}
	}
	number := b.count.Add(1)
	bucket := fmt.Sprintf("cut-%d", number)
	b.newStore(t, bucket, false)
	c := b.newCloud(uint64(number) + firstSeed)
	if lost != nil {
		c = b.newCloud(firstSeed)
		former, err := c.Launch(cloud.InstanceSpec{PrivateIP: address(firstSlot), Role: masterRole})
		if err != nil || former.ID != lost.Members[0].Instance {
			t.Fatalf("the lost master is not %s: %v", former.ID, err)
		}
		c.Terminate(former.ID)
		if err := b.copyStore(ctx, firstStore, bucket); err != nil {
			t.Fatal(err)
		}
	}
	n, err := b.launch(ctx, c, lane, bucket, b.frozenDisk(lane), master(bucket))
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(n.options.Dir)
	defer n.off()
	if err := b.hurry(n); err != nil {
		t.Fatal(err)
	}
	pattern, seen, hit := regexp.MustCompile(p.event), 0, make(chan event, 1)
	n.cut = func(e event) bool {
		if pattern.MatchString(e.text) {
			seen++
		}
		if seen == p.nth {
			hit <- e
		}
		return seen == p.nth
	}
	if err := n.start(b.frozenState(lane)); err != nil {
		t.Fatal(err)
	}
	if err := n.machine.Resume(ctx); err != nil {
		t.Fatal(err)
	}
	select {
	case o.at = <-hit:
	case <-n.machine.Ended():
		o.failed = n.machine.Err()
		return o
	case <-ctx.Done():
		o.failed = fmt.Errorf("the point is never reached\n%s", n.last(60))
		return o
	}
	n.off()
	o.used = n.machine.Used()
	before, err := b.traces(ctx, bucket)
	if err == nil {
		err = n.start("")
	}
	if err == nil {
		o.ready, err = n.ready(ctx)
	}
	if err == nil {
		o.saw, err = b.converged(ctx, n, bucket, before, lost, p.again)
	}
	if err != nil {
		err = errors.Join(err, keep(n, fmt.Sprintf("%s-%s.log", kind, bucket)))
	}
	n.off()
	o.used += n.machine.Used()
	o.failed = err
	return o
}

// traces is what must never change once it is in the store: private authorities, and the lineage's uid and generation.
func (b *bench) traces(ctx context.Context, bucket string) (map[string]string, error) {
	traces := map[string]string{}
	keys, err := b.keys(ctx, bucket, "pki/")
	if err != nil {
		return nil, err
	}
	for _, key := range append(keys, "discovery/keyring.json") {
		text, err := b.get(ctx, bucket, key)
		if err != nil {
			return nil, err
		}
		if text != nil && !strings.HasSuffix(key, "conditional-writes") {
			traces[key] = string(text)
		}
	}
	record, err := b.lineage(ctx, bucket)
	if err != nil {
		return nil, err
	}
	if record != nil {
		traces["the lineage's uid"] = record.UID
	}
	return traces, nil
}

// converged looks at a cluster after the power cut: is it one, and the one that it was?
func (b *bench) converged(ctx context.Context, n *node, bucket string, before map[string]string, lost *data, again bool) (saw string, err error) {
	now, err := b.look(ctx, n, bucket)
	if err != nil {
		return "", err
	}
	after, err := b.traces(ctx, bucket)
	if err != nil {
		return "", err
	}
	for what, was := range before {
		if after[what] != was {
			err = errors.Join(err, fmt.Errorf("%s is another one", what))
		}
	}
	generation := 1
	if lost != nil {
		generation = lost.Generation + 1
		if now.UID != lost.UID || now.Digest != lost.Digest || now.Keys != lost.Keys || now.State.Revision <= lost.State.Revision {
			err = errors.Join(err, fmt.Errorf("%d keys of lineage %s at revision %d, were %d of %s at %d: they are not the same",
				now.Keys, now.UID, now.State.Revision, lost.Keys, lost.UID, lost.State.Revision))
		}
	}
	if again {
		generation++
	}
	if now.Generation != generation {
		err = errors.Join(err, fmt.Errorf("generation %d, not %d", now.Generation, generation))
	}
	return fmt.Sprintf("generation %d, cluster %x, %d keys", now.Generation, now.cluster, now.Keys), err
}

// keep saves a console for whoever looks into a failure.
func keep(n *node, name string) error {
	text, err := os.ReadFile(n.options.Console())
	if err == nil {
		err = os.WriteFile(filepath.Join(*outDir, name), text, 0o644)
	}
	return err
}

// table has a row for each cut.
func table(outcomes []outcome) string {
	var text bytes.Buffer
	row := func(columns ...string) {
		fmt.Fprintf(&text, "%-10s | %-42s | %-72s | %-15s | %s\n", columns[0], columns[1], columns[2], columns[3], columns[4])
	}
	row("boot", "point", "where", "converged after", "result")
	for _, o := range outcomes {
		result := o.saw
		if o.failed != nil {
			result, _, _ = strings.Cut("FAILED: "+o.failed.Error(), "\n")
		}
		where := fmt.Sprintf("%5.1f s: %s", o.at.after.Seconds(), o.at.text)
		row(o.kind, o.point.name, where[:min(len(where), 72)], fmt.Sprintf("%.1f s", o.ready.Seconds()), result)
	}
	return text.String()
}
