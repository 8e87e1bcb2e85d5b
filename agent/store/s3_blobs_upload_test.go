package store_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"rekindle/agent/store"
	"rekindle/agent/store/storetest"
)

func TestS3Blobs(t *testing.T) {
	storetest.RunBlobs(t, func(*testing.T) store.Blobs { return newCellar().open() })
}

// What becomes of a request.
type fate func(r *http.Request, serve func() *http.Response) (*http.Response, error)

func lost(_ *http.Request, serve func() *http.Response) (*http.Response, error) {
	serve()
	return nil, errReset
}

func reset(r *http.Request, _ func() *http.Response) (*http.Response, error) {
	_, _ = io.CopyN(io.Discard, r.Body, 1000)
	return nil, errReset
}

func answered(status int, code string) fate {
	return func(*http.Request, func() *http.Response) (*http.Response, error) { return refuse(status, code), nil }
}

// after does what was asked, and answers with something else.
func after(status int, code string) fate {
	return func(_ *http.Request, serve func() *http.Response) (*http.Response, error) {
		serve()
		return refuse(status, code), nil
	}
}

// blackHole never answers.
func blackHole(r *http.Request, _ func() *http.Response) (*http.Response, error) {
	<-r.Context().Done()
	return nil, r.Context().Err()
}

// on lets the first requests of an operation meet their fates; nil: nothing happens to it. The last one is for all others.
func on(what string, fates ...fate) fate {
	var asked atomic.Int32
	return func(r *http.Request, serve func() *http.Response) (*http.Response, error) {
		if operation(r) != what {
			return nil, nil
		}
		next := fates[min(int(asked.Add(1)), len(fates))-1]
		if next == nil {
			return nil, nil
		}
		return next(r, serve)
	}
}

// both is for faults that hit different operations.
func both(a, b fate) fate {
	return func(r *http.Request, serve func() *http.Response) (*http.Response, error) {
		if answer, err := a(r, serve); answer != nil || err != nil {
			return answer, err
		}
		return b(r, serve)
	}
}

const (
	small = 1000
	large = 9 << 20 // two parts
)

// TestS3UploadUnderFaults: whatever happens to the requests, Upload says the truth about the object, and no parts stay.
func TestS3UploadUnderFaults(t *testing.T) {
	for _, c := range []struct {
		name  string
		size  int64
		fault fate
		want  string // in the error; "": none
	}{
		{"put, answer lost", small, on("PutObject", lost, nil), ""},
		{"put, answer lost each time", small, on("PutObject", lost), ""},
		{"put, 500 though it was done", small, on("PutObject", after(500, "InternalError"), nil), ""},
		{"put, 412 for what the client did before", small, on("PutObject", after(412, "PreconditionFailed"), nil), ""},
		{"put, 409 and nobody won", small, on("PutObject", answered(409, "ConditionalRequestConflict"), nil), ""},
		{"put, 409 for ever", small, on("PutObject", answered(409, "ConditionalRequestConflict")), "not there; upload it again"},
		{"put, 503 thrice", small, on("PutObject", answered(503, "SlowDown"), answered(503, "SlowDown"), reset, nil), ""},
		{"put, 503 for ever", small, on("PutObject", answered(503, "SlowDown")), "SlowDown"},
		{"put, denied", small, on("PutObject", answered(403, "AccessDenied")), "AccessDenied"},
		{"put, damaged on the way", small, on("PutObject", answered(400, "BadDigest"), nil), ""},
		{"put, unreadable and unanswered", small, both(on("PutObject", reset), on("HeadObject", answered(403, "Forbidden"))), "is unknown"},
		{"begin, denied", large, on("CreateMultipartUpload", answered(403, "AccessDenied")), "begin in parts"},
		{"begin, 503", large, on("CreateMultipartUpload", answered(503, "SlowDown"), nil), ""},
		{"part, cut in the middle", large, on("UploadPart", reset, nil, reset, nil), ""},
		{"part, answer lost", large, on("UploadPart", nil, lost, nil), ""},
		{"part, cut for ever", large, on("UploadPart", nil, reset), "connection reset"},
		{"part, denied", large, on("UploadPart", nil, answered(403, "AccessDenied")), "AccessDenied"},
		{"finish, answer lost", large, on("CompleteMultipartUpload", lost, nil), ""},
		{"finish, answer lost each time", large, on("CompleteMultipartUpload", lost), ""},
		{"finish, 500 though it was done", large, on("CompleteMultipartUpload", after(500, "InternalError"), nil), ""},
		{"finish, 412 for what the client did before", large, on("CompleteMultipartUpload", after(412, "PreconditionFailed"), nil), ""},
		{"finish, 404 for what the client did before", large, on("CompleteMultipartUpload", after(404, "NoSuchUpload"), nil), ""},
		{"finish, 200 that holds an error", large, on("CompleteMultipartUpload", answered(200, "InternalError"), nil), ""},
		{"finish, 409 and nobody won", large, on("CompleteMultipartUpload", answered(409, "ConditionalRequestConflict"), nil), ""},
		{"finish, denied", large, on("CompleteMultipartUpload", answered(403, "AccessDenied")), "AccessDenied"},
		{"finish, 503 for ever", large, on("CompleteMultipartUpload", answered(503, "SlowDown")), "SlowDown"},
		{"finish, answer lost, then silence but for the end", large, both(on("CompleteMultipartUpload", lost, reset),
			on("HeadObject", answered(500, "InternalError"), answered(500, "InternalError"), answered(500, "InternalError"),
				answered(500, "InternalError"), answered(500, "InternalError"), answered(500, "InternalError"), nil)), ""},
		{"abort, 503", large, both(on("UploadPart", answered(403, "AccessDenied")), on("AbortMultipartUpload", answered(503, "SlowDown"), nil)), "AccessDenied"},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				cellar := newCellar()
				cellar.fault = c.fault
				blob, err := cellar.open().Upload(t.Context(), "b", storetest.Noise(1, c.size))
				made, there := cellar.objects["b"]
				switch {
				case c.want == "" && (err != nil || !there || blob.Size != c.size || string(blob.Version) != made.etag):
					t.Errorf("%+v, error %v; there %t", blob, err, there)
				case c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want) || there || errors.Is(err, store.ErrConflict)):
					t.Errorf("error %v, want one with %q; there %t", err, c.want, there)
				}
				if there && storetest.Digest(t, strings.NewReader(string(made.data))) != storetest.Digest(t, storetest.Noise(1, c.size)) {
					t.Error("something else was written than was given")
				}
				if len(cellar.uploads) > 0 {
					t.Errorf("left %v", cellar.uploads)
				}
			})
		})
	}
}

