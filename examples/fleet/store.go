package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"

	"github.com/singchia/geminio/examples/internal/lock"
)

// store keeps readings in a file, a line of JSON for each. Its methods are safe for concurrent use.
//
// A device that has no answer to a reading publishes it again, also to a server that was restarted
// and does not remember it. So the store knows from the file which readings it has. A device numbers
// its readings and publishes them in order, so the store has all readings up to the last one.
type store struct {
	mu   sync.Mutex
	file *os.File
	size int64              // the length of the complete lines
	has  map[boot]uint64    // the number of the last reading
	last map[string]reading // by device
}

// boot is the time of a device between two boots.
type boot struct{ device, boot string }

// openStore opens a file, which belongs to one process, and reads it. It cuts a last line off that
// is incomplete, since the process was killed when it wrote the line; that reading has no answer.
func openStore(name string) (*store, error) {
	file, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	s := &store{file: file, has: make(map[boot]uint64), last: make(map[string]reading)}
	if err := lock.File(file); err != nil {
		file.Close()
		return nil, fmt.Errorf("%s: another server has it: %w", name, err)
	}
	if err := s.read(); err != nil {
		file.Close()
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return s, nil
}

// read reads the file, and leaves the position behind the last complete line.
func (s *store) read() error {
	in := bufio.NewReader(s.file)
	for {
		line, err := in.ReadBytes('\n')
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
		var r reading
		if err := json.Unmarshal(line, &r); err != nil {
			return fmt.Errorf("the line at byte %d: %w", s.size, err)
		}
		s.note(r, len(line))
	}
	if err := s.file.Truncate(s.size); err != nil {
		return err
	}
	_, err := s.file.Seek(s.size, io.SeekStart)
	return err
}

// add stores a reading, unless the store has it already.
func (s *store) add(r reading) error {
	line, err := json.Marshal(r)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if r.Number <= s.has[boot{r.Device, r.Boot}] {
		return nil
	}
	n, err := s.file.Write(append(line, '\n'))
	if err != nil {
		if n > 0 {
			err = errors.Join(err, s.file.Truncate(s.size))
			s.file.Seek(s.size, io.SeekStart)
		}
		return err
	}
	s.note(r, n)
	return nil
}

// note notes that the file has a reading, in a line of n bytes. s.mu is held.
func (s *store) note(r reading, n int) {
	s.size += int64(n)
	s.has[boot{r.Device, r.Boot}] = r.Number
	s.last[r.Device] = r
}

// latest returns the last reading of a device.
func (s *store) latest(device string) (reading, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r, ok := s.last[device]
	return r, ok
}

// close closes the file.
func (s *store) close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return errors.Join(s.file.Sync(), s.file.Close())
}
