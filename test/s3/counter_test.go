package s3

import (
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
)

// TestCompareAndSwap: clients count in one object, by conditional writes alone. Were a body ever read with the ETag of
// another write, a count would be lost.
func TestCompareAndSwap(t *testing.T) {
	const clients, each = 4, 60
	s := start(t, nil)
	if err := s.CreateBucket(t.Context(), "store"); err != nil {
		t.Fatal(err)
	}
	if err := put(s.Client(), "count", "0")(t.Context()); err != nil {
		t.Fatal(err)
	}
	var group sync.WaitGroup
	failed := make(chan error, clients)
	for range clients {
		group.Go(func() {
			for done := 0; done < each; {
				err := increment(t, s.Client())
				switch {
				case err == nil:
					done++
				case code(err) != "PreconditionFailed":
					failed <- err
					return
				}
			}
		})
	}
	group.Wait()
	close(failed)
	for err := range failed {
		t.Error(err)
	}
	if n, _, err := read(t, s.Client()); err != nil || n != clients*each {
		t.Errorf("%d writes were acknowledged, and the count is %d: %v", clients*each, n, err)
	}
}

func read(t *testing.T, c *s3.Client) (n int, etag *string, err error) {
	out, err := c.GetObject(t.Context(), &s3.GetObjectInput{Bucket: aws.String("store"), Key: aws.String("count")})
	if err != nil {
		return 0, nil, err
	}
	data, err := io.ReadAll(out.Body)
	if err = errors.Join(err, out.Body.Close()); err != nil {
		return 0, nil, err
	}
	n, err = strconv.Atoi(string(data))
	return n, out.ETag, err
}

func increment(t *testing.T, c *s3.Client) error {
	n, etag, err := read(t, c)
	if err != nil {
		return err
	}
	_, err = c.PutObject(t.Context(), &s3.PutObjectInput{
		Bucket: aws.String("store"), Key: aws.String("count"), IfMatch: etag, Body: strings.NewReader(fmt.Sprint(n + 1)),
	})
	return err
}
