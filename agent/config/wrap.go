package config

import (
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"strings"
)

// maxWraps is how many times data may be compressed or encoded: base64 of gzip of base64 happens, more does not.
const maxWraps = 4

var gzipMagic = []byte{0x1f, 0x8b}

// unwrap decompresses and decodes until neither gzip nor base64 is left. Positions then count in the decoded text.
func (r *reader) unwrap(l Layer) (Layer, bool) {
	for range maxWraps {
		l.Data = bytes.TrimPrefix(l.Data, utf8BOM)
		switch {
		case bytes.HasPrefix(l.Data, gzipMagic):
			data, err := gunzip(l.Data)
			if err != nil {
				r.fail(bare(l), 0, 0, "gzip: "+err.Error(), "compress it again: gzip -9 < FILE")
				return l, false
			}
			l = decoded(l, data)
		case foreign(l.Data) != "":
			r.fail(bare(l), 0, 0, "compressed or encoded as "+foreign(l.Data), "use plain UTF-8 text or gzip")
			return l, false
		case isMIME(l.Data) || !alphabet64(l.Data):
			return l, true
		default:
			data, err := decode64(l.Data)
			if err == nil && known(data, maxWraps) {
				l = decoded(l, data)
				continue
			}
			// A short word is taken for a mistake of another kind, which detect reports.
			if kind := detect(l.Data); kind != "" || len(l.Data) < 64 {
				return l, true
			}
			if err == nil {
				err = errors.New("its content is of no known form")
			}
			r.fail(l, 1, 1, "looks like base64, but: "+err.Error(), "encode it again: base64 -w0 < FILE; it may have been cut off")
			return l, false
		}
	}
	if bytes.HasPrefix(l.Data, gzipMagic) || alphabet64(l.Data) && len(l.Data) >= 64 {
		r.fail(bare(l), 0, 0, fmt.Sprintf("compressed or encoded more than %d times", maxWraps), "encode it once")
		return l, false
	}
	return l, true
}

// decoded is l with its content taken out of one wrapping.
func decoded(l Layer, data []byte) Layer {
	if !strings.HasSuffix(l.file, " (decoded)") {
		l.file += " (decoded)"
	}
	l.Data, l.skip = data, 0
	return l
}

// bare is l without text, for messages about bytes that are none.
func bare(l Layer) Layer {
	l.Data = nil
	return l
}

func gunzip(data []byte) ([]byte, error) {
	z, err := gzip.NewReader(bytes.NewReader(data))
	if err != nil {
		return nil, err
	}
	out, err := io.ReadAll(io.LimitReader(z, maxLayer+1))
	if err != nil {
		return nil, err
	}
	if len(out) > maxLayer {
		return nil, errors.New("more than 1 MiB when decompressed")
	}
	return out, nil
}

// foreign names an encoding that is recognized only to be refused.
func foreign(data []byte) string {
	for _, f := range []struct{ magic, name string }{
		{"\xff\xfe", "UTF-16"}, {"\xfe\xff", "UTF-16"}, {"\x28\xb5\x2f\xfd", "zstd"}, {"BZh", "bzip2"},
		{"\xfd7zXZ\x00", "xz"}, {"PK\x03\x04", "zip"},
	} {
		if bytes.HasPrefix(data, []byte(f.magic)) {
			return f.name
		}
	}
	return ""
}

// alphabet64 tells whether data is nothing but base64's characters (either alphabet) and white space.
func alphabet64(data []byte) bool {
	some := false
	for _, b := range data {
		switch {
		case b >= 'a' && b <= 'z', b >= 'A' && b <= 'Z', b >= '0' && b <= '9', strings.IndexByte("+/-_=", b) >= 0:
			some = true
		case b == ' ', b == '\t', b == '\r', b == '\n':
		default:
			return false
		}
	}
	return some
}

// decode64 decodes either alphabet, with or without padding, broken into lines or not.
func decode64(data []byte) ([]byte, error) {
	text := strings.NewReplacer(" ", "", "\t", "", "\r", "", "\n", "", "-", "+", "_", "/").Replace(string(data))
	text = strings.TrimRight(text, "=")
	return base64.RawStdEncoding.DecodeString(text)
}

// known tells whether data is of a form that user-data can have.
func known(data []byte, wraps int) bool {
	if bytes.HasPrefix(data, gzipMagic) {
		return true
	}
	if wraps > 0 && alphabet64(data) {
		if inner, err := decode64(data); err == nil && known(inner, wraps-1) {
			return true
		}
	}
	kind := detect(bytes.TrimPrefix(data, utf8BOM))
	return kind != "" && kind != KindNone
}
