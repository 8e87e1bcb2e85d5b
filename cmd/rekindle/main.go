// Command rekindle is the node agent: it turns an instance with a few bytes of user-data into a working node of a
// Kubernetes cluster, and stays.
//
// One file per verb; a verb is flags and wiring only. To add one: a file here, a line in root's list, a section in
// docs/verbs.md (a test compares), and test/scripts/<verb>.txtar.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"rekindle/agent/log"
)

// version is stamped by the Makefile.
var version = "unknown"

// The exit codes, as documented in docs/verbs.md.
const (
	exitFailed = 1
	exitUsage  = 2 // a bad command line or a bad file
	exitNotYet = 3 // not yet ready, or degraded
)

// exit is an error that ends the process with a code of its own. Err may be nil: everything was said already.
type exit struct {
	code int
	err  error
}

func (e exit) Error() string {
	if e.err == nil {
		return fmt.Sprintf("exit code %d", e.code)
	}
	return e.err.Error()
}

func (e exit) Unwrap() error { return e.err }

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	err := withHidden(root(os.Stdout, os.Stderr)).ExecuteContext(ctx)
	stop()
	os.Exit(code(os.Stderr, err))
}

// code prints what went wrong, unless it was said already, and returns the exit code for it.
func code(stderr io.Writer, err error) int {
	if err == nil {
		return 0
	}
	var coded exit
	if errors.As(err, &coded) {
		if coded.err != nil {
			_, _ = fmt.Fprintln(stderr, "rekindle:", coded.err)
		}
		return coded.code
	}
	_, _ = fmt.Fprintln(stderr, "rekindle:", err)
	return exitFailed
}

// common are the flags of every verb.
type common struct {
	root    string
	format  log.Format
	verbose bool
}

// path is where a path of the node lies under --root.
func (c *common) path(p string) string { return filepath.Join(c.root, p) }

// logger logs to the journal, where standard error is one, or to stderr.
func (c *common) logger(stderr io.Writer) *slog.Logger {
	options := log.Options{Format: c.format, Level: slog.LevelInfo, Writer: stderr}
	if c.verbose {
		options.Level = slog.LevelDebug
	}
	if stderr == os.Stderr {
		options.Writer = nil // so that it may turn out to be the journal
	}
	return log.New(options)
}

func root(stdout, stderr io.Writer) *cobra.Command {
	shared := new(common)
	command := &cobra.Command{
		Use:           "rekindle",
		Short:         "the node agent of self-managed Kubernetes clusters on EC2",
		SilenceUsage:  true,
		SilenceErrors: true,
		Args:          arguments(cobra.NoArgs), // cobra's own refusal of an unknown verb would exit with 1
		RunE:          func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	command.SetOut(stdout)
	command.SetErr(stderr)
	command.SetFlagErrorFunc(func(c *cobra.Command, err error) error {
		return exit{exitUsage, fmt.Errorf("%w; see `%s --help`", err, c.CommandPath())}
	})
	flags := command.PersistentFlags()
	flags.StringVar(&shared.root, "root", "/", "the node's file system; a directory makes a laboratory node of it")
	flags.Var(&shared.format, "log-format", "text or json; without it the journal, or text on a terminal")
	flags.BoolVarP(&shared.verbose, "verbose", "v", false, "log debug messages, too")
	command.AddCommand(
		runCommand(shared), upCommand(shared), planCommand(shared), checkCommand(), factsCommand(shared),
		statusCommand(shared), timelineCommand(shared), publishCommand(shared), bakeCommand(shared),
		pkiCommand(shared), etcdCommand(shared), gossipCommand(shared), versionCommand(),
	)
	return command
}

// arguments wraps a cobra check so that what it refuses exits with 2.
func arguments(check cobra.PositionalArgs) cobra.PositionalArgs {
	return func(c *cobra.Command, args []string) error {
		if err := check(c, args); err != nil {
			return exit{exitUsage, fmt.Errorf("%w; see `%s --help`", err, c.CommandPath())}
		}
		return nil
	}
}

// terminal tells whether w is one, and its width in columns.
func terminal(w io.Writer) (bool, int) {
	file, ok := w.(*os.File)
	if !ok || !term.IsTerminal(int(file.Fd())) {
		return false, 100
	}
	if width, _, err := term.GetSize(int(file.Fd())); err == nil && width > 0 {
		return true, width
	}
	return true, 80
}

// Where the agent keeps what it tells the verbs.
const (
	statusPath   = "/run/rekindle/status.json"
	timelinePath = "/var/lib/rekindle/boot.json"
)
