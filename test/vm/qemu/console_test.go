package qemu

import (
	"slices"
	"strings"
	"testing"
)

func TestListen(t *testing.T) {
	for _, c := range []struct {
		name, console string
		want          []string
	}{
		{"colours", "[\x1b[0;32m  OK  \x1b[0m] Reached target \x1b[0;1;39mbasic.target\x1b[0m - Basic System.\r\n",
			[]string{"[  OK  ] Reached target basic.target - Basic System."}},
		{"a prompt ends no line", "\r\nip-10-20-0-9 login: ", []string{"", "ip-10-20-0-9 login:"}},
		{"the power went", "rekindle: READ", []string{"rekindle: READ"}},
		{"firmware", "\x1bc\x1b[?7l\x1b[2JSeaBIOS\r\n", []string{"SeaBIOS"}},
	} {
		var got []string
		listen(strings.NewReader(c.console), func(line string) { got = append(got, line) })
		if !slices.Equal(got, c.want) {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
}
