// Package nilarg has the errors of arguments that are nil.
package nilarg
