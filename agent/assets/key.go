package assets

import (
	"fmt"
	"os"

	"aead.dev/minisign"
)

// SecretKey reads a minisign secret key. It asks for the password only if the key has one.
func SecretKey(path string, password func() (string, error)) (*minisign.PrivateKey, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("signing key: %w", err)
	}
	key := new(minisign.PrivateKey)
	if !minisign.IsEncrypted(data) {
		if err := key.UnmarshalText(data); err != nil {
			return nil, fmt.Errorf("signing key %s: %w; want the secret half, as minisign -G writes it", path, err)
		}
		return key, nil
	}
	secret, err := password()
	if err != nil {
		return nil, fmt.Errorf("signing key %s: password: %w", path, err)
	}
	if *key, err = minisign.DecryptKey(secret, data); err != nil {
		return nil, fmt.Errorf("signing key %s: %w; is the password right?", path, err)
	}
	return key, nil
}
