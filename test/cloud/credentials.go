package cloud

import (
	"encoding/base64"
	"fmt"
	"time"
)

// Credentials are those of a user or of an instance's role.
type Credentials struct {
	AccessKeyID     string
	SecretAccessKey string
	SessionToken    string    // empty for a user
	Issued          time.Time // by the cloud's clock
	Expiration      time.Time // zero for a user
}

// principal is who holds an access key.
type principal struct {
	arn, userID string
	account     string // whose it is
	role        string // empty: a user
	instance    string // empty: not an instance
	credentials Credentials
}

// AdminCredentials are a user's, who may do everything.
func (c *Cloud) AdminCredentials() Credentials { return c.admin }

// Credentials are those that the instance's IMDS hands out, renewed when they are about to expire. No two instances
// share an access key. The zero value: no such instance, or it has no role.
func (c *Cloud) Credentials(instanceID string) Credentials {
	c.mu.Lock()
	defer c.mu.Unlock()
	i := c.instances[instanceID]
	if i == nil || i.Role == "" {
		return Credentials{}
	}
	return c.roleCredentials(i)
}

func (c *Cloud) roleCredentials(i *Instance) Credentials {
	if i.credentials.Expiration.Sub(c.now()) > 10*time.Minute {
		return i.credentials
	}
	i.credentials = c.newKey("ASIA", &principal{
		arn:      c.arn("sts", "", "assumed-role/"+i.Role+"/"+i.ID),
		userID:   c.roleID(i.Role) + ":" + i.ID,
		account:  c.opts.AccountID,
		role:     i.Role,
		instance: i.ID,
	}, c.now().Add(c.opts.CredentialTTL))
	return i.credentials
}

// AssumeRole returns credentials of a session of a role, as sts:AssumeRole would to whoever may: the name of the session
// is the caller's choice, and may be an instance's id. Another account's are known to STS and to nobody else here; an
// empty account is this one. They live as long as those that IMDS hands out.
func (c *Cloud) AssumeRole(role, session, account string) Credentials {
	c.mu.Lock()
	defer c.mu.Unlock()
	if account == "" {
		account = c.opts.AccountID
	}
	return c.newKey("ASIA", &principal{
		arn:     fmt.Sprintf("arn:%s:sts::%s:assumed-role/%s/%s", c.opts.Partition, account, role, session),
		userID:  uniqueID("AROA", account+role) + ":" + session,
		account: account,
		role:    role,
	}, c.now().Add(c.opts.CredentialTTL))
}

// roleID derives the unique id of a role from its name.
func (c *Cloud) roleID(role string) string { return uniqueID("AROA", role) }

// uniqueID spells a name like one of IAM's identifiers.
func uniqueID(prefix, name string) string {
	h := uint64(14695981039346656037)
	for _, b := range []byte(name) {
		h = (h ^ uint64(b)) * 1099511628211
	}
	return fmt.Sprintf("%s%017X", prefix, h)
}

func (c *Cloud) newKey(prefix string, p *principal, expires time.Time) Credentials {
	p.credentials = Credentials{
		AccessKeyID:     fmt.Sprintf("%s%016X", prefix, c.rand.Uint64()),
		SecretAccessKey: c.randomText(30),
		Issued:          c.now(),
		Expiration:      expires,
	}
	if !expires.IsZero() {
		p.credentials.SessionToken = c.randomText(240)
	}
	c.keys[p.credentials.AccessKeyID] = p
	return p.credentials
}

func (c *Cloud) randomText(n int) string {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(c.rand.Uint32())
	}
	return base64.StdEncoding.EncodeToString(b)
}