// TestS3UploadLeavesOthersAlone: an object that is there stays what it is, even if no answer says so.
func TestS3UploadLeavesOthersAlone(t *testing.T) {
	for _, c := range []struct {
		name  string
		size  int64
		fault fate
	}{
		{"put", small, nil}, {"put, answer lost", small, on("PutObject", lost)},
		{"put, unreadable", small, on("HeadObject", answered(403, "Forbidden"))},
		{"parts", large, nil}, {"parts, answer lost", large, on("CompleteMultipartUpload", lost)},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				cellar := newCellar()
				cellar.keep("b", []byte("another's"), http.Header{"X-Amz-Meta-Rekindle-Upload": {"other"}})
				cellar.fault = c.fault
				_, err := cellar.open().Upload(t.Context(), "b", storetest.Noise(1, c.size))
				if !errors.Is(err, store.ErrConflict) || string(cellar.objects["b"].data) != "another's" || len(cellar.uploads) > 0 {
					t.Errorf("error %v, holds %d bytes, left %v", err, len(cellar.objects["b"].data), cellar.uploads)
				}
			})
		})
	}
}

// TestS3UploadStandsStill gives up after the limit, wherever nothing moves, and aborts.
func TestS3UploadStandsStill(t *testing.T) {
	hanging := func(size int64) (io.Reader, func()) {
		r, w := io.Pipe()
		return io.MultiReader(storetest.Noise(1, size), r), func() { _ = w.Close() }
	}
	for _, c := range []struct {
		name  string
		given int64
		ends  bool // the reader does
		fault fate
		want  time.Duration // until the answer
	}{
		{"the reader, at once", 0, false, nil, 20 * time.Second},
		{"the reader, in the middle", large, false, nil, 20 * time.Second},
		{"a small object", small, true, on("PutObject", blackHole), 20 * time.Second},
		{"the beginning", large, true, on("CreateMultipartUpload", blackHole), 30 * time.Second},
		{"a part", large, true, on("UploadPart", nil, blackHole), 20 * time.Second},
		{"the end", large, true, on("CompleteMultipartUpload", blackHole), 200 * time.Second},
		{"a part and the way out", large, true, both(on("UploadPart", blackHole), on("AbortMultipartUpload", blackHole)), 30 * time.Second},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				cellar := newCellar()
				cellar.fault = c.fault
				r, end := hanging(c.given)
				if c.ends {
					r = storetest.Noise(1, c.given)
				}
				began := time.Now()
				_, err := cellar.open(store.GiveUpAfter(20*time.Second)).Upload(t.Context(), "b", r)
				// With the pause before it is asked whether an upload is really gone.
				if took := time.Since(began); err == nil || took < c.want || took > c.want+time.Second {
					t.Errorf("after %s: %v", took, err)
				}
				if c.want == 20*time.Second && !strings.Contains(err.Error(), "nothing moved for 20s") {
					t.Error(err)
				}
				if len(cellar.objects) > 0 || len(cellar.uploads) > 0 && cellar.count("AbortMultipartUpload") == 0 {
					t.Errorf("left %v, %v", cellar.objects, cellar.uploads)
				}
				end() // synctest sees that no goroutine stays
			})
		})
	}
}

