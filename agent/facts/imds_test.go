package facts

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"rekindle/agent/aws"
	"rekindle/agent/status"
)

var update = flag.Bool("update", false, "write the golden files")

func golden(t *testing.T, path string, got any) {
	t.Helper()
	data, err := json.MarshalIndent(got, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	data = append(data, '\n')
	if *update {
		if err := os.WriteFile(path, data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if string(data) != string(want) {
		t.Errorf("%s differs (go test -update writes it):\n%s", path, data)
	}
}

func TestInstanceInEveryPartition(t *testing.T) {
	for _, partition := range []string{"aws", "aws-cn", "aws-us-gov"} {
		t.Run(partition, func(t *testing.T) {
			imds := loadIMDS(t, partition)
			m := NewMetadata(imds)
			var both sync.WaitGroup
			both.Go(func() {
				if _, err := m.Instance(t.Context()); err != nil {
					t.Error(err)
				}
			})
			instance, err := m.Instance(t.Context())
			both.Wait()
			if err != nil {
				t.Fatal(err)
			}
			golden(t, filepath.Join("testdata", "imds", partition+".golden.json"), instance)
			for _, key := range imds.seen {
				if n := imds.count(key); n != 1 {
					t.Errorf("%s was read %d times", key, n)
				}
			}
			if strings.Contains(strings.Join(imds.seen, " "), "local-hostname") {
				t.Error("local-hostname was read: a DHCP option set can change it")
			}
		})
	}
}

func TestUserData(t *testing.T) {
	imds := loadIMDS(t, "aws")
	m := NewMetadata(imds)
	for range 2 {
		if data, err := m.UserData(t.Context()); string(data) != "cluster: prod.example\n" || err != nil {
			t.Fatalf("%q, %v", data, err)
		}
	}
	if imds.count("user-data") != 1 {
		t.Error("read twice")
	}
	imds = loadIMDS(t, "aws-cn")
	m = NewMetadata(imds)
	for range 2 {
		if data, err := m.UserData(t.Context()); data != nil || err != nil {
			t.Fatalf("none: %q, %v", data, err)
		}
	}
	if imds.count("user-data") != 1 {
		t.Error("a missing key is asked for again")
	}
}

func TestErrorsAreNotKept(t *testing.T) {
	imds := loadIMDS(t, "aws")
	m := NewMetadata(imds)
	imds.fail = errors.New("IMDS fell over")
	if _, err := m.UserData(t.Context()); err == nil {
		t.Fatal("no error")
	}
	imds.fail = nil
	if _, err := m.UserData(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func TestRequiredKeyThatIsLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		imds := loadIMDS(t, "aws-cn")
		document := imds.values["dynamic/instance-identity/document"]
		delete(imds.values, "dynamic/instance-identity/document")
		time.AfterFunc(4*time.Second, func() { imds.set("dynamic/instance-identity/document", document) })
		w := new(waits)
		instance, err := NewMetadata(imds).Instance(status.WithWaits(t.Context(), w))
		if err != nil || instance.Region != "cn-north-1" {
			t.Fatal(instance, err)
		}
		if len(w.names) != 1 || w.names[0] != "imds: dynamic/instance-identity/document" || w.open != 0 {
			t.Errorf("%+v", w)
		}
	})
}

func TestRequiredKeyThatIsMissing(t *testing.T) {
	for _, key := range []string{
		"dynamic/instance-identity/document", "meta-data/mac", "meta-data/services/partition", "meta-data/services/domain",
	} {
		synctest.Test(t, func(t *testing.T) {
			imds := loadIMDS(t, "aws-cn")
			delete(imds.values, key)
			start := time.Now()
			_, err := NewMetadata(imds).Instance(t.Context())
			wantReason(t, err, status.ReasonIMDSUnreached, key)
			if took := time.Since(start); took != requiredWait {
				t.Errorf("%s: waited %s", key, took)
			}
		})
	}
}

func TestReadingAKeyStopsWithTheCaller(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		slow := slowIMDS{}
		m := NewMetadata(slow)
		var first sync.WaitGroup
		first.Go(func() { _, _ = m.UserData(t.Context()) })
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		start := time.Now()
		if _, err := m.UserData(ctx); !errors.Is(err, context.DeadlineExceeded) || time.Since(start) != time.Second {
			t.Errorf("%v after %s", err, time.Since(start))
		}
		first.Wait()
	})
}

type slowIMDS struct{}

func (slowIMDS) Get(context.Context, string) ([]byte, error) {
	time.Sleep(time.Minute)
	return nil, aws.ErrNotFound
}

func TestTargetLifecycleStateIsReadAnew(t *testing.T) {
	imds := loadIMDS(t, "aws")
	m := NewMetadata(imds)
	for _, want := range []string{"InService", "Warmed:Stopped"} {
		imds.set("meta-data/autoscaling/target-lifecycle-state", want)
		if got, err := m.TargetLifecycleState(t.Context()); got != want || err != nil {
			t.Errorf("%s, %v", got, err)
		}
	}
}

func TestMalformedMetadata(t *testing.T) {
	primary := "meta-data/network/interfaces/macs/0a:58:1c:2e:3f:40/"
	for key, value := range map[string]string{
		"dynamic/instance-identity/document": "<html>a proxy</html>",
		"meta-data/public-ipv4":              "none",
		"meta-data/iam/info":                 "{",
		primary + "ipv6s":                    "10.0.0.300",
		primary + "vpc-ipv4-cidr-blocks":     "10.0.0.0/33",
	} {
		imds := loadIMDS(t, "aws")
		imds.values[key] = value
		if i, err := NewMetadata(imds).Instance(t.Context()); err == nil {
			t.Errorf("%s=%q gave %+v", key, value, i)
		}
	}
	for _, missing := range []string{"instanceId", "region", "availabilityZone"} {
		var doc map[string]any
		imds := loadIMDS(t, "aws")
		if err := json.Unmarshal([]byte(imds.values["dynamic/instance-identity/document"]), &doc); err != nil {
			t.Fatal(err)
		}
		delete(doc, missing)
		text, _ := json.Marshal(doc)
		if _, err := parseDocument(string(text)); err == nil || !strings.Contains(err.Error(), missing) {
			t.Errorf("without %s: %v", missing, err)
		}
	}
}

func FuzzDocument(f *testing.F) {
	f.Add(`{"instanceId":"i-1","region":"cn-north-1","availabilityZone":"cn-north-1a","privateIp":"10.0.0.1"}`)
	f.Fuzz(func(t *testing.T, text string) {
		i, err := parseDocument(text)
		if err == nil && (i.ID == "" || i.Region == "" || i.ProviderID() == "") {
			t.Errorf("accepted without identity: %q", text)
		}
	})
}
