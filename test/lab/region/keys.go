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

	mu    sync.Mutex
	known map[string]holder
}

type holder struct {
	s3.Identity
	instance string
}

func (k *keys) identify(accessKeyID string) (s3.Identity, bool) {
	h, ok := k.find(accessKeyID)
	return h.Identity, ok
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
	account := fmt.Sprintf("arn:%s:%%s::%s:%%s", k.cloud.Partition(), k.cloud.AccountID())
	admin := k.cloud.AdminCredentials()
	k.known[admin.AccessKeyID] = holder{Identity: s3.Identity{
		SecretKey: admin.SecretAccessKey, ARN: fmt.Sprintf(account, "iam", "user/admin"), Admin: true,
	}}
	for _, i := range k.cloud.Instances() {
		c := k.cloud.Credentials(i.ID)
		if c.AccessKeyID == "" {
			continue
		}
		k.known[c.AccessKeyID] = holder{instance: i.ID, Identity: s3.Identity{
			SecretKey: c.SecretAccessKey, Token: c.SessionToken, Expires: c.Expiration,
			ARN:     fmt.Sprintf(account, "sts", "assumed-role/"+i.Role+"/"+i.ID),
			RoleARN: fmt.Sprintf(account, "iam", "role/"+i.Role),
		}}
	}
	h, ok := k.known[accessKeyID]
	return h, ok
}
