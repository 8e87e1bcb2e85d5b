package boots

import (
	"fmt"
	"sync/atomic"
	"testing"

	"rekindle/agent/store"
	"rekindle/agent/store/storetest"
)

// TestRecordsInS3 puts the records of a store in S3 through their contract, on a real S3 server.
func TestRecordsInS3(t *testing.T) {
	t.Parallel()
	var opened atomic.Int32
	storetest.Run(t, func(t *testing.T) store.Records {
		bucket := fmt.Sprintf("records-%d", opened.Add(1))
		if err := stores.CreateBucket(t.Context(), bucket); err != nil {
			t.Fatal(err)
		}
		return store.NewS3(stores.Client(), bucket, "a/store")
	})
}
