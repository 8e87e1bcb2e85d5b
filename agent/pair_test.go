package agent

import (
	"errors"
	"fmt"
	"testing"
)

// TestPair: what is made of two files is kept until one of them changes, and never survives a file that cannot be read or
// does not fit.
func TestPair(t *testing.T) {
	files := map[string]string{"crt": "1", "key": "1"}
	parsed := 0
	p := &pair[string]{
		certificate: "crt", key: "key",
		read: func(path string) ([]byte, error) {
			if files[path] == "" {
				return nil, errors.New(path + ": missing")
			}
			return []byte(files[path]), nil
		},
		parse: func(certificate, key []byte) (string, error) {
			parsed++
			if string(certificate) != string(key) {
				return "", errors.New("they do not fit")
			}
			return string(certificate), nil
		},
	}
	for n, step := range []struct {
		certificate, key string
		want             string
		parsed           int
	}{
		{"1", "1", "1", 1},
		{"1", "1", "1", 1},
		{"2", "1", "they do not fit", 2}, // in the middle of a rotation
		{"2", "2", "2", 3},
		{"2", "2", "2", 3},
		{"2", "", "key: missing", 3},
		{"", "2", "crt: missing", 3},
		{"2", "3", "they do not fit", 4},
		{"2", "2", "2", 4},
	} {
		files["crt"], files["key"] = step.certificate, step.key
		got, err := p.get()
		if err != nil {
			got = err.Error()
		}
		if got != step.want || parsed != step.parsed {
			t.Error(fmt.Sprint("step ", n), got, parsed, "want", step.want, step.parsed)
		}
	}
}
