//go:build unix

package main

import (
	"fmt"
	"io/fs"
	"os"
	"syscall"
)

// openOwn opens a file, or creates it with that mode. It does not follow a link, and does not
// use a file of another user, since other users may be able to write to the directory.
func openOwn(name string, mode fs.FileMode) (*os.File, error) {
	file, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, mode)
	if err != nil {
		return nil, err
	}
	info, err := file.Stat()
	if err == nil {
		is, ok := info.Sys().(*syscall.Stat_t)
		if !info.Mode().IsRegular() || !ok || int(is.Uid) != os.Geteuid() || is.Nlink != 1 {
			err = fmt.Errorf("%s is in the way: it is not a file of this user alone", name)
		}
	}
	if err != nil {
		file.Close()
		return nil, err
	}
	return file, nil
}
