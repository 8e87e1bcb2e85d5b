package scripts

import (
	"context"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"sigs.k8s.io/yaml"

	"rekindle/test/boots/site"
	"rekindle/test/cloud"
	"rekindle/test/lab/demo"
)

// patience bounds what `eventually` waits for.
const patience = 20 * time.Second

type stateKey struct{}

// state is what a script has opened.
type state struct {
	site     *site.Site
	machines map[string]*site.Machine
	current  *site.Machine
	kms      *kms
}

// script is one that runs, with its state.
type script struct {
	*testscript.TestScript
	*state
}

func of(ts *testscript.TestScript) script { return script{ts, ts.Value(stateKey{}).(*state)} }

// command makes a command that cannot be negated.
func command(run func(s script, args []string) error) func(*testscript.TestScript, bool, []string) {
	return func(ts *testscript.TestScript, neg bool, args []string) {
		if neg {
			ts.Fatalf("this command cannot be negated")
		}
		ts.Check(run(of(ts), args))
	}
}

func openCloud(s script, args []string) error {
	if len(args) != 1 || s.site != nil {
		return errors.New("usage: cloud REGION, once and before everything else")
	}
	options := site.Options{Region: args[0], Dir: s.Getenv("WORK"), Programs: programs}
	if args[0] == region {
		options.Stores = stores
	}
	opened, err := site.Open(context.Background(), options)
	if err != nil {
		return err
	}
	s.site = opened
	s.Setenv("REGION", args[0])
	s.Defer(func() { s.Check(opened.Close()) })
	if opened.S3 != nil {
		s.Setenv("STORE", opened.Store())
		s.Setenv("S3", opened.Endpoint())
	}
	return nil
}

func (s script) open() error {
	if s.site != nil {
		return nil
	}
	return openCloud(s, []string{region})
}

func launch(s script, args []string) error {
	if len(args) == 0 {
		return errors.New("usage: instance NAME [key=value...]")
	}
	if err := s.open(); err != nil {
		return err
	}
	m, ok := s.machines[args[0]]
	if !ok {
		var err error
		if m, err = s.launch(args[0], args[1:]); err != nil {
			return err
		}
		s.machines[args[0]] = m
	}
	s.current = m
	s.Setenv("ROOT", m.Root)
	s.Setenv("ID", m.ID)
	s.Setenv("IP", m.Instance.PrivateIP.String())
	s.Setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", m.Endpoint)
	return nil
}

func (s script) launch(name string, args []string) (*site.Machine, error) {
	spec := cloud.InstanceSpec{Metadata: cloud.MetadataOptions{Tags: true}, Tags: map[string]string{}}
	var config map[string]any
	for _, arg := range args {
		key, value, _ := strings.Cut(arg, "=")
		switch key {
		case "role":
			spec.Tags["rekindle:role"] = value
		case "tags":
			for tag := range strings.SplitSeq(value, ",") {
				k, v, _ := strings.Cut(tag, "=")
				spec.Tags[k] = v
			}
		case "type":
			spec.Type = value
		case "user-data":
			spec.UserData = []byte(s.expanded(value))
		case "config":
			if err := yaml.Unmarshal([]byte(s.expanded(value)), &config); err != nil {
				return nil, fmt.Errorf("%s: %w", value, err)
			}
		case "imds-tags":
			spec.Metadata.Tags = value != "off"
		default:
			return nil, fmt.Errorf("instance: unknown key %q", key)
		}
	}
	m, err := s.site.Launch(name, spec, config)
	if err != nil {
		return nil, err
	}
	return m, m.ServeMetadata(context.Background(), 1)
}

// expanded is a file with $STORE, $WORK and alike replaced. Others stay: user-data may be a shell script.
func (s script) expanded(name string) string {
	text := s.ReadFile(name)
	for _, key := range []string{"STORE", "WORK", "MIRROR", "S3"} {
		text = strings.ReplaceAll(text, "$"+key, s.Getenv(key))
	}
	for key, value := range s.keys() {
		text = strings.ReplaceAll(text, "$"+key, value)
	}
	return text
}

// keys are the public keys that `keypair` made.
func (s script) keys() map[string]string {
	all := map[string]string{}
	found, _ := filepath.Glob(filepath.Join(s.Getenv("WORK"), "*.key"))
	for _, path := range found {
		name := strings.TrimSuffix(filepath.Base(path), ".key")
		all[name] = s.Getenv(name)
	}
	return all
}

func fault(s script, args []string) error {
	effects := map[string]cloud.Effect{"deny": cloud.Deny, "throttle": cloud.Throttle, "fail": cloud.ServerError}
	if len(args) < 2 || s.site == nil {
		return errors.New("usage: fault SERVICE[/ACTION] EFFECT [COUNT], after the first instance")
	}
	effect, ok := effects[args[1]]
	if !ok {
		return fmt.Errorf("fault: no effect %q", args[1])
	}
	f := cloud.Fault{Do: effect}
	f.Service, f.Action, _ = strings.Cut(args[0], "/")
	if len(args) == 3 {
		var err error
		if f.Count, err = strconv.Atoi(args[2]); err != nil {
			return err
		}
	}
	s.site.Cloud.Faults().Add(f)
	return nil
}

func allow(s script, args []string) error { return s.site.Allow(context.Background(), args...) }

func stock(s script, args []string) error {
	if len(args) < 2 {
		return errors.New("usage: stock DIR ROLE...")
	}
	scratch := filepath.Join(s.Getenv("WORK"), ".stock")
	if err := os.MkdirAll(scratch, 0o755); err != nil {
		return err
	}
	return demo.Assets(context.Background(), s.MkAbs(args[0]), scratch, programs, args[1:], "")
}

