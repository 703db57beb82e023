package main

// The incomplete file.

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/singchia/geminio/examples/internal/lock"
)

// maxLinks bounds the length of a chain of symbolic links.
const maxLinks = 40

// part is a file in the directory of its target, to which it is renamed when it is complete.
// Only one goroutine uses it.
type part struct {
	file   *os.File // nil: written bytes are only counted
	target string   // after following symbolic links
	mode   fs.FileMode
	// replaces tells whether there is a file at target. mode is the mode of that file.
	replaces bool

	size int64
	sum  hash.Hash
}

// nowhere returns a part without a file.
func nowhere() *part { return &part{sum: sha256.New()} }

// openPart opens the part for a path. The part may have bytes of an earlier run.
func openPart(path string) (*part, error) {
	target, err := follow(path)
	if err != nil {
		return nil, err
	}
	p := &part{target: target, sum: sha256.New()}
	create := fs.FileMode(0o666)
	switch info, err := os.Stat(target); {
	case err == nil && !info.Mode().IsRegular():
		// The rename would replace any file, also a device.
		return nil, fmt.Errorf("%s is not a regular file", path)
	case err == nil:
		p.replaces, p.mode, create = true, info.Mode().Perm(), 0o600
	case !errors.Is(err, fs.ErrNotExist):
		return nil, err
	}
	if p.file, err = openOwn(target+".part", create); err != nil {
		return nil, err
	}
	if err = lock.File(p.file); err == nil {
		p.size, err = io.Copy(p.sum, p.file)
	}
	if err != nil {
		p.file.Close()
		return nil, fmt.Errorf("%s: %w", p.file.Name(), err)
	}
	return p, nil
}

// follow returns the target of a path after following symbolic links. The target need not exist.
func follow(path string) (string, error) {
	for range maxLinks {
		to, err := os.Readlink(path)
		if err != nil { // not a link
			return path, nil
		}
		if !filepath.IsAbs(to) {
			to = filepath.Join(filepath.Dir(path), to)
		}
		path = to
	}
	return "", fmt.Errorf("%s: too many symbolic links", path)
}

// Write implements io.Writer.
func (p *part) Write(b []byte) (n int, err error) {
	n = len(b)
	if p.file != nil {
		n, err = p.file.Write(b)
	}
	p.size += int64(n)
	p.sum.Write(b[:n])
	return n, err
}

// tally returns the size and sum of the part.
func (p *part) tally() tally { return newTally(p.size, p.sum) }

// reset empties the part.
func (p *part) reset() error {
	p.size = 0
	p.sum.Reset()
	if p.file == nil {
		return nil
	}
	if err := p.file.Truncate(0); err != nil {
		return err
	}
	_, err := p.file.Seek(0, io.SeekStart)
	return err
}

// keep renames the complete file to its target.
func (p *part) keep() error {
	if p.replaces {
		if err := p.file.Chmod(p.mode); err != nil {
			return err
		}
	}
	if err := errors.Join(p.file.Sync(), p.file.Close()); err != nil {
		return err
	}
	return os.Rename(p.file.Name(), p.target)
}

// left adds to an error the size of the part with which the next run begins. It removes an
// empty part.
func (p *part) left(err error) error {
	switch {
	case p.file == nil:
		return err
	case p.size == 0:
		return errors.Join(err, p.discard())
	}
	return fmt.Errorf("%w\n%s has %d bytes, behind which the next run goes on", err, p.file.Name(), p.size)
}

// discard removes the part.
func (p *part) discard() error {
	if p.file == nil {
		return nil
	}
	p.file.Close()
	return os.Remove(p.file.Name())
}

// close closes the part and keeps its file.
func (p *part) close() { p.file.Close() }
