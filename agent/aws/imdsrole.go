package aws

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"path"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/feature/ec2/imds"

	"rekindle/agent/status"
)

// roleWait is how long after the first question the instance's role may be missing. EC2 attaches the profile beside
// the launch, so a fast boot can be earlier; later on a missing role is missing.
const roleWait = 15 * time.Second

type roleLag struct {
	mu    sync.Mutex
	until time.Time
}

func (l *roleLag) deadline() time.Time {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.until.IsZero() {
		l.until = time.Now().Add(roleWait)
	}
	return l.until
}

// GetMetadata is what ec2rolecreds asks for, so that the SDK's role credentials come over the same connection and with
// the same token. It waits for a role that is not there yet.
func (m *IMDS) GetMetadata(
	ctx context.Context, in *imds.GetMetadataInput, _ ...func(*imds.Options),
) (*imds.GetMetadataOutput, error) {
	key := path.Join("meta-data", in.Path)
	if strings.HasSuffix(in.Path, "/") {
		key += "/"
	}
	data, err := m.Get(ctx, key)
	if errors.Is(err, ErrNotFound) && strings.HasPrefix(key, "meta-data/iam/") {
		data, err = m.waitForRole(ctx, key)
	}
	if err != nil {
		return nil, err
	}
	return &imds.GetMetadataOutput{Content: io.NopCloser(bytes.NewReader(data))}, nil
}

func (m *IMDS) waitForRole(ctx context.Context, key string) ([]byte, error) {
	ctx, cancel := context.WithDeadline(ctx, m.roleLag.deadline())
	defer cancel()
	defer status.Waiting(ctx, "imds: role", "credentials of an instance profile")()
	for pause := imdsMinPause; ; pause = min(2*pause, imdsMaxPause) {
		select {
		case <-ctx.Done():
			return nil, ErrNotFound
		case <-time.After(pause/2 + rand.N(pause)):
		}
		data, err := m.Get(ctx, key)
		if ctx.Err() == nil && errors.Is(err, ErrNotFound) {
			continue
		}
		if err != nil && ctx.Err() != nil {
			return nil, ErrNotFound
		}
		return data, err
	}
}
