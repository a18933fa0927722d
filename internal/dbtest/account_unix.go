//go:build unix

package dbtest

import (
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"syscall"
)

// account is the user as whom a server runs when we are root, which they refuse to be. Nil is ourselves.
type account struct {
	name     string
	uid, gid int
}

// unprivileged returns the account for servers: nil unless we are root.
func unprivileged() (*account, error) {
	if os.Getuid() != 0 {
		return nil, nil
	}
	for _, name := range []string{"postgres", "nobody"} {
		u, err := user.Lookup(name)
		if err != nil {
			continue
		}
		uid, err := strconv.Atoi(u.Uid)
		if err != nil {
			return nil, err
		}
		gid, err := strconv.Atoi(u.Gid)
		if err != nil {
			return nil, err
		}
		return &account{name: name, uid: uid, gid: gid}, nil
	}
	return nil, fmt.Errorf("database servers do not run as root, and there is neither a user postgres nor a user nobody to run it as")
}

// own gives a directory to the account.
func (a *account) own(dir string) error {
	if a == nil {
		return nil
	}
	return os.Chown(dir, a.uid, a.gid)
}

// reaches reports whether the account, as one of the others, may enter the directory and all above it.
func (a *account) reaches(dir string) bool {
	if a == nil {
		return true
	}
	dir, err := filepath.EvalSymlinks(dir)
	if err != nil {
		return false
	}
	if dir, err = filepath.Abs(dir); err != nil {
		return false
	}
	for {
		info, err := os.Stat(dir)
		if err != nil || info.Mode().Perm()&0o001 == 0 {
			return false
		}
		if dir == filepath.Dir(dir) {
			return true
		}
		dir = filepath.Dir(dir)
	}
}

// attributes puts a program into a session of its own, under the account.
func attributes(a *account) *syscall.SysProcAttr {
	attr := &syscall.SysProcAttr{Setsid: true}
	if a != nil {
		attr.Credential = &syscall.Credential{Uid: uint32(a.uid), Gid: uint32(a.gid)}
	}
	return attr
}

// killHolders sends SIGKILL to every process that holds the writing end of the pipe. Where there is no /proc it does
// nothing. Holders of the reading end are ourselves and, for a moment, a child that we are just starting.
func killHolders(pipe *os.File) {
	info, err := pipe.Stat()
	if err != nil {
		return
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return
	}
	link := fmt.Sprintf("pipe:[%d]", stat.Ino)
	processes, _ := fs.Glob(os.DirFS("/proc"), "[0-9]*") // the only error is a bad pattern
	for _, process := range processes {
		pid, err := strconv.Atoi(process)
		if err != nil {
			continue
		}
		dir := filepath.Join("/proc", process, "fd")
		files, err := os.ReadDir(dir)
		if err != nil {
			continue // it ended, or is not ours to look into
		}
		for _, file := range files {
			target, err := os.Readlink(filepath.Join(dir, file.Name()))
			if err != nil || target != link {
				continue
			}
			if end, err := file.Info(); err == nil && end.Mode().Perm()&0o200 != 0 { // proc_pid_fd(5): the open mode
				_ = syscall.Kill(pid, syscall.SIGKILL) // it may have ended meanwhile
				break
			}
		}
	}
}
