package main

// The file that is not complete yet.

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

// maxLinks bounds how many symbolic links point to each other.
const maxLinks = 40

// part is a file that stands beside its target until it is complete. It belongs to one
// goroutine.
type part struct {
	file   *os.File // nil: what is written is counted and thrown away
	target string   // with its symbolic links followed
	mode   fs.FileMode
	// replaces tells whether there is a file at target, which has that mode.
	replaces bool

	size int64
	sum  hash.Hash
}

// nowhere returns a part of which nothing is kept.
func nowhere() *part { return &part{sum: sha256.New()} }

// openPart opens the part of the file that is to appear at a path. It may have something
// already, of an earlier run.
func openPart(path string) (*part, error) {
	target, err := follow(path)
	if err != nil {
		return nil, err
	}
	p := &part{target: target, sum: sha256.New()}
	create := fs.FileMode(0o666)
	switch info, err := os.Stat(target); {
	case err == nil && !info.Mode().IsRegular():
		// The rename would replace anything, a device too.
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

// follow returns where a path points to, if it is a symbolic link, also to nothing.
func follow(path string) (string, error) {
	for range maxLinks {
		to, err := os.Readlink(path)
		if err != nil { // it is none
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

// tally returns what the part has.
func (p *part) tally() tally { return newTally(p.size, p.sum) }

// reset throws away what the part has.
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

// keep puts the file, which is complete, in its place.
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

// left adds to an error what the next run has to begin with. It removes a part that has
// nothing.
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

// close closes the part. What it has stays.
func (p *part) close() { p.file.Close() }
