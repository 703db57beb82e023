package main

// The disk of a broker that stores messages itself. When it is full, or nearly, nothing more
// is stored: producers wait, as for a topic that is full, while consumers get what is there.

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/singchia/geminio/examples/internal/cli"
)

const (
	// lookAtDisk is how often the broker looks at its disk and its storage.
	lookAtDisk = time.Second
	// spare is what stays free, or a fiftieth of the disk if that is less: JetStream does
	// not take it well when a write fails.
	spare, sparePart = 64 << 20, 50
	// sampleSize is how much is written at most to see whether the disk takes it.
	sampleSize = 1 << 20
)

// disk knows whether there is room to store messages. Its methods are safe for concurrent
// use.
type disk struct {
	dir string
	log *slog.Logger

	mu     sync.Mutex
	failed bool  // a write has failed since the storage was opened, or there was no room then
	full   error // why nothing is to be stored; nil: there is room
}

// errDiskFull is why a message is not stored.
var errDiskFull = errors.New("the broker's disk is full")

// check returns an error that matches errDiskFull if nothing is to be stored.
func (d *disk) check() error {
	if d == nil {
		return nil // the storage is elsewhere
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.full
}

// opened looks whether there is room, when the storage has just been opened.
func (d *disk) opened() {
	err := d.look()
	d.mu.Lock()
	defer d.mu.Unlock()
	d.failed = err != nil
	d.set(err)
}

// fail notes that the storage could not write.
func (d *disk) fail(err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.failed = true
	d.set(err)
}

// set is called with mu.
func (d *disk) set(err error) {
	switch {
	case err != nil && d.full == nil:
		d.log.Warn("the disk is full: producers wait", "dir", d.dir, "err", err)
	case err == nil && d.full != nil:
		d.log.Warn("the disk has room again", "dir", d.dir)
	}
	if d.full = err; err != nil {
		d.full = fmt.Errorf("%w: %w", errDiskFull, err)
	}
}

// look returns an error if there is no room. After there was none it has to be a little
// more, and the disk has to take a sample.
func (d *disk) look() error {
	free, total, err := space(d.dir)
	if err != nil {
		return err
	}
	least := min(spare, total/sparePart)
	full := d.check() != nil
	if full {
		least *= 2
	}
	if free < least {
		return fmt.Errorf("%s of %s are free", cli.Size(free), cli.Size(total))
	}
	if !full {
		return nil
	}
	file := filepath.Join(d.dir, "sample")
	defer os.Remove(file)
	return os.WriteFile(file, make([]byte, min(sampleSize, least)), 0o600)
}

// errStorage is why the storage has to be opened again.
var errStorage = errors.New("the storage has failed")

// watch looks at the disk and the storage until ctx ends, or the storage has to be opened
// again: then it returns an error that matches errStorage. That is when a write has failed,
// and once more when there is room again: a storage that was opened on a full disk
// has set itself limits by that, and does not take back that a write has failed.
func (d *disk) watch(ctx context.Context, health func() error) error {
	for sleep(ctx, lookAtDisk) {
		if err := health(); err != nil {
			d.fail(err)
			return fmt.Errorf("%w: %w", errStorage, err)
		}
		err := d.look()
		d.mu.Lock()
		d.set(err)
		reopen := err == nil && d.failed
		d.mu.Unlock()
		if reopen {
			return fmt.Errorf("%w before the disk had room again", errStorage)
		}
	}
	return nil
}
