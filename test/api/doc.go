// Package api holds a test that the names which users of the earlier library rely
// on exist, with the types that they had.
package api
