//go:build vm

package vm

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httputil"
	"net/netip"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"rekindle/test/cloud"
	"rekindle/test/s3"
)

const (
	regionName = "cn-north-1"
	bridge     = "vpc"
	gateway    = "10.20.0.1"
	metadata   = "169.254.169.254"
	slots      = 4 // machines at once
)

// address is what the machine of a slot gets from DHCP.
func address(slot int) netip.Addr { return netip.AddrFrom4([4]byte{10, 20, 0, byte(10 + slot)}) }

// mac is EC2's for that address (test/cloud).
func mac(slot int) string { return fmt.Sprintf("02:ec:0a:14:00:%02x", 10+slot) }

func tap(slot int) string { return fmt.Sprintf("tap%d", slot) }

// vpc is the network of the machines and what they find there. Who asks is known by the address: each machine has a
// cloud of its own, so machines of the same name do not meet.
type vpc struct {
	s3  *s3.Server
	dir string

	mu     sync.Mutex
	clouds []*cloud.Cloud
	assets []string // requests for objects of assets
	guests map[netip.Addr]*guest
}

// guest is the instance that a slot's machine is.
type guest struct {
	*cloud.Cloud
	*cloud.Instance
	event func(string) (off bool) // is told what the machine asks for
}

// tell tells the machine's event. If that was its last, it does not return: nobody is there to be answered.
func (g *guest) tell(what string) {
	if g.event(what) {
		panic(http.ErrAbortHandler)
	}
}

func openVPC(t *testing.T) *vpc {
	t.Helper()
	v := &vpc{dir: os.Getenv(inside), guests: map[netip.Addr]*guest{}}
	commands := []string{
		"link set lo up", "link add " + bridge + " type bridge forward_delay 0", "addr add " + gateway + "/20 dev " + bridge,
		"addr add " + metadata + "/32 dev " + bridge, "link set " + bridge + " up",
	}
	for slot := range slots {
		commands = append(commands, "tuntap add dev "+tap(slot)+" mode tap", "link set "+tap(slot)+" master "+bridge+" up")
	}
	for _, words := range commands {
		if out, err := exec.CommandContext(t.Context(), "ip", strings.Fields(words)...).CombinedOutput(); err != nil {
			t.Fatalf("ip %s: %v: %s", words, err, out)
		}
	}
	v.serveDHCP(t)
	var err error
	v.s3, err = s3.Start(t.Context(), s3.Options{Dir: filepath.Join(v.dir, "s3"), Region: regionName, Identify: v.identify})
	if err != nil {
		t.Fatal(err)
	}
	backend, err := url.Parse(v.s3.URL())
	if err != nil {
		t.Fatal(err)
	}
	servers := []*cloud.Server{
		v.serve(t, metadata+":80", http.HandlerFunc(v.imds)),
		v.serve(t, gateway+":4566", http.HandlerFunc(v.api)),
		v.serve(t, gateway+":7070", v.store(backend)),
	}
	t.Cleanup(func() {
		for _, s := range servers {
			err = errors.Join(err, s.Close())
		}
		if err := errors.Join(err, v.s3.Close()); err != nil {
			t.Error(err)
		}
	})
	return v
}

func (v *vpc) serve(t *testing.T, address string, h http.Handler) *cloud.Server {
	t.Helper()
	s, err := cloud.Serve(context.WithoutCancel(t.Context()), address, h)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// serveDHCP gives each machine its address, and answers DNS: it knows nothing but this VPC.
func (v *vpc) serveDHCP(t *testing.T) {
	t.Helper()
	args := []string{
		"--keep-in-foreground", "--conf-file=/dev/null", "--user=root", "--pid-file=", "--no-resolv", "--no-hosts", "--no-ping",
		"--interface=" + bridge, "--bind-interfaces", "--dhcp-authoritative", "--dhcp-range=10.20.0.0,static,255.255.240.0",
		"--dhcp-leasefile=" + filepath.Join(v.dir, "leases"), "--dhcp-option=option:router," + gateway,
		"--dhcp-option=option:dns-server," + gateway, "--dhcp-option=option:domain-name," + regionName + ".compute.internal",
	}
	for slot := range slots {
		args = append(args, fmt.Sprintf("--dhcp-host=%s,%s,infinite", mac(slot), address(slot)))
	}
	log, err := os.Create(filepath.Join(v.dir, "dnsmasq.log"))
	if err != nil {
		t.Fatal(err)
	}
	c := exec.Command("dnsmasq", args...)
	c.Stdout, c.Stderr = log, log
	c.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = c.Process.Kill()
		_ = c.Wait() // it was killed
		log.Close()
	})
}

