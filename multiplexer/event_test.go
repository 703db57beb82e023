package multiplexer

import (
	"flag"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

var update = flag.Bool("update", false, "write the diagrams of the states into docs/multiplexing.md")

// machine is one of the three tables.
type machine struct {
	name    string                        // of its section in docs/multiplexing.md
	prefix  string                        // of the constants of its states
	file    string                        // that has these constants
	states  []string                      // their names, without the prefix
	next    func(state int, ev event) int // 0: the state remains
	initial map[int]string                // the states in which a dialogue may begin, and which dialogues do
	final   []int                         // the states that nothing leaves
}

func names[S fmt.Stringer](all []S) (names []string) {
	for _, s := range all {
		names = append(names, s.String())
	}
	return names
}

func upTo[S ~uint8](n S) (all []S) {
	for s := range n {
		all = append(all, s)
	}
	return all
}

var machines = []machine{
	{
		name: "the life of a dialogue", prefix: "life", file: "life.go",
		states: names(upTo(lifeStates)),
		next:   func(state int, ev event) int { return int(lifeTable[state][ev]) },
		initial: map[int]string{
			int(lifeNew):     "NewDialogue",
			int(lifeOffered): "the peer's Open",
			int(lifeOpen):    "the default dialogue",
		},
		final: []int{int(lifeGone), int(lifeNotOpened)},
	},
	{
		name: "the sending half", prefix: "send", file: "send_half.go",
		states: names(upTo(sendStates)),
		next:   func(state int, ev event) int { return int(sendTable[state][ev]) },
		initial: map[int]string{
			int(sendReady): "",
			int(sendOpen):  "the default dialogue",
		},
		final: []int{int(sendEnded)},
	},
	{
		name: "the receiving half", prefix: "recv", file: "recv_half.go",
		states:  names(upTo(recvStates)),
		next:    func(state int, ev event) int { return int(recvTable[state][ev]) },
		initial: map[int]string{int(recvOpen): ""},
		final:   []int{int(recvStoppedFin)},
	},
}

// diagram returns the machine as a Mermaid diagram. Events that lead from one state to the
// same other one share an arrow.
func (m *machine) diagram() string {
	var b strings.Builder
	b.WriteString("```mermaid\nstateDiagram-v2\n")
	for state := range m.states {
		if label, ok := m.initial[state]; ok {
			fmt.Fprintf(&b, "    [*] --> %s%s\n", m.states[state], strings.TrimSuffix(": "+label, ": "))
		}
	}
	for from := range m.states {
		for to := range m.states {
			var labels []string
			for ev := range events {
				if to != 0 && m.next(from, ev) == to {
					labels = append(labels, ev.String())
				}
			}
			if labels != nil {
				fmt.Fprintf(&b, "    %s --> %s: %s\n", m.states[from], m.states[to], strings.Join(labels, ", "))
			}
		}
	}
	for _, state := range m.final {
		fmt.Fprintf(&b, "    %s --> [*]\n", m.states[state])
	}
	b.WriteString("```\n")
	return b.String()
}

// meanings returns a table of the states with the comments of their constants.
func (m *machine) meanings(t *testing.T) string {
	var b strings.Builder
	b.WriteString("| state | meaning |\n| --- | --- |\n")
	comments := constComments(t, m.file)
	for _, state := range m.states {
		name := m.prefix + state
		comment, ok := strings.CutPrefix(comments[name], name+": ")
		require.True(t, ok, "the comment of %s begins with its name", name)
		for _, other := range m.states {
			comment = strings.ReplaceAll(comment, m.prefix+other, other)
		}
		fmt.Fprintf(&b, "| %s | %s |\n", state, strings.ToUpper(comment[:1])+comment[1:])
	}
	return b.String()
}

// constComments returns the comments of the constants in a file, each as one line.
func constComments(t *testing.T, file string) map[string]string {
	parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ParseComments)
	require.NoError(t, err)
	all := make(map[string]string)
	ast.Inspect(parsed, func(n ast.Node) bool {
		if spec, ok := n.(*ast.ValueSpec); ok && spec.Doc != nil {
			all[spec.Names[0].Name] = strings.Join(strings.Fields(spec.Doc.Text()), " ")
		}
		return true
	})
	return all
}

// The diagrams in the documentation are those of the tables. To write them there, run
//
//	go test ./multiplexer -run TestStateDiagrams -update
func TestStateDiagrams(t *testing.T) {
	const file = "../docs/multiplexing.md"
	text, err := os.ReadFile(file)
	require.NoError(t, err)
	wanted := string(text)
	for _, m := range machines {
		section := regexp.MustCompile(`(?s)(<!-- generated: ` + m.name + ` -->\n).*?(<!-- end -->)`)
		require.Len(t, section.FindAllString(wanted, -1), 1, "sections of %s", m.name)
		wanted = section.ReplaceAllString(wanted, "${1}\n"+m.diagram()+"\n"+m.meanings(t)+"\n${2}")
	}
	if *update {
		require.NoError(t, os.WriteFile(file, []byte(wanted), 0o666))
		return
	}
	assert.Equal(t, wanted, string(text), "run go test ./multiplexer -run TestStateDiagrams -update")
}

// Each state is entered, only the final ones have no way out, and no way leads back.
func TestStatesLeadForward(t *testing.T) {
	for _, m := range machines {
		after := make([][]int, len(m.states))
		entered := make([]bool, len(m.states))
		for from := range m.states {
			for ev := range events {
				if to := m.next(from, ev); to != 0 && to != from {
					after[from] = append(after[from], to)
					entered[to] = true
				}
			}
			assert.Equal(t, slices.Contains(m.final, from), after[from] == nil, "%s: %s is final", m.name, m.states[from])
		}
		var path []int
		var walk func(state int)
		walk = func(state int) {
			require.NotContains(t, path, state, "%s: a way back to %s", m.name, m.states[state])
			path = append(path, state)
			for _, next := range after[state] {
				walk(next)
			}
			path = path[:len(path)-1]
		}
		for state, name := range m.states {
			_, initial := m.initial[state]
			assert.True(t, initial || entered[state], "%s: nothing leads to %s", m.name, name)
			walk(state)
		}
	}
}

// Each event has a name and a comment, and changes a state.
func TestEvents(t *testing.T) {
	comments := constComments(t, "event.go")
	assert.Len(t, comments, int(events))
	for name, comment := range comments {
		assert.True(t, strings.HasPrefix(comment, name+": "), name)
	}
	seen := make(map[string]bool)
	for ev := range events {
		assert.NotEmpty(t, ev.String())
		assert.False(t, seen[ev.String()], "a second event %q", ev)
		seen[ev.String()] = true
		assert.True(t, slices.ContainsFunc(machines, func(m machine) bool {
			return slices.ContainsFunc(upTo(uint8(len(m.states))), func(state uint8) bool {
				return m.next(int(state), ev) != 0
			})
		}), "%v changes a state", ev)
	}
}
