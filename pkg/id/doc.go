// Package id gives out numbers: for packets, streams and clients.
//
// [IDCounter] does so in one of four [Mode]s; [IDFactory] is what an application
// implements to number things by its own rules.
package id
