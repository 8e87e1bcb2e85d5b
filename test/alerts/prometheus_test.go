package alerts

import (
	"context"
	"log/slog"
	"math"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/rulefmt"
	"github.com/prometheus/prometheus/model/value"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/template"
)

// rulesPath leads to docs/alerts.yaml. It is in this module, so that go test knows that its cached result is old when they change.
const rulesPath = "testdata/alerts.yaml"

// readRules reads the rules as `promtool check rules` does: names, expressions, templates.
func readRules(t *testing.T) []rulefmt.Rule {
	t.Helper()
	groups, errs := rulefmt.ParseFile(rulesPath, false)
	for _, err := range errs {
		t.Error(err)
	}
	if len(errs) > 0 || len(groups.Groups) != 1 {
		t.FailNow()
	}
	return groups.Groups[0].Rules
}

// prometheus is one with a few targets, and a memory.
type prometheus struct {
	rules  []rulefmt.Rule
	engine *promql.Engine
	series map[string]*promql.Series // by their labels
	active map[string]time.Time      // since when, by alert and labels
	fired  map[string]string         // the summary, by alert
}

func newPrometheus(rules []rulefmt.Rule) *prometheus {
	return &prometheus{
		rules: rules,
		engine: promql.NewEngine(promql.EngineOpts{MaxSamples: 1 << 20, Timeout: time.Minute, LookbackDelta: 5 * time.Minute,
			Logger: slog.New(slog.DiscardHandler)}),
		series: map[string]*promql.Series{}, active: map[string]time.Time{}, fired: map[string]string{},
	}
}

// scrape adds a sample to every series that the node has now, and ends those that it had.
func (p *prometheus) scrape(t *testing.T, n *node) {
	t.Helper()
	defer p.end(n)
	up := model.LabelSet{model.MetricNameLabel: "up"}
	if n.down {
		p.add(n, up, 0)
		return
	}
	p.add(n, up, 1)
	answer := httptest.NewRecorder()
	request := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/metrics", nil)
	n.metrics.Handler(slog.New(slog.DiscardHandler)).ServeHTTP(answer, request)
	parser := expfmt.NewTextParser(model.LegacyValidation)
	families, err := parser.TextToMetricFamilies(strings.NewReader(answer.Body.String()))
	if err != nil {
		t.Fatal(err)
	}
	for _, family := range families {
		samples, err := expfmt.ExtractSamples(&expfmt.DecodeOptions{Timestamp: model.Now()}, family)
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range samples {
			p.add(n, model.LabelSet(s.Metric), float64(s.Value))
		}
	}
}

func (p *prometheus) add(n *node, set model.LabelSet, measured float64) {
	builder := labels.NewBuilder(labels.EmptyLabels())
	for name, text := range set {
		if name == "instance" {
			name = "exported_instance"
		}
		builder.Set(string(name), string(text))
	}
	metric := builder.Set("job", "rekindle").Set("instance", n.address).Labels()
	key := metric.String()
	if p.series[key] == nil {
		p.series[key] = &promql.Series{Metric: metric}
	}
	p.series[key].Floats = append(p.series[key].Floats, promql.FPoint{T: time.Now().UnixMilli(), F: measured})
}

// end marks the series that were not in the scrape of this moment.
func (p *prometheus) end(n *node) {
	now := time.Now().UnixMilli()
	for _, series := range p.series {
		if last := series.Floats[len(series.Floats)-1]; series.Metric.Get("instance") == n.address && last.T != now && !value.IsStaleNaN(last.F) {
			series.Floats = append(series.Floats, promql.FPoint{T: now, F: math.Float64frombits(value.StaleNaN)})
		}
	}
}

// evaluate looks at every rule, as Prometheus does once a minute.
func (p *prometheus) evaluate(t *testing.T) {
	t.Helper()
	still := map[string]time.Time{}
	for _, rule := range p.rules {
		query, err := p.engine.NewInstantQuery(t.Context(), p.storage(), nil, rule.Expr, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		result, err := query.Exec(t.Context()).Vector()
		if err != nil {
			t.Fatalf("%s: %v", rule.Alert, err)
		}
		for _, sample := range result {
			key := rule.Alert + sample.Metric.String()
			since, ok := p.active[key]
			if !ok {
				since = time.Now()
			}
			still[key] = since
			if time.Since(since) >= time.Duration(rule.For) {
				p.fired[rule.Alert] = expand(t, rule.Annotations["summary"], sample)
			}
		}
		query.Close()
	}
	p.active = still
}

// storage gives the series that match.
func (p *prometheus) storage() storage.Queryable {
	return &storage.MockQueryable{MockQuerier: &storage.MockQuerier{
		SelectMockFunction: func(_ bool, _ *storage.SelectHints, matchers ...*labels.Matcher) storage.SeriesSet {
			var found []storage.Series
			for _, series := range p.series {
				if matches(series.Metric, matchers) {
					found = append(found, promql.NewStorageSeries(*series))
				}
			}
			return &list{SeriesSet: storage.EmptySeriesSet(), series: found}
		},
	}}
}

func matches(metric labels.Labels, matchers []*labels.Matcher) bool {
	for _, m := range matchers {
		if !m.Matches(metric.Get(m.Name)) {
			return false
		}
	}
	return true
}

// list is a storage.SeriesSet of series that are all there.
type list struct {
	storage.SeriesSet // without errors and warnings

	series []storage.Series
	at     int
}

func (l *list) Next() bool         { l.at++; return l.at <= len(l.series) }
func (l *list) At() storage.Series { return l.series[l.at-1] }

func expand(t *testing.T, text string, sample promql.Sample) string {
	t.Helper()
	const defs = "{{$labels := .Labels}}{{$value := .Value}}"
	data := template.AlertTemplateData(sample.Metric.Map(), nil, "", sample)
	out, err := template.NewTemplateExpander(t.Context(), defs+text, "summary", data, model.Now(),
		func(context.Context, string, time.Time) (promql.Vector, error) { return nil, nil }, new(url.URL),
		[]string{"missingkey=error"}).Expand()
	if err != nil {
		t.Fatal(err)
	}
	return out
}
