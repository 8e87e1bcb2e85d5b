package status_test

import (
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"rekindle/agent/status"
)

// sources are the files that name metrics, what their names begin with, and how many there are at least.
var sources = []struct {
	file, prefix string
	fewest       int
}{
	{"metrics.go", "", 10},
	{"metrics_etcd.go", "etcd_", 25},
	{"metrics_discovery.go", "", 4},
	{"../discovery/gossip/metrics.go", "gossip_", 6},
	{"../discovery/route53/metrics.go", "route53_", 9},
	{"../apiproxy/metrics.go", "apiproxy_", 7},
}

// Every metric of the source is in a scrape of a node that has everything, and in the document with its type and labels.
func TestDocumentExplainsEveryMetric(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		metrics := status.FullMetrics(t)
		register(t, metrics)
		_, body := status.Scrape(t, metrics, "/metrics")
		types := map[string]string{}
		for _, m := range regexp.MustCompile(`(?m)^# TYPE (\S+) (\S+)$`).FindAllStringSubmatch(body, -1) {
			types[m[1]] = m[2]
		}
		text := status.Chapter(t, status.DocumentAt(t, "metrics.md"), "The metrics")
		for name, kind := range types {
			row := regexp.MustCompile("(?m)^\\| `" + name + "` \\| " + kind + " \\| ([^|]*) ?\\| [^|]+ \\|$").FindStringSubmatch(text)
			if row == nil {
				t.Errorf("docs/metrics.md: no row | `%s` | %s | labels | meaning |", name, kind)
				continue
			}
			var labels []string
			for _, label := range regexp.MustCompile("`([a-z]+)`").FindAllStringSubmatch(row[1], -1) {
				labels = append(labels, label[1])
			}
			slices.Sort(labels)
			if got := labelsOf(body, name); !slices.Equal(got, labels) {
				t.Errorf("docs/metrics.md: %s has the labels %q, and the document says %q", name, got, labels)
			}
		}
		status.SameNames(t, "The metrics", slices.Collect(maps.Keys(types)),
			slices.DeleteFunc(status.RowNames(text), func(s string) bool { return s == "metric" }))
		for _, source := range sources {
			names := metricsOf(t, source.file, source.prefix)
			if len(names) < source.fewest {
				t.Fatalf("only %d metrics in %s: %v", len(names), source.file, names)
			}
			for _, name := range names {
				if types[name] == "" {
					t.Errorf("%s is in %s and in no scrape: give the full status what it tells", name, source.file)
				}
			}
		}
	})
}

// metricsOf are the names in a source file.
func metricsOf(t *testing.T, file, prefix string) (names []string) {
	t.Helper()
	source, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range regexp.MustCompile(`(?:(?:m|etcdM)etric\(|counter\(|Name: )"(rekindle_)?([a-z0-9_]*[a-z0-9])"`).FindAllStringSubmatch(string(source), -1) {
		if m[1] == "" {
			m[2] = prefix + m[2]
		}
		names = append(names, "rekindle_"+m[2])
	}
	return names
}

// labelsOf are the names of a metric's labels in a scrape, without a histogram's own.
func labelsOf(body, name string) (labels []string) {
	series := regexp.MustCompile(`(?m)^` + name + `(?:_bucket)?\{(.*)\} `).FindStringSubmatch(body)
	if series == nil {
		return nil
	}
	for _, m := range regexp.MustCompile(`([a-z]+)="`).FindAllStringSubmatch(series[1], -1) {
		if m[1] != "le" {
			labels = append(labels, m[1])
		}
	}
	slices.Sort(labels)
	return labels
}

func TestDocumentExplainsEveryAlert(t *testing.T) {
	text := status.Chapter(t, status.DocumentAt(t, "metrics.md"), "Alerts")
	var want []string
	for _, m := range regexp.MustCompile(`(?m)^  - alert: (\S+)$`).FindAllStringSubmatch(status.DocumentAt(t, "alerts.yaml"), -1) {
		want = append(want, m[1])
	}
	if strings.Count(status.DocumentAt(t, "alerts.yaml"), "alert:") != len(want) {
		t.Error("docs/alerts.yaml is not written as this test reads it")
	}
	status.SameNames(t, "Alerts", want, slices.DeleteFunc(status.RowNames(text), func(s string) bool { return s == "alert" }))
}

// What the rules on discovery ask for is in a scrape from the start: every metric, and every value of a label that they
// name. A misspelt one would never fire.
func TestAlertsAskForWhatThereIs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		metrics := status.FullMetrics(t)
		register(t, metrics)
		_, body := status.Scrape(t, metrics, "/metrics")
		asked := regexp.MustCompile(`(rekindle_(?:discovery|gossip|apiproxy|route53)_[a-z_]+)(?:\{([a-z]+)=~?"([^"]+)"\})?`).
			FindAllStringSubmatch(status.DocumentAt(t, "alerts.yaml"), -1)
		if len(asked) < 10 {
			t.Fatalf("only %d metrics of discovery are asked for", len(asked))
		}
		for _, m := range asked {
			for value := range strings.SplitSeq(m[3], "|") {
				series := `(?m)^` + m[1] + `[ {]`
				if value != "" {
					series += `(?:.*,)?` + m[2] + `="` + value + `"`
				}
				if !regexp.MustCompile(series).MatchString(body) {
					t.Errorf("docs/alerts.yaml asks for %s, and there is none in a scrape", m[0])
				}
			}
		}
	})
}