func publish(ts *testscript.TestScript, neg bool, args []string) {
	s := of(ts)
	s.Check(s.open())
	for _, variable := range s.site.Publisher() {
		key, value, _ := strings.Cut(variable, "=")
		before := s.Getenv(key)
		s.Setenv(key, value)
		defer s.Setenv(key, before)
	}
	full := []string{"publish", args[0], s.site.Store(), "--endpoint", s.Getenv("S3"), "--path-style"}
	if err := s.Exec(programs.Rekindle, append(full, args[1:]...)...); (err == nil) == neg {
		s.Fatalf("publish: %v", err)
	}
}

func mirror(s script, args []string) error {
	if len(args) != 1 {
		return errors.New("usage: mirror DIR")
	}
	record, err := os.Create(s.MkAbs("mirror.log"))
	if err != nil {
		return err
	}
	files := http.FileServer(http.Dir(s.MkAbs(args[0])))
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = fmt.Fprintln(record, r.Method, r.URL.Path)
		files.ServeHTTP(w, r)
	}))
	s.Defer(func() {
		server.Close()
		s.Check(record.Close())
	})
	s.Setenv("MIRROR", server.URL)
	return nil
}

func eventually(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) == 0 {
		ts.Fatalf("usage: eventually [!] PROGRAM [ARG...]")
	}
	fails := args[0] == "!"
	if fails {
		args = args[1:]
	}
	for end := time.Now().Add(patience); ; time.Sleep(100 * time.Millisecond) {
		err := ts.Exec(args[0], args[1:]...)
		if (err != nil) == fails {
			return
		}
		if time.Now().After(end) {
			ts.Fatalf("not within %s: %s: %v", patience, strings.Join(args, " "), err)
		}
	}
}

// answers asks until the answer is 200.
func answers(s script, args []string) error {
	if len(args) != 1 {
		return errors.New("usage: answers URL")
	}
	var last error
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
		if last = ask(args[0]); last == nil {
			return nil
		}
	}
	return fmt.Errorf("not within %s: %w", patience, last)
}

func ask(url string) error {
	client := http.Client{Timeout: 2 * time.Second}
	response, err := client.Get(url)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s", url, response.Status)
	}
	return nil
}

func wellformed(s script, args []string) error {
	if len(args) != 1 {
		return errors.New("usage: wellformed FILE")
	}
	tokens := xml.NewDecoder(strings.NewReader(s.ReadFile(args[0])))
	for {
		if _, err := tokens.Token(); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return fmt.Errorf("%s: %w", args[0], err)
		}
	}
}

func hangup(s script, _ []string) error {
	now, err := s.current.Status()
	if err != nil {
		return err
	}
	return syscall.Kill(now.Agent.PID, syscall.SIGHUP)
}

// encrypted checks which writes asked for SSE-KMS.
func encrypted(s script, args []string) error {
	nothing := len(args) == 1 && args[0] == "nothing"
	if len(args) != 2 && !nothing || s.site == nil || s.site.S3 == nil {
		return errors.New("usage: encrypted nothing | encrypted PREFIX KEY, with a bucket")
	}
	found := 0
	for _, r := range s.site.Requests() {
		if r.Method != http.MethodPut || !strings.Contains(r.Path, "/store/") {
			continue
		}
		_, key, _ := strings.Cut(r.Path, "/store/")
		if nothing {
			if found++; r.Encryption != "" {
				return fmt.Errorf("%s: encryption %q, key %q", r.Path, r.Encryption, r.KMSKey)
			}
			continue
		}
		below := strings.HasPrefix(key, args[0])
		if below != (r.Encryption == "aws:kms") || below && r.KMSKey != args[1] {
			return fmt.Errorf("%s: encryption %q, key %q", r.Path, r.Encryption, r.KMSKey)
		}
		if below {
			found++
		}
	}
	if found == 0 {
		return errors.New("nothing was written there")
	}
	return nil
}

// asked checks how many requests the current instance sent to a service.
func asked(s script, args []string) error {
	if len(args) != 2 {
		return errors.New("usage: asked SERVICE COUNT")
	}
	want, err := strconv.Atoi(args[1])
	if err != nil {
		return err
	}
	if got := s.site.Cloud.ServiceCounts(s.current.ID)[args[0]]; got != want {
		return fmt.Errorf("%s was asked %d times, want %d", args[0], got, want)
	}
	return nil
}

// stored prints an object of the store.
func stored(s script, args []string) error {
	if len(args) != 1 {
		return errors.New("usage: stored PATH")
	}
	data, err := s.site.Read(context.Background(), args[0])
	if err != nil {
		return err
	}
	_, err = s.Stdout().Write(data)
	return err
}

// tag adds tags to the current instance, as Auto Scaling does after the launch.
func tag(s script, args []string) error {
	tags := map[string]string{}
	for _, arg := range args {
		key, value, _ := strings.Cut(arg, "=")
		tags[key] = value
	}
	return s.site.Cloud.SetTags(s.current.ID, tags)
}

// upload copies the files of a directory to the store, one by one, without a manifest.
func upload(s script, args []string) error {
	if len(args) != 1 {
		return errors.New("usage: upload DIR")
	}
	if err := s.open(); err != nil {
		return err
	}
	files := os.DirFS(s.MkAbs(args[0]))
	return fs.WalkDir(files, ".", func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		data, err := fs.ReadFile(files, path)
		if err != nil {
			return err
		}
		return s.site.Write(context.Background(), path, data)
	})
}
