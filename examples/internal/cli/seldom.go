package cli

import (
	"sync"
	"time"
)

// Seldom limits the entries in the log that would otherwise come for each message or
// connection. The zero value is ready to use; Now is safe for concurrent use.
type Seldom struct {
	mu   sync.Mutex
	last map[string]time.Time
}

// seldom is the shortest time between two entries with the same text. most bounds the number of
// remembered texts.
const seldom, most = time.Minute, 1024

// Now returns true the first time that it is called with a text, and then once in a minute.
func (s *Seldom) Now(what string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	if last, ok := s.last[what]; ok && now.Sub(last) < seldom {
		return false
	}
	if s.last == nil || len(s.last) >= most {
		s.last = make(map[string]time.Time)
	}
	s.last[what] = now
	return true
}
