package status

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// Every metric of the source is in a scrape of a node that has everything, and in the document with its type and labels.
func TestDocumentExplainsEveryMetric(t *testing.T) {
	_, body := scrape(t, fullMetrics(t), "/metrics")
	types := map[string]string{}
	for _, m := range regexp.MustCompile(`(?m)^# TYPE (\S+) (\S+)$`).FindAllStringSubmatch(body, -1) {
		types[m[1]] = m[2]
	}
	text := chapter(t, documentAt(t, "metrics.md"), "The metrics")
	var want []string
	for name, kind := range types {
		want = append(want, name)
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
	sameNames(t, "The metrics", want, slices.DeleteFunc(rowNames(text), func(s string) bool { return s == "metric" }))

	for file, fewest := range map[string]int{"metrics.go": 10, "metrics_etcd.go": 25} {
		source, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		named := regexp.MustCompile(`(?:= (metric|etcdMetric)\("|"rekindle_)([a-z_]+)"`).FindAllStringSubmatch(string(source), -1)
		if len(named) < fewest {
			t.Fatalf("only %d metrics in %s", len(named), file)
		}
		for _, m := range named {
			name := "rekindle_" + m[2]
			if m[1] == "etcdMetric" {
				name = "rekindle_etcd_" + m[2]
			}
			if types[name] == "" {
				t.Errorf("%s is in %s and in no scrape: give the full status what it tells", name, file)
			}
		}
	}
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
	text := chapter(t, documentAt(t, "metrics.md"), "Alerts")
	var want []string
	for _, m := range regexp.MustCompile(`(?m)^  - alert: (\S+)$`).FindAllStringSubmatch(documentAt(t, "alerts.yaml"), -1) {
		want = append(want, m[1])
	}
	if strings.Count(documentAt(t, "alerts.yaml"), "alert:") != len(want) {
		t.Error("docs/alerts.yaml is not written as this test reads it")
	}
	sameNames(t, "Alerts", want, slices.DeleteFunc(rowNames(text), func(s string) bool { return s == "alert" }))
}