// TestS3UploadSlowly: what moves, be it ever so slowly, is not given up.
func TestS3UploadSlowly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cellar := newCellar()
		source := storetest.Noise(1, small)
		slow := readers(func(p []byte) (int, error) {
			time.Sleep(19 * time.Second)
			return source.Read(p[:min(len(p), 50)])
		})
		blobs := cellar.open(store.GiveUpAfter(20 * time.Second))
		if _, err := blobs.Upload(t.Context(), "b", slow); err != nil {
			t.Errorf("slow to read: %v", err)
		}
		cellar.fault = func(r *http.Request, serve func() *http.Response) (*http.Response, error) {
			body := r.Body
			r.Body = io.NopCloser(readers(func(p []byte) (int, error) {
				time.Sleep(19 * time.Second)
				return body.Read(p[:min(len(p), 100)])
			}))
			return serve(), r.Context().Err()
		}
		if _, err := blobs.Upload(t.Context(), "c", storetest.Noise(1, small)); err != nil {
			t.Errorf("slow to send: %v", err)
		}
	})
}

// TestS3UploadCancelledAtTheBeginning: the answer that comes after the end of the context still names what to abort.
func TestS3UploadCancelledAtTheBeginning(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		cellar := newCellar()
		cellar.fault = on("CreateMultipartUpload", func(r *http.Request, serve func() *http.Response) (*http.Response, error) {
			answer := serve()
			cancel()
			select {
			case <-time.After(5 * time.Second):
				return answer, nil
			case <-r.Context().Done():
				return nil, r.Context().Err()
			}
		})
		_, err := cellar.open().Upload(ctx, "b", storetest.Noise(1, large))
		if !errors.Is(err, context.Canceled) || cellar.began != 1 || len(cellar.uploads) > 0 {
			t.Errorf("%v, left %v", err, cellar.uploads)
		}
	})
}

// TestS3UploadIsMadeLate: the last request was lost on the way, for all that is known, and arrives when the upload is aborted.
func TestS3UploadIsMadeLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cellar := newCellar()
		var late func() *http.Response
		cellar.fault = both(on("CompleteMultipartUpload", func(_ *http.Request, serve func() *http.Response) (*http.Response, error) {
			late = serve
			return nil, errReset
		}), on("AbortMultipartUpload", func(_ *http.Request, serve func() *http.Response) (*http.Response, error) {
			late()
			return serve(), nil
		}))
		if blob, err := cellar.open().Upload(t.Context(), "b", storetest.Noise(1, large)); err != nil || blob.Size != large {
			t.Errorf("%+v, %v", blob, err)
		}
	})
}

// TestS3UploadOfWholeParts sends no empty part behind them.
func TestS3UploadOfWholeParts(t *testing.T) {
	for size, want := range map[int64]int{8 << 20: 1, 16 << 20: 2, 16<<20 + 1: 3} {
		cellar := newCellar()
		if _, err := cellar.open().Upload(t.Context(), "b", storetest.Noise(1, size)); err != nil || cellar.count("UploadPart") != want {
			t.Errorf("%d bytes: %d parts, %v", size, cellar.count("UploadPart"), err)
		}
	}
}

// TestS3UploadArrivesInPart: an object that is ours and not whole is no success.
func TestS3UploadArrivesInPart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cellar := newCellar()
		cellar.fault = on("CompleteMultipartUpload", func(_ *http.Request, serve func() *http.Response) (*http.Response, error) {
			answer := serve()
			made := cellar.objects["b"]
			made.data = made.data[:8<<20]
			cellar.objects["b"] = made
			return answer, nil
		})
		_, err := cellar.open().Upload(t.Context(), "b", storetest.Noise(1, large))
		if err == nil || !strings.Contains(err.Error(), "the store has 8388608 bytes of 9437184") {
			t.Error(err)
		}
	})
}

// TestS3UploadCancelledAtTheEnd: whoever cancels while the last request is under way still hears what became of it.
func TestS3UploadCancelledAtTheEnd(t *testing.T) {
	for _, size := range []int64{small, large} {
		for _, performed := range []bool{false, true} {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithCancel(t.Context())
				cut := func(_ *http.Request, serve func() *http.Response) (*http.Response, error) {
					if performed {
						serve()
					}
					cancel()
					return nil, ctx.Err()
				}
				cellar := newCellar()
				cellar.fault = both(on("PutObject", cut), on("CompleteMultipartUpload", cut))
				_, err := cellar.open().Upload(ctx, "b", storetest.Noise(1, size))
				_, there := cellar.objects["b"]
				if there != performed || there != (err == nil) || len(cellar.uploads) > 0 {
					t.Errorf("%d bytes: error %v, there %t, left %v", size, err, there, cellar.uploads)
				}
			})
		}
	}
}
