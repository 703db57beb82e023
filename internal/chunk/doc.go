// Package chunk keeps bytes on their way: pooled buffers of a few sizes, and
// queues of them that hold little more memory than bytes.
//
// Nothing here is safe for concurrent use, but for one thing: the bytes of a
// chunk that its writer has not yet reached may be read and written at the same
// time, since they do not overlap.
package chunk
