package tunnel

import (
	"context"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"slices"
	"strconv"

	"github.com/BurntSushi/toml"
	"github.com/pires/go-proxyproto"
)

// Service is a TCP service, the destination of connections.
type Service struct {
	Addr  string
	Proxy int // the version of the PROXY header that each connection begins with: 1 or 2; 0: no header
}

// ParseProxy parses the version of the PROXY protocol.
func ParseProxy(text string) (int, error) {
	version, err := strconv.Atoi(text)
	if err != nil || version < 0 || version > 2 {
		return 0, fmt.Errorf("%q is not a version of the PROXY protocol: 1, 2 or 0 for none", text)
	}
	return version, nil
}

// Dial connects with the service.
func (s Service) Dial(ctx context.Context, o Origin) (Leg, error) {
	c, err := new(net.Dialer).DialContext(ctx, "tcp", s.Addr)
	if err != nil {
		return nil, err
	}
	if s.Proxy != 0 {
		if _, err := o.header(s.Proxy).WriteTo(c); err != nil {
			c.Close()
			return nil, fmt.Errorf("PROXY header: %w", err)
		}
	}
	return TCP(c.(*net.TCPConn)), nil
}

// header returns the PROXY header of an Origin. If the Origin has no valid addresses, the header
// states that they are unknown.
func (o Origin) header(version int) *proxyproto.Header {
	var client, address net.Addr
	if a, err := netip.ParseAddrPort(o.Client); err == nil {
		client = net.TCPAddrFromAddrPort(a)
	}
	if a, err := netip.ParseAddrPort(o.Address); err == nil {
		address = net.TCPAddrFromAddrPort(a)
	}
	return proxyproto.HeaderProxyFromAddrs(byte(version), client, address)
}

// UnmarshalTOML implements toml.Unmarshaler: a service is the text of its address, or a table
// with address and proxy-protocol.
func (s *Service) UnmarshalTOML(value any) error {
	table, ok := value.(map[string]any)
	if !ok {
		table = map[string]any{"address": value}
	}
	for key, value := range table {
		switch text, isText := value.(string); {
		case key == "address" && isText:
			s.Addr = text
		case key == "proxy-protocol":
			version, err := ParseProxy(fmt.Sprint(value))
			if err != nil {
				return err
			}
			s.Proxy = version
		default:
			return fmt.Errorf("%s = %v is not part of a service", key, value)
		}
	}
	if s.Addr == "" {
		return fmt.Errorf("a service needs an address")
	}
	return nil
}

// ReadServices reads a TOML file with services by name.
func ReadServices(file string) (map[string]Service, error) {
	return readTable[Service](file)
}

// Map is an address at which connections are accepted, and their destination.
type Map struct{ Addr, Goal string }

// ReadMaps reads a TOML file with destinations by address, and returns the maps in the order of
// their addresses.
func ReadMaps(file string) ([]Map, error) {
	table, err := readTable[string](file)
	var list []Map
	for _, addr := range slices.Sorted(maps.Keys(table)) {
		list = append(list, Map{addr, table[addr]})
	}
	return list, err
}

// readTable reads a TOML file with a value for each key.
func readTable[V any](file string) (map[string]V, error) {
	var table map[string]V
	if _, err := toml.DecodeFile(file, &table); err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	if len(table) == 0 {
		return nil, fmt.Errorf("%s is empty", file)
	}
	return table, nil
}
