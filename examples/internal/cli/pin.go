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

// pin has the fingerprints that a client accepts from a server.
type pin struct {
	want string // a fingerprint; "": that of the file, or the first one
	file string // a file whose lines have an address and a fingerprint
}

// newPin parses the values of -pin and -pins.
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

// PinError reports that a server has another certificate than the pinned one.
type PinError struct {
	Addr string
	Is   string   // the fingerprint of the server's certificate
	Want []string // the accepted fingerprints
	File string   // the file with the accepted fingerprints; "": they are on the command line
}

func (e *PinError) Error() string {
	text := fmt.Sprintf("THE CERTIFICATE OF %s IS NOT THE ONE THAT IT SHOULD BE: it is %s, and not %s",
		e.Addr, e.Is, strings.Join(e.Want, " or "))
	if e.File == "" {
		return text + " (-pin)"
	}
	return fmt.Sprintf("%s. Somebody may be in between. If the server has a new one, remove its line from %s", text, e.File)
}

// verify is the function tls.Config.VerifyConnection for the server at an address.
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

// known returns the fingerprints of a server in the file.
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

// NotConnected returns a function that logs why a retry End is not connected: at info, or at
// warn once in a minute if the server has another certificate than before.
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
