package main

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"strconv"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"github.com/singchia/geminio/test/gauge"
)

// natsServer is the actor of a NATS server. It does not use package embed, which has no numbers of the server.
type natsServer struct{ s *server.Server }

// newNATS starts a NATS server with JetStream in a cluster of the servers of s.Routes.
func newNATS(s settings) (actor, ready, error) {
	o := &server.Options{
		ServerName: fmt.Sprint("nats-", s.Index), Host: "127.0.0.1", Port: -1, NoSigs: true, NoLog: true,
		JetStream: true, StoreDir: s.Dir, Cluster: server.ClusterOpts{Name: "scale"},
	}
	host, port, err := net.SplitHostPort(s.Routes[s.Index])
	if err != nil {
		return nil, ready{}, err
	}
	if o.Cluster.Port, err = strconv.Atoi(port); err != nil {
		return nil, ready{}, err
	}
	o.Cluster.Host = host
	for _, r := range s.Routes {
		o.Routes = append(o.Routes, &url.URL{Scheme: "nats", Host: r})
	}
	n := &natsServer{}
	if n.s, err = server.NewServer(o); err != nil {
		return nil, ready{}, err
	}
	n.s.Start()
	if !n.s.ReadyForConnections(time.Minute) {
		return nil, ready{}, errors.New("the NATS server does not start")
	}
	return n, ready{Addr: n.s.ClientURL()}, nil
}

// obey implements actor.
func (n *natsServer) obey(o order) (a answer) {
	switch o.Do {
	case "usage":
		a.Usage = gauge.Take()
	case "traffic":
		v, err := n.s.Varz(nil)
		if err != nil {
			return answer{Error: err.Error()}
		}
		a.Traffic = traffic{uint64(v.InMsgs), uint64(v.OutMsgs), uint64(v.InBytes), uint64(v.OutBytes), gauge.Processor()}
	default:
		a.Error = "unknown"
	}
	return a
}
