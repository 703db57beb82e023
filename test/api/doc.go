// Package api tests that the names of the earlier library exist and have the same types.
package api
