// Package docs tests the documentation: its Go code compiles, and the files that it links exist.
package docs
