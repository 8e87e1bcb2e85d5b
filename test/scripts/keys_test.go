package scripts

import (
	"crypto/rand"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"os"
	"strings"

	"aead.dev/minisign"
	"golang.org/x/crypto/blake2b"
	"golang.org/x/crypto/scrypt"
)

func keypair(s script, args []string) error {
	if len(args) == 0 || len(args) > 2 {
		return errors.New("usage: keypair NAME [PASSWORD]")
	}
	public, private, err := minisign.GenerateKey(rand.Reader)
	if err != nil {
		return err
	}
	text, err := private.MarshalText()
	if err == nil && len(args) == 2 {
		text, err = lock(text, args[1])
	}
	if err != nil {
		return err
	}
	s.Setenv(args[0], public.String())
	return os.WriteFile(s.MkAbs(args[0]+".key"), text, 0o600)
}

// lock puts a password on a secret key as minisign does (minisign(1), "Secret key format"), at a cost that a test can
// bear: the usual one takes a gigabyte and, with the race detector, many seconds.
func lock(plain []byte, password string) ([]byte, error) {
	comment, encoded, _ := strings.Cut(string(plain), "\n")
	key, err := base64.StdEncoding.DecodeString(encoded)
	if err != nil {
		return nil, err
	}
	const (
		salt, cost, secret, sum = 6, 38, 54, 126 // offsets
		operations, memory      = 1 << 15, 1 << 21
	)
	copy(key[2:], "Sc")
	if _, err := rand.Read(key[salt:cost]); err != nil {
		return nil, err
	}
	binary.LittleEndian.PutUint64(key[cost:], operations)
	binary.LittleEndian.PutUint64(key[cost+8:], memory)
	digest := blake2b.Sum256(append([]byte("Ed"), key[secret:sum]...))
	copy(key[sum:], digest[:])
	stream, err := scrypt.Key([]byte(password), key[salt:cost], 1024, 8, 1, len(key)-secret) // what these costs amount to
	if err != nil {
		return nil, err
	}
	for i := range stream {
		key[secret+i] ^= stream[i]
	}
	return []byte(comment + "\n" + base64.StdEncoding.EncodeToString(key)), nil
}
