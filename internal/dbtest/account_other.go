//go:build !unix

package dbtest

import (
	"errors"
	"os"
	"syscall"
)

// account has no meaning where there are no Unix users.
type account struct{ name string }

func unprivileged() (*account, error) {
	return nil, errors.New("throwaway servers need a Unix system: the guard that ends them is a shell script")
}

func (a *account) own(string) error { return nil }

func (a *account) reaches(string) bool { return true }

func attributes(*account) *syscall.SysProcAttr { return nil }

func killHolders(*os.File) {}
