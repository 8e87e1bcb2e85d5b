package region

import (
	"fmt"
	"sync"

	"rekindle/test/cloud"
	"rekindle/test/s3"
)

// keys tells the S3 server who holds an access key, so that it accepts what the metadata services hand out. It
// remembers keys that were renewed since: they live until they expire.
type keys struct {
	cloud *cloud.Cloud

	mu     sync.Mutex
	known  map[string]holder
	denied map[string]bool // instances that may do nothing
}

type holder struct {
	s3.Identity
	instance string
}

func (k *keys) identify(accessKeyID string) (s3.Identity, bool) {
	h, ok := k.find(accessKeyID)
	k.mu.Lock()
	defer k.mu.Unlock()
	if h.instance != "" && k.denied[h.instance] {
		h.ARN, h.RoleARN = k.arn("sts", "assumed-role/denied/"+h.instance), k.arn("iam", "role/denied")
	}
	return h.Identity, ok
}

// deny takes an instance its place in every policy, or gives it back.
func (k *keys) deny(instance string, denied bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.denied == nil {
		k.denied = map[string]bool{}
	}
	k.denied[instance] = denied
}

func (k *keys) arn(service, resource string) string {
	return fmt.Sprintf("arn:%s:%s::%s:%s", k.cloud.Partition(), service, k.cloud.AccountID(), resource)
}

// instance is whose key this is; empty when it is no instance's.
func (k *keys) instance(accessKeyID string) string {
	h, _ := k.find(accessKeyID)
	return h.instance
}

func (k *keys) find(accessKeyID string) (holder, bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if h, ok := k.known[accessKeyID]; ok {
		return h, true
	}
	if k.known == nil {
		k.known = map[string]holder{}
	}
	admin := k.cloud.AdminCredentials()
	k.known[admin.AccessKeyID] = holder{Identity: s3.Identity{
		SecretKey: admin.SecretAccessKey, ARN: k.arn("iam", "user/admin"), Admin: true,
	}}
	for _, i := range k.cloud.Instances() {
		c := k.cloud.Credentials(i.ID)
		if c.AccessKeyID == "" {
			continue
		}
		k.known[c.AccessKeyID] = holder{instance: i.ID, Identity: s3.Identity{
			SecretKey: c.SecretAccessKey, Token: c.SessionToken, Expires: c.Expiration,
			ARN:     k.arn("sts", "assumed-role/"+i.Role+"/"+i.ID),
			RoleARN: k.arn("iam", "role/"+i.Role),
		}}
	}
	h, ok := k.known[accessKeyID]
	return h, ok
}
