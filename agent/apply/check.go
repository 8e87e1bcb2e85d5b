package apply

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"path"
	"regexp"
	"strings"

	"golang.org/x/sync/errgroup"

	"rekindle/agent/plan"
	"rekindle/agent/status"
)

// secretsAtOnce bounds the requests to the store and SSM.
const secretsAtOnce = 8

// check finds out whether the plan can be applied, and what would be written. It changes nothing.
func (a *pass) check(ctx context.Context) error {
	if err := checkPlan(a.plan); err != nil {
		return status.Fail(status.ReasonPlanInvalid, "", err)
	}
	if err := a.load(ctx); err != nil {
		return err
	}
	a.old = a.rec.clone()
	if err := a.read(ctx); err != nil {
		return err
	}
	if err := a.lookDirs(); err != nil {
		return err
	}
	if err := a.lookAssets(ctx); err != nil {
		return err
	}
	return a.inTheWay()
}

// read gets the content of every file, also of those that are elsewhere.
func (a *pass) read(ctx context.Context) error {
	contents := make([][]byte, len(a.plan.Files))
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(secretsAtOnce)
	for i, f := range a.plan.Files {
		contents[i] = []byte(f.Content)
		if f.From == "" {
			continue
		}
		if a.Secrets == nil {
			return fmt.Errorf("%s: %s: nothing here reads references", f.Path, f.From)
		}
		group.Go(func() (err error) {
			ctx, done := waiting(ctx, a.limit.Assets, "read "+string(f.From), "the content of "+f.Path)
			defer done()
			if contents[i], err = a.Secrets.Read(ctx, string(f.From)); err != nil {
				return fmt.Errorf("%s: %s: %w", f.Path, f.From, err)
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	for i, f := range a.plan.Files {
		a.wants(f.Path, f.Mode, contents[i])
	}
	return nil
}

// wants notes a file that is to be.
func (a *pass) wants(path string, mode plan.Mode, content []byte) {
	if mode == 0 {
		mode = 0o644
	}
	a.sums[path] = sumOf(content, mode)
	if path == hostsPath {
		a.hosts = append([]byte{}, content...)
		return
	}
	a.want[path] = File{Path: path, Mode: mode, Content: content}
}

func sumOf(content []byte, mode plan.Mode) string {
	return ownedFile{SHA256: hexSum(content), Mode: mode}.sum()
}

func hexSum(content []byte) string {
	sum := sha256.Sum256(content)
	return hex.EncodeToString(sum[:])
}

// inTheWay refuses a plan whose files would have to replace a directory.
func (a *pass) inTheWay() error {
	var errs problems
	check := func(path string) {
		entry, err := a.Host.Look(path)
		switch {
		case err != nil:
			errs = append(errs, err)
		case entry.Kind == KindDir && entry.Link == "" && !entry.Empty:
			errs = append(errs, fmt.Errorf("%s: a directory stands where a file belongs (move it away: mv %[1]s %[1]s.aside)", path))
		}
	}
	for p := range a.want {
		check(p)
	}
	for _, asset := range a.plan.Assets {
		if !asset.Unpack {
			check(asset.Path)
		}
	}
	for _, member := range a.plan.Etcd {
		check(member.ConfigPath)
	}
	for _, f := range certFiles(a.plan) {
		check(f.path)
	}
	return errs.err()
}

var unitName = regexp.MustCompile(`^[A-Za-z0-9:_.\\@-]+\.(service|socket|target|mount|automount|timer|path|swap|slice|scope|device)$`)

// checkPlan refuses what no machine can look like.
func checkPlan(p *plan.Plan) error {
	var errs problems
	files := map[string]string{} // what is to be a file, and who wants it
	claim := func(path, who string) {
		if err := checkPath(path); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", who, err))
		} else if other, ok := files[path]; ok {
			errs = append(errs, fmt.Errorf("%s: %s is already the path of %s", who, path, other))
		}
		files[path] = who
	}
	for _, f := range p.Files {
		claim(f.Path, "file "+f.Path)
		if f.Content != "" && f.From != "" {
			errs = append(errs, fmt.Errorf("file %s: has both content and from", f.Path))
		}
	}
	for _, m := range p.Etcd {
		claim(m.ConfigPath, "etcd "+m.Name)
	}
	for _, f := range certFiles(p) {
		claim(f.path, f.who)
	}
	if _, err := inputOrder(p.Files); err != nil {
		errs = append(errs, err)
	}
	dirs := map[string]string{}
	for _, d := range p.Dirs {
		dirs[d.Path] = "directory " + d.Path
	}
	for _, asset := range p.Assets {
		if asset.Unpack {
			dirs[asset.Path] = "asset " + asset.Object
			continue
		}
		claim(asset.Path, "asset "+asset.Object)
	}
	for path, who := range files {
		for _, dir := range above(path) {
			dirs[dir] = who
		}
	}
	for dir, who := range dirs {
		if err := checkPath(dir); err != nil && dir != "/" {
			errs = append(errs, fmt.Errorf("%s: %w", who, err))
		}
		if other, ok := files[dir]; ok {
			errs = append(errs, fmt.Errorf("%s: needs %s to be a directory, and %s to be a file", who, dir, other))
		}
	}
	seen := map[string]bool{}
	for _, u := range p.Units {
		switch {
		case !unitName.MatchString(u.Name):
			errs = append(errs, fmt.Errorf("unit %q: not the name of a unit", u.Name))
		case seen[u.Name]:
			errs = append(errs, fmt.Errorf("unit %s: named twice", u.Name))
		case u.State != plan.Started && u.State != plan.Enabled && u.State != plan.Stopped:
			errs = append(errs, fmt.Errorf("unit %s: state %q (one of started, enabled, stopped)", u.Name, u.State))
		}
		seen[u.Name] = true
	}
	return errs.err()
}

func checkPath(p string) error {
	if !path.IsAbs(p) || path.Clean(p) != p || p == "/" || strings.ContainsRune(p, 0) {
		return fmt.Errorf("path %q: not an absolute path in its shortest form", p)
	}
	return nil
}

// above is the directories above p, the highest first, without "/".
func above(p string) []string {
	var dirs []string
	for dir := path.Dir(p); dir != "/" && dir != "."; dir = path.Dir(dir) {
		dirs = append([]string{dir}, dirs...)
	}
	return dirs
}

// problems is several errors that print on one line.
type problems []error

func (p problems) err() error {
	switch len(p) {
	case 0:
		return nil
	case 1:
		return p[0]
	}
	return p
}

func (p problems) Error() string {
	texts := make([]string, len(p))
	for i, err := range p {
		texts[i] = err.Error()
	}
	return strings.Join(texts, "; ")
}

func (p problems) Unwrap() []error { return p }
