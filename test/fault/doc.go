// Package fault tests what broken and slow networks, slow users and unlucky moments do
// to a pair of Ends: each test is named after what it shows and states its bound.
// docs/reliability.md says which row of the list of faults is tested where.
package fault
