package main

// The disk of a broker with a storage of its own. If the disk is full, or almost full,
// the broker stores no more messages: producers wait, as for a full topic, and consumers
// still get the stored messages.

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
	// lookAtDisk is the interval at which the broker checks its disk and its storage.
	lookAtDisk = time.Second
	// spare is the space that stays free, or a fiftieth of the disk if that is less,
	// since JetStream does not recover from a failed write.
	spare, sparePart = 64 << 20, 50
	// sampleSize bounds the bytes that are written to test the disk.
	sampleSize = 1 << 20
)

// disk tells whether there is space to store messages. Its methods are safe for
// concurrent use.
type disk struct {
	dir string
	log *slog.Logger

	mu     sync.Mutex
	failed bool  // a write has failed since the storage was opened, or the disk was full then
	full   error // nil: there is space
}

// errDiskFull is the error if a message cannot be stored because the disk is full.
var errDiskFull = errors.New("the broker's disk is full")

// check returns an error that matches errDiskFull if no message may be stored.
func (d *disk) check() error {
	if d == nil {
		return nil // another server stores the messages
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.full
}

// opened checks the space after the storage was opened.
func (d *disk) opened() {
	err := d.look()
	d.mu.Lock()
	defer d.mu.Unlock()
	d.failed = err != nil
	d.set(err)
}

// fail notes that a write of the storage has failed.
func (d *disk) fail(err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.failed = true
	d.set(err)
}

// set sets full. The caller holds mu.
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

// look returns an error if there is no space. After the disk was full, look requires a
// little more space, and writes a sample.
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

// errStorage is the error if the storage must be opened again.
var errStorage = errors.New("the storage has failed")

// watch checks the disk and the storage until ctx ends or the storage must be opened
// again; in the latter case it returns an error that matches errStorage. The storage must
// be opened again after a failed write, and once more when there is space again: a
// storage that was opened on a full disk has reduced its limits, and it still reports the
// failed write.
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
