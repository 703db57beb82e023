// Package protobuf is the codec of Protocol Buffers for package typed. It is a module of its own, so
// that the library does not depend on google.golang.org/protobuf.
//
//	var Greet = typed.Method[*pb.Hello, *pb.Answer]{Name: "greet", Codec: protobuf.Codec}
//
// The type arguments are the pointers that protoc-gen-go generates.
package protobuf
