package mysql

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestParseDSN(t *testing.T) {
	t.Parallel()
	home := t.TempDir()
	if err := os.WriteFile(filepath.Join(home, ".my.cnf"), []byte("[mysqld]\nuser=nobody\n[client]\n# mine\nuser = 'anna'\npassword=\"s 3\"\nhost=db.example\nport=3307\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		dsn, home, want, password string
	}{
		{dsn: "mysql://root@127.0.0.1:3310/app", want: "app on 127.0.0.1:3310 as root"},
		{dsn: "mariadb://u:p%40w@db.example/app?ssl-mode=required", want: "app on db.example:3306 as u", password: "p@w"},
		{dsn: "u:p@w/x@tcp(10.0.0.1:3307)/app", want: "app on 10.0.0.1:3307 as u", password: "p@w/x"},
		{dsn: "mysql://u:p@w@host/app", want: "app on host:3306 as u", password: "p@w"},
		{dsn: "mysql://[::1]:3310/app", want: "app on [::1]:3310 as root"},
		{dsn: "mysql:///app", home: home, want: "app on db.example:3307 as anna", password: "s 3"},
		{dsn: "mysql://bert@other:1/app", home: home, want: "app on other:1 as bert", password: "s 3"},
	} {
		got, err := ParseDSN(c.dsn, c.home)
		if err != nil || got.String() != c.want || got.Password != c.password {
			t.Errorf("ParseDSN(%q) = %s with password %q, %v; want %s with %q", c.dsn, got, got.Password, err, c.want, c.password)
		}
		if r := got.Connector().Params.Get("retries"); r != "off" {
			t.Errorf("ParseDSN(%q): retries are %q, want off", c.dsn, r)
		}
	}
	for dsn, want := range map[string]string{
		"mysql://u:secret/x@host/app":                   "expected mysql://",
		"oracle://u@host/app":                           "expected mysql://",
		"mysql://u:secret@host/app?ssl-mode=MAYBE":      "ssl-mode is unknown",
		"mysql://u:secret@host/app?parseTime=true":      "the option parseTime is unknown",
		"mysql://u@host/app?ssl-mode=VERIFY_IDENTITY":   "needs ssl-ca",
		"mysql://u@host/app?ssl-mode=VERIFY_CA&ssl-ca=": "needs ssl-ca",
	} {
		if _, err := ParseDSN(dsn, ""); err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "secret") {
			t.Errorf("ParseDSN(%q) = %v, want an error with %q and without the password", dsn, err, want)
		}
	}
}
