package status

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

func TestTimeline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tl := NewTimeline("boot", time.Now())
		ctx := WithTimeline(t.Context(), tl)
		ctx, assets := Step(ctx, "assets")
		_, object := Step(ctx, "bin/kubelet")
		object.AddBytes(7)
		object.Attempt()
		object.Attempt()
		if Current(ctx) != assets {
			t.Error("the current step is not the innermost")
		}
		time.Sleep(time.Second)
		object.Done(errors.New("sha256 mismatch"))
		time.Sleep(time.Second)
		object.Done(nil) // a deferred call after an early one
		assets.Done(nil)
		tl.Root.Done(nil)
		tl.Identify(masterID)

		got := tl.Snapshot()
		start := tl.Root.Start.Round(0).UTC()
		want := &Timeline{
			Identity: masterID,
			Taken:    start.Add(2 * time.Second),
			Root: &Span{Name: "boot", Start: start, End: start.Add(2 * time.Second), Steps: []*Span{
				{Name: "assets", Start: start, End: start.Add(2 * time.Second), Steps: []*Span{
					{Name: "bin/kubelet", Start: start, End: start.Add(time.Second), Bytes: 7, Attempts: 2, Error: "sha256 mismatch"},
				}},
			}},
		}
		if diff := cmp.Diff(want, got, cmpopts.IgnoreUnexported(Span{})); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	})
}

func TestNoTimeline(t *testing.T) {
	ctx, s := Step(t.Context(), "x")
	s.AddBytes(1)
	s.Attempt()
	s.Done(errors.New("x"))
	if s != nil || Current(ctx) != nil {
		t.Error("a step without a timeline")
	}
}

// Steps begin and end in many goroutines while the timeline is saved and drawn.
func TestTimelineConcurrently(t *testing.T) {
	tl := NewTimeline("boot", time.Now())
	ctx := WithTimeline(t.Context(), tl)
	path := filepath.Join(t.TempDir(), "boot.json")
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			ctx, span := Step(ctx, fmt.Sprint("step ", i))
			for range 50 {
				_, below := Step(ctx, "below")
				below.AddBytes(1)
				below.Attempt()
				below.Done(io.ErrUnexpectedEOF)
			}
			span.Done(nil)
		})
	}
	for range 20 {
		tl.Identify(masterID)
		if err := errors.Join(tl.Save(path), tl.SVG(io.Discard), tl.Text(io.Discard, 80)); err != nil {
			t.Fatal(err)
		}
	}
	wg.Wait()
	if err := tl.Save(path); err != nil {
		t.Fatal(err)
	}
	read, err := ReadTimeline(path)
	if err != nil {
		t.Fatal(err)
	}
	if n := read.Root.Total(); n != 8*50 {
		t.Errorf("%d bytes of %d", n, 8*50)
	}
}

