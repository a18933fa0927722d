//go:build unix

package changeling

import "syscall"

// diskUsed is the share of the file system of a path that is full, to those who are not root.
func diskUsed(path string) (float64, error) {
	var s syscall.Statfs_t
	if err := syscall.Statfs(path, &s); err != nil {
		return 0, err
	}
	used, free := float64(s.Blocks)-float64(s.Bfree), float64(s.Bavail)
	return used / (used + free), nil
}
