// Package test has the tests of module prometheus that need the parser of Prometheus: those of the
// dashboard and of the rules for alerts. It is a module of its own, so that programs with module
// prometheus do not depend on Prometheus itself.
package test
