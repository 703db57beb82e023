// Package list has a doubly linked list whose links are fields of its values. Adding a
// value, removing it, and moving on to the next take constant time and allocate nothing.
package list
