// Package chunk provides pooled buffers of a few sizes, and queues of them that need little
// more memory than their bytes.
//
// Chunks and queues are not safe for concurrent use, with one exception: a goroutine may read
// the bytes of a chunk while another one writes into its free space, because the two do not
// overlap.
package chunk
