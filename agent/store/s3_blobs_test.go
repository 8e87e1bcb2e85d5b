package store_test

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"rekindle/agent/store"
	"rekindle/agent/store/storetest"
)

// says answers with headers and a body of its own.
func says(status int, body io.Reader, header ...string) fate {
	return func(*http.Request, func() *http.Response) (*http.Response, error) {
		answer := &http.Response{StatusCode: status, Header: http.Header{}, Body: io.NopCloser(body), ContentLength: -1}
		for n := 0; n < len(header); n += 2 {
			answer.Header.Set(header[n], header[n+1])
		}
		return answer, nil
	}
}

// TestS3OpenAnswers: an answer that is not what was asked for is an error, never a short success.
func TestS3OpenAnswers(t *testing.T) {
	body := func() io.Reader { return strings.NewReader("0123456789") }
	for name, c := range map[string]struct {
		offset, length int64
		answer         fate
		want           string
		short          bool // io.ErrUnexpectedEOF
	}{
		"whole":                   {0, 0, says(200, body(), "Content-Length", "10"), "", false},
		"whole, cut":              {0, 0, says(200, body(), "Content-Length", "11"), "1 bytes are missing", true},
		"whole, more":             {0, 0, says(200, body(), "Content-Length", "9"), "1 bytes more", false},
		"whole, of no length":     {0, 0, says(200, body()), "how long", false},
		"range":                   {5, 10, says(206, body(), "Content-Range", "bytes 5-14/20"), "", false},
		"range, cut":              {5, 11, says(206, body(), "Content-Range", "bytes 5-15/20"), "1 bytes are missing", true},
		"range, more":             {5, 9, says(206, body(), "Content-Range", "bytes 5-13/20"), "1 bytes more", false},
		"range, object too short": {5, 12, says(206, body(), "Content-Range", "bytes 5-14/15"), "there are 10", true},
		"range ignored":           {5, 5, says(200, body(), "Content-Length", "10"), "did not answer with the range", false},
		"another range":           {5, 10, says(206, body(), "Content-Range", "bytes 0-9/20"), "another range", false},
		"nonsense":                {5, 10, says(206, body(), "Content-Range", "bytes 5-4/20"), "another range", false},
		"to the end":              {5, 0, says(206, body(), "Content-Range", "bytes 5-14/15"), "", false},
		"to the end, not quite":   {5, 0, says(206, body(), "Content-Range", "bytes 5-14/16"), "a part", false},
		"denied":                  {0, 0, answered(403, "AccessDenied"), "AccessDenied", false},
		"no bucket":               {0, 0, answered(404, "NoSuchBucket"), "NoSuchBucket", false},
		"no answer":               {0, 0, reset, "reset", false},
	} {
		t.Run(name, func(t *testing.T) {
			cellar := newCellar()
			cellar.fault = c.answer
			var data []byte
			got, err := cellar.open().Open(t.Context(), "b", c.offset, c.length)
			if err == nil {
				data, err = io.ReadAll(got)
				_ = got.Close()
			}
			if c.want == "" && (err != nil || string(data) != "0123456789") {
				t.Errorf("%q, %v", data, err)
			}
			if c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), "s3://bucket/p/b")) {
				t.Errorf("%q, %v", data, err)
			}
			if errors.Is(err, io.ErrUnexpectedEOF) != c.short || errors.Is(err, store.ErrAbsent) {
				t.Errorf("%v", err)
			}
		})
	}
}

// TestS3OpenStandsStill gives up an answer that does not go on, and no reader that takes its time.
func TestS3OpenStandsStill(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cellar := newCellar()
		blobs := cellar.open(store.GiveUpAfter(20 * time.Second))
		cellar.keep("b", []byte("0123456789"), nil)
		body, err := blobs.Open(t.Context(), "b", 0, 0)
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Hour)
		if data, err := io.ReadAll(body); err != nil || string(data) != "0123456789" {
			t.Errorf("%q, %v", data, err)
		}
		_ = body.Close()

		cellar.fault = blackHole
		began := time.Now()
		if _, err := blobs.Open(t.Context(), "b", 0, 0); err == nil || time.Since(began) != 20*time.Second {
			t.Errorf("after %s: %v", time.Since(began), err)
		}
		cellar.fault = func(r *http.Request, serve func() *http.Response) (*http.Response, error) {
			hanging := readers(func([]byte) (int, error) { <-r.Context().Done(); return 0, r.Context().Err() })
			return says(200, io.MultiReader(strings.NewReader("01234"), hanging), "Content-Length", "10")(r, serve)
		}
		began = time.Now()
		if body, err = blobs.Open(t.Context(), "b", 0, 0); err != nil {
			t.Fatal(err)
		}
		data, err := io.ReadAll(body)
		if took := time.Since(began); string(data) != "01234" || err == nil || took != 20*time.Second || !strings.Contains(err.Error(), "nothing moved") {
			t.Errorf("after %s: %q, %v", took, data, err)
		}
		_ = body.Close()
	})
}

