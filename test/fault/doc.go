// Package fault tests pairs of Ends with broken and slow networks, slow applications, and
// operations that end at unlucky moments. The name of each test says what must hold, and the
// test states its bounds. docs/reliability.md lists the faults with their tests.
package fault
