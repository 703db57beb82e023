package cli

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"
)

// configDir is the name of the directory in the user's configuration directory.
const configDir = "geminio"

// configFile returns the path of a file in the user's configuration.
func configFile(name string) (string, error) {
	dir, err := os.UserConfigDir()
	if err != nil {
		return "", err
	}
	return filepath.Join(dir, configDir, name), nil
}

// selfSigned returns the certificate and key of a file. If the file does not exist, it creates
// a self-signed certificate. Several programs may do so at the same time.
func selfSigned(file string) (tls.Certificate, error) {
	pair, err := tls.LoadX509KeyPair(file, file)
	if !errors.Is(err, fs.ErrNotExist) {
		if err == nil && time.Now().After(pair.Leaf.NotAfter) {
			err = fmt.Errorf("the certificate in %s has expired: remove it, and another one is made", file)
		}
		return pair, err
	}
	text, err := makeSelfSigned()
	if err != nil {
		return tls.Certificate{}, err
	}
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		return tls.Certificate{}, err
	}
	temporary, err := os.CreateTemp(filepath.Dir(file), "new-*.pem") // with mode 0600
	if err != nil {
		return tls.Certificate{}, err
	}
	defer os.Remove(temporary.Name())
	_, err = temporary.Write(text)
	if err := errors.Join(err, temporary.Close()); err != nil {
		return tls.Certificate{}, err
	}
	// Link fails if another program has created the file meanwhile.
	if err := os.Link(temporary.Name(), file); err != nil && !errors.Is(err, fs.ErrExist) {
		return tls.Certificate{}, err
	}
	return tls.LoadX509KeyPair(file, file)
}

// makeSelfSigned makes a certificate for this machine, and returns it and its key as PEM.
func makeSelfSigned() ([]byte, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		return nil, err
	}
	dns := []string{"localhost"}
	if host, err := os.Hostname(); err == nil && host != "localhost" {
		dns = append(dns, host)
	}
	const years = 10
	template := &x509.Certificate{
		SerialNumber: serial,
		Subject:      pkix.Name{CommonName: dns[len(dns)-1]},
		DNSNames:     dns,
		IPAddresses:  []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback},
		NotBefore:    time.Now().Add(-time.Hour), // clocks differ
		NotAfter:     time.Now().AddDate(years, 0, 0),
		KeyUsage:     x509.KeyUsageDigitalSignature,
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},

		BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, err
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	return append(text, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER})...), nil
}

// Fingerprint returns the SHA-256 sum of a certificate in DER, as openssl x509 -fingerprint
// prints it, but without colons and in lower case.
func Fingerprint(der []byte) string {
	sum := sha256.Sum256(der)
	return fingerprintPrefix + hex.EncodeToString(sum[:])
}

const fingerprintPrefix = "sha256:"
