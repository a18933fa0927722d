package dbtest

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// The versions of MySQL and MariaDB that scripts/setup.sh mysql makes known, and so those that are always at hand.
const (
	DefaultMySQL   = "mysql9.7"
	DefaultMariaDB = "mariadb10.11"
)

// MySQLOptions says which server to start. The zero value is a fast server of DefaultMySQL for tests.
type MySQLOptions struct {
	// Version is a server and its version, such as mysql9.7 or mariadb11.8. Empty means DefaultMySQL.
	Version string

	// Settings are system variables of the server, such as "gtid_mode": "ON". They win over the defaults of this
	// package, which are a binary log of complete rows (log_bin, binlog_format=ROW, binlog_row_image=FULL), server_id 1,
	// utf8mb4, a buffer pool of 128 MiB and a redo log of 64 MiB. "log_bin": "OFF" is a server without a binary log.
	// A name that begins with loose_ is passed over by a server that does not know it. The variables datadir, socket,
	// port, bind_address, pid_file and tmpdir belong to this package.
	Settings map[string]string

	// Durable leaves sync_binlog, innodb_flush_log_at_trx_commit and innodb_doublewrite as the server has them, as
	// benchmarks need it; MariaDB does not sync its binary log by itself. Without it nothing waits for the disk and
	// there is no doublewrite buffer: a killed server still has what it acknowledged, because the operating system keeps
	// what was written; a killed machine may not.
	Durable bool
}

// MySQL is one running server of MySQL or MariaDB. The user root may do everything and needs no password, but comes from
// this machine alone. Its methods may be called by several goroutines.
type MySQL struct {
	*process
	Version string // as in MySQLOptions

	root      string // holds bin/ and data/
	arguments []string
}

// StartMySQL starts a server on a copy of a data directory that scripts/setup.sh has made, in a new temporary directory,
// and returns when the server accepts connections. The context bounds the start alone. Run by root, the server runs as
// the user postgres, or nobody where that is missing.
func StartMySQL(ctx context.Context, o MySQLOptions) (*MySQL, error) {
	account, err := unprivileged()
	if err != nil {
		return nil, err
	}
	s := &MySQL{Version: cmp.Or(o.Version, DefaultMySQL)}
	if s.root, err = findMySQL(s.Version, account); err != nil {
		return nil, err
	}
	if s.process, err = newProcess(s.Version, account, s.kind()); err != nil {
		return nil, err
	}
	s.arguments = s.settings(o)
	if err := s.create(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("start %s: %w", s.Version, err), s.Stop())
	}
	return s, nil
}

// DSN returns the URL of a database on the server, without parameters.
func (s *MySQL) DSN(database string) string {
	u := url.URL{Scheme: "mysql", User: url.User("root"), Host: s.Addr(), Path: "/" + database}
	return u.String()
}

// Addr returns the address on which the server listens, such as 127.0.0.1:23456.
func (s *MySQL) Addr() string {
	return net.JoinHostPort("127.0.0.1", strconv.Itoa(s.Port))
}

// MariaDB reports whether the server is one of MariaDB.
func (s *MySQL) MariaDB() bool { return strings.HasPrefix(s.Version, "mariadb") }

// Bin returns the path of a program that comes with the server, such as mysql or mariadb, or "".
func (s *MySQL) Bin(name string) string {
	path := filepath.Join(s.root, "bin", name)
	if _, err := os.Stat(path); err != nil {
		return ""
	}
	return path
}

// AvailableMySQL returns the versions that StartMySQL finds on this machine, in order. It looks for mysql-<version> and
// mariadb-<version> in the same cache directories as Available.
func AvailableMySQL() []string {
	var versions []string
	for _, cache := range caches() {
		for _, server := range []string{"mariadb", "mysql"} {
			dirs, _ := filepath.Glob(filepath.Join(cache, server+"-*", "bin", "server")) // the only error is a bad pattern
			for _, dir := range dirs {
				name := filepath.Base(filepath.Dir(filepath.Dir(dir)))
				versions = append(versions, server+strings.TrimPrefix(name, server+"-"))
			}
		}
	}
	slices.Sort(versions)
	return slices.Compact(versions)
}

