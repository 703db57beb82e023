// Package test has the tests of module otel that need an exporter of OTLP and several processes. It is
// a module of its own, so that programs with module otel do not depend on these.
package test
