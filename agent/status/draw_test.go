package status

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write the golden files")

func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatalf("%v (run go test ./agent/status -update, and look at what it wrote)", err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("%s differs (-want +got); if it is better now, run go test ./agent/status -update:\n%s", path, diff)
	}
}

var boots = map[string]func() *Timeline{
	"master": masterBoot, "failed": failedBoot, "warm": warmBoot, "crowded": crowdedBoot, "running": runningBoot,
}

func TestTextGolden(t *testing.T) {
	for name, boot := range boots {
		t.Run(name, func(t *testing.T) {
			golden(t, name+".txt", boot().Snapshot().bars(120, unicodeGlyphs))
			golden(t, name+".ascii.txt", boot().Snapshot().bars(80, asciiGlyphs))
		})
	}
}

func TestSVGGolden(t *testing.T) {
	for name, boot := range boots {
		t.Run(name, func(t *testing.T) {
			var out bytes.Buffer
			if err := boot().SVG(&out); err != nil {
				t.Fatal(err)
			}
			golden(t, name+".svg", out.Bytes())
		})
	}
}
