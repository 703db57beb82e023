package inspect

import (
	"bytes"
	"cmp"
	"fmt"
	"image"
	"image/color"
	"image/png"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/require"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/inspect"
)

// maxPicture is the largest size of a picture of the documentation, in bytes.
const maxPicture = 150_000

// TestPictures makes the pictures of docs/operations.md, light and dark: of a list of Ends, of one End,
// and of a cluster. It writes them with the flag -pictures.
func TestPictures(t *testing.T) {
	h := &inspect.Handler{
		Sources: []inspect.Source{fleet(10000)},
		Program: "fleet",
		Name:    func(e geminio.End) string { return e.(*fakeEnd).name },
	}
	url := serve(t, h)
	clustered := serve(t, &inspect.Handler{Program: "gateway", Cluster: gateways(9000)})
	b := newTab(t)
	b.open(url + "?ends.q=device-8501")
	end := evaluate[string](b, `document.querySelector("#ends-rows a").href`)
	for _, p := range []struct {
		name, url string
		width     int64
	}{
		{"inspect-ends", url + "?ends.sort=oldest&ends.desc=1&ends.limit=18", 1600},
		{"inspect-end", end, 1440},
		{"inspect-cluster", clustered + "cluster", 1600},
	} {
		b.do(chromedp.EmulateViewport(p.width, 860))
		for _, scheme := range []string{"light", "dark"} {
			b.colours(scheme)
			b.open(p.url)
			picture := small(t, b.picture())
			name := fmt.Sprintf("%s-%s.png", p.name, scheme)
			require.LessOrEqual(t, len(picture), maxPicture, name)
			if *pictures != "" {
				require.NoError(t, os.WriteFile(filepath.Join(*pictures, name), picture, 0o644))
			}
		}
	}
}

// small reduces the colours of a PNG to its 256 most frequent ones, which makes it smaller.
func small(t *testing.T, data []byte) []byte {
	t.Helper()
	full, err := png.Decode(bytes.NewReader(data))
	require.NoError(t, err)
	area := full.Bounds()
	count := make(map[color.Color]int)
	for y := range area.Dy() {
		for x := range area.Dx() {
			count[full.At(x, y)]++
		}
	}
	palette := slices.SortedFunc(maps.Keys(count), func(a, b color.Color) int { return cmp.Compare(count[b], count[a]) })
	palette = palette[:min(len(palette), 256)]
	reduced := image.NewPaletted(area, palette)
	index := make(map[color.Color]uint8)
	for y := range area.Dy() {
		for x := range area.Dx() {
			c := full.At(x, y)
			i, ok := index[c]
			if !ok {
				i = uint8(reduced.Palette.Index(c))
				index[c] = i
			}
			reduced.SetColorIndex(x, y, i)
		}
	}
	var out bytes.Buffer
	e := png.Encoder{CompressionLevel: png.BestCompression}
	require.NoError(t, e.Encode(&out, reduced))
	return out.Bytes()
}