// versions answers ListObjectVersions, one page each: "v:KEY:ID" is a version, "m:KEY:ID" a delete marker.
func versions(pages ...[]string) fate {
	return func(r *http.Request, _ func() *http.Response) (*http.Response, error) {
		n := 0
		if _, err := fmt.Sscan(r.URL.Query().Get("key-marker"), &n); err != nil {
			n = 0
		}
		w := httptest.NewRecorder()
		_, _ = fmt.Fprintf(w, "<ListVersionsResult><IsTruncated>%t</IsTruncated><NextKeyMarker>%d</NextKeyMarker>", n < len(pages)-1, n+1)
		for _, entry := range pages[n] {
			kind, rest, _ := strings.Cut(entry, ":")
			key, id, _ := strings.Cut(rest, ":")
			element := map[string]string{"v": "Version", "m": "DeleteMarker"}[kind]
			_, _ = fmt.Fprintf(w, "<%s><Key>p/%s</Key><VersionId>%s</VersionId></%s>", element, key, id, element)
		}
		_, _ = io.WriteString(w, "</ListVersionsResult>")
		return w.Result(), nil
	}
}

func TestS3Trace(t *testing.T) {
	for name, c := range map[string]struct {
		versions, objects fate
		there             bool // an object
		want              bool
		wantErr           string
	}{
		"nothing":                    {versions(nil), nil, false, false, ""},
		"a version":                  {versions([]string{"v:etcd/b:1"}), nil, false, true, ""},
		"a delete marker":            {versions([]string{"m:etcd/b:1"}), nil, false, true, ""},
		"on the second page":         {versions(nil, []string{"m:etcd/b:1"}), nil, false, true, ""},
		"no versions, nothing":       {answered(501, "NotImplemented"), nil, false, false, ""},
		"no versions, an object":     {answered(501, "NotImplemented"), nil, true, true, ""},
		"not implemented, so called": {answered(501, "XNotImplemented"), nil, true, true, ""},
		"not implemented, as 400":    {answered(400, "NotImplemented"), nil, true, true, ""},
		"versions of nothing":        {versions(nil), nil, true, true, ""},
		"denied":                     {answered(403, "AccessDenied"), nil, true, false, "s3:ListBucketVersions"},
		"denied the objects":         {versions(nil), answered(403, "AccessDenied"), false, false, "AccessDenied"},
		"no answer":                  {reset, nil, true, false, "reset"},
		"no answer, second listing":  {versions(nil), reset, true, false, "reset"},
		"unavailable":                {answered(503, "SlowDown"), nil, true, false, "SlowDown"},
		"a method that is forbidden": {answered(405, "MethodNotAllowed"), nil, true, false, "MethodNotAllowed"},
	} {
		t.Run(name, func(t *testing.T) {
			cellar := newCellar()
			if c.there {
				cellar.keep("etcd/b", nil, nil)
			}
			cellar.fault = both(on("ListObjectVersions", c.versions), on("ListObjectsV2", c.objects))
			got, err := cellar.open().Trace(t.Context(), "etcd/")
			if got != c.want || (err == nil) != (c.wantErr == "") || err != nil && !strings.Contains(err.Error(), c.wantErr) {
				t.Errorf("%t, %v", got, err)
			}
		})
	}
}

