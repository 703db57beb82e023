// Package pairs has metadata in the form in which it is sent: a list of pairs of a key and a
// value. It also has the values of contexts by which packages metadata and application
// exchange such lists.
package pairs
