package facts

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/ec2"

	"rekindle/agent/aws"
	"rekindle/agent/status"
)

// serve answers as IMDSv2 below /latest, and as EC2 elsewhere.
func serve(t testing.TB, imds *memory, ec2Tags ...string) *httptest.Server {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		key, isIMDS := strings.CutPrefix(r.URL.Path, "/latest/")
		switch {
		case !isIMDS:
			describeTagsXML(w, r, ec2Tags)
		case r.Method == http.MethodPut && key == "api/token":
			w.Header().Set("X-Aws-Ec2-Metadata-Token-Ttl-Seconds", r.Header.Get("X-Aws-Ec2-Metadata-Token-Ttl-Seconds"))
			fmt.Fprint(w, "the-token")
		case r.Header.Get("X-Aws-Ec2-Metadata-Token") != "the-token":
			w.WriteHeader(http.StatusUnauthorized)
		default:
			data, err := imds.Get(r.Context(), key)
			if err != nil {
				w.WriteHeader(http.StatusNotFound)
				return
			}
			fmt.Fprintf(w, "%s", data)
		}
	}))
	t.Cleanup(server.Close)
	return server
}

// describeTagsXML serves one tag per page.
func describeTagsXML(w http.ResponseWriter, r *http.Request, tags []string) {
	n, _ := strconv.Atoi(r.FormValue("NextToken")) // empty on the first page
	fmt.Fprint(w, `<DescribeTagsResponse xmlns="http://ec2.amazonaws.com/doc/2016-11-15/"><tagSet>`)
	if n+1 < len(tags) {
		fmt.Fprintf(w, "<item><resourceId>%s</resourceId><key>%s</key><value>%s</value></item>",
			r.Form.Get("Filter.1.Value.1"), tags[n], tags[n+1])
	}
	fmt.Fprint(w, "</tagSet>")
	if n+3 < len(tags) {
		fmt.Fprintf(w, "<nextToken>%d</nextToken>", n+2)
	}
	fmt.Fprint(w, "</DescribeTagsResponse>")
}

// node is what the agent passes to Gather, over real clients.
func node(t testing.TB, server *httptest.Server) (Sources, *aws.Clients) {
	t.Setenv("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "secret")
	t.Setenv("AWS_CA_BUNDLE", "")
	t.Setenv("AWS_CONFIG_FILE", os.DevNull)
	imds := aws.NewIMDS(aws.IMDSOptions{Endpoint: server.URL})
	clients, err := aws.New(t.Context(), aws.Options{
		Region: "cn-north-1", IMDS: imds, Endpoints: map[string]string{"ec2": server.URL},
	})
	if err != nil {
		t.Fatal(err)
	}
	return Sources{
		Metadata: NewMetadata(imds),
		EC2: func(context.Context, Instance) (ec2.DescribeTagsAPIClient, error) {
			return clients.EC2(), nil
		},
		Links:  &wires{interfaces: ens5(true, "10.20.17.9/20"), route: toENS5},
		System: tree("nitro"),
	}, clients
}

func TestMinionMakesNoEC2Calls(t *testing.T) {
	imds := loadIMDS(t, "aws")
	sources, clients := node(t, serve(t, imds))
	timeline := status.NewTimeline("boot", time.Now())
	ctx := status.WithTimeline(t.Context(), timeline)
	if _, err := sources.Metadata.UserData(ctx); err != nil {
		t.Fatal(err)
	}
	f, err := Gather(ctx, sources, Options{})
	if err != nil {
		t.Fatal(err)
	}
	if f.Tags.Source != "imds" || f.Tags.Role != "minion" || f.Tags.Cluster != "prod.example" || f.Tags.All["Name"] != "a minion" {
		t.Errorf("%+v", f.Tags)
	}
	if f.Machine.ENI == nil || *f.Machine.ENI != (ENILimits{3, 10}) || f.Machine.DefaultRoute.Interface != "ens5" || len(f.Machine.Disks) != 3 {
		t.Errorf("%+v", f.Machine)
	}
	if requests := clients.Requests(); requests["ec2"] != 0 || len(requests) != 1 || requests["imds"] > 25 {
		t.Errorf("%v", requests)
	}
	for _, key := range imds.seen {
		if n := imds.count(key); n != 1 {
			t.Errorf("%s was read %d times", key, n)
		}
	}
	var names []string
	for _, s := range timeline.Root.Steps {
		if s.End.IsZero() || s.Error != "" {
			t.Errorf("%+v", s)
		}
		names = append(names, s.Name)
	}
	slices.Sort(names)
	if got := strings.Join(names, ", "); got != "imds, imds: tags, machine, network, software" {
		t.Error(got)
	}
}

func TestMasterAsksEC2ForTags(t *testing.T) {
	sources, clients := node(t, serve(t, loadIMDS(t, "aws-cn"),
		"KubernetesCluster", "prod", "kubernetes.io/cluster/prod", "owned", "k8s.io/role/control-plane", "1"))
	f, err := Gather(t.Context(), sources, Options{})
	if err != nil {
		t.Fatal(err)
	}
	if f.Tags.Source != "ec2" || f.Tags.Role != "master" || f.Tags.Cluster != "prod" || len(f.Tags.All) != 3 {
		t.Errorf("%+v", f.Tags)
	}
	if n := clients.Requests()["ec2"]; n != 3 {
		t.Errorf("%d requests for three pages", n)
	}
}

func TestFactsReproduceThemselves(t *testing.T) {
	sources, _ := node(t, serve(t, loadIMDS(t, "aws")))
	f, err := Gather(t.Context(), sources, Options{})
	if err != nil {
		t.Fatal(err)
	}
	data, err := json.Marshal(f)
	if err != nil {
		t.Fatal(err)
	}
	var again Facts
	if err := json.Unmarshal(data, &again); err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(f, again) {
		t.Errorf("%+v\nbecame\n%+v", f, again)
	}
}

func TestGatherNeedsMetadata(t *testing.T) {
	if _, err := Gather(t.Context(), Sources{}, Options{}); err == nil {
		t.Error("no error")
	}
}

func TestGatherWithoutNetwork(t *testing.T) {
	sources, _ := node(t, serve(t, loadIMDS(t, "aws")))
	sources.Links = nil
	f, err := Gather(t.Context(), sources, Options{})
	if err != nil || f.Machine.DefaultRoute != nil {
		t.Errorf("%+v, %v", f.Machine, err)
	}
}

func TestFirstFailureEndsGather(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		f, err := Gather(t.Context(), Sources{
			Metadata: NewMetadata(loadIMDS(t, "aws-cn")), Links: &wires{}, System: tree("nitro"),
		}, Options{NetworkTimeout: 20 * time.Second, RoleTimeout: time.Hour})
		wantReason(t, err, status.ReasonNetworkDown)
		if !reflect.DeepEqual(f, Facts{}) || time.Since(start) != 20*time.Second {
			t.Errorf("%+v after %s", f, time.Since(start))
		}
	})
}

func TestMetadataTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		_, err := Gather(t.Context(), Sources{Metadata: NewMetadata(stuckIMDS{}), System: tree("nitro")},
			Options{MetadataTimeout: 7 * time.Second})
		if !errors.Is(err, context.DeadlineExceeded) || time.Since(start) != 7*time.Second {
			t.Errorf("%v after %s", err, time.Since(start))
		}
	})
}

type stuckIMDS struct{}

func (stuckIMDS) Get(ctx context.Context, _ string) ([]byte, error) {
	<-ctx.Done()
	return nil, ctx.Err()
}

// Facts are printed, sent in bug reports and kept with plans, so they can hold no secret.
func TestFactsHoldNoSecrets(t *testing.T) {
	suspicious := regexp.MustCompile(`(?i)secret|password|token|credential|private_?key|userdata|accesskey`)
	var walk func(typ reflect.Type, path string)
	walk = func(typ reflect.Type, path string) {
		switch typ.Kind() {
		case reflect.Pointer, reflect.Map:
			walk(typ.Elem(), path)
		case reflect.Slice:
			if typ.Elem().Kind() == reflect.Uint8 {
				t.Errorf("%s can hold anything", path)
			}
			walk(typ.Elem(), path+"[]")
		case reflect.Struct:
			if !strings.HasPrefix(typ.PkgPath(), "rekindle") {
				return
			}
			for f := range typ.Fields() {
				if suspicious.MatchString(f.Name) {
					t.Errorf("%s.%s sounds like a secret", path, f.Name)
				}
				walk(f.Type, path+"."+f.Name)
			}
		case reflect.Interface:
			t.Errorf("%s can hold anything", path)
		}
	}
	walk(reflect.TypeFor[Facts](), "Facts")
}

func BenchmarkGather(b *testing.B) {
	data, err := os.ReadFile("testdata/imds/aws.json")
	if err != nil {
		b.Fatal(err)
	}
	imds := &memory{}
	if err := json.Unmarshal(data, &imds.values); err != nil {
		b.Fatal(err)
	}
	sources, _ := node(b, serve(b, imds))
	b.ReportAllocs()
	for b.Loop() {
		imds.seen = nil
		sources.Metadata = NewMetadata(sources.Metadata.imds)
		if _, err := Gather(b.Context(), sources, Options{}); err != nil {
			b.Fatal(err)
		}
	}
}