// findMySQL returns the directory of a version that the account can run.
func findMySQL(version string, as *account) (string, error) {
	name := version
	if i := strings.IndexAny(version, "0123456789"); i > 0 {
		name = version[:i] + "-" + version[i:]
	}
	var unreachable string
	for _, cache := range caches() {
		root := filepath.Join(cache, name)
		if _, err := os.Stat(filepath.Join(root, "bin", "server")); err != nil {
			continue
		}
		if as.reaches(filepath.Join(root, "bin")) {
			return root, nil
		}
		unreachable = root
	}
	if unreachable != "" {
		return "", fmt.Errorf("%s lies in %s, which the user %s cannot enter; "+
			"it does not run as root: set CHANGELING_CACHE to a directory that every user can read", version, unreachable, as.name)
	}
	return "", fmt.Errorf("no %s as %s in %s: run scripts/setup.sh mysql in a checkout, or scripts/setup.sh all for more versions",
		version, name, strings.Join(caches(), ", "))
}

func (s *MySQL) kind() kind {
	return kind{
		name:       s.Version,
		disposable: true,
		command: func() []string {
			// The server asks whether the process named in a lock left behind is alive, and that id may be another's by now.
			_ = os.Remove(s.socket() + ".lock") // missing at first, and always with MariaDB
			return append([]string{filepath.Join(s.root, "bin", "server"), "--port=" + strconv.Itoa(s.Port)}, s.arguments...)
		},
		ready:   s.ready,
		goodbye: []goodbye{{syscall.SIGTERM, 20 * time.Second}},
	}
}

// ready reads the first packet that a server sends. It asks the socket, because on the port another server may answer.
func (s *MySQL) ready(int) bool {
	conn, err := net.DialTimeout("unix", s.socket(), time.Second)
	if err != nil {
		return false
	}
	defer conn.Close()
	if err := conn.SetReadDeadline(time.Now().Add(time.Second)); err != nil {
		return false
	}
	greeting := make([]byte, 5) // a header of four bytes, and the version of the protocol
	_, err = io.ReadFull(conn, greeting)
	return err == nil && greeting[4] == 10
}

// create copies the data directory and launches the server.
func (s *MySQL) create(ctx context.Context) error {
	if err := os.CopyFS(s.dataDir(), os.DirFS(filepath.Join(s.root, "data"))); err != nil {
		return err
	}
	if err := os.Mkdir(s.tmp(), 0o700); err != nil {
		return err
	}
	err := filepath.WalkDir(s.dir, func(path string, _ fs.DirEntry, err error) error {
		return errors.Join(err, s.account.own(path))
	})
	if err != nil {
		return err
	}
	return s.launchAnywhere(ctx)
}

// settings returns the arguments of the server besides its port.
func (s *MySQL) settings(o MySQLOptions) []string {
	settings := map[string]string{
		"binlog_row_image":                    "FULL",
		"character_set_server":                "utf8mb4",
		"innodb_buffer_pool_dump_at_shutdown": "OFF",
		"innodb_buffer_pool_load_at_startup":  "OFF",
		"innodb_buffer_pool_size":             "128M",
		"log_bin":                             "binlog",
		"server_id":                           "1",
	}
	if s.MariaDB() {
		settings["binlog_format"] = "ROW" // MySQL has no other by default, and warns of the variable
		settings["innodb_log_file_size"] = "64M"
	} else {
		settings["innodb_redo_log_capacity"] = "64M"
		settings["mysqlx"] = "OFF" // a second port
	}
	if !o.Durable {
		settings["innodb_doublewrite"] = "OFF"
		settings["innodb_flush_log_at_trx_commit"] = "2" // 0 would lose the last second of a killed server
		settings["sync_binlog"] = "0"
	}
	maps.Copy(settings, o.Settings)
	settings["bind_address"] = "127.0.0.1"
	settings["datadir"] = s.dataDir()
	settings["pid_file"] = filepath.Join(s.dir, "pid")
	settings["socket"] = s.socket()
	settings["tmpdir"] = s.tmp()
	if strings.EqualFold(settings["log_bin"], "OFF") { // as a value it would be the name of the files
		delete(settings, "log_bin")
		settings["skip_log_bin"] = "ON"
	}
	var arguments []string
	for _, name := range slices.Sorted(maps.Keys(settings)) {
		arguments = append(arguments, "--"+name+"="+settings[name])
	}
	return arguments
}

func (s *MySQL) socket() string { return filepath.Join(s.dir, "sock") }
func (s *MySQL) tmp() string    { return filepath.Join(s.dir, "tmp") }
