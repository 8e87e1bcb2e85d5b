package pki

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"

	"rekindle/agent/status"
)

// The PEM blocks that are read and written.
const (
	certificateBlock = "CERTIFICATE"
	publicBlock      = "PUBLIC KEY"
	ecBlock          = "EC PRIVATE KEY" // SEC 1
	rsaBlock         = "RSA PRIVATE KEY"
	pkcs8Block       = "PRIVATE KEY"
	encryptedBlock   = "ENCRYPTED PRIVATE KEY"
	ecParameters     = "EC PARAMETERS" // openssl ecparam -genkey writes them before the key
)

// What is parsed is bounded: an authority is a few kilobytes, and its rotation has two generations.
const (
	maxPEM          = 256 << 10
	maxCertificates = 16
)

// ParseCertificates reads an authority's certificates, PEM, the signer's first. What lies between the blocks, as openssl
// writes it, is ignored; a block of another kind is refused.
func ParseCertificates(data []byte) ([]*x509.Certificate, error) {
	var all []*x509.Certificate
	err := eachBlock(data, func(block *pem.Block) error {
		if block.Type != certificateBlock {
			return fmt.Errorf("a %s where only certificates belong", block.Type)
		}
		certificate, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return err
		}
		all = append(all, certificate)
		return nil
	})
	switch {
	case err != nil:
		return nil, fmt.Errorf("certificates: %w", err)
	case len(all) == 0:
		return nil, errors.New("certificates: none in it")
	}
	return all, nil
}

// ParseKey reads one private key, PEM: SEC 1, PKCS #1 or PKCS #8, ECDSA or RSA. No error holds any of it.
func ParseKey(data []byte) (crypto.Signer, error) {
	var key crypto.Signer
	err := eachBlock(data, func(block *pem.Block) error {
		if block.Type == ecParameters {
			return nil
		}
		if key != nil {
			return errors.New("more than one key")
		}
		var err error
		key, err = parseKeyBlock(block)
		return err
	})
	if err == nil && key == nil {
		err = errors.New("none in it")
	}
	if err == nil {
		err = usable(key.Public())
	}
	if err != nil {
		return nil, fmt.Errorf("private key: %w", err)
	}
	return key, nil
}

func parseKeyBlock(block *pem.Block) (crypto.Signer, error) {
	if block.Type == encryptedBlock || block.Headers["DEK-Info"] != "" {
		return nil, status.Fail(status.ReasonPKIBlocked, "decrypt it first: openssl pkey -in KEY -out PLAIN",
			errors.New("it is encrypted with a password"))
	}
	var parsed any
	var err error
	switch block.Type {
	case ecBlock:
		parsed, err = x509.ParseECPrivateKey(block.Bytes)
	case rsaBlock:
		parsed, err = x509.ParsePKCS1PrivateKey(block.Bytes)
	case pkcs8Block:
		parsed, err = x509.ParsePKCS8PrivateKey(block.Bytes)
	default:
		return nil, fmt.Errorf("a %s where a private key belongs", block.Type)
	}
	if err != nil {
		return nil, errors.New("it cannot be parsed") // the standard library's words may quote what it read
	}
	switch key := parsed.(type) {
	case *ecdsa.PrivateKey:
		return key, nil
	case *rsa.PrivateKey:
		return key, nil
	}
	return nil, fmt.Errorf("of type %T: use ECDSA or RSA", parsed)
}

// ParsePublicKeys reads public keys, PEM (PKIX), the signer's first.
func ParsePublicKeys(data []byte) ([]crypto.PublicKey, error) {
	var all []crypto.PublicKey
	err := eachBlock(data, func(block *pem.Block) error {
		if block.Type != publicBlock {
			return fmt.Errorf("a %s where only public keys belong", block.Type)
		}
		key, err := x509.ParsePKIXPublicKey(block.Bytes)
		if err != nil {
			return err
		}
		all = append(all, key)
		return usable(key)
	})
	switch {
	case err != nil:
		return nil, fmt.Errorf("public keys: %w", err)
	case len(all) == 0:
		return nil, errors.New("public keys: none in it")
	}
	return all, nil
}

var errDamaged = errors.New("it is not PEM, or cut off")

// eachBlock calls see for every PEM block. Text before a block is a comment; a block that was cut, or any other text after
// the last one, is an error: a file that was written halfway must not pass for a shorter one.
func eachBlock(data []byte, see func(*pem.Block) error) error {
	if len(data) > maxPEM {
		return fmt.Errorf("%d bytes: more than %d are not read", len(data), maxPEM)
	}
	blocks := bytes.Count(data, []byte("-----BEGIN "))
	if blocks > maxCertificates {
		return fmt.Errorf("%d blocks: more than %d are not read", blocks, maxCertificates)
	}
	seen := 0
	for len(bytes.TrimSpace(data)) > 0 {
		block, rest := pem.Decode(data)
		if block == nil {
			return errDamaged
		}
		if err := see(block); err != nil {
			return err
		}
		data = rest
		seen++
	}
	if seen != blocks { // Decode skips a block that is damaged
		return errDamaged
	}
	return nil
}

func keyPEM(key crypto.Signer) ([]byte, error) {
	switch key := key.(type) {
	case *ecdsa.PrivateKey:
		der, err := x509.MarshalECPrivateKey(key)
		if err != nil {
			return nil, errors.New("the private key cannot be encoded")
		}
		return pem.EncodeToMemory(&pem.Block{Type: ecBlock, Bytes: der}), nil
	case *rsa.PrivateKey:
		return pem.EncodeToMemory(&pem.Block{Type: rsaBlock, Bytes: x509.MarshalPKCS1PrivateKey(key)}), nil
	}
	return nil, fmt.Errorf("a private key of type %T: use ECDSA or RSA", key)
}

// publicPEM encodes a key that usable accepted; of any other it is empty.
func publicPEM(public crypto.PublicKey) []byte {
	der, err := x509.MarshalPKIXPublicKey(public)
	if err != nil {
		return nil
	}
	return pem.EncodeToMemory(&pem.Block{Type: publicBlock, Bytes: der})
}
