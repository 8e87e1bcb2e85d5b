package aws

import (
	"io"
	"net/http"
	"strings"
	"testing"
)

type bodyOf func(io.Reader)

func (f bodyOf) Do(req *http.Request) (*http.Response, error) {
	f(req.Body)
	return &http.Response{Body: http.NoBody}, nil
}

// A body's own WriteTo must not reach net/http: smithy-go's returns io.EOF where nil is meant.
func TestBodiesArePlain(t *testing.T) {
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://127.0.0.1/", strings.NewReader("text"))
	if err != nil {
		t.Fatal(err)
	}
	if _, ok := request.Body.(io.WriterTo); !ok {
		t.Fatal("the request's body has no WriteTo, so this test would pass without the fix")
	}
	seen := false
	response, err := plainBodies{bodyOf(func(body io.Reader) {
		_, writes := body.(io.WriterTo)
		data, err := io.ReadAll(body)
		seen = !writes && err == nil && string(data) == "text"
	})}.Do(request)
	if err == nil {
		err = response.Body.Close()
	}
	if err != nil || !seen {
		t.Errorf("error %v, plain and whole: %v", err, seen)
	}
}
