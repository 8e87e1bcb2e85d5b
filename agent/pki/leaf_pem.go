package pki

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
)

// leafPEM is a certificate as files hold it.
func leafPEM(cert *x509.Certificate) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: certificateBlock, Bytes: cert.Raw})
}

// split takes a file apart that holds a certificate and its key, as the kubelet's kubelet-client-current.pem does.
func split(data []byte) (certs, key []byte, err error) {
	var certificates, others bytes.Buffer
	err = eachBlock(data, func(block *pem.Block) error {
		into := &others
		if block.Type == certificateBlock {
			into = &certificates
		}
		return pem.Encode(into, block)
	})
	return certificates.Bytes(), others.Bytes(), err
}
