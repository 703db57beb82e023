// Package mock has a gomock mock for each interface of package geminio, for the tests of users:
// MockEnd of geminio.End, MockStream of geminio.Stream, and so on. They are made with
// go.uber.org/mock. Only programs that import this package need that module.
//
// A mock has the methods of its interface and no others. A function such as geminio.Shutdown
// returns an error that matches errors.ErrUnsupported for a MockEnd.
//
// For tests over a connection, package geminiotest has pairs of Ends.
package mock

//go:generate go tool mockgen -write_package_comment=false -destination=mock.go -package=mock github.com/singchia/geminio Request,Response,Message,RPCer,Messager,Raw,RawRPCMessager,Stream,Multiplexer,End,Coder,Shutdowner,StreamOpener,HalfCloser,Resetter,ErrorCloser,Causer,Doner,EndOwned,StreamOwned,Snapshotter,StreamSnapshotter,CallLister,Pinger
