package main

import (
	"bytes"
	"flag"
	"io"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"
)

// composeFile has the fields of compose.yaml. The decoder refuses others, which may be misspelled.
type composeFile struct {
	Name     string                    `yaml:"name"`
	Services map[string]composeService `yaml:"services"`
	Volumes  map[string]struct{}       `yaml:"volumes"`
}

type composeService struct {
	Image     string   `yaml:"image"`
	Command   []string `yaml:"command"`
	Ports     []string `yaml:"ports"`
	Volumes   []string `yaml:"volumes"`
	DependsOn []string `yaml:"depends_on"`
	Restart   string   `yaml:"restart"`
}

// compose.yaml has only known fields, its services and volumes exist, and each command is one that
// gateway or nats-server accepts.
func TestCompose(t *testing.T) {
	text, err := os.ReadFile("compose.yaml")
	require.NoError(t, err)
	decoder := yaml.NewDecoder(bytes.NewReader(text))
	decoder.KnownFields(true)
	var file composeFile
	require.NoError(t, decoder.Decode(&file))
	assert.NotEmpty(t, file.Name)
	var ports, routed []string
	for name, s := range file.Services {
		assert.NotEmpty(t, s.Image, name)
		assert.Equal(t, "unless-stopped", s.Restart, name)
		for _, other := range s.DependsOn {
			assert.Contains(t, file.Services, other, name)
		}
		for _, v := range s.Volumes {
			volume, path, ok := strings.Cut(v, ":")
			assert.True(t, ok && strings.HasPrefix(path, "/"), "%s: %s", name, v)
			assert.Contains(t, file.Volumes, volume, name)
		}
		for _, p := range s.Ports {
			assert.True(t, strings.HasPrefix(p, "127.0.0.1:"), "%s: %s is open to other machines", name, p)
			assert.NotContains(t, ports, p, "%s: two services have the port", name)
			ports = append(ports, p)
		}
		switch {
		case strings.HasPrefix(s.Image, "nats:"):
			routed = append(routed, checkNATS(t, name, s.Command))
		case s.Command[1] == "node":
			checkNode(t, file, name, s.Command)
		default:
			assert.Equal(t, []string{"/gateway", "devices"}, s.Command[:2], name)
			for address := range strings.SplitSeq(s.Command[slices.Index(s.Command, "-connect")+1], ",") {
				host, _, _ := strings.Cut(address, ":")
				assert.Contains(t, file.Services, host, name)
			}
		}
	}
	assert.Len(t, ports, 3)
	assert.Len(t, routed, 3)
	assert.Len(t, slices.Compact(routed), 1, "all NATS servers have the same routes")
}

// checkNATS parses the flags of a NATS server, and returns its routes.
func checkNATS(t *testing.T, name string, command []string) (routes string) {
	t.Helper()
	opt, err := server.ConfigureOptions(flag.NewFlagSet("", flag.ContinueOnError), slices.Clone(command), func() {}, func() {}, func() {})
	require.NoError(t, err, name)
	assert.Equal(t, name, opt.ServerName)
	assert.True(t, opt.JetStream, name)
	return opt.RoutesStr
}

// checkNode parses the flags of a node.
func checkNode(t *testing.T, file composeFile, name string, command []string) {
	t.Helper()
	assert.Equal(t, "/gateway", command[0], name)
	g := newGateway()
	g.Flags.SetOutput(io.Discard)
	require.NoError(t, g.Flags.Parse(command[2:]), name)
	require.NoError(t, g.nats.check(), name)
	assert.Empty(t, g.Flags.Args(), name)
	assert.Equal(t, name, g.options.Host)
	assert.Equal(t, 3, g.options.Replicas, name)
	assert.Equal(t, name+g.options.Listen, g.options.Advertise, "the other nodes dial the name of the service")
	for url := range strings.SplitSeq(g.nats.urls, ",") {
		assert.Contains(t, file.Services, strings.TrimPrefix(url, "nats://"), name)
	}
}
