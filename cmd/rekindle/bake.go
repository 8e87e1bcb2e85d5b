package main

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/spf13/cobra"

	"rekindle/agent"
	"rekindle/agent/apply"
	"rekindle/agent/assets"
	"rekindle/agent/aws"
	"rekindle/agent/bake"
	"rekindle/agent/config"
)

type bakeFlags struct {
	roles, from, configs, keep []string
	units                      string
	region, endpoint           string
	pathStyle, check, dry      bool
	imports                    bool
}

func bakeCommand(shared *common) *cobra.Command {
	var flags bakeFlags
	command := &cobra.Command{
		Use:   "bake",
		Short: "prepare an image: install, prefetch, and remove what instances must not share",
		Long: `Installs this program with its units and completions, brings what the roles need from a store or mirror to
where a boot finds it, and removes what must not be in an image. Run it last: in a Packer provisioner, or from outside with
--root. A second time it changes nothing. With SOURCE_DATE_EPOCH set, nothing in the image is younger than that.`,
		Example: `  rekindle bake --role master,minion --from s3://my-bucket/prod
  rekindle bake --root /mnt/image --role minion --from dir:///srv/mirror --config cluster.yaml
  rekindle bake --check`,
		Args: arguments(cobra.NoArgs),
		RunE: func(c *cobra.Command, _ []string) error {
			if flags.check {
				return flags.runCheck(shared, c.OutOrStdout())
			}
			return flags.run(c.Context(), shared, c.InOrStdin(), c.OutOrStdout(), c.ErrOrStderr())
		},
	}
	set := command.Flags()
	set.StringSliceVar(&flags.roles, "role", nil, "prefetch what these roles need; several share one image")
	set.StringArrayVar(&flags.from, "from", nil, "s3://, https:// or dir://; of several the first that has a manifest governs")
	set.StringArrayVar(&flags.configs, "config", nil, "laid over the store's cluster.yaml, such as for kubernetes.version")
	set.StringVar(&flags.units, "units", "", "the folder of the agent's units, to be installed; without it the package has brought them")
	set.StringArrayVar(&flags.keep, "keep", nil, "a path that stays in the image although it looks like a leftover")
	set.StringVar(&flags.region, "region", "", "the bucket's region; without it the profile's")
	set.StringVar(&flags.endpoint, "endpoint", "", "URL of an S3-compatible store")
	set.BoolVar(&flags.pathStyle, "path-style", false, "address the bucket by path")
	set.BoolVar(&flags.imports, "import", true, "import container images into containerd's store; false leaves that to the first boot")
	set.BoolVar(&flags.dry, "dry-run", false, "print what would change; exits with 3 when something would")
	set.BoolVar(&flags.check, "check", false, "only look for leftovers; exits with 3 when there are some")
	return command
}

func (f *bakeFlags) runCheck(shared *common, stdout io.Writer) error {
	found, err := bake.Check(shared.root, f.keep)
	if err != nil {
		return err
	}
	for _, leftover := range found {
		if _, err := fmt.Fprintln(stdout, leftover); err != nil {
			return err
		}
	}
	if len(found) > 0 {
		return exit{exitNotYet, fmt.Errorf("this is no image yet: %d leftovers (`rekindle bake` removes them)", len(found))}
	}
	_, err = fmt.Fprintln(stdout, "ok")
	return err
}

func (f *bakeFlags) run(ctx context.Context, shared *common, stdin io.Reader, stdout, stderr io.Writer) error {
	options := bake.Options{Root: shared.root, Version: version, Roles: f.roles, Keep: f.keep,
		Import: f.imports, Dry: f.dry, Logger: shared.logger(stderr)}
	if (len(f.roles) > 0) != (len(f.from) > 0) {
		return exit{exitUsage, errors.New("--role says what to prefetch and --from where it is: give both, or none to only install and clean")}
	}
	if info, err := os.Stat(shared.root); err != nil || !info.IsDir() {
		return exit{exitUsage, fmt.Errorf("--root %s: not a directory", shared.root)}
	}
	var err error
	if options.Time, err = sourceDate(os.Getenv("SOURCE_DATE_EPOCH")); err != nil {
		return exit{exitUsage, err}
	}
	if options.Files, err = f.files(); err != nil {
		return err
	}
	if len(f.roles) > 0 {
		if err := f.plan(ctx, shared, stdin, &options); err != nil {
			return err
		}
	}
	done, err := bake.Bake(ctx, options)
	if printErr := f.print(stdout, stderr, done); err == nil {
		err = printErr
	}
	if err == nil && f.dry && len(done.Changes) > 0 {
		return exit{code: exitNotYet}
	}
	return err
}

