// Package heap is a priority queue whose elements know their position in it, so that each can
// be removed or moved without a search.
package heap
