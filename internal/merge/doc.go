// Package merge combines option structs.
package merge
