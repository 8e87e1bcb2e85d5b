package join

import (
	"errors"
	"io"
	"net/http"

	"sigs.k8s.io/json"
)

// The longest values that a body may have, in bytes.
const (
	maxName     = 253 // a DNS name
	maxInstance = 64
	maxNonce    = 128
	maxRequests = 3
)

// read is the body of a request, whole, since the proof signs all of it.
func read(w http.ResponseWriter, r *http.Request) ([]byte, error) {
	data, err := io.ReadAll(http.MaxBytesReader(w, r.Body, MaxBody))
	if tooLarge, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return nil, refuse(Malformed, "the body is larger than %d bytes", tooLarge.Limit)
	}
	if err != nil {
		return nil, refuse(Malformed, "body: %w", err)
	}
	return data, nil
}

// decode reads a body strictly: JSON that two readers could understand differently (a key twice, in another case,
// something after the end) is none.
func decode(data []byte) (Body, error) {
	var b Body
	doubts, err := json.UnmarshalStrict(data, &b)
	if err == nil && len(doubts) > 0 {
		err = doubts[0]
	}
	switch {
	case err != nil:
		return Body{}, refuse(Malformed, "body: %.200s", err)
	case b.Version != Protocol:
		return Body{}, refuse(Malformed, "protocol version %d, and this master speaks %d", b.Version, Protocol)
	case len(b.Cluster) > maxName, len(b.Node) > maxName, len(b.Instance) > maxInstance, len(b.Nonce) > maxNonce:
		return Body{}, refuse(Malformed, "a value is too long")
	case len(b.Requests) == 0, len(b.Requests) > maxRequests:
		return Body{}, refuse(Malformed, "%d requests, and 1 to %d can be made", len(b.Requests), maxRequests)
	}
	return b, nil
}

// known refuses certificates that nobody can ask for, and those asked for twice.
func known(requests []Request) error {
	asked := map[string]bool{}
	for _, r := range requests {
		switch r.Name {
		case KubeletClient, KubeletServing, KubeProxy:
		default:
			return refuse(UnknownRequest, "request %.40q", r.Name)
		}
		if asked[r.Name] {
			return refuse(Malformed, "request %s twice", r.Name)
		}
		asked[r.Name] = true
	}
	return nil
}
