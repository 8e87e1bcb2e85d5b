package facts

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"go.uber.org/goleak"

	"rekindle/agent/aws"
	"rekindle/agent/status"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// memory is IMDS as a map; it counts what is read.
type memory struct {
	mu     sync.Mutex
	values map[string]string
	seen   []string
	fail   error
}

func (m *memory) Get(ctx context.Context, key string) ([]byte, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.seen = append(m.seen, key)
	if m.fail != nil {
		return nil, m.fail
	}
	value, ok := m.values[key]
	if !ok {
		return nil, aws.ErrNotFound
	}
	return []byte(value), ctx.Err()
}

func (m *memory) set(key, value string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.values[key] = value
}

func (m *memory) setTags(tags map[string]string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var keys []string
	for k, v := range tags {
		keys = append(keys, k)
		m.values["meta-data/tags/instance/"+k] = v
	}
	slices.Sort(keys)
	m.values["meta-data/tags/instance"] = strings.Join(keys, "\n")
}

func (m *memory) count(key string) (n int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, k := range m.seen {
		if k == key {
			n++
		}
	}
	return n
}

// loadIMDS is an instance of a partition, recorded.
func loadIMDS(t *testing.T, partition string) *memory {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("testdata", "imds", partition+".json"))
	if err != nil {
		t.Fatal(err)
	}
	m := &memory{}
	if err := json.Unmarshal(data, &m.values); err != nil {
		t.Fatal(err)
	}
	return m
}

// tagsAPI is ec2:DescribeTags in memory.
type tagsAPI struct {
	calls int
	do    func(in *ec2.DescribeTagsInput) (*ec2.DescribeTagsOutput, error)
}

func (a *tagsAPI) DescribeTags(
	_ context.Context, in *ec2.DescribeTagsInput, _ ...func(*ec2.Options),
) (*ec2.DescribeTagsOutput, error) {
	a.calls++
	return a.do(in)
}

// waits records what was waited for.
type waits struct {
	mu    sync.Mutex
	names []string
	open  int
}

func (w *waits) Begin(ctx context.Context, name, _ string) status.WaitFunc {
	w.mu.Lock()
	defer w.mu.Unlock()
	if _, ok := ctx.Deadline(); !ok {
		name += " without a deadline"
	}
	w.names = append(w.names, name)
	w.open++
	return sync.OnceFunc(func() { w.mu.Lock(); w.open--; w.mu.Unlock() })
}

func wantReason(t *testing.T, err error, reason status.Reason, words ...string) {
	t.Helper()
	got, hint := status.ReasonOf(err)
	if err == nil || got != reason {
		t.Fatalf("reason %s of %v, want %s", got, err, reason)
	}
	for _, w := range words {
		if !strings.Contains(fmt.Sprint(err, hint), w) {
			t.Errorf("%q is not in: %v (%s)", w, err, hint)
		}
	}
}
