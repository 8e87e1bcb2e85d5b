package config

import (
	"fmt"
	"path"
	"regexp"
	"strings"
)

// Location is a Ref taken apart.
type Location struct {
	// Kind is "store" (an object below the cluster's store), "s3", "ssm" or "file".
	Kind   string
	Bucket string // of "s3"
	// Path is the key in the store or bucket, the parameter's name, or the absolute path.
	Path string
}

var parameter = regexp.MustCompile(`^/[A-Za-z0-9_.-]+(/[A-Za-z0-9_.-]+)*$`)

// Location parses the reference; the error says which forms there are.
func (r Ref) Location() (Location, error) {
	text := string(r)
	scheme, rest, _ := strings.Cut(text, ":")
	switch {
	case scheme == "s3" && strings.HasPrefix(rest, "//"):
		b, key, _ := strings.Cut(rest[2:], "/")
		if bucket.MatchString(b) && relative(key) {
			return Location{Kind: "s3", Bucket: b, Path: key}, nil
		}
	case scheme == "s3" && relative(rest):
		return Location{Kind: "store", Path: rest}, nil
	case scheme == "ssm" && parameter.MatchString(rest) && len(rest) <= 1011:
		return Location{Kind: "ssm", Path: rest}, nil
	case scheme == "file" && absolute(rest):
		return Location{Kind: "file", Path: rest}, nil
	}
	return Location{}, fmt.Errorf("reference %s: want s3:path/in/store, s3://bucket/key, ssm:/parameter or file:/path", quote(text))
}

var bucket = regexp.MustCompile(`^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$`)

// relative is a clean path or key that stays below where it starts.
func relative(p string) bool {
	return p != "" && path.Clean("/"+p) == "/"+p && !strings.ContainsAny(p, "\n\r\x00")
}

// absolute is a clean absolute path of a file.
func absolute(p string) bool {
	return len(p) > 1 && p[0] == '/' && path.Clean(p) == p && !strings.ContainsAny(p, "\n\r\x00")
}
