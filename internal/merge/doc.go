// Package merge combines structs of options, such that later values take precedence.
package merge
