package scripts

import (
	"errors"
	"fmt"
	"os/exec"
	"strconv"
	"strings"
)

// etcdVerb runs a verb of `rekindle etcd` away from any node, as an administrator, and compares its exit code.
func etcdVerb(s script, args []string) error {
	want := 0
	if len(args) > 0 {
		if code, err := strconv.Atoi(args[0]); err == nil {
			want, args = code, args[1:]
		}
	}
	if len(args) == 0 {
		return errors.New("usage: etcd [EXIT CODE] VERB [ARG...]")
	}
	if err := s.open(); err != nil {
		return err
	}
	for _, variable := range append(s.site.Publisher(), "AWS_ENDPOINT_URL_EC2="+s.site.API.URL) {
		key, value, _ := strings.Cut(variable, "=")
		before := s.Getenv(key)
		s.Setenv(key, value)
		defer s.Setenv(key, before)
	}
	full := append([]string{"etcd"}, args...)
	err := s.Exec(programs.Rekindle, append(full, "--store", s.Getenv("STORE"), "--endpoint", s.Getenv("S3"), "--path-style")...)
	got := 0
	if ended := new(exec.ExitError); errors.As(err, &ended) {
		got, err = ended.ExitCode(), nil
	}
	if err == nil && got != want {
		err = fmt.Errorf("rekindle etcd %s: exit code %d, want %d", args[0], got, want)
	}
	return err
}