// newCloud is an AWS without instances. The seed decides on the ids that it gives.
func (v *vpc) newCloud(seed uint64) *cloud.Cloud {
	c := cloud.New(cloud.Options{Region: regionName, Seed: seed})
	v.mu.Lock()
	defer v.mu.Unlock()
	v.clouds = append(v.clouds, c)
	return c
}

// occupy makes the machine of a slot an instance.
func (v *vpc) occupy(slot int, g *guest) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.guests[address(slot)] = g
}

// who sent a request; nil: nobody who is there.
func (v *vpc) who(r *http.Request) *guest {
	from, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return nil
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.guests[from.Addr()]
}

func (v *vpc) imds(w http.ResponseWriter, r *http.Request) {
	g := v.who(r)
	if g == nil {
		http.NotFound(w, r)
		return
	}
	agent := "cloud-init"
	if !strings.Contains(strings.ToLower(r.UserAgent()), agent) {
		agent = "agent"
	}
	g.tell("imds: " + agent + ": " + r.Method + " " + r.URL.Path)
	g.IMDS(g.ID).ServeHTTP(w, r)
}

func (v *vpc) api(w http.ResponseWriter, r *http.Request) {
	g := v.who(r)
	body, err := io.ReadAll(r.Body)
	if g == nil || err != nil {
		http.NotFound(w, r)
		return
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	form, _ := url.ParseQuery(string(body)) // that of another protocol has no action
	g.tell("api: " + form.Get("Action") + r.Header.Get("X-Amz-Target"))
	g.Handler().ServeHTTP(w, r)
}

// store passes requests on to S3. "s3: PUT key" is said before it has them, "s3 did: PUT key" when it has done them and the
// machine does not know yet.
func (v *vpc) store(backend *url.URL) http.Handler {
	proxy := &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(backend)
			r.Out.Host = r.In.Host // it is signed
		},
		ErrorLog: log.New(io.Discard, "", 0), // machines go in the middle of an answer
		ModifyResponse: func(response *http.Response) error {
			if g := v.who(response.Request); g != nil {
				g.tell(fmt.Sprintf("s3 did: %s %d", object(response.Request), response.StatusCode))
			}
			return nil
		},
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		g := v.who(r)
		if g == nil {
			http.NotFound(w, r)
			return
		}
		if strings.Contains(r.URL.Path, "/objects/") {
			v.mu.Lock()
			v.assets = append(v.assets, r.URL.Path)
			v.mu.Unlock()
		}
		g.tell("s3: " + object(r))
		proxy.ServeHTTP(w, r)
	})
}

// object is what a request is about: PUT etcd/main/lineage.json. A part of an object has its range.
func object(r *http.Request) string {
	_, key, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
	if key == "" {
		key = "?" + r.URL.RawQuery
	}
	return strings.TrimSpace(r.Method + " " + key + " " + r.Header.Get("Range"))
}

// identify tells S3 who holds an access key.
func (v *vpc) identify(key string) (s3.Identity, bool) {
	v.mu.Lock()
	clouds := append([]*cloud.Cloud(nil), v.clouds...)
	v.mu.Unlock()
	for _, c := range clouds {
		for _, i := range c.Instances() {
			own := c.Credentials(i.ID)
			if own.AccessKeyID != key || key == "" {
				continue
			}
			arn := func(service, resource string) string {
				return fmt.Sprintf("arn:%s:%s::%s:%s", c.Partition(), service, c.AccountID(), resource)
			}
			return s3.Identity{
				SecretKey: own.SecretAccessKey, Token: own.SessionToken, Expires: own.Expiration,
				ARN: arn("sts", "assumed-role/"+i.Role+"/"+i.ID), RoleARN: arn("iam", "role/"+i.Role),
			}, true
		}
	}
	return s3.Identity{}, false
}
