// Package geminio lets two programs talk over one connection as equals.
//
// Each side holds an [End]. The side that dialled and the side that listened can both, at
// any time and at once, call methods of the other side ([RPCer]), publish
// messages that the receiver acknowledges ([Messager]), exchange raw bytes
// ([Raw]), and open further streams ([Multiplexer]), each of which does all of
// this again without holding up the others.
//
// This package holds the vocabulary only: interfaces, a few plain types and the
// errors. Ends come from package client (NewEnd and its kin) and from package
// server (Listen, then AcceptEnd). Options for single operations are in package
// options; callbacks on the life of Ends and streams in package delegate. Methods that Ends
// and streams have beyond their interfaces, such as Shutdown and CloseWrite, are in
// optional.go: [Shutdowner] and its neighbours.
//
// All methods of an End, a Stream and a Listener may be called from any
// goroutine at any time. A Request, a Response and a Message belong to one
// goroutine at a time, and their setters are for the time before they are
// handed over.
//
// Nil options are skipped. A context, request, message, function, dialer, connection or
// listener that is nil is an error that names it.
package geminio
