package dbtest

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"strconv"
	"time"
)

// guardScript reads process ids, the last one counts, until its standard input ends, which is when no process holds the
// other end of the pipe any more. Then it ends that process, by force if it is alive after $2 tenths of a second, and
// removes the directory $1. The id is still the server's: the owner of the server says "-" as soon as it has collected
// the process, and an orphan's id stays taken until it has ended. SIGQUIT is PostgreSQL's immediate shutdown; it takes at
// most about 5 s. A server that was killed may be at work for a moment longer, and fill the directory while it is removed.
const guardScript = `
trap '' HUP INT TERM
pid=-
while read -r line; do pid=$line; done
tenths=0
if [ "$pid" != - ]; then
	kill -QUIT "$pid"
	while kill -0 "$pid" && [ "$tenths" -lt "$2" ]; do
		sleep 0.1
		tenths=$((tenths + 1))
	done
	kill -KILL "$pid"
fi 2>/dev/null
tenths=0
until rm -rf -- "$1" 2>/dev/null || [ "$tenths" -ge 50 ]; do
	sleep 0.1
	tenths=$((tenths + 1))
done
`

// guard is the process that clears up after a server whatever happens to us.
type guard struct {
	dir     string
	process *exec.Cmd
	pipe    *os.File // writing end; it closes with us
}

func newGuard(dir string, patience time.Duration) (*guard, error) {
	r, w, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer r.Close()
	cmd := exec.Command("/bin/sh", "-c", guardScript, "sh", dir, strconv.Itoa(int(patience/(100*time.Millisecond))))
	cmd.Dir = "/"
	cmd.Stdin = r
	cmd.SysProcAttr = attributes(nil)
	if err := cmd.Start(); err != nil {
		return nil, errors.Join(err, w.Close())
	}
	return &guard{dir: dir, process: cmd, pipe: w}, nil
}

// tell names the process to end: its id, or "-" for none.
func (g *guard) tell(pid string) error {
	_, err := fmt.Fprintln(g.pipe, pid)
	return err
}

// close lets the guard do its work and waits for it.
func (g *guard) close() error {
	err := errors.Join(g.pipe.Close(), g.process.Wait())
	if _, missing := os.Stat(g.dir); !errors.Is(missing, fs.ErrNotExist) {
		err = errors.Join(err, fmt.Errorf("the directory %s of a stopped server could not be removed", g.dir))
	}
	return err
}
