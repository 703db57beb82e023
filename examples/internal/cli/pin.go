package cli

import (
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// pinFirst is the value of -pin that trusts the first certificate that a server shows.
const pinFirst = "first"

// pin is what a client knows of the certificate of a server.
type pin struct {
	want string // a fingerprint; "": what the file has, or what comes first
	file string // has lines with an address and a fingerprint
}

// newPin reads the values of -pin and -pins.
func newPin(text, file string) (*pin, error) {
	if text == pinFirst {
		if file == "" {
			var err error
			if file, err = configFile("pins"); err != nil {
				return nil, Usagef("-pin first needs -pins: %v", err)
			}
		}
		return &pin{file: file}, nil
	}
	sum := strings.ToLower(strings.ReplaceAll(strings.TrimPrefix(text, fingerprintPrefix), ":", ""))
	if b, err := hex.DecodeString(sum); err != nil || len(b) != sha256.Size {
		return nil, Usagef("-pin: %q is neither %q nor the fingerprint of a certificate, like %s0123...ef", text, pinFirst, fingerprintPrefix)
	}
	return &pin{want: fingerprintPrefix + sum}, nil
}

// PinError is why a client does not trust a server whose certificate it knows.
type PinError struct {
	Addr string
	Is   string   // the fingerprint of the certificate that the server shows
	Want []string // those of the ones that it may show
	File string   // where those are; "": on the command line
}

func (e *PinError) Error() string {
	text := fmt.Sprintf("THE CERTIFICATE OF %s IS NOT THE ONE THAT IT SHOULD BE: it is %s, and not %s",
		e.Addr, e.Is, strings.Join(e.Want, " or "))
	if e.File == "" {
		return text + " (-pin)"
	}
	return fmt.Sprintf("%s. Somebody may be in between. If the server has a new one, remove its line from %s", text, e.File)
}

// verify is for tls.Config.VerifyConnection with the server at an address.
func (p *pin) verify(addr string, state tls.ConnectionState) error {
	is := Fingerprint(state.PeerCertificates[0].Raw)
	if p.want != "" {
		if is != p.want {
			return &PinError{Addr: addr, Is: is, Want: []string{p.want}}
		}
		return nil
	}
	known, err := p.known(addr)
	switch {
	case err != nil:
		return fmt.Errorf("-pins: %w", err)
	case slices.Contains(known, is):
		return nil
	case len(known) > 0:
		return &PinError{Addr: addr, Is: is, Want: known, File: p.file}
	}
	if err := p.remember(addr, is); err != nil {
		return fmt.Errorf("-pins: %w", err)
	}
	fmt.Fprintf(os.Stderr, "%s is trusted from now on by its certificate %s (kept in %s)\n", addr, is, p.file)
	return nil
}

// known returns the fingerprints in the file of a server.
func (p *pin) known(addr string) ([]string, error) {
	text, err := os.ReadFile(p.file)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	var all []string
	for line := range strings.Lines(string(text)) {
		if fields := strings.Fields(line); len(fields) == 2 && fields[0] == addr {
			all = append(all, fields[1])
		}
	}
	return all, nil
}

// remember adds a line to the file.
func (p *pin) remember(addr, fingerprint string) error {
	if err := os.MkdirAll(filepath.Dir(p.file), 0o700); err != nil {
		return err
	}
	file, err := os.OpenFile(p.file, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(file, "%s %s\n", addr, fingerprint)
	return errors.Join(err, file.Close())
}

// NotConnected returns what logs why an End that reconnects is not connected: at info, but
// loudly once in a while if the server is not the one that it was.
func NotConnected(log *slog.Logger) func(error) {
	var told Seldom
	return func(err error) {
		if changed := new(PinError); errors.As(err, &changed) && told.Now(err.Error()) {
			log.Warn(changed.Error())
			return
		}
		log.Info("not connected", "err", err)
	}
}
