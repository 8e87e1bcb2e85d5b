package s3

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"time"

	"github.com/versity/versitygw/auth"
	"github.com/versity/versitygw/s3err"
)

// Identity is who holds an access key.
type Identity struct {
	SecretKey string
	Token     string    // the session token that must come with the key; empty for a permanent key
	Expires   time.Time // zero: never
	ARN       string    // arn:aws-cn:sts::123456789012:assumed-role/ROLE/SESSION; what a bucket policy names
	RoleARN   string    // arn:aws-cn:iam::123456789012:role/ROLE, for sessions
	Admin     bool      // may do everything, without a bucket policy
}

// accounts is the account service of the gateway: it knows identities and cannot change them.
//
// It computes signing keys itself: the gateway accepts session tokens only from a service that does.
type accounts struct {
	identify func(accessKeyID string) (Identity, bool)
}

var (
	_ auth.IAMService         = (*accounts)(nil)
	_ auth.SigningKeyProvider = (*accounts)(nil)
	_ auth.PrincipalResolver  = (*accounts)(nil)
)

func (a *accounts) find(access string) (auth.Account, Identity, error) {
	id, ok := a.identify(access)
	if !ok {
		return auth.Account{}, id, auth.ErrNoSuchUser
	}
	account := auth.Account{Access: access, Role: auth.RoleUser, Arn: id.ARN, RoleArn: id.RoleARN}
	if id.Admin {
		account.Role = auth.RoleAdmin
	}
	return account, id, nil
}

// DeriveSigningKey is where a request is told apart from a forgery: the key must be known, live and come with its token.
func (a *accounts) DeriveSigningKey(access, token, date, region, service string) ([]byte, auth.Account, error) {
	account, id, err := a.find(access)
	if err != nil {
		return nil, account, err
	}
	if subtle.ConstantTimeCompare([]byte(id.Token), []byte(token)) != 1 {
		return nil, auth.Account{}, auth.ErrInvalidSessionToken
	}
	if !id.Expires.IsZero() && !time.Now().Before(id.Expires) {
		return nil, auth.Account{}, s3err.GetAPIError(s3err.ErrInvalidToken)
	}
	account.SessionToken, account.IsSession = token, token != ""
	key := []byte("AWS4" + id.SecretKey)
	for _, part := range []string{date, region, service, "aws4_request"} {
		mac := hmac.New(sha256.New, key)
		mac.Write([]byte(part))
		key = mac.Sum(nil)
	}
	return key, account, nil
}

// GetUserAccount never tells the secret: only DeriveSigningKey uses it.
func (a *accounts) GetUserAccount(access string) (auth.Account, error) {
	account, _, err := a.find(access)
	return account, err
}

// ResolveAccounts names the keys that nobody holds.
func (a *accounts) ResolveAccounts(access []string) ([]string, error) {
	missing := []string{}
	for _, key := range access {
		if _, ok := a.identify(key); !ok {
			missing = append(missing, key)
		}
	}
	return missing, nil
}

// ResolvePrincipals accepts every ARN: a policy may name a role before its first instance runs, as in IAM.
func (a *accounts) ResolvePrincipals([]string) ([]string, error) { return nil, nil }

func (a *accounts) CreateAccount(auth.Account) error { return errReadOnly }

func (a *accounts) UpdateUserAccount(string, auth.MutableProps) error { return errReadOnly }

func (a *accounts) DeleteUserAccount(string) error { return errReadOnly }

func (a *accounts) ListUserAccounts() ([]auth.Account, error) { return nil, errReadOnly }

func (a *accounts) Shutdown() error { return nil }

var errReadOnly = s3err.GetAPIError(s3err.ErrAdminMethodNotSupported)
