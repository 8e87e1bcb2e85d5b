package host

import (
	"bytes"
	"fmt"
	"testing"
)

// BenchmarkWrite replaces sixty files, as many as a master has.
func BenchmarkWrite(b *testing.B) {
	h := New(b.TempDir())
	if err := h.MkdirAll("/etc"); err != nil {
		b.Fatal(err)
	}
	for n := 0; b.Loop(); n++ {
		var files []File
		for i := range 60 {
			files = append(files, File{Path: fmt.Sprint("/etc/", i), Mode: 0o644, Content: bytes.Repeat(fmt.Append(nil, n, " "), 500)})
		}
		if _, err := h.Write(b.Context(), files...); err != nil {
			b.Fatal(err)
		}
	}
}
