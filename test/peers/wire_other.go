//go:build !linux

package main

import "errors"

// wire is a link between two network namespaces, which only Linux has.
type wire struct{}

func newWire(int, int) (*wire, error) { return nil, errors.ErrUnsupported }

func (*wire) close() {}

func (*wire) way() (*way, error) { return nil, errors.ErrUnsupported }
