// Package s3 runs a real S3 server, versitygw, inside the test process: signatures, conditional and ranged reads,
// conditional and multipart writes, bucket policies.
//
// A [Server] keeps its objects in a directory. Callers are the root account, and whoever [Options.Identify] knows:
// a lab answers it with the role credentials that its instances were given by their metadata service, so that the same
// keys open S3 and the other APIs. [Server.Requests] is what was asked, by whom; [Server.Faults] makes it misbehave.
//
// versitygw has package-level state and changes the working directory, so there is one Server per process at a time,
// and paths that matter must be absolute while it runs.
package s3

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/versity/versitygw/backend/meta"
	"github.com/versity/versitygw/backend/posix"
	"github.com/versity/versitygw/embedgw"
	"github.com/versity/versitygw/s3api"
)

// startLimit is how long the server may take to listen.
const startLimit = 10 * time.Second

// Options say what server this is. Dir and Region are required.
type Options struct {
	Dir     string // of objects and their metadata; made when missing
	Address string // host:port; default a free port of 127.0.0.1
	Region  string
	Root    Key    // default made up
	Seed    uint64 // of the probability of faults
	// Versions lets buckets have them, and with them Object Lock. A bucket has none until it is told to.
	Versions bool
	// Identify says who holds an access key. Default: nobody but root is known.
	Identify func(accessKeyID string) (Identity, bool)
}

// Key is an access key of an account.
type Key struct{ ID, Secret string }

// Server is a running S3 server.
type Server struct {
	options  Options
	iam      *accounts
	recorder recorder
	origin   string // the working directory before the server took it
	stop     context.CancelFunc
	done     chan error
}

// Start returns when the server answers. Close ends it.
func Start(ctx context.Context, o Options) (*Server, error) {
	if err := o.complete(); err != nil {
		return nil, fmt.Errorf("s3: %w", err)
	}
	origin, err := os.Getwd()
	if err != nil {
		return nil, fmt.Errorf("s3: %w", err)
	}
	objects, metadata := filepath.Join(o.Dir, "objects"), filepath.Join(o.Dir, "metadata")
	if err := errors.Join(os.MkdirAll(objects, 0o755), os.MkdirAll(metadata, 0o755)); err != nil {
		return nil, fmt.Errorf("s3: %w", err)
	}
	// Metadata beside the objects and not in extended attributes: not every file system of a CI machine has them.
	attributes, err := meta.NewSideCar(metadata)
	if err != nil {
		return nil, fmt.Errorf("s3: metadata: %w", err)
	}
	opts := posix.PosixOpts{ForceNoTmpFile: true}
	if o.Versions {
		opts.VersioningDir = filepath.Join(o.Dir, "versions")
		if err := os.MkdirAll(opts.VersioningDir, 0o755); err != nil {
			return nil, fmt.Errorf("s3: %w", err)
		}
	}
	backend, err := posix.New(objects, attributes, opts)
	if err != nil {
		return nil, fmt.Errorf("s3: backend: %w", err)
	}
	// The life of the server is its Close, not the context of who starts it.
	running, stop := context.WithCancel(context.WithoutCancel(ctx))
	s := &Server{options: o, iam: &accounts{identify: o.Identify}, origin: origin, stop: stop, done: make(chan error, 1)}
	s.recorder.faults = newFaults(o.Seed)
	s.recorder.orphan = func(path string) (bool, error) { return orphan(attributes, objects, path) }
	go func() {
		s.done <- embedgw.RunVersityGW(running, backend, &embedgw.Config{
			RootUserAccess:    o.Root.ID,
			RootUserSecret:    o.Root.Secret,
			Region:            o.Region,
			Ports:             []string{o.Address},
			IAMService:        s.iam,
			MaxConnections:    4096,
			MaxRequests:       4096,
			MultipartMaxParts: 10000,
			KeepAlive:         true,
			Quiet:             true,
			S3Options:         []s3api.Option{s3api.WithMiddleware("/", s.recorder.handle)},
		})
	}()
	if err := s.await(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("s3: %s: %w", o.Address, err), s.Close())
	}
	return s, nil
}

// orphan removes the metadata of an object that does not exist. Buckets have theirs in any case.
func orphan(attributes meta.SideCar, objects, path string) (removed bool, err error) {
	bucket, key, _ := strings.Cut(strings.TrimPrefix(path, "/"), "/")
	if key == "" {
		return false, nil
	}
	if _, err := os.Stat(filepath.Join(objects, bucket, key)); !errors.Is(err, fs.ErrNotExist) {
		return false, err
	}
	names, err := attributes.ListAttributes(bucket, key)
	if err != nil || len(names) == 0 {
		return false, err
	}
	return true, attributes.DeleteAttributes(bucket, key)
}

func (o *Options) complete() error {
	if o.Dir == "" || o.Region == "" {
		return errors.New("Options.Dir and Options.Region are required")
	}
	if !filepath.IsAbs(o.Dir) {
		return fmt.Errorf("Options.Dir %q: not absolute", o.Dir)
	}
	if o.Root == (Key{}) {
		o.Root = Key{ID: "AKIALABROOT000000001", Secret: "the-root-account-of-the-lab-store"}
	}
	if o.Identify == nil {
		o.Identify = func(string) (Identity, bool) { return Identity{}, false }
	}
	if o.Address != "" {
		return nil
	}
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	o.Address = free.Addr().String()
	return free.Close()
}

// await returns once the address accepts connections, or the server has failed.
func (s *Server) await(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startLimit)
	defer cancel()
	for {
		conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", s.options.Address)
		if err == nil {
			return conn.Close()
		}
		select {
		case failed := <-s.done:
			s.done <- nil // for Close
			return failed
		case <-ctx.Done():
			return fmt.Errorf("no answer: %w", err)
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// Close ends the server and gives the working directory back. The objects stay.
func (s *Server) Close() error {
	s.stop()
	return errors.Join(<-s.done, os.Chdir(s.origin))
}

// URL is the endpoint, for path-style requests.
func (s *Server) URL() string { return "http://" + s.options.Address }

// Root is the key of the root account.
func (s *Server) Root() Key { return s.options.Root }

// Faults is where misbehaviour is configured; it can change while clients are connected.
func (s *Server) Faults() *Faults { return s.recorder.faults }

// Requests lists what was asked so far, in the order of completion.
func (s *Server) Requests() []Request { return s.recorder.list() }

// ResetRequests forgets the requests so far.
func (s *Server) ResetRequests() { s.recorder.reset() }
