package site

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"rekindle/test/cloud"
	"rekindle/test/s3"
)

// Stores is the S3 server of a test process, of which there can be one only. Every site has a bucket of its own there,
// and is let in with the credentials that its metadata services hand out.
type Stores struct {
	*s3.Server

	mu     sync.Mutex
	clouds []*cloud.Cloud
	known  map[string]s3.Identity // keys stay valid when instances renew them
}

// OpenStores starts the server. All sites that use it are in this region.
func OpenStores(ctx context.Context, dir, region string) (*Stores, error) {
	s := &Stores{known: map[string]s3.Identity{}}
	var err error
	s.Server, err = s3.Start(ctx, s3.Options{Dir: dir, Region: region, Identify: s.identify})
	return s, err
}

// Address is host:port.
func (s *Stores) Address() string { return strings.TrimPrefix(s.URL(), "http://") }

func (s *Stores) open(ctx context.Context, c *cloud.Cloud) (bucket string, err error) {
	s.mu.Lock()
	s.clouds = append(s.clouds, c)
	bucket = fmt.Sprintf("site-%d", len(s.clouds))
	s.mu.Unlock()
	if err := s.CreateBucket(ctx, bucket); err != nil {
		return "", err
	}
	return bucket, s.allow(ctx, c, bucket, []string{"s3:GetObject", "s3:PutObject", "s3:DeleteObject", "s3:ListBucket"})
}

func (s *Stores) allow(ctx context.Context, c *cloud.Cloud, bucket string, actions []string) error {
	role := []string{fmt.Sprintf("arn:%s:iam::%s:role/%s", c.Partition(), c.AccountID(), Role)}
	var statements []s3.Statement
	if slices.Contains(actions, "s3:ListBucket") {
		statements = append(statements, s3.Statement{Principals: role, Actions: []string{"s3:ListBucket", "s3:ListBucketVersions"}, Resources: []string{""}})
	}
	objects := slices.DeleteFunc(slices.Clone(actions), func(a string) bool { return a == "s3:ListBucket" })
	if len(objects) > 0 {
		statements = append(statements, s3.Statement{Principals: role, Actions: objects, Resources: []string{"*"}})
	}
	if len(statements) == 0 { // a policy needs a statement: allow what nobody does
		statements = append(statements, s3.Statement{Principals: role, Actions: []string{"s3:GetObject"}, Resources: []string{"nothing"}})
	}
	return s.SetPolicy(ctx, bucket, statements...)
}

// identify knows the administrator of every cloud, and whoever has a key from a metadata service.
func (s *Stores) identify(accessKeyID string) (s3.Identity, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if id, ok := s.known[accessKeyID]; ok {
		return id, true
	}
	for _, c := range s.clouds {
		account := fmt.Sprintf("arn:%s:%%s::%s:%%s", c.Partition(), c.AccountID())
		admin := c.AdminCredentials()
		s.known[admin.AccessKeyID] = s3.Identity{SecretKey: admin.SecretAccessKey, ARN: fmt.Sprintf(account, "iam", "user/admin"), Admin: true}
		for _, i := range c.Instances() {
			key := c.Credentials(i.ID)
			if key.AccessKeyID == "" {
				continue
			}
			s.known[key.AccessKeyID] = s3.Identity{
				SecretKey: key.SecretAccessKey, Token: key.SessionToken, Expires: key.Expiration,
				ARN:     fmt.Sprintf(account, "sts", "assumed-role/"+i.Role+"/"+i.ID),
				RoleARN: fmt.Sprintf(account, "iam", "role/"+i.Role),
			}
		}
	}
	id, ok := s.known[accessKeyID]
	return id, ok
}

func (s *Stores) requests(bucket string) []s3.Request {
	return slices.DeleteFunc(s.Requests(), func(r s3.Request) bool { return !strings.HasPrefix(r.Path, "/"+bucket+"/") })
}

// Close is safe on a server that never started.
func (s *Stores) Close() error {
	if s == nil || s.Server == nil {
		return errors.New("site: no S3 server runs")
	}
	return s.Server.Close()
}
