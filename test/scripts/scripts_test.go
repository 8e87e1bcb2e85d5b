// Package scripts drives the real rekindle binary, as its users do: one txtar script per verb or behaviour. A script may
// use everything of testscript (github.com/rogpeppe/go-internal/testscript) and these commands:
//
//	cloud REGION
//		opens the script's AWS region; without it the first instance opens cn-north-1. $STORE is a store in a bucket of
//		its own, empty; $S3 the endpoint.
//	instance NAME [role=R] [tags=K=V,...] [type=T] [user-data=FILE] [config=FILE] [imds-tags=off]
//		launches an instance whose disk is $WORK/NAME, and makes it the current one: $ROOT is its disk, $ID its id, $IP its
//		address, and its metadata service answers what $AWS_EC2_METADATA_SERVICE_ENDPOINT asks. Its image knows the
//		endpoints of the region; config=FILE is laid over that. Nothing runs on it: use `exec rekindle run --root $ROOT`.
//		An instance of that name that exists is only made the current one.
//	fault SERVICE[/ACTION] EFFECT [COUNT]
//		deny, throttle or fail the requests of a service, for ever or COUNT times.
//	allow [ACTION...]
//		replaces what the instances may do with the objects of the bucket: s3:GetObject, s3:ListBucket, ...
//	stock DIR ROLE...
//		fills DIR with stand-ins for the assets that the built-in roles ask for, and the real etcd.
//	[!] publish DIR [FLAG...]
//		runs `rekindle publish DIR $STORE` with the keys of an administrator.
//	[!] pki VERB [ARG...]
//		runs `rekindle pki VERB` with the keys of an administrator.
//	etcd [EXIT CODE] VERB [ARG...]
//		runs `rekindle etcd VERB --store $STORE` with the keys of an administrator, and compares its exit code.
//	kms [EXCEPTION]
//		starts a KMS with one key, $KMSKEY, or has it answer everything with an exception from now on.
//	upload DIR
//		copies files to the store one by one, without a manifest.
//	tag KEY=VALUE...
//		adds tags to the current instance.
//	keypair NAME [PASSWORD]
//		makes minisign keys: $WORK/NAME.key and $NAME, the public one.
//	mirror DIR
//		serves a directory as $MIRROR; mirror.log is what it was asked.
//	eventually [!] PROGRAM [ARG...]
//		runs the program until it succeeds (or, with !, fails), for at most twenty seconds.
//	encrypted PREFIX KEY
//		checks that all writes of the bucket below the store's PREFIX asked S3 to encrypt with a KMS key, and no others did;
//		"encrypted nothing" that none did: the bucket's own default then holds.
//	asked SERVICE COUNT
//		compares how many requests the current instance has sent to a service of AWS: imds, ec2, sts, ...
//	stored PATH
//		prints an object of the store.
//	answers URL
//		asks until it is answered with 200, for at most twenty seconds.
//	wellformed FILE
//		checks that a file is XML.
//	hangup
//		sends SIGHUP to the agent of the current instance: resync now.
//
// To add a script: FILE.txtar here, with t.Parallel's consequences: scripts share the machine, not the region.
package scripts

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"rekindle/test/boots/site"
)

// region is where the S3 server is, and with it all scripts but those about partitions.
const region = "cn-north-1"

var (
	programs site.Programs
	stores   *site.Stores
	here     string
)

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	ctx := context.Background()
	dir, err := os.MkdirTemp("", "scripts")
	if err == nil {
		defer os.RemoveAll(dir)
		here, err = os.Getwd() // the S3 server moves it
	}
	if err == nil {
		programs, err = site.Build(ctx, dir)
	}
	if err == nil {
		stores, err = site.OpenStores(ctx, filepath.Join(dir, "s3"), region)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer stores.Close()
	return m.Run()
}

func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 here,
		Setup:               setup,
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		UpdateScripts:       os.Getenv("UPDATE_SCRIPTS") != "",
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"cloud":      command(openCloud),
			"instance":   command(launch),
			"fault":      command(fault),
			"allow":      command(allow),
			"stock":      command(stock),
			"publish":    publish,
			"pki":        pki,
			"etcd":       command(etcdVerb),
			"kms":        command(serveKMS),
			"keypair":    command(keypair),
			"mirror":     command(mirror),
			"eventually": eventually,
			"hangup":     command(hangup),
			"asked":      command(asked),
			"encrypted":  command(encrypted),
			"stored":     command(stored),
			"tag":        command(tag),
			"upload":     command(upload),
			"answers":    command(answers),
			"wellformed": command(wellformed),
		},
	})
}

// setup gives every script the binary and a state of its own.
func setup(env *testscript.Env) error {
	env.Values[stateKey{}] = &state{machines: map[string]*site.Machine{}}
	env.Vars = append(env.Vars, site.Quick)
	env.Setenv("PATH", filepath.Dir(programs.Rekindle)+string(os.PathListSeparator)+env.Getenv("PATH"))
	return nil
}
