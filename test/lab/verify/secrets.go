package verify

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"

	"rekindle/test/lab/node"
)

// secrets looks for private keys: on the nodes only in files of mode 0600, and nowhere in what the agent says: logs,
// status, plan, timeline and its records, and what it leaves in the store. A minion cannot read the authorities' keys.
func (s *Suite) secrets(ctx context.Context) (string, error) {
	nodes := s.Region.Nodes()
	keys, looked, errs := make([]int, len(nodes)), make([]int, len(nodes)), make([]error, len(nodes))
	var all sync.WaitGroup
	for i, n := range nodes {
		all.Go(func() { keys[i], looked[i], errs[i] = s.secretsOf(ctx, n) })
	}
	all.Wait()
	found, places := 0, 0
	for i := range nodes {
		found, places = found+keys[i], places+looked[i]
	}
	if found == 0 {
		errs = append(errs, errors.New("no node has a private key"))
	}
	return fmt.Sprintf("%d keys, all in files of mode 0600; none in %d logs, states, plans and records", found, places), errors.Join(errs...)
}

// secretsOf is secrets for one node: how many keys it has, and in how many places none of them is.
func (s *Suite) secretsOf(ctx context.Context, n *node.Node) (keys, looked int, err error) {
	own, err := privateKeys(n)
	if err != nil {
		return 0, 0, fmt.Errorf("%s: %w", n.ID, err)
	}
	said, err := s.sayings(ctx, n)
	if err != nil {
		return 0, 0, fmt.Errorf("%s: %w", n.ID, err)
	}
	var errs []error
	for where, text := range said {
		if bytes.Contains(text, []byte("PRIVATE KEY")) {
			errs = append(errs, fmt.Errorf("%s: %s holds a private key", n.ID, where))
		}
		for path, key := range own {
			if bytes.Contains(text, key) {
				errs = append(errs, fmt.Errorf("%s: %s holds the key of %s", n.ID, where, path))
			}
		}
	}
	if role := s.plans[n.ID].Role; role != "master" && role != "etcd" {
		_, err := s.Region.ReadStoreAs(ctx, n.ID, s.Store, "pki/private/kubernetes.json")
		if err == nil || !strings.Contains(err.Error(), "AccessDenied") {
			errs = append(errs, fmt.Errorf("%s: a %s reads the authority's key: error %w", n.ID, role, err))
		}
	}
	return len(own), len(said), errors.Join(errs...)
}

// privateKeys are the middle lines of every private key on a node, by path. It fails when another user could read one. Files
// that go meanwhile are passed over: the agent replaces its own all the time.
func privateKeys(n *node.Node) (map[string][]byte, error) {
	keys := map[string][]byte{}
	err := filepath.WalkDir(n.Root, func(path string, entry fs.DirEntry, err error) error {
		if err == nil && entry.Type().IsRegular() {
			err = addKeys(keys, strings.TrimPrefix(path, n.Root), path, entry)
		}
		if errors.Is(err, fs.ErrNotExist) && path != n.Root {
			return nil
		}
		return err
	})
	return keys, err
}

// addKeys adds those of one file.
func addKeys(keys map[string][]byte, name, path string, entry fs.DirEntry) error {
	info, err := entry.Info()
	if err != nil || info.Size() > 64<<10 {
		return err
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	for _, key := range keysIn(text) {
		if info.Mode().Perm() != 0o600 {
			return fmt.Errorf("%s has mode %04o", name, info.Mode().Perm())
		}
		keys[name] = key
	}
	return nil
}

// keysIn finds private keys, also those that are embedded in a kubeconfig.
func keysIn(text []byte) (keys [][]byte) {
	for line := range bytes.Lines(text) {
		if _, data, ok := bytes.Cut(line, []byte("client-key-data: ")); ok {
			inner, err := base64.StdEncoding.DecodeString(string(bytes.TrimSpace(data)))
			if err == nil {
				keys = append(keys, keysIn(inner)...)
			}
		}
	}
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		if strings.HasSuffix(block.Type, "PRIVATE KEY") {
			lines := bytes.Split(pem.EncodeToMemory(block), []byte("\n"))
			keys = append(keys, lines[len(lines)/2])
		}
	}
	return keys
}

// sayings are all texts of a node that an operator reads or sends to somebody.
func (s *Suite) sayings(ctx context.Context, n *node.Node) (map[string][]byte, error) {
	all := map[string][]byte{}
	for _, path := range []string{"/run/rekindle/status.json", "/var/lib/rekindle/boot.json", "/var/lib/rekindle/applied.json"} {
		text, err := os.ReadFile(n.Path(path))
		if err != nil {
			return nil, err
		}
		all[path] = text
	}
	log, err := os.ReadFile(n.Log)
	if err != nil {
		return nil, err
	}
	all["agent.log"] = log
	for _, args := range [][]string{{"plan", "--units", "process"}, {"plan", "--units", "process", "--diff"}, {"status"}, {"timeline"}, {"pki", "check"}} {
		cmd := exec.CommandContext(ctx, s.Binary, append(args, "--root", n.Root)...)
		cmd.Env = n.Env
		text, err := cmd.CombinedOutput()
		if exit := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exit) {
			return nil, fmt.Errorf("rekindle %s: %w", strings.Join(args, " "), err)
		}
		all["rekindle "+strings.Join(args, " ")] = text
	}
	boot, err := s.Region.ReadStore(ctx, s.Store, "nodes/"+n.ID+"/boot.json")
	if err != nil {
		return nil, err
	}
	all["nodes/"+n.ID+"/boot.json of the store"] = boot
	return all, nil
}
