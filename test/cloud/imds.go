package cloud

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// IMDS is the metadata service of one instance, as seen from the instance itself.
func (c *Cloud) IMDS(instanceID string) http.Handler { return c.IMDSBehind(instanceID, 1) }

// IMDSBehind is IMDS seen from so many hops away: 2 is a container behind a bridge. Where the instance's hop limit is
// lower the answer with a token never arrives. Only that answer has the limited TTL.
func (c *Cloud) IMDSBehind(instanceID string, hops int) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		m := &metadata{Cloud: c, id: instanceID, hops: hops, http: r}
		m.serve(w)
	})
}

// metadataVersions are those that IMDS lists at its root, less the ones of the stone age.
var metadataVersions = []string{"1.0", "2007-01-19", "2016-09-02", "2018-09-24", "2021-01-03", "2021-07-15", "2022-09-24", "latest"}

// metadataVersion accepts any dated version: the tree is the same in all.
var metadataVersion = regexp.MustCompile(`^/(latest|1\.0|20\d\d-\d\d-\d\d)(/|$)`)

const (
	tokenHeader = "X-Aws-Ec2-Metadata-Token"
	ttlHeader   = "X-Aws-Ec2-Metadata-Token-Ttl-Seconds"
)

// metadata is one request to an instance's metadata service.
type metadata struct {
	*Cloud
	id      string
	hops    int
	http    *http.Request
	effects []Effect
}

// answer is what a metadata request gets.
type answer struct {
	status  int
	body    string
	headers map[string]string
	lost    bool // on the way back
}

func (m *metadata) serve(w http.ResponseWriter) {
	record := Request{Time: m.now(), Service: "imds", Action: "Get", Path: m.http.URL.Path, Instance: m.id}
	if m.http.Method == http.MethodPut {
		record.Action = "GetToken"
	}
	m.effects = m.faults.match(record)
	for _, e := range m.effects {
		record.Faults = append(record.Faults, e.String())
	}
	gone := func() { m.requests.add(record) }
	failed := gate(w, m.http, m.effects, gone)

	m.mu.Lock()
	m.tick()
	i := m.instances[m.id]
	var a answer
	switch {
	case i == nil || !i.alive():
		m.mu.Unlock()
		gone()
		reset(w)
	case i.Metadata.Disabled:
		a = failure(http.StatusForbidden)
	case failed == deny:
		a = failure(http.StatusForbidden)
	case failed == throttle || failed == unavailable:
		a = failure(http.StatusServiceUnavailable)
	case failed != none:
		a = failure(http.StatusInternalServerError)
	default:
		a = m.answer(i)
	}
	m.mu.Unlock()
	if a.lost {
		gone()
		hang(m.http)
	}
	record.Status = a.status
	m.requests.add(record)
	for k, v := range a.headers {
		w.Header().Set(k, v)
	}
	w.Header().Set("Server", "EC2ws")
	w.WriteHeader(a.status)
	if m.http.Method == http.MethodHead {
		return
	}
	if _, err := w.Write([]byte(a.body)); err != nil {
		m.log.Debug("client went away", "path", m.http.URL.Path)
	}
}

func (m *metadata) answer(i *Instance) answer {
	path := m.http.URL.Path
	switch m.http.Method {
	case http.MethodPut:
		return m.grant(i)
	case http.MethodGet, http.MethodHead:
	default:
		return failure(http.StatusMethodNotAllowed)
	}
	remaining, authorized := m.authorize(i)
	if !authorized {
		return failure(http.StatusUnauthorized)
	}
	headers := map[string]string{"Content-Type": "text/plain", "Accept-Ranges": "none"}
	if remaining > 0 {
		headers[ttlHeader] = strconv.Itoa(int(remaining / time.Second))
	}
	if path == "/" || path == "" {
		return answer{status: 200, body: strings.Join(metadataVersions, "\n"), headers: headers}
	}
	version := metadataVersion.FindString(path)
	if version == "" {
		return failure(http.StatusNotFound)
	}
	body, ok := lookup(m.tree(i), path[len(version):])
	if !ok {
		return failure(http.StatusNotFound)
	}
	if strings.HasSuffix(path, "/user-data") {
		headers["Content-Type"] = "application/octet-stream"
	}
	return answer{status: 200, body: body, headers: headers}
}

// grant answers PUT /latest/api/token.
func (m *metadata) grant(i *Instance) answer {
	switch {
	case m.http.URL.Path != "/latest/api/token":
		return failure(http.StatusMethodNotAllowed)
	case m.http.Header.Get("X-Forwarded-For") != "":
		return failure(http.StatusForbidden) // open proxies and WAFs that were tricked into asking add it
	}
	text := m.http.Header.Get(ttlHeader)
	seconds, err := strconv.Atoi(text)
	if err != nil || seconds < 1 || seconds > 21600 {
		return failure(http.StatusBadRequest)
	}
	life := time.Duration(seconds) * time.Second
	for _, e := range m.effects {
		if e.kind == expireTokens {
			life = min(life, e.delay)
		}
	}
	token := m.randomText(40)
	i.tokens[token] = m.now().Add(life)
	return answer{
		status:  200,
		body:    token,
		headers: map[string]string{"Content-Type": "text/plain", ttlHeader: text},
		lost:    m.hops > i.Metadata.HopLimit,
	}
}

// authorize checks the token and says how long it lives.
func (m *metadata) authorize(i *Instance) (time.Duration, bool) {
	token := m.http.Header.Get(tokenHeader)
	if token == "" {
		return 0, i.Metadata.TokensOptional
	}
	remaining := i.tokens[token].Sub(m.now())
	if remaining <= 0 {
		delete(i.tokens, token)
		return 0, false
	}
	return remaining, true
}

// failure is an error page of IMDS.
func failure(status int) answer {
	title := fmt.Sprintf("%d - %s", status, http.StatusText(status))
	return answer{
		status:  status,
		headers: map[string]string{"Content-Type": "text/html"},
		body: `<?xml version="1.0" encoding="iso-8859-1"?>
<!DOCTYPE html PUBLIC "-//W3C//DTD XHTML 1.0 Transitional//EN"
	"http://www.w3.org/TR/xhtml1/DTD/xhtml1-transitional.dtd">
<html xmlns="http://www.w3.org/1999/xhtml" xml:lang="en" lang="en">
 <head>
  <title>` + title + `</title>
 </head>
 <body>
  <h1>` + title + `</h1>
 </body>
</html>
`,
	}
}

// lookup finds a leaf, or lists a directory: its names in order, directories with a slash, no newline at the end.
// IMDS lists a directory with and without the slash at the end of its path.
func lookup(tree map[string]string, path string) (string, bool) {
	if v, ok := tree[path]; ok {
		return v, true
	}
	prefix := strings.TrimSuffix(path, "/") + "/"
	if prefix == "/" {
		prefix = ""
	}
	var names []string
	for leaf := range tree {
		rest, ok := strings.CutPrefix(leaf, prefix)
		if !ok {
			continue
		}
		name, _, isDir := strings.Cut(rest, "/")
		if isDir {
			name += "/"
		}
		names = append(names, name)
	}
	slices.Sort(names)
	return strings.Join(slices.Compact(names), "\n"), len(names) > 0
}

// shortID derives the id of something that belongs to an instance.
func shortID(prefix, of string) string {
	sum := sha256.Sum256([]byte(prefix + of))
	return prefix + "-0" + hex.EncodeToString(sum[:8])
}