func TestTimelineJSON(t *testing.T) {
	for name, boot := range boots {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "boot.json")
			tl := boot()
			if err := tl.Save(path); err != nil {
				t.Fatal(err)
			}
			read, err := ReadTimeline(path)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tl.Snapshot(), read, cmpopts.IgnoreUnexported(Span{})); diff != "" {
				t.Errorf("(-saved +read):\n%s", diff)
			}
		})
	}
	path := filepath.Join(t.TempDir(), "boot.json")
	if err := os.WriteFile(path, []byte(`{"version":1,"boot":{"steps":[null,{"name":"a","steps":[null]}]}}`), 0o600); err != nil {
		t.Fatal(err)
	}
	if tl, err := ReadTimeline(path); err != nil || len(tl.Root.Steps) != 1 || len(tl.Root.Steps[0].Steps) != 0 {
		t.Errorf("a null among the steps: %+v, %v", tl, err)
	}
	for name, content := range map[string]string{"torn": `{"ver`, "newer": `{"version":9,"boot":{}}`, "no boot": `{"version":1}`} {
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := ReadTimeline(path); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

// On any terminal: no line is longer than the terminal is wide, and nothing is split in the middle of a character.
func TestTextFitsTheTerminal(t *testing.T) {
	for name, boot := range boots {
		for width := 80; width <= 200; width += 7 {
			for _, g := range []glyphs{unicodeGlyphs, asciiGlyphs} {
				for line := range strings.Lines(string(boot().Snapshot().bars(width, g))) {
					if n := utf8.RuneCountInString(strings.TrimSuffix(line, "\n")); n > width {
						t.Errorf("%s at %d: %d columns: %s", name, width, n, line)
					}
				}
			}
		}
	}
}

func TestLocale(t *testing.T) {
	for _, tc := range []struct {
		env  map[string]string
		want bool
	}{
		{nil, false},
		{map[string]string{"LANG": "C"}, false},
		{map[string]string{"LANG": "zh_CN.UTF-8"}, true},
		{map[string]string{"LANG": "C.utf8"}, true},
		{map[string]string{"LANG": "C.UTF-8", "LC_ALL": "C"}, false},
		{map[string]string{"LC_CTYPE": "C.UTF-8", "LANG": "C"}, true},
	} {
		if got := utf8Locale(func(name string) string { return tc.env[name] }); got != tc.want {
			t.Errorf("%v: got %t", tc.env, got)
		}
	}
	var ascii, unicode bytes.Buffer
	t.Setenv("LC_ALL", "C")
	if err := masterBoot().Text(&ascii, 80); err != nil {
		t.Fatal(err)
	}
	t.Setenv("LC_ALL", "C.UTF-8")
	if err := masterBoot().Text(&unicode, 80); err != nil {
		t.Fatal(err)
	}
	if strings.Contains(ascii.String(), "█") || !strings.Contains(unicode.String(), "█") {
		t.Error("the bars do not follow the locale")
	}
}

func TestTicks(t *testing.T) {
	for _, tc := range []struct {
		total time.Duration
		want  string
	}{
		{90 * time.Millisecond, "0|20 ms|40 ms|60 ms|80 ms"},
		{4207 * time.Millisecond, "0|0.5 s|1 s|1.5 s|2 s|2.5 s|3 s|3.5 s|4 s"},
		{41 * time.Second, "0|5 s|10 s|15 s|20 s|25 s|30 s|35 s|40 s"},
		{12 * time.Minute, "0|2 min|4 min|6 min|8 min|10 min|12 min"},
		{time.Microsecond, "0|0.001 ms"},
		{math.MaxInt64, "0|393216 h|786432 h|1179648 h|1572864 h|1966080 h|2359296 h"},
		{100 * 24 * time.Hour, "0|384 h|768 h|1152 h|1536 h|1920 h|2304 h"},
	} {
		var labels []string
		for _, tick := range ticks(tc.total, 8) {
			labels = append(labels, tick.label)
		}
		if got := strings.Join(labels, "|"); got != tc.want {
			t.Errorf("%v: %s, want %s", tc.total, got, tc.want)
		}
	}
}

func TestHumanNumbers(t *testing.T) {
	for d, want := range map[time.Duration]string{
		0: "0 ms", -time.Second: "0 ms", time.Microsecond: "<0.1 ms", 1400 * time.Microsecond: "1.4 ms",
		9_960 * time.Microsecond: "10 ms", 12 * time.Millisecond: "12 ms", 999_700 * time.Microsecond: "1.00 s",
		2410 * time.Millisecond: "2.41 s", 9_999 * time.Millisecond: "10.0 s", 41_200 * time.Millisecond: "41.2 s",
		59_990 * time.Millisecond: "1 min 00 s", 125 * time.Second: "2 min 05 s", 3599_700 * time.Millisecond: "1 h 00 min",
		26 * time.Hour: "26 h 00 min",
	} {
		if got := Duration(d); got != want {
			t.Errorf("%d: got %q, want %q", d, got, want)
		}
	}
	for n, want := range map[int64]string{
		0: "0 B", 999: "999 B", 1000: "1.0 KiB", 10 << 10: "10 KiB", 1023 << 10: "1.0 MiB", 412 << 20: "412 MiB",
		3 << 29: "1.5 GiB", 1 << 62: "4194304 TiB",
	} {
		if got := Bytes(n); got != want {
			t.Errorf("%d: got %q, want %q", n, got, want)
		}
	}
}

func FuzzTimeline(f *testing.F) {
	for _, boot := range boots {
		data, err := json.Marshal(boot())
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		tl := new(Timeline)
		if json.Unmarshal(data, tl) != nil {
			return
		}
		if strings.ContainsRune(string(tl.bars(80, asciiGlyphs)), '\x1b') {
			t.Error("an escape sequence reached the terminal")
		}
		var out bytes.Buffer
		if err := tl.SVG(&out); err != nil {
			t.Fatal(err)
		}
		dec := xml.NewDecoder(&out)
		for {
			if _, err := dec.Token(); errors.Is(err, io.EOF) {
				break
			} else if err != nil {
				t.Fatalf("the picture is not XML: %v", err)
			}
		}
	})
}
