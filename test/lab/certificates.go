package main

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strings"

	"rekindle/test/lab/region"
)

// showCertificates prints what a minion got from its master, as openssl reads it.
func showCertificates(ctx context.Context, out *screen, r *region.Region) error {
	minions := r.Members("minion")
	if len(minions) == 0 {
		return nil
	}
	if _, err := exec.LookPath("openssl"); errors.Is(err, exec.ErrNotFound) {
		out.line("openssl is not installed: apt-get install openssl, to see certificates here")
		return nil
	}
	n := minions[0]
	out.section("what " + n.ID + " got for proving which instance it is")
	for _, path := range []string{"/var/lib/kubelet/pki/kubelet-client-current.pem", "/var/lib/kubelet/pki/kubelet.crt"} {
		args := []string{"x509", "-noout", "-subject", "-issuer", "-dates", "-nameopt", "RFC2253"}
		if strings.HasSuffix(path, ".crt") {
			args = append(args, "-ext", "subjectAltName")
		}
		text, err := exec.CommandContext(ctx, "openssl", append(args, "-in", n.Path(path))...).CombinedOutput()
		if err != nil {
			return fmt.Errorf("openssl x509 -in %s: %w\n%s", n.Path(path), err, text)
		}
		out.line("  %s", out.paint(faint, "openssl x509 -noout -subject -issuer -dates -in "+relative(n.Path(path))))
		for line := range strings.Lines(strings.TrimSpace(string(text))) {
			out.line("    %s", strings.TrimSpace(line))
		}
	}
	return nil
}
