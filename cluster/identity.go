package cluster

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"errors"
	"math/big"
	"time"
)

// identity is the TLS identity of a node: a key that the node makes when it joins, and that its entry
// in the bucket names. So the nodes need no common secret and no certificate authority: every
// program that may write the bucket can add nodes.
type identity struct {
	certificate tls.Certificate
	fingerprint string
}

// newIdentity makes a key for a node.
func newIdentity(node string) (*identity, error) {
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1),
		Subject:      pkix.Name{CommonName: node},
		NotBefore:    time.Now().Add(-24 * time.Hour),
		NotAfter:     time.Now().AddDate(100, 0, 0), // the entry in the bucket says how long the key is valid
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, public, private)
	if err != nil {
		return nil, err
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, err
	}
	return &identity{
		certificate: tls.Certificate{Certificate: [][]byte{der}, PrivateKey: private, Leaf: leaf},
		fingerprint: fingerprint(leaf),
	}, nil
}

// fingerprint returns the hash of the public key of a certificate.
func fingerprint(c *x509.Certificate) string {
	sum := sha256.Sum256(c.RawSubjectPublicKeyInfo)
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// errStranger refuses a peer whose key is not that of a node.
var errStranger = errors.New("cluster: the peer is not a node of this cluster")

// config returns the settings of TLS for both sides. verify gets the name in the certificate of the
// peer, which only states which node the peer claims to be, and the fingerprint of its key. TLS proves
// that the peer has this key. The certificates have no other meaning.
func (i *identity) config(verify func(node, fingerprint string) error) *tls.Config {
	return &tls.Config{
		MinVersion:         tls.VersionTLS13,
		Certificates:       []tls.Certificate{i.certificate},
		ClientAuth:         tls.RequireAnyClientCert,
		InsecureSkipVerify: true, // VerifyConnection replaces the check of the chain
		VerifyConnection: func(s tls.ConnectionState) error {
			if len(s.PeerCertificates) == 0 {
				return errStranger
			}
			c := s.PeerCertificates[0]
			return verify(c.Subject.CommonName, fingerprint(c))
		},
		SessionTicketsDisabled: true, // each connection proves the key
	}
}