func (f *bakeFlags) print(stdout, stderr io.Writer, done bake.Baked) error {
	for _, text := range done.Warnings {
		_, _ = fmt.Fprintln(stderr, "rekindle: warning:", text)
	}
	for _, change := range done.Changes {
		if _, err := fmt.Fprintln(stdout, change); err != nil {
			return err
		}
	}
	if len(done.Changes) > 0 {
		return nil
	}
	_, err := fmt.Fprintln(stdout, "nothing to change")
	return err
}

// sourceDate reads the time of reproducible builds: https://reproducible-builds.org/specs/source-date-epoch/
func sourceDate(seconds string) (time.Time, error) {
	if seconds == "" {
		return time.Time{}, nil
	}
	n, err := strconv.ParseInt(seconds, 10, 64)
	if err != nil || n < 0 {
		return time.Time{}, fmt.Errorf("SOURCE_DATE_EPOCH=%q: not seconds since 1970", seconds)
	}
	return time.Unix(n, 0).UTC(), nil
}

// files are this program, its units and its completions.
func (f *bakeFlags) files() ([]apply.File, error) {
	program, err := os.Executable()
	if err != nil {
		return nil, err
	}
	if f.units != "" {
		if info, err := os.Stat(f.units); err != nil || !info.IsDir() {
			return nil, exit{exitUsage, fmt.Errorf("--units %s: not a directory", f.units)}
		}
	}
	scripts, err := completions()
	if err != nil {
		return nil, err
	}
	return bake.Install(program, directory(f.units), scripts)
}

// completions are the scripts for shells, by where these look for them.
func completions() (map[string][]byte, error) {
	command := root(io.Discard, io.Discard)
	var bash, zsh, fish bytes.Buffer
	err := errors.Join(command.GenBashCompletionV2(&bash, true), command.GenZshCompletion(&zsh), command.GenFishCompletion(&fish, true))
	return map[string][]byte{
		"/usr/local/share/bash-completion/completions/rekindle":    bash.Bytes(),
		"/usr/local/share/zsh/site-functions/_rekindle":            zsh.Bytes(),
		"/usr/local/share/fish/vendor_completions.d/rekindle.fish": fish.Bytes(),
	}, err
}

// plan opens the store with the image's cache, and finds out what the roles need of it.
func (f *bakeFlags) plan(ctx context.Context, shared *common, stdin io.Reader, options *bake.Options) error {
	image, err := bake.Layers(shared.root)
	if err != nil {
		return err
	}
	var own []config.Layer
	for _, name := range f.configs {
		data, err := readInput(stdin, name)
		if err != nil {
			return exit{exitUsage, err}
		}
		layers, _, problems := config.Read(name, data)
		if err := problems.Err(); err != nil {
			return exit{exitUsage, err}
		}
		own = append(own, layers...)
	}
	asked, problems := config.Load(append(image[:len(image):len(image)], own...)...)
	if err := problems.Err(); err != nil {
		return exit{exitUsage, err}
	}
	if options.Objects, err = f.open(ctx, shared, asked, options); err != nil {
		return err
	}
	options.Plans, err = bake.Plans(ctx, options.Objects, f.roles, image, own)
	return err
}

func (f *bakeFlags) open(ctx context.Context, shared *common, asked *config.Config, options *bake.Options) (*assets.Store, error) {
	var newS3 func(string) *s3.Client
	if slices.ContainsFunc(f.from, func(place string) bool { return strings.HasPrefix(place, "s3://") }) {
		where := aws.Options{Region: cmp.Or(f.region, asked.AWS.Region), PathStyle: f.pathStyle || asked.AWS.PathStyle,
			Endpoints: asked.AWS.Endpoints, Logger: options.Logger, UserAgent: "rekindle/" + version}
		if f.endpoint != "" {
			where.Endpoints = map[string]string{"s3": f.endpoint}
		}
		clients, err := aws.New(ctx, where)
		if err != nil {
			return nil, err
		}
		newS3 = func(string) *s3.Client { return clients.S3("") }
	}
	var sources []assets.Source
	for _, place := range f.from {
		source, err := assets.ParseSource(place, newS3, &http.Client{})
		if err != nil {
			return nil, exit{exitUsage, err}
		}
		sources = append(sources, source)
	}
	return assets.Open(ctx, assets.Options{Sources: sources, CacheDir: shared.path(agent.CacheDir), PublicKey: asked.Assets.PublicKey,
		Parallel: asked.Assets.Parallel, ReadTimeout: asked.Assets.ReadTimeout, Logger: options.Logger})
}
