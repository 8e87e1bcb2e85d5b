package store

import (
	"context"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"rekindle/agent/store"
	"rekindle/agent/store/storetest"
	lab "rekindle/test/s3"
)

const (
	small = 1000
	large = 9 * mib // two parts
)

var (
	beginning = lab.Fault{Method: "POST", Query: "uploads"}
	second    = lab.Fault{Method: "PUT", Query: "partNumber=2"}
	end       = lab.Fault{Method: "POST", Query: "uploadId"}
	whole     = lab.Fault{Method: "PUT"}
)

// hit is a fault for count requests; 0: for all.
func hit(f lab.Fault, count int, do lab.Effect) lab.Fault {
	f.Count, f.Do = count, do
	return f
}

// TestUploadUnderFaults: what Upload says is what the bucket holds, and no parts stay.
func TestUploadUnderFaults(t *testing.T) {
	p := newPlace(t, plain)
	t.Cleanup(p.nothingLeft)
	for _, c := range []struct {
		name   string
		size   int64
		faults []lab.Fault
		want   string // in the error; "": none
	}{
		{"at once, answer lost", small, []lab.Fault{hit(whole, 1, lab.Lost)}, ""},
		{"at once, 500 though it was done", small, []lab.Fault{hit(whole, 1, lab.ErrorAfter)}, ""},
		{"at once, refused by nobody", small, []lab.Fault{hit(whole, 1, lab.Refused)}, ""},
		{"at once, 409 and nobody won", small, []lab.Fault{hit(whole, 1, lab.Conflict)}, ""},
		{"at once, denied", small, []lab.Fault{hit(whole, 0, lab.Deny)}, "AccessDenied"},
		{"beginning denied", large, []lab.Fault{hit(beginning, 0, lab.Deny)}, "begin in parts"},
		{"beginning, 503", large, []lab.Fault{hit(beginning, 1, lab.SlowDown)}, ""},
		{"part cut in the middle", large, []lab.Fault{hit(second, 1, lab.CutAfter(mib/2))}, ""},
		{"part, 503", large, []lab.Fault{hit(second, 1, lab.SlowDown)}, ""},
		{"part, answer lost", large, []lab.Fault{hit(second, 1, lab.Lost)}, ""},
		{"part denied", large, []lab.Fault{hit(second, 0, lab.Deny)}, "part 2"},
		{"end, answer lost", large, []lab.Fault{hit(end, 1, lab.Lost)}, ""},
		{"end, done twice", large, []lab.Fault{hit(end, 1, lab.ErrorAfter)}, ""},
		{"end, 409 and nobody won", large, []lab.Fault{hit(end, 1, lab.Conflict)}, ""},
		{"end, refused by nobody", large, []lab.Fault{hit(end, 1, lab.Refused)}, ""},
		{"end denied", large, []lab.Fault{hit(end, 0, lab.Deny)}, "put the parts together"},
		{"part denied, and the way out cut", large, []lab.Fault{hit(second, 0, lab.Deny), hit(lab.Fault{Method: "DELETE"}, 1, lab.Reset)}, "part 2"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel() // most of it is waiting between two tries
			p := p.under(t)
			prefix := strings.NewReplacer(" ", "-", ",", "").Replace(c.name)
			blobs := p.open(prefix)
			for _, fault := range c.faults {
				fault.Path = "/store/" + prefix + "/*"
				defer p.Faults().Add(fault).Remove()
			}
			blob, err := blobs.Upload(t.Context(), "b", storetest.Noise(1, c.size))
			listed, listing := blobs.Blobs(t.Context(), "")
			switch {
			case listing != nil:
				t.Error(listing)
			case c.want == "" && (err != nil || len(listed) != 1 || listed[0].Version != blob.Version || listed[0].Size != c.size):
				t.Errorf("%+v, error %v; listed %v", blob, err, listed)
			case c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want) || len(listed) > 0 || errors.Is(err, store.ErrConflict)):
				t.Errorf("error %v, want one with %q; listed %v", err, c.want, listed)
			}
			if err == nil {
				p.holds(blobs, "b", 1, c.size)
			}
			p.noUploads(prefix)
		})
	}
}

// TestUploadAgain: the second one is refused, after the first one's answer was lost or not, and changes nothing.
func TestUploadAgain(t *testing.T) {
	for name, kind := range map[string]kind{"plain": plain, "versioned": versioned} {
		t.Run(name, func(t *testing.T) {
			p := newPlace(t, kind)
			blobs := p.open("p")
			for key, size := range map[string]int64{"small": small, "large": large} {
				p.upload(blobs, key, 1, size)
				fault := p.Faults().Add(hit(end, 1, lab.Lost))
				if _, err := blobs.Upload(t.Context(), key, storetest.Noise(2, size)); !errors.Is(err, store.ErrConflict) {
					t.Errorf("%s: %v", key, err)
				}
				fault.Remove()
				p.holds(blobs, key, 1, size)
			}
			p.nothingLeft()
		})
	}
}

// TestUploadCancelled in the middle of a part and while it reads: nothing stays.
func TestUploadCancelled(t *testing.T) {
	p := newPlace(t, plain)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	hanging, stop := io.Pipe()
	defer stop.Close()
	go func() {
		for n := 0; n == 0 && t.Context().Err() == nil; time.Sleep(10 * time.Millisecond) {
			n, _ = p.uploads("")
		}
		time.Sleep(100 * time.Millisecond) // in the middle of a part, or while it reads
		cancel()
	}()
	if _, err := p.open("p").Upload(ctx, "b", io.MultiReader(storetest.Noise(1, large), hanging)); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	_ = stop.Close()
	if listed, err := p.open("p").Blobs(t.Context(), ""); err != nil || len(listed) > 0 {
		t.Errorf("%v, %v", listed, err)
	}
	p.nothingLeft()
}

// TestUploadStandsStill: a server that takes a part and does not answer is given up, and the upload aborted.
func TestUploadStandsStill(t *testing.T) {
	p := newPlace(t, plain)
	p.Faults().Add(hit(second, 0, lab.Latency(3*time.Second)))
	_, err := p.open("p", store.GiveUpAfter(time.Second)).Upload(t.Context(), "b", storetest.Noise(1, large))
	if err == nil || !strings.Contains(err.Error(), "nothing moved for 1s") {
		t.Error(err)
	}
	time.Sleep(3 * time.Second) // until the server has done what it was asked: the part comes after the end of the upload
	p.nothingLeft()
}

// TestOpenIsCut: an answer that ends early is an error, whole or in a range.
func TestOpenIsCut(t *testing.T) {
	p := newPlace(t, plain)
	blobs := p.open("p")
	p.upload(blobs, "b", 1, large)
	p.Faults().Add(lab.Fault{Method: "GET", Path: "/store/p/b", Do: lab.Truncate(mib)})
	for _, span := range [][2]int64{{0, 0}, {mib, 0}, {mib, 3 * mib}} {
		body, err := blobs.Open(t.Context(), "b", span[0], span[1])
		if err != nil {
			t.Fatal(err)
		}
		n, err := io.Copy(io.Discard, body)
		if !errors.Is(err, io.ErrUnexpectedEOF) || n > mib {
			t.Errorf("read %d bytes: %v", n, err)
		}
		_ = body.Close()
	}
	p.nothingLeft()
}
