// Package nilarg has the error for nil arguments of operations.
package nilarg
