// Package gauge measures what the process uses: memory, goroutines and file descriptors.
package gauge
