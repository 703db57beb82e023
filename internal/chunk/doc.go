// Package chunk has pooled buffers of a few sizes, and queues of them that use little
// more memory than their bytes need.
//
// Chunks and queues are not safe for concurrent use. One goroutine may however read
// the bytes of a chunk while another one writes into its free space, since the two do
// not overlap.
package chunk