// TestS3Remove: every version goes, the newer ones and the markers last, and none of another object.
func TestS3Remove(t *testing.T) {
	all := versions([]string{"m:b:6", "v:b:5", "v:b:4"}, []string{"m:b:3", "v:b:2", "v:b.sum:1"}, []string{"v:b/x:0"})
	for name, c := range map[string]struct {
		listed  fate
		deletes fate
		want    []string // versions asked to be deleted
		locked  bool
		wantErr string
	}{
		"all":                 {all, says(204, http.NoBody), []string{"2", "4", "5", "6", "3"}, false, ""},
		"gone meanwhile":      {all, answered(404, "NoSuchVersion"), []string{"2", "4", "5", "6", "3"}, false, ""},
		"locked":              {all, answered(403, "AccessDenied"), []string{"2"}, true, "AccessDenied"},
		"locked, in part":     {all, on("DeleteObject", says(204, http.NoBody), answered(403, "AccessDenied")), []string{"2", "4"}, true, `version "4"`},
		"WORM":                {all, says(400, strings.NewReader("<Error><Code>InvalidRequest</Code><Message>Object is WORM protected</Message></Error>")), []string{"2"}, true, "WORM"},
		"another bad request": {all, answered(400, "InvalidRequest"), []string{"2"}, false, "InvalidRequest"},
		"method":              {all, answered(405, "MethodNotAllowed"), []string{"2"}, true, "MethodNotAllowed"},
		"wrong credentials":   {all, answered(403, "InvalidAccessKeyId"), []string{"2"}, false, "InvalidAccessKeyId"},
		"no answer":           {all, answered(500, "InternalError"), []string{"2"}, false, "InternalError"},
		"absent":              {versions([]string{"v:b.sum:1"}), nil, nil, false, ""},
		"denied the listing":  {answered(403, "AccessDenied"), nil, nil, false, "s3:ListBucketVersions"},
	} {
		t.Run(name, func(t *testing.T) {
			cellar := newCellar()
			var deleted []string
			cellar.fault = both(on("ListObjectVersions", c.listed), on("DeleteObject",
				func(r *http.Request, serve func() *http.Response) (*http.Response, error) {
					deleted = append(deleted, r.URL.Query().Get("versionId"))
					return c.deletes(r, serve)
				}))
			err := cellar.open().Remove(t.Context(), "b")
			if !slices.Equal(deleted, c.want) || errors.Is(err, store.ErrLocked) != c.locked {
				t.Errorf("deleted %v, error %v", deleted, err)
			}
			if (err == nil) != (c.wantErr == "") || err != nil && (!strings.Contains(err.Error(), c.wantErr) || !strings.Contains(err.Error(), "s3://bucket/p")) {
				t.Error(err)
			}
		})
	}
}

// TestS3RemoveUnseen: a store that answers the listing of versions with nothing still loses the object.
func TestS3RemoveUnseen(t *testing.T) {
	cellar := newCellar()
	cellar.fault = on("ListObjectVersions", versions(nil))
	cellar.keep("b", nil, nil)
	if err := cellar.open().Remove(t.Context(), "b"); err != nil || len(cellar.objects) > 0 {
		t.Errorf("%v, %v", err, cellar.objects)
	}
}

// TestS3UploadEncrypts under the same prefixes as records, in parts as at once.
func TestS3UploadEncrypts(t *testing.T) {
	cellar := newCellar()
	blobs := cellar.open(store.EncryptUnder("etcd/main/backups", "alias/backup"), store.EncryptUnder("etcd/events", ""))
	for key, want := range map[string]string{
		"etcd/main/backups/x": "aws:kms alias/backup true", "etcd/events/x": "aws:kms  true", "etcd/main/x": "  ",
	} {
		for _, size := range []int64{small, large} {
			if _, err := blobs.Upload(t.Context(), fmt.Sprint(key, size), storetest.Noise(1, size)); err != nil {
				t.Fatal(err)
			}
			header := cellar.objects[fmt.Sprint(key, size)].header
			got := fmt.Sprintf("%s %s %s", header.Get("X-Amz-Server-Side-Encryption"),
				header.Get("X-Amz-Server-Side-Encryption-Aws-Kms-Key-Id"), header.Get("X-Amz-Server-Side-Encryption-Bucket-Key-Enabled"))
			if got != want {
				t.Errorf("%s, %d bytes: %q, want %q", key, size, got, want)
			}
		}
	}
}
