package cli

import (
	"sync"
	"time"
)

// Seldom tells whether something is worth another line in the log, where it would be one
// for each message or connection otherwise. The zero value is ready; Now is safe for
// concurrent use.
type Seldom struct {
	mu   sync.Mutex
	last map[string]time.Time
}

// seldom is how often the same is told, and most bounds how many things are known.
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
