package tunnel

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func writeFile(t *testing.T, text string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "file.toml")
	require.NoError(t, os.WriteFile(file, []byte(text), 0o600))
	return file
}

func TestReadServices(t *testing.T) {
	got, err := ReadServices(writeFile(t, `
		ssh = "127.0.0.1:22"
		web = {address = "10.0.0.7:80", proxy-protocol = 2}
		[mail]
		address = "mail:25"
		proxy-protocol = 1
	`))
	require.NoError(t, err)
	assert.Equal(t, map[string]Service{
		"ssh": {Addr: "127.0.0.1:22"}, "web": {"10.0.0.7:80", 2}, "mail": {"mail:25", 1},
	}, got)
	for text, want := range map[string]string{
		``:                                   "is empty",
		`ssh = 22`:                           "address = 22 is not part of a service",
		`web = {proxy-protocol = 2}`:         "needs an address",
		`web = {address = "a:1", proxy = 2}`: "proxy = 2 is not part of a service",
		`web = {address = "a:1", proxy-protocol = 3}`: "not a version of the PROXY protocol",
		`web = "a:1`: "line 1",
	} {
		_, err := ReadServices(writeFile(t, text))
		assert.ErrorContains(t, err, want, text)
	}
}

func TestReadMaps(t *testing.T) {
	got, err := ReadMaps(writeFile(t, "\":9022\" = \"home/ssh\"\n\":9000\" = \"home/web\"\n"))
	require.NoError(t, err)
	assert.Equal(t, []Map{{":9000", "home/web"}, {":9022", "home/ssh"}}, got)
	_, err = ReadMaps(writeFile(t, "\":9022\" = 1\n"))
	assert.Error(t, err)
	_, err = ReadMaps(filepath.Join(t.TempDir(), "nothing"))
	assert.ErrorIs(t, err, os.ErrNotExist)
}

func TestOrigin(t *testing.T) {
	for _, o := range []Origin{
		{},
		{Client: "192.0.2.1:1234", Address: "192.0.2.2:80"},
		{Client: "[2001:db8::1]:1234", Address: "[2001:db8::2]:80", confirm: true},
	} {
		assert.Equal(t, o, parseOrigin(o.meta()))
	}
	assert.Equal(t, Origin{Client: "nonsense"}, parseOrigin([]byte("nonsense")))
}

func TestProxyHeader(t *testing.T) {
	for want, o := range map[string]Origin{
		"PROXY TCP4 192.0.2.1 192.0.2.2 1234 80\r\n":     {Client: "192.0.2.1:1234", Address: "192.0.2.2:80"},
		"PROXY TCP6 2001:db8::1 2001:db8::2 1234 80\r\n": {Client: "[2001:db8::1]:1234", Address: "[2001:db8::2]:80"},
		"PROXY UNKNOWN\r\n":                              {Client: "nonsense"},
	} {
		got, err := o.header(1).Format()
		assert.NoError(t, err)
		assert.Equal(t, want, string(got))
	}
}
