package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
)

// The place of the report in the documentation.
const (
	pageName    = "performance.md"
	pictureName = "compare.svg"
	beginMark   = "<!-- compare:begin -->"
	endMark     = "<!-- compare:end -->"
)

// page is a document with a place for the report.
type page struct {
	dir           string
	before, after []byte
}

// readPage finds the place, before the measurement begins.
func readPage(dir string) (*page, error) {
	name := filepath.Join(dir, pageName)
	text, err := os.ReadFile(name)
	if err != nil {
		return nil, err
	}
	before, rest, begins := bytes.Cut(text, []byte(beginMark))
	_, after, ends := bytes.Cut(rest, []byte(endMark))
	if !begins || !ends {
		return nil, fmt.Errorf("%s: no %s with a %s after it", name, beginMark, endMark)
	}
	return &page{dir: dir, before: before, after: after}, nil
}

// write writes the report and the picture.
func (p *page) write(r *results, c conditions) error {
	var text, svg bytes.Buffer
	text.Write(p.before)
	fmt.Fprintf(&text, "%s\n\n![geminio beside raw TCP and other libraries, as bars](%s)\n\n", beginMark, pictureName)
	report(&text, r, c)
	fmt.Fprintf(&text, "\n%s", endMark)
	text.Write(p.after)
	picture(&svg, r)
	if err := os.WriteFile(filepath.Join(p.dir, pictureName), svg.Bytes(), 0o644); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(p.dir, pageName), text.Bytes(), 0o644)
}
